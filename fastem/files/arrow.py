"""What is needed of pyarrow in more than one place; it is imported when a file needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def require_pyarrow(path: Path | str, extra: str) -> None:
    """Raise ImportError, naming the extra to install, if there is no pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{path}: to read and write such files pyarrow is needed: pip install "fastem[{extra}]"'
        ) from error


def copy_column(column: Any, out: NDArray[np.float64]) -> None:
    """Numbers of an Arrow array as float64, a null as NaN. (Its `to_numpy` imports pandas, if there is one: 30 MB.)"""
    kind, part = np.dtype(column.type.to_pandas_dtype()), slice(column.offset, column.offset + len(column))
    bitmap, data = column.buffers()
    if kind.kind == "b":
        out[:] = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[part]
    else:
        out[:] = np.frombuffer(data, kind)[part]
    if column.null_count:
        out[np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[part] == 0] = np.nan
