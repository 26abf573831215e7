"""Frames that estimators give back: scikit-learn's `set_output`."""

from __future__ import annotations

import sys
from typing import Any

from numpy.typing import NDArray

OUTPUTS = ("default", "pandas", "polars")


# --- frames that go out: scikit-learn's `set_output` --------------------------------------------------------------


def container(own: str | None) -> str:
    """What an estimator's output is to be: its own setting, or else scikit-learn's global one where that is loaded."""
    sklearn = sys.modules.get("sklearn")
    wanted = own or (sklearn.get_config()["transform_output"] if sklearn is not None else "default")
    if wanted not in OUTPUTS:
        raise ValueError(f"output config must be in {list(OUTPUTS)}, got {wanted}")
    return str(wanted)


def framed(values: NDArray[Any], names: NDArray[Any], like: Any, kind: str) -> Any:
    """Rows (N, C) in a container of this kind, with the names of their columns and, in pandas, the index of `like`."""
    if kind == "pandas":
        import pandas

        index = like.index if isinstance(like, pandas.DataFrame) else None
        return pandas.DataFrame(values, index=index, columns=names, copy=False)
    if kind == "polars":
        import polars

        return polars.DataFrame(values, schema=names.tolist(), orient="row")
    return values
