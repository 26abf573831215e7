"""Rows as a 2-D array of floats, and the names of their columns: every check and cast of what a user passes as X."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.checks import NAME, refuse_masked

# --- rows ---------------------------------------------------------------------------------------------------------


def check_rows(X: Any, *, n_features: int | None = None, min_rows: int = 1, who: str = NAME) -> NDArray[Any]:
    """X as a 2-D float64 or float32 array: itself where it is one (any layout), else a float64 copy.

    Raises
    ------
    TypeError
        for sparse data
    ValueError
        for NaN, infinity, masked or complex entries, and for wrong shapes
    """
    array = cast_rows(X, n_features=n_features, min_rows=min_rows, who=who)
    check_finite(array)
    return array


def cast_rows(X: Any, *, n_features: int | None = None, min_rows: int = 1, who: str = NAME) -> NDArray[Any]:
    """`check_rows` but for the look at the values."""
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError(
            "Sparse data was passed, but dense data is required. Use '.toarray()' to convert to a dense numpy array."
        )
    refuse_masked("Input X", X)
    array = as_floats(X)
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {'scalar' if array.ndim == 0 else f'{array.ndim}D'} array instead:\n"
            f"array={array}.\nReshape your data either using array.reshape(-1, 1) if your data has a single feature "
            "or array.reshape(1, -1) if it contains a single sample."
        )
    for count, what, least, by in (
        (len(array), "sample", min_rows, f" by {who}"),
        (array.shape[1], "feature", 1, ""),
    ):
        if count < least:
            raise ValueError(
                f"Found array with {count} {what}(s) (shape={array.shape}) while a minimum of {least} is required{by}."
            )
    check_n_features(array.shape[1], n_features, who)
    return array


def check_n_features(got: int, n_features: int | None, who: str = NAME) -> None:
    """ValueError for other than `n_features` columns."""
    if n_features is not None and got != n_features:
        raise ValueError(f"X has {got} features, but {who} is expecting {n_features} features as input.")


def check_finite(X: NDArray[Any], first: int = 0, where: str = "") -> None:
    """Refuse NaN and infinity; `first` is the index of the first row, `where` what else to say about its place."""
    if not len(X):
        return
    low, high = X.min(), X.max()  # NaN propagates through both
    if np.isfinite(low) and np.isfinite(high):
        return
    bad = np.isnan if np.isnan(low) else np.isinf
    start = next(start for start in range(0, len(X), 1024) if bad(X[start : start + 1024]).any())
    row, column = np.argwhere(bad(X[start : start + 1024]))[0]
    place = f"The first is in row {first + start + row}, column {column}{where and f' ({where})'}."
    if np.isnan(low):
        raise ValueError(
            f"Input X contains NaN.\nMissing values are not accepted: remove or impute those rows. {place}"
        )
    raise ValueError(f"Input X contains infinity or a value too large for dtype('{X.dtype}'). {place}")


def as_floats(X: Any) -> NDArray[Any]:
    """Return what holds numbers as an array of floats; refuse text, dates and complex numbers."""
    if hasattr(X, "to_numpy") and hasattr(X, "dtypes") and not hasattr(X, "lazy"):  # pandas: NA becomes NaN
        dtypes = np.atleast_1d(np.asarray(X.dtypes, dtype=object))
        for dtype in dtypes:
            refuse_dates(dtype)
        nullable = any(not isinstance(dtype, np.dtype) for dtype in dtypes)
        X = X.to_numpy(dtype=np.float64, na_value=np.nan) if nullable else X.to_numpy()
    array = np.asarray(X)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{array}\n")
    if array.dtype.kind in "USV":
        raise ValueError(f"dtype='numeric' is not compatible with arrays of bytes/strings: X has dtype {array.dtype}.")
    refuse_dates(array.dtype)
    if array.dtype in (np.float32, np.float64) and array.dtype.isnative:
        return np.asarray(array)
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4  # byte-swapped float32
    with np.errstate(over="ignore"):  # a long double becomes infinity, which is refused as such
        return array.astype(np.float32 if single else np.float64)


def refuse_dates(dtype: Any) -> None:
    """A missing date (NaT) would become the number -9e18, and the others depend on their unit."""
    if getattr(dtype, "kind", "") in ("m", "M"):
        raise ValueError(f"Input X holds dates or durations ({dtype}): convert them to numbers first.")


# --- feature names ------------------------------------------------------------------------------------------------


def feature_names(X: Any) -> NDArray[Any] | None:
    """Column names of a data frame if all are strings, else None (as scikit-learn decides)."""
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(X, "shape"):
        return None
    names = np.asarray(columns, dtype=object)
    strings = [isinstance(name, str) for name in names]
    if any(strings) and not all(strings):
        kinds = sorted({type(name).__qualname__ for name in names})
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{kinds} as feature name / column name types. If you want feature names to be stored and validated, you "
            "must convert them all to strings, by using X.columns = X.columns.astype(str) for example. Otherwise "
            "you can remove feature / column names from your input data, or convert them all to a non-string data type."
        )
    return names if len(names) and all(strings) else None


def check_names(names: NDArray[Any] | None, fitted: NDArray[Any] | None, who: str = NAME) -> None:
    """Compare the column names of X with those seen in fit."""
    if names is None and fitted is None:
        return
    if fitted is None:
        warnings.warn(f"X has feature names, but {who} was fitted without feature names", stacklevel=4)
    elif names is None:
        warnings.warn(f"X does not have valid feature names, but {who} was fitted with feature names", stacklevel=4)
    elif len(names) != len(fitted) or (names != fitted).any():
        unseen, missing = sorted(set(names) - set(fitted)), sorted(set(fitted) - set(names))
        message = "The feature names should match those that were passed during fit.\n"
        message += _listed("Feature names unseen at fit time:\n", unseen)
        message += _listed("Feature names seen at fit time, yet now missing:\n", missing)
        if not unseen and not missing:
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message)


def _listed(title: str, names: list[str]) -> str:
    shown = "".join(f"- {name}\n" for name in names[:5]) + ("- ...\n" if len(names) > 5 else "")
    return title + shown if names else ""
