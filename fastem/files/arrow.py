"""Functions around pyarrow, which is imported when a file needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def require_pyarrow(path: Path | str, extra: str) -> None:
    """Raise an ImportError that names the extra to install if there is no pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{path}: to read and write such files pyarrow is needed: pip install "fastem[{extra}]"'
        ) from error


def copy_column(column: Any, out: NDArray[np.float64]) -> None:
    """Copy the numbers of an Arrow array to `out`; a null becomes NaN.

    (The array's `to_numpy` would import pandas, if that is installed: 30 MB.)
    """
    kind, part = np.dtype(column.type.to_pandas_dtype()), slice(column.offset, column.offset + len(column))
    bitmap, data = column.buffers()
    if kind.kind == "b":
        out[:] = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[part]
    else:
        out[:] = np.frombuffer(data, kind)[part]
    if column.null_count:
        out[np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[part] == 0] = np.nan
