"""Data frames of pandas, polars and Arrow, recognised without importing any of these."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

DATES = (np.datetime64, np.timedelta64, datetime.date, datetime.time, datetime.timedelta)


def is_pandas(X: Any) -> bool:
    """Return whether X is a DataFrame or Series of pandas, or of a library with the same interface."""
    return hasattr(X, "iloc") and hasattr(X, "to_numpy") and hasattr(X, "dtypes")


def is_polars(X: Any) -> bool:
    """Return whether X is a DataFrame of polars."""
    return hasattr(X, "lazy") and hasattr(X, "to_numpy") and not is_pandas(X)  # a LazyFrame has no numbers


def is_arrow(X: Any) -> bool:
    """Return whether X is a Table or RecordBatch of pyarrow."""
    return hasattr(X, "column_names") and hasattr(X, "schema") and not is_pandas(X)


def is_frame(X: Any) -> bool:
    """Return whether X is a table in memory whose columns have names and types of their own."""
    return (is_pandas(X) and len(X.shape) == 2) or is_polars(X) or is_arrow(X)


def column_names(X: Any) -> list[Any] | None:
    """Return the names of a frame's columns, or None for anything else."""
    columns = X.column_names if is_arrow(X) else getattr(X, "columns", None) if hasattr(X, "shape") else None
    return None if columns is None else list(columns)


def dates_in(X: Any) -> str:
    """Return which dates, times or durations a frame or an array holds, as text; "" if it holds none.

    As numbers they would depend on their unit, and a missing one (NaT) would be -9e18.
    """
    for name, dtype in _column_types(X):
        if _is_dated(dtype):
            return f"{dtype}" if name is None else f"column {name!r}: {dtype}"
    if isinstance(X, np.ndarray) and X.dtype == object:
        for kind in {type(value) for value in X.ravel()}:
            if issubclass(kind, DATES):
                return str(kind.__name__)
    return ""


def _column_types(X: Any) -> list[tuple[Any, Any]]:
    """Return the names and types of columns; an array has one type and None for a name."""
    if is_pandas(X):
        return list(X.dtypes.items()) if len(X.shape) == 2 else [(None, X.dtypes)]
    if is_polars(X):
        return list(X.schema.items())
    if is_arrow(X):
        return list(zip(X.schema.names, X.schema.types, strict=True))
    return [(None, X.dtype)] if isinstance(X, np.ndarray) else []


def _is_dated(dtype: Any) -> bool:
    """Return whether a type of NumPy, pandas, polars or Arrow is one of dates, times or durations."""
    dtype = getattr(dtype, "pyarrow_dtype", dtype)  # of Arrow's columns in pandas
    if hasattr(dtype, "is_temporal"):
        return bool(dtype.is_temporal())
    if hasattr(dtype, "to_pandas_dtype"):
        from pyarrow.types import is_temporal

        return bool(is_temporal(dtype))
    return getattr(dtype, "kind", "") in ("m", "M")
