"""Data frames that estimators return: scikit-learn's `set_output`."""

from __future__ import annotations

import sys
from typing import Any

from numpy.typing import NDArray

OUTPUTS = ("default", "pandas", "polars")


def choose_container(own: str | None) -> str:
    """Return the kind of container that an estimator is to return: its own setting, or if that is None the global one.

    The global setting is scikit-learn's, if scikit-learn is loaded.
    """
    sklearn = sys.modules.get("sklearn")
    wanted = own or (sklearn.get_config()["transform_output"] if sklearn is not None else "default")
    if wanted not in OUTPUTS:
        raise ValueError(f"output config must be in {list(OUTPUTS)}, got {wanted}")
    return str(wanted)


def put_in_container(values: NDArray[Any], names: NDArray[Any], like: Any, kind: str) -> Any:
    """Return rows (N, C) in a container, with the names of their columns and, in pandas, the index of `like`."""
    if kind == "pandas":
        import pandas

        index = like.index if isinstance(like, pandas.DataFrame) else None
        return pandas.DataFrame(values, index=index, columns=names, copy=False)
    if kind == "polars":
        import polars

        return polars.DataFrame(values, schema=names.tolist(), orient="row")
    return values
