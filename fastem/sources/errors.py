"""Errors of measurement: what is known of the errors of each row, and checks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.checks import real_numbers
from fastem.model.frames import column_names
from fastem.model.matrices import Array

NAME = "error_covariance"
SHAPES = "(D, D) for all rows, (N, D) variances, or (N, D, D)"
TOLERANCE = 1e-8  # of a correlation: what asymmetry and negative eigenvalues of a covariance may come to by rounding
LARGEST = 1e100  # of variances that have covariances: products of larger ones overflow
CHECKED_AT_ONCE = 1 << 17  # numbers


def has_errors(source: Any) -> bool:
    """Tell whether what is passed as X is a source whose rows have errors of measurement."""
    return getattr(source, "rows_kind", None) in ("errors", "errors and gaps", "one error")


def refuse_errors(X: Any, errors: Any) -> None:
    """Raise a ValueError for errors of measurement, or rows that have such."""
    if errors is not None or has_errors(X):
        raise ValueError(
            "rows with errors of measurement are for GaussianMixture's fit, predict, score and deconvolve, em, lbfgs, "
            "accumulate and log_density: make the source without errors here"
        )


def are_columns(errors: Any) -> bool:
    """Tell whether errors are names or positions of columns."""
    return isinstance(errors, list | tuple) and len(errors) > 0 and all(isinstance(one, str | int) for one in errors)


def check_columns(errors: Any) -> Sequence[str | int] | None:
    """Return the columns of a table that hold variances, or None; refuse what is no list of columns."""
    if errors is not None and not are_columns(errors):
        raise ValueError(f"errors of rows in a table are names of its columns of variances; got {errors!r:.60}")
    return errors  # type: ignore[no-any-return]


def split_shared(errors: Any, X: Any) -> tuple[Any, Any]:
    """Return one matrix of errors for all rows of X, and the errors of each row; one of them is None, or both are."""
    shape: tuple[int, ...] = () if errors is None or are_columns(errors) else np.shape(errors)
    rows = np.shape(X) if hasattr(X, "shape") or isinstance(X, list | tuple) else ()
    if len(shape) == 2 and len(set(shape)) == 1 and rows[:1] != shape[:1]:
        return errors, None
    return None, errors


def check_shared_errors(errors: Any, n_features: int) -> Array:
    """Check the covariance of the errors of all rows, and return it as float64, (D, D)."""
    array = real_numbers(NAME, errors)
    if array.shape != (n_features, n_features):
        raise ValueError(f"{NAME} must have shape {SHAPES}, with D = {n_features}; got {array.shape}")
    if np.isinf(np.diagonal(array)).any():
        raise ValueError(f"{NAME}: an infinite variance in all rows leaves out a feature: remove its column")
    check_error_values(array[None], 0, named=False)
    return array


def check_errors(errors: Any, n_rows: int, n_features: int) -> Array:
    """Check the errors of each of N rows of D features, and return them as float64, (N, D) or (N, D, D).

    Raises
    ------
    ValueError
        for another shape, or values that are no variances or covariances; the message names the row
    """
    array = real_numbers(NAME, errors)
    check_error_shape(array.shape, n_rows, n_features)
    check_error_values(array, 0)
    return array if array.ndim == 2 else only_measured(array)


def only_measured(errors: Array) -> Array:
    """Return covariances (N, D, D) without those of features that were not measured, which may be NaN."""
    measured = np.isfinite(variances_of(errors))
    if measured.all():
        return errors
    counts = measured[:, :, None] & measured[:, None, :] | np.eye(errors.shape[1], dtype=bool)
    return np.where(counts, errors, 0.0)


def check_names_of_errors(errors: Any, names: NDArray[Any] | None) -> None:
    """Raise a ValueError if errors are a data frame that has the columns of the rows, in another order."""
    own = column_names(errors)
    if own is not None and names is not None and set(own) == set(names) and list(own) != list(names):
        raise ValueError(
            f"{NAME} has the columns {list(map(str, own))}, but X {list(map(str, names))}: give them the same order"
        )


def check_measured(errors: Array) -> None:
    """Raise a ValueError if a feature has an infinite variance in all rows (N, D) or (N, D, D) of a fit."""
    missing = np.isinf(variances_of(errors)).all(axis=0)
    if len(errors) and missing.any():
        column = int(np.argmax(missing))
        raise ValueError(f"{NAME}: column {column} has an infinite variance in all rows: nothing is known of it")


def variances_of(errors: Array) -> Array:
    """Return the variances of errors (N, D) or (N, D, D), (N, D)."""
    return np.asarray(errors if errors.ndim == 2 else np.einsum("nii->ni", errors))


def check_error_shape(
    shape: tuple[int, ...], n_rows: int, n_features: int, one_per_row: bool = False
) -> tuple[int, ...]:
    """Return the shape of the errors of one row, (D,) or (D, D); refuse errors that are not one per row.

    Unless they are known to be `one_per_row`, refuse D x D for D rows.
    """
    N, D = n_rows, n_features
    shape = tuple(int(n) for n in shape)
    if shape == (N, D) == (D, D) and D > 1 and not one_per_row:
        raise ValueError(
            f"{NAME} of shape ({D}, {D}) may be one matrix for all of the {N} rows, or the variances of each: pass an "
            "array (N, D, D), np.broadcast_to(S, (N, D, D)) for one matrix S or v[:, :, None] * np.eye(D) for variances"
        )
    if shape not in ((N, D), (N, D, D)):
        more = ". For the same variances v in all rows, pass np.diag(v)" if shape in ((D,), ()) else ""
        raise ValueError(f"{NAME} must have shape {SHAPES}, with N = {N} and D = {D}; got {shape}{more}")
    return shape[1:]


def check_error_columns(errors: Sequence[Any] | None, n_features: int) -> tuple[int, ...] | None:
    """Return the shape of the errors of one row that columns hold; refuse other than one column per feature."""
    if errors is None:
        return None
    if len(errors) != n_features:
        raise ValueError(f"errors: {len(errors)} columns of variances for {n_features} features, expected one for each")
    return (n_features,)


def check_error_values(errors: NDArray[Any], first: int, named: bool = True) -> None:
    """Refuse errors, as in a Block, that are no covariances; `first` is the index of the first row, if it is `named`.

    A variance may be infinite: that feature of that row is not measured, and its covariances count for nothing.
    """
    variance = variances_of(errors)
    _refuse(~(variance >= 0), variance, first, named, "expected variances that are not negative, found {}")
    if errors.ndim == 2:
        return
    step = max(1, CHECKED_AT_ONCE // errors[:1].size)
    for start in range(0, len(errors), step):
        _check_matrices(errors[start : start + step], first + start, named)


def _refuse(bad: NDArray[np.bool_], values: NDArray[Any], first: int, named: bool, what: str) -> None:
    """Raise a ValueError that names the place of the first bad value: its row, if that is `named`, and its column."""
    if bad.any():
        row, *columns = place = tuple(np.argwhere(bad)[0])
        where = [f"row {first + row}"] * named + [f"column {column}" for column in columns[-1:]]
        raise ValueError(f"{NAME}: {what.format(values[place])}{' in ' * bool(where)}{', '.join(where)}.")


def _check_matrices(matrices: NDArray[Any], first: int, named: bool) -> None:
    """Refuse matrices that are not symmetric and positive semidefinite but for rounding."""
    D, variance = matrices.shape[1], np.einsum("nii->ni", matrices)
    measured = np.isfinite(variance)
    both = measured[:, :, None] & measured[:, None, :]
    known = np.where(both, matrices, 0.0)
    _refuse(~np.isfinite(known), known, first, named, "expected finite covariances, found {}")
    correlated = (known != 0).sum(axis=2) > (known.diagonal(0, 1, 2) != 0)
    what = (
        f"where there are covariances, expected variances of at most {LARGEST}, or inf for what is not measured, found"
    )
    _refuse((variance > LARGEST) & measured & correlated, variance, first, named, what + " {}")
    largest = np.abs(known).max(axis=(1, 2), keepdims=True)[..., 0]
    unit = np.sqrt(np.where(known.diagonal(0, 1, 2) > 0, known.diagonal(0, 1, 2), np.where(largest > 0, largest, 1.0)))
    relative = known / unit[:, :, None] / unit[:, None, :]
    off = np.abs(relative - relative.swapaxes(1, 2)).max(axis=(1, 2))
    _refuse(off > TOLERANCE, off, first, named, "expected symmetric matrices, found one that is not (by {:.3g})")
    try:
        np.linalg.cholesky(relative + TOLERANCE * np.eye(D))
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(relative).min(axis=1)
        what = "expected positive semidefinite matrices, found one whose correlations have the eigenvalue {:.3g}"
        _refuse(least < -TOLERANCE / 2, least, first, named, what)
