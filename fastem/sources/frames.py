"""Choosing columns of data frames, and refusing frames that hold no rows yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastem.files.tables import choose_columns
from fastem.model.frames import column_names, is_arrow, is_pandas


def refuse_lazy(X: Any) -> None:
    """Raise a TypeError for a polars LazyFrame."""
    if hasattr(X, "collect") and hasattr(X, "collect_schema") and not hasattr(X, "shape"):
        raise TypeError(
            "X is a polars LazyFrame, a query that holds no rows yet: pass X.collect(), or, for more rows than fit "
            "into memory, the Path of its Parquet file"
        )


def choose_frame_columns(X: Any, columns: Sequence[str | int]) -> Any:
    """Return a frame of the columns chosen by name or position."""
    names = list(map(str, column_names(X) or ()))
    index = choose_columns("X", columns, names, len(names))
    if is_pandas(X):
        return X.iloc[:, index]
    return X.select([names[j] for j in index])


def split_frame(
    X: Any, columns: Sequence[str | int] | None, errors: Sequence[str | int]
) -> tuple[Any, Sequence[str | int], Any]:
    """Return a frame, its columns that are features, and a frame of the columns that hold the variances of errors."""
    names = list(map(str, column_names(X) or ()))
    own = choose_columns("X", errors, names, len(names))
    features = [j for j in range(len(names)) if j not in own] if columns is None else columns
    found = choose_frame_columns(X, own)
    return X, features, found.to_pandas() if is_arrow(found) else found
