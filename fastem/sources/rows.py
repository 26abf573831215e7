"""Checks and casts of what a user passes as X: rows as a 2-D array of floats, and the names of their columns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.checks import NAME, refuse_masked
from fastem.model.frames import column_names, dates_in, is_pandas
from fastem.sources.blocks import Block
from fastem.sources.errors import check_error_values
from fastem.sources.frames import refuse_lazy
from fastem.sources.labels import check_label_values

WHO_TAKES_GAPS = "GaussianMixture(missing=True) fits rows with missing values."
LARGEST = 1e150  # of a value in rows that are read anew: some thousands of squares of larger values overflow


# --- rows ---------------------------------------------------------------------------------------------------------


def check_rows(
    X: Any, *, n_features: int | None = None, min_rows: int = 1, who: str = NAME, missing: bool = False
) -> NDArray[Any]:
    """Return X as a 2-D float64 or float32 array: X itself if it is one (of any layout), else a float64 copy.

    With `missing`, NaN stands for a value that is missing, and masked entries become NaN.

    Raises
    ------
    TypeError
        for sparse data
    ValueError
        for NaN, infinity, masked or complex entries, and for wrong shapes
    """
    array = cast_rows(X, n_features=n_features, min_rows=min_rows, who=who, missing=missing)
    check_finite(array, missing=missing)
    return array


def cast_rows(
    X: Any, *, n_features: int | None = None, min_rows: int = 1, who: str = NAME, missing: bool = False
) -> NDArray[Any]:
    """Do as `check_rows`, but do not look at the values."""
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError(
            "Sparse data was passed, but dense data is required. Use '.toarray()' to convert to a dense numpy array."
        )
    refuse_lazy(X)
    if hasattr(X, "reduce") and hasattr(X, "for_each"):
        raise TypeError(f"{who} takes an array or a frame here, no source of rows; got a {type(X).__name__}")
    if isinstance(X, np.matrix):
        raise TypeError(
            "np.matrix is not supported. Please convert to a numpy array with np.asarray. For more information see: "
            "https://numpy.org/doc/stable/reference/generated/numpy.matrix.html"
        )
    if missing and np.ma.isMaskedArray(X):
        X = np.ma.filled(X.astype(np.result_type(X.dtype, np.float32)), np.nan)
    refuse_masked("Input X", X)
    array = as_floats(X)
    if array.ndim > 2:
        raise ValueError(f"Found array with dim {array.ndim}, while dim <= 2 is required by {who}.")
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {'1D' if array.ndim else 'scalar'} array instead:\n"
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
    """Raise a ValueError for other than `n_features` columns; None allows any number."""
    if n_features is not None and got != n_features:
        raise ValueError(f"X has {got} features, but {who} is expecting {n_features} features as input.")


def check_finite(X: NDArray[Any], first: int = 0, where: str = "", missing: bool = False) -> None:
    """Refuse NaN and infinity; with `missing`, infinity alone.

    `first` is the index of the first row, `where` is added to the place in the message.
    """
    if not len(X):
        return
    with np.errstate(all="ignore"):
        if np.isfinite(X.sum()):  # quicker than the next two
            return
    low, high = (np.fmin.reduce(X, None), np.fmax.reduce(X, None)) if missing else (X.min(), X.max())
    if missing and np.isnan(low):  # there is nothing else
        return
    if np.isfinite(low) and np.isfinite(high):
        return
    bad = np.isnan if np.isnan(low) else np.isinf
    start = next(start for start in range(0, len(X), 1024) if bad(X[start : start + 1024]).any())
    row, column = np.argwhere(bad(X[start : start + 1024]))[0]
    place = f"The first is in row {first + start + row}, column {column}{where and f' ({where})'}."
    if np.isnan(low):
        raise ValueError(
            "Input X contains NaN.\nMissing values are not accepted: remove or impute those rows. "
            f"{place} {WHO_TAKES_GAPS}"
        )
    raise ValueError(f"Input X contains infinity or a value too large for dtype('{X.dtype}'). {place}")


def has_gaps(X: NDArray[Any]) -> bool:
    """Tell whether an array holds NaN."""
    with np.errstate(all="ignore"):
        return bool(not np.isfinite(X.sum()) and np.isnan(X.min(initial=0.0)))


def check_again(block: Block, missing: bool = False) -> None:
    """Raise an OSError if rows that are read anew have changed so that the first pass would have refused them."""
    last = block.start + len(block.X) - 1
    try:
        check_finite(block.X, block.start, missing=missing)
        if block.labels is not None:
            check_label_values(block.labels, block.start)
        if block.errors is not None:
            check_error_values(block.errors, block.start)
        largest = float(np.fmax.reduce(np.abs(block.present().X), None, initial=0.0))
        if not largest < LARGEST:
            raise ValueError(f"with a value of {largest:.3g}, sums of squares overflow float64")
    except ValueError as error:
        cause = f"have changed since the first pass, or overflow: {' '.join(str(error).split())}"
        raise OSError(f"rows {block.start} to {last} {cause}") from error


def as_floats(X: Any) -> NDArray[Any]:
    """Return what holds numbers as an array of floats; refuse text, dates and complex numbers."""
    refuse_dates(X)
    if is_pandas(X):  # NA becomes NaN
        dtypes = np.atleast_1d(np.asarray(X.dtypes, dtype=object))
        nullable = any(not isinstance(dtype, np.dtype) for dtype in dtypes)
        for position, dtype in enumerate(dtypes if hasattr(X, "iloc") and X.ndim == 2 else ()):
            if dtype.kind in "iu" and (nullable or len(set(dtypes)) > 1):  # pandas casts them itself
                column = X.iloc[:, position].dropna().to_numpy()
                warn_of_rounding(column, column.astype(np.float64))
        X = X.to_numpy(dtype=np.float64, na_value=np.nan) if nullable else X.to_numpy()
    array = np.asarray(X)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{array}\n")
    if array.dtype.kind in "USV":
        raise ValueError(f"dtype='numeric' is not compatible with arrays of bytes/strings: X has dtype {array.dtype}.")
    refuse_dates(array)
    if array.dtype in (np.float32, np.float64) and array.dtype.isnative:
        return np.asarray(array)
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4  # byte-swapped float32
    with np.errstate(over="ignore"):  # a long double becomes infinity, which is refused as such
        rows = array.astype(np.float32 if single else np.float64)
    warn_of_rounding(array, rows)
    return rows


def warn_of_rounding(given: NDArray[Any], rows: NDArray[Any]) -> None:
    """Warn if numbers have lost digits on their way to float64: integers beyond 2**53, long doubles."""
    kind, bits = given.dtype.kind, 8 * given.dtype.itemsize
    if not given.size or kind not in "iufO" or bits < 64 or given.dtype == np.float64:
        return
    if kind in "iu" and max(int(given.max()), -int(given.min())) <= 2**53:
        return
    with np.errstate(invalid="ignore"):  # 2**63 is no int64
        lost = np.isfinite(rows) & ((rows.astype(given.dtype) if kind in "iu" else rows) != given)
    if kind == "O":  # text is no number that its own value differs from
        lost &= ~np.asarray(np.frompyfunc(lambda one: isinstance(one, str | bytes), 1, 1)(given), dtype=bool)
    if lost.any():
        place = tuple(np.argwhere(lost)[0])
        warnings.warn(
            f"X holds numbers with more digits than float64 has ({given.dtype}), and is rounded: {given[place]} is now "
            f"{rows[place]:.17g}, for one. If such digits matter, subtract an offset from the columns first.",
            stacklevel=6,
        )


def refuse_dates(X: Any) -> None:
    """Refuse dates and durations, which would become numbers that depend on their unit."""
    if found := dates_in(X):
        raise ValueError(f"Input X holds dates or durations ({found}): convert them to numbers first.")


# --- feature names ------------------------------------------------------------------------------------------------


def feature_names(X: Any) -> NDArray[Any] | None:
    """Return the column names of a data frame if all are strings, else None; scikit-learn decides so too."""
    columns = column_names(X)
    if columns is None:
        return None
    names = np.array(columns, dtype=object)
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
    """Warn or raise a ValueError if the column names of X differ from those of the fit; None means no names."""
    if names is None and fitted is None:
        return
    if fitted is None:
        warnings.warn(f"X has feature names, but {who} was fitted without feature names", stacklevel=4)
    elif names is None:
        warnings.warn(f"X does not have valid feature names, but {who} was fitted with feature names", stacklevel=4)
    elif len(names) != len(fitted) or (names != fitted).any():
        unseen, missing = sorted(set(names) - set(fitted)), sorted(set(fitted) - set(names))
        message = "The feature names should match those that were passed during fit.\n"
        message += _list_names("Feature names unseen at fit time:\n", unseen)
        message += _list_names("Feature names seen at fit time, yet now missing:\n", missing)
        if not unseen and not missing:
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message)


def _list_names(title: str, names: list[str]) -> str:
    """Return a title and up to five names, a line each; nothing without names."""
    shown = "".join(f"- {name}\n" for name in names[:5]) + ("- ...\n" if len(names) > 5 else "")
    return title + shown if names else ""
