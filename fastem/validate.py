"""Casts, and every error that a user's input can cause, in scikit-learn's words where it has them."""

from __future__ import annotations

import numbers
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.covariance import (
    COVARIANCES,
    SingularCovarianceError,
    check_bound,
    factorise,
    find,
    from_precisions,
    variances,
)
from fastem.frames import column_names, dates_in, is_pandas, refuse_lazy
from fastem.model import Array, Noise, Params
from fastem.reseed import ON_COLLAPSE
from fastem.sources import Block, Known, Source, extent, is_labelled, known
from fastem.stopping import CRITERIA

NAME = "GaussianMixture"
LARGEST = 1e150  # in rows that are read anew: some thousands of squares of more overflow
ASYMMETRY = 1e-5  # most of a given matrix, of unit diagonal
KMEANS_INIT = ("k-means++", "random")
ALGORITHMS = ("lloyd", "elkan")
ASSIGNMENTS = ("soft", "hard")
FIXABLE = ("weights", "means", "covariances")
SOLVERS = ("em", "lbfgs")
INIT_PARAMS = ("auto", "kmeans", "random", "random_from_data", "k-means++")


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fit was called before one; scikit-learn's class as well, where that is imported."""


class ConvergenceWarning(UserWarning):
    """A fit did not converge; scikit-learn's class as well, where that is imported."""


def exception(own: type) -> Any:
    """`own`, which is scikit-learn's of the same name too if scikit-learn is loaded, so that users' handlers match."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), own.__name__, None)
    return own if theirs is None else _both(own, theirs)


@cache
def _both(own: type, theirs: type) -> type:
    return type(own.__name__, (own, theirs), {"__reduce__": lambda self: (own, self.args)})


def check_fitted(estimator: Any) -> None:
    """NotFittedError unless the estimator has parameters."""
    if not estimator.__sklearn_is_fitted__():
        raise exception(NotFittedError)(
            f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments "
            "before using this estimator."
        )


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
    refuse_lazy(X)
    if isinstance(X, np.matrix):
        raise TypeError(
            "np.matrix is not supported. Please convert to a numpy array with np.asarray. For more information see: "
            "https://numpy.org/doc/stable/reference/generated/numpy.matrix.html"
        )
    _refuse_masked("Input X", X)
    array = _floats(X)
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
    """ValueError for other than `n_features` columns."""
    if n_features is not None and got != n_features:
        raise ValueError(f"X has {got} features, but {who} is expecting {n_features} features as input.")


def check_finite(X: NDArray[Any], first: int = 0, where: str = "") -> None:
    """Refuse NaN and infinity; `first` is the index of the first row, `where` what else to say about its place."""
    if not len(X):
        return
    with np.errstate(all="ignore"):
        if np.isfinite(X.sum()):  # quicker than the next two
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


def check_again(block: Block) -> None:
    """OSError for a block of rows that are read anew and have changed: what the first pass would have refused."""
    last = block.start + len(block.X) - 1
    try:
        check_finite(block.X, block.start)
        if block.labels is not None:
            check_label_values(block.labels, block.start)
        largest = float(np.abs(block.X).max())
        if not largest < LARGEST:
            raise ValueError(f"with a value of {largest:.3g}, sums of squares overflow float64")
    except ValueError as error:
        cause = f"have changed since the first pass, or overflow: {' '.join(str(error).split())}"
        raise OSError(f"rows {block.start} to {last} {cause}") from error


def check_again_weights(weight: NDArray[Any], first: int) -> None:
    """OSError for weights, which do not show in the sums where they are below 0; `first` is the first row's index."""
    if len(weight) and not (weight.min() >= 0 and weight.max() < np.inf):
        last = first + len(weight) - 1
        try:
            check_weight_values(weight, first)
        except ValueError as error:
            raise OSError(f"rows {first} to {last} have changed since the first pass: {error}") from error


def _floats(X: Any) -> NDArray[Any]:
    _refuse_dates(X)
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
    _refuse_dates(array)
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
    if lost.any():
        place = tuple(np.argwhere(lost)[0])
        warnings.warn(
            f"X holds numbers with more digits than float64 has ({given.dtype}), and is rounded: {given[place]} is now "
            f"{rows[place]:.17g}, for one. If such digits matter, subtract an offset from the columns first.",
            stacklevel=6,
        )


def _refuse_dates(X: Any) -> None:
    if found := dates_in(X):
        raise ValueError(f"Input X holds dates or durations ({found}): convert them to numbers first.")


def _refuse_masked(name: str, value: Any) -> None:
    """A cast would drop the mask."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: fill them or remove their rows first.")


def _numbers(name: str, value: Any) -> Array:
    """`value` as float64, the same array if it is; refused where the cast would lose a mask, an imaginary part, NaT."""
    _refuse_masked(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind in "cmMSUV":
            raise TypeError(f"got dtype {array.dtype}")
        if found := dates_in(array):
            raise TypeError(f"got dates or durations ({found})")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} should hold real numbers: {error}") from error


def check_extent(source: Source, n_components: int) -> None:
    """Refuse fewer rows than components, and values whose weighted sum of squares would overflow."""
    if source.n_rows > 1:
        check_spread(source)
        if source.n_present < n_components:
            raise ValueError(
                "Expected n_samples >= n_components but got "
                f"n_components = {n_components}, n_samples = {source.n_present}"
            )
    if source.n_present < 2:
        raise ValueError(
            f"Found array with 1 sample(s) (shape={(1, source.n_features)}) while a minimum of 2 is required by {NAME}."
            + (" Rows of weight 0 do not count." if source.n_rows > 1 else "")
        )


def check_spread(source: Source) -> None:
    """Refuse values whose weighted sum of squares would overflow."""
    for axis in (None, 0):
        found = extent(source, axis)
        with np.errstate(over="ignore"):
            width = np.max(found.high - found.low)
            if np.isfinite(4 * source.sum_w * source.n_features * width * width):
                return
    raise ValueError(
        f"The values of X are too large: with a range of {width:.3g} in one column, sums of squares overflow float64. "
        "Scale the data."
    )


def box_of(source: Source) -> Array:
    """Least and largest values of the columns among rows with a weight, (2, D); ValueError if a column is constant."""
    found = extent(source, axis=0)
    return check_box(np.array([found.low, found.high]))


def check_box(box: Array) -> Array:
    """Refuse a box (2, D) without a volume."""
    if flat := np.flatnonzero(box[0] == box[1]).tolist():
        raise ValueError(f"noise needs a box with a volume, but column {str(flat)[1:-1]} of X is constant")
    return box


def check_weight(sample_weight: ArrayLike | None, n_rows: int) -> Array | None:
    """Weights as (N,) float64, or None."""
    if sample_weight is None:
        return None
    weight = _numbers("sample_weight", sample_weight)
    if weight.ndim == 0:
        weight = np.full(n_rows, float(weight))
    if weight.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if weight.shape != (n_rows,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_rows,)}!")
    if not np.isfinite(weight).all():
        raise ValueError("Input sample_weight contains NaN or infinity.")
    if (weight < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if n_rows:
        check_weight_scale(float(weight.max()))
    return weight


def check_weight_scale(largest: float) -> None:
    """Refuse weights that are all 0, or whose products would overflow or vanish."""
    if largest == 0:
        raise ValueError("sample_weight: every weight is zero, so there is nothing to fit.")
    if not 1e-100 < largest < 1e100:
        raise ValueError(
            f"sample_weight is too large or too small: with a largest weight of {largest:.3g}, products overflow "
            "float64 or lose digits. Scale the weights."
        )


def check_weight_values(weight: Array, first: int) -> None:
    """Refuse weights that are not finite or negative; `first` is the index of the first row."""
    sound = np.isfinite(weight) & (weight >= 0)
    if not sound.all():
        row = int(np.argmin(sound))
        raise ValueError(
            f"sample_weight: expected finite numbers that are not negative, found {weight[row]} in row {first + row}."
        )


def check_labels(labels: Any, n_rows: int) -> NDArray[Any] | None:
    """Labels as those of a Block: (N,) int64 or (N, K) bool; or None."""
    if labels is None:
        return None
    _refuse_masked("labels", labels)
    array = np.asarray(labels)
    check_label_kind(array.shape, array.dtype, n_rows)
    check_label_values(array, 0)
    return array if array.ndim == 2 else array.astype(np.int64, copy=False)


def check_label_kind(shape: tuple[int, ...], dtype: Any, n_rows: int) -> None:
    """Refuse what is neither (N,) numbers nor (N, K) bool."""
    kinds = {1: "iuf", 2: "b"}.get(len(shape), "")
    if not shape or shape[0] != n_rows or np.dtype(dtype).kind not in kinds:
        raise ValueError(
            f"labels must be {n_rows} integers, one per row, or booleans of shape ({n_rows}, K); got shape "
            f"{tuple(shape)}, dtype {dtype}"
        )


def check_label_values(labels: NDArray[Any], first: int) -> None:
    """Refuse labels that are no integers, or below -1, and rows without any; `first` is the index of the first row."""
    if labels.ndim == 2:
        sound, what = labels.any(axis=1), "may belong to no component"
    else:
        sound = (labels >= -1) & (labels < 2**53) & (labels == np.floor(labels))
        what = "has label {}, expected an integer from 0 on, or -1 for unknown"
    if not sound.all():
        row = int(np.argmin(sound))
        raise ValueError(f"labels: row {first + row} {what.format(labels[row])}")


def check_known(source: Source, n_components: int) -> Known | None:
    """What is known of the rows' components, None without labels; refuses a component that can have no row."""
    if not is_labelled(source):
        return None
    found = known(source, n_components)
    empty = np.flatnonzero(found.mass == 0)
    if len(empty) and not found.n_unknown:
        raise ValueError(f"labels: all rows have one, but none (of positive weight) has label {empty[0]}")
    return found


def check_kept(source: Source, on_collapse: str) -> None:
    """Components that labels name keep their numbers."""
    if on_collapse == "drop" and is_labelled(source):
        raise ValueError("on_collapse='drop' renumbers components: with labels it must be 'reseed'")


def check_all_labels(labels: Any, n_rows: int, n_components: int | None) -> tuple[NDArray[Any], int]:
    """Labels of which none is unknown, as (N,) int64, and K."""
    array = check_labels(labels, n_rows)
    if array is None or array.ndim == 2:
        raise ValueError(f"labels must be {n_rows} integers, one per row; got shape {np.shape(labels)}")
    K = _given_components(n_components) or int(array.max()) + 1
    if n_components is None and n_rows < K:  # identifiers rather than 0, 1, ...: memory for K components may not exist
        raise ValueError(f"labels go up to {K - 1} for {n_rows} rows: pass n_components={K} if that is meant")
    if array.min() < 0 or array.max() >= K:
        raise ValueError(f"labels must lie in 0..{K - 1}; got {array.min()}..{array.max()}")
    return array.astype(np.int64, copy=False), K


def check_resp(resp: Any, n_rows: int, n_components: int | None, name: str = "resp") -> tuple[NDArray[Any], int]:
    """Responsibilities as (N, K) float64, and K."""
    array, K = _numbers(name, resp), _given_components(n_components)
    if array.ndim != 2 or len(array) != n_rows or array.shape[1] != (K or max(array.shape[1], 1)):
        raise ValueError(f"{name} must have shape ({n_rows}, {K or 'K'}); got {array.shape}")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative")
    return array, array.shape[1]


def check_distributions(q: Any, n_rows: int, K: int) -> Array:
    """Distributions over components as (N, K) float64 whose rows sum to 1, here to the last digit."""
    array, _ = check_resp(q, n_rows, K, name="q")
    sums = array.sum(axis=1, keepdims=True)
    if (off := np.abs(sums - 1) > 1e-5).any():  # the sums of float32 are that far off for many components
        row = int(np.argmax(off))
        raise ValueError(f"q must hold distributions: row {row} sums to {float(sums[row, 0]):.7g}, not 1")
    return np.asarray(array / sums)


def check_features(features: Any, most: int, D: int, names: NDArray[Any] | None) -> NDArray[np.intp]:
    """At least one and at most so many of D features, by position or by name, all distinct, as (V,) positions."""
    known = {} if names is None else {name: position for position, name in enumerate(names)}
    given = [features] if isinstance(features, str) or np.ndim(features) == 0 else list(features)
    if unknown := [name for name in given if isinstance(name, str) and name not in known]:
        what = f"the model has {', '.join(map(repr, known))}" if known else "it was fitted without feature names"
        raise ValueError(f"features: no feature {', '.join(map(repr, unknown))}; {what}")
    positions = [known[name] if isinstance(name, str) else name for name in given]
    sound = all(isinstance(p, (int, np.integer)) and not isinstance(p, bool) and 0 <= p < D for p in positions)
    if not sound or len(set(positions)) < len(positions):
        raise ValueError(f"features must be distinct positions in 0..{D - 1}, or names; got {features!r:.60}")
    if not 0 < len(positions) <= most:
        raise ValueError(f"features: expected 1 to {most} of the {D} features, got {len(positions)}")
    return np.array(positions, dtype=np.intp)


def check_values(values: ArrayLike, n: int) -> Array:
    """Finite values of n features, (n,)."""
    return _of_shape("values", np.ravel(_numbers("The parameter 'values'", values)), (n,))


def _given_components(n_components: Any) -> int | None:
    """K if it is given."""
    if n_components is None:
        return None
    if not isinstance(n_components, numbers.Integral) or n_components < 1:
        raise ValueError(f"n_components must be an int in [1, inf); got {n_components!r}")
    return int(n_components)


def check_dtypes(dtypes: Iterable[Any]) -> list[str]:
    """Names of dtypes that rows can have in kernels."""
    try:
        names = [np.dtype(dtype).name for dtype in ([dtypes] if isinstance(dtypes, str) else dtypes)]
    except TypeError:
        names = []
    if not names or not set(names) <= {"float64", "float32"}:
        raise ValueError(f"dtypes must be 'float64', 'float32' or both; got {dtypes!r}")
    return names


# --- feature names ------------------------------------------------------------------------------------------------


def feature_names(X: Any) -> NDArray[Any] | None:
    """Column names of a data frame if all are strings, else None (as scikit-learn decides)."""
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


# --- constructor parameters ---------------------------------------------------------------------------------------


def check_constructor(estimator: Any) -> None:
    """Check scikit-learn's constructor parameters, in its words."""
    for name, least in (("n_components", 1), ("n_init", 1), ("verbose_interval", 1), ("max_iter", 0), ("verbose", 0)):
        value = getattr(estimator, name)
        is_int = isinstance(value, numbers.Integral) and (name == "verbose" or not isinstance(value, (bool, np.bool_)))
        _demand(is_int and value >= least, name, f"an int in the range [{least}, inf)", value)
    for name in ("tol", "reg_covar"):
        value = getattr(estimator, name)
        is_real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
        _demand(is_real and 0 <= value < np.inf, name, "a float in the range [0.0, inf)", value)
    strings = ("covariance_type", tuple(COVARIANCES)), ("init_params", INIT_PARAMS), ("solver", SOLVERS)
    for name, choices in strings:
        value = getattr(estimator, name)
        if not isinstance(value, str) or value not in choices:
            _demand(False, name, f"a str among {{{', '.join(map(repr, sorted(choices)))}}}", value)
    check_choices(NAME, estimator.criterion, estimator.on_collapse, estimator.regularization)
    fixed = check_fixed(NAME, estimator.assignment, estimator.fixed, estimator.on_collapse)
    for name, start in (("means", "means_init"), ("covariances", "precisions_init")):
        if name in fixed and getattr(estimator, start) is None:
            raise ValueError(f"fixed={fixed!r} holds the {name} at their start, which is to be given as {start}")
    given = (("regularization", estimator.regularization, None), ("assignment", estimator.assignment, "soft"))
    for name, value, plain in (*given, ("fixed", fixed, ())):  # what is EM's alone
        if estimator.solver != "em" and value != plain:
            raise ValueError(f"solver={estimator.solver!r} does not work with {name}={value!r}")
    value = estimator.warm_start
    _demand(isinstance(value, (bool, np.bool_)), "warm_start", "an instance of 'bool'", value)
    _demand(isinstance(estimator.noise, (bool, np.bool_)), "noise", "an instance of 'bool'", estimator.noise)
    check_n_threads(estimator.n_threads)


def check_kmeans(estimator: Any) -> None:
    """Check the constructor parameters of `KMeans`, in scikit-learn's words."""
    name = type(estimator).__name__
    for parameter, least in (("n_clusters", 1), ("max_iter", 1), ("verbose", 0)):
        value = getattr(estimator, parameter)
        is_int = isinstance(value, numbers.Integral) and (parameter == "verbose" or not isinstance(value, bool))
        _demand(is_int and value >= least, parameter, f"an int in the range [{least}, inf)", value, name)
    init, n_init, tol = estimator.init, estimator.n_init, estimator.tol
    named = init in KMEANS_INIT if isinstance(init, str) else callable(init) or np.ndim(init) > 0
    among = "{" + ", ".join(map(repr, sorted(KMEANS_INIT))) + "}"
    _demand(named, "init", f"a str among {among}, a callable or an array-like", init, name)
    auto, is_int = isinstance(n_init, str), isinstance(n_init, numbers.Integral) and not isinstance(n_init, bool)
    sound = n_init == "auto" if auto else is_int and n_init >= 1
    _demand(sound, "n_init", "a str among {'auto'} or an int in the range [1, inf)", n_init, name)
    is_real = isinstance(tol, numbers.Real) and not isinstance(tol, bool)
    _demand(is_real and 0 <= tol < np.inf, "tol", "a float in the range [0.0, inf)", tol, name)
    copy_x, algorithm = estimator.copy_x, estimator.algorithm
    kind = "an instance of 'bool' or an instance of 'numpy.bool'"
    _demand(isinstance(copy_x, bool | np.bool_), "copy_x", kind, copy_x, name)
    among = "{" + ", ".join(map(repr, sorted(ALGORITHMS))) + "}"
    known = isinstance(algorithm, str) and algorithm in ALGORITHMS
    _demand(known, "algorithm", f"a str among {among}", algorithm, name)
    if algorithm == "elkan" and estimator.n_clusters == 1:
        warnings.warn(
            "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
            RuntimeWarning,
            stacklevel=3,
        )
    check_n_threads(estimator.n_threads)


def check_clusters(source: Source, n_clusters: int) -> None:
    """Refuse fewer rows than clusters, and values whose weighted sum of squares would overflow."""
    check_spread(source)
    if source.n_present < n_clusters:
        raise ValueError(f"n_samples={source.n_present} should be >= n_clusters={n_clusters}.")


def check_centres(centres: Any, K: int, D: int) -> Array:
    """Given centres as (K, D) float64."""
    array = _numbers("init", centres)
    if array.ndim != 2 or len(array) != K:
        raise ValueError(f"The shape of the initial centers {array.shape} does not match the number of clusters {K}.")
    if array.shape[1] != D:
        raise ValueError(
            f"The shape of the initial centers {array.shape} does not match the number of features of the data {D}."
        )
    return check_means(array, K, D)


def check_params(params: Params) -> Params:
    """Refuse parameters whose parts do not fit each other: a kernel would read beyond them."""
    if not isinstance(params, Params):
        given = type(params).__name__
        instead = ": pass its attribute params_" if hasattr(type(params), "params_") else ""
        raise TypeError(f"params must be a fastem.Params, as make_params returns; got {given}{instead}")
    for name, array in zip(params._fields[:4], params[:4], strict=True):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise TypeError(f"The parameter '{name}' should be an array of floats: make parameters with make_params")
    K, D = _of_shape("means", params.means, _two(params.means)).shape
    if params.noise is not None:
        check_noise(params.noise, D)
    noise = 0.0 if params.noise is None else params.noise.weight
    weights = _of_shape("weights", params.weights, (K,))
    _check_mixing(weights, max(noise, 1.0 - weights.sum()), 1e-3)  # less than 1: the noise has been taken out
    shape = params.covariances.shape
    if len(shape) != 3 or shape[0] not in (1, K) or shape[1:] not in ((D, D), (1, D), (1, 1)):
        raise ValueError(f"The parameter 'covariances' should have the shape of (K|1, D|1, D|1), but got {shape}")
    _of_shape("covariances", params.covariances, shape)
    if not (variances(_of_shape("factor", params.factor, shape)) > 0).all():
        raise ValueError("The parameter 'factor' should have a positive diagonal: make parameters with make_params")
    return params


def check_noise(noise: Any, D: int) -> Noise:
    """A component of constant density."""
    if not isinstance(noise, tuple) or len(noise) != 2:
        raise ValueError(f"The parameter 'noise' should be a tuple (weight, box), but got {noise!r:.60}")
    weight = float(_array("noise weight", noise[0], ()))
    if not 0 <= weight <= 1:
        raise ValueError(f"The parameter 'noise' should have a weight in the range [0, 1], but got {weight:.5g}")
    return Noise(weight, check_box(_array("noise box", noise[1], (2, D))))


def check_n_threads(n_threads: Any) -> int | None:
    """A bound on the number of threads: any int from 1 on, however many there are; or None."""
    if n_threads is None:
        return None
    if not isinstance(n_threads, numbers.Integral) or isinstance(n_threads, (bool, np.bool_)) or n_threads < 1:
        raise ValueError(f"n_threads must be an int in [1, inf), or None for as many as Numba uses; got {n_threads!r}")
    return int(n_threads)


def check_top(m: Any, K: int) -> int:
    """How many of K components: an int from 1 to K."""
    if not isinstance(m, (int, np.integer)) or isinstance(m, bool) or not 1 <= m <= K:
        raise ValueError(f"m must be an int in [1, {K}], as there are {K} components; got {m!r}")
    return int(m)


def check_mixture(params: Params, covariance: str, reg_covar: float) -> None:
    """Refuse what is no mixture of this family, and a reg_covar that is negative."""
    shape = find(covariance).shape(*check_params(params).means.shape)
    if params.covariances.shape != shape:
        got = params.covariances.shape
        raise ValueError(f"covariance={covariance!r} needs covariances of shape {shape}; got {got}")
    check_bound("reg_covar", reg_covar)


def check_em(params: Params, covariance: str, reg_covar: float, tol: float, max_iter: int) -> None:
    """Check the arguments of `em`."""
    check_mixture(params, covariance, reg_covar)
    check_bound("tol", tol)
    if not (isinstance(max_iter, numbers.Integral) and max_iter >= 1):
        raise ValueError(f"max_iter must be an int in [1, inf); got {max_iter!r}")


def check_choices(caller: str, criterion: Any, on_collapse: Any, regularization: Any) -> None:
    """Check the names of a stopping criterion and of what becomes of lost components."""
    for name, value, choices in (("criterion", criterion, CRITERIA), ("on_collapse", on_collapse, ON_COLLAPSE)):
        among = "{" + ", ".join(map(repr, sorted(choices))) + "}"
        _demand(isinstance(value, str) and value in choices, name, f"a str among {among}", value, caller)
    if on_collapse == "drop" and regularization is None:
        raise ValueError("on_collapse='drop' needs a regularization: reg_covar alone follows scikit-learn")


def check_fixed(caller: str, assignment: Any, fixed: Any, on_collapse: Any) -> tuple[str, ...]:
    """Check how rows are assigned, and the names of parameters that are held; returns the latter."""
    among = "{" + ", ".join(map(repr, sorted(ASSIGNMENTS))) + "}"
    known = isinstance(assignment, str) and assignment in ASSIGNMENTS
    _demand(known, "assignment", f"a str among {among}", assignment, caller)
    listed = isinstance(fixed, (tuple, list, set, frozenset))
    among = "{" + ", ".join(map(repr, FIXABLE)) + "}"
    _demand(
        listed and all(isinstance(name, str) and name in FIXABLE for name in fixed),
        "fixed",
        f"a tuple of names among {among}",
        fixed,
        caller,
    )
    if fixed and on_collapse == "drop":
        raise ValueError("on_collapse='drop' changes the number of components: nothing can be fixed then")
    return tuple(fixed)


def _demand(holds: Any, name: str, expected: str, value: Any, caller: str = NAME) -> None:
    if not holds:
        raise ValueError(f"The {name!r} parameter of {caller} must be {expected}. Got {value!r} instead.")


def check_seen(n_samples_seen: Any) -> float:
    """How many rows a mixture stands for: a positive number."""
    real = isinstance(n_samples_seen, numbers.Real) and not isinstance(n_samples_seen, (bool, np.bool_))
    if not real or not 0 < float(n_samples_seen) < np.inf:
        raise ValueError(f"n_samples_seen must be a positive number of rows; got {n_samples_seen!r}")
    return float(n_samples_seen)


def check_random_state(seed: Any) -> np.random.RandomState:
    """As scikit-learn: None is NumPy's global state, an int a new one, a RandomState itself."""
    if seed is None or seed is np.random:
        return np.random.mtrand._rand
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and 0 <= seed < 2**32:
        return np.random.RandomState(int(seed))
    _demand(
        isinstance(seed, np.random.RandomState),
        "random_state",
        "an int in the range [0, 4294967295], an instance of 'numpy.random.RandomState' or None",
        seed,
    )
    return seed  # type: ignore[no-any-return]


def check_n_samples(n_samples: Any, least: int = 1) -> None:
    """A positive integer, of at least 1 or 2."""
    is_int = isinstance(n_samples, numbers.Integral)
    if not is_int or not least <= n_samples <= np.iinfo(np.intp).max:
        needs = "at least one sample" if least == 1 else "at least two samples"
        raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires {needs}, an int.")


def check_representable(params: Params, dtype: np.dtype[Any]) -> None:
    """Refuse float32 parameters that would overflow, vanish or be subnormal, which lose digits."""
    factor, least = params.factor, np.finfo(dtype).tiny
    with np.errstate(all="ignore"):
        precisions = factor.swapaxes(-1, -2) @ factor if factor.shape[-2] > 1 else factor**2
        sound = all(
            np.isfinite(array.astype(dtype)).all() and (variances(array).astype(dtype) >= least).all()
            for array in (params.covariances, factor, precisions)
        )
    if not sound:
        raise ValueError(
            f"The covariances or their inverses do not fit the range of {dtype}: pass X as float64, or scale the data."
        )


def check_state(estimator: Any) -> None:
    """Check a fitted estimator's arrays, so that a pickle from elsewhere cannot crash a kernel."""
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        if not hasattr(estimator, name):
            raise ValueError(f"the state is not that of a mixture: it has no {name}")
    K, D = check_means(estimator.means_, *_two(estimator.means_)).shape
    family = estimator._family()
    shape = family.natural_shape(K, D)
    weights = _array("weights", estimator.weights_, (K,))
    covariances = _array("covariances", estimator.covariances_, shape)
    cholesky = _array("precisions_cholesky", estimator.precisions_cholesky_, shape)
    noise = 0.0
    if hasattr(estimator, "noise_box_"):
        noise = check_noise((estimator.noise_weight_, estimator.noise_box_), D).weight
    sound = (weights >= 0).all() and abs(weights.sum() + noise - 1) < 1e-3
    for array in (covariances, cholesky):
        sound = sound and (variances(array.reshape(family.shape(K, D))) > 0).all()
    if not sound:
        raise ValueError("the state is not that of a mixture: weights, covariances or precisions are not positive")


# --- mixtures -----------------------------------------------------------------------------------------------------


def _of_shape(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Finite numbers of this shape as float64; the same array if it is."""
    array = _numbers(f"The parameter '{name}'", value)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"The parameter '{name}' contains NaN or infinity")
    return array


def _array(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """The same as a copy, which the user cannot change later."""
    return np.array(_of_shape(name, value, shape))


def _two(means: ArrayLike) -> tuple[int, int]:
    """K and D of means; of anything else, what makes `check_means` refuse it."""
    shape = np.shape(means)
    return (shape[0], shape[1]) if len(shape) == 2 and 0 not in shape else (1, 1)


def check_weights(weights: ArrayLike, K: int, noise: float = 0.0, leading: tuple[int, ...] = ()) -> Array:
    """Mixture weights as (*leading, K) float64; with that of noise they sum to 1."""
    array = _array("weights", weights, (*leading, K))
    _check_mixing(array, noise, 1e-6)
    return array


def _check_mixing(array: Array, noise: float, tolerance: float) -> None:
    if (array < 0).any() or (array > 1).any():
        # scikit-learn's tests match its words, which name min and max the wrong way round.
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got "
            f"max value {array.min():.5f}, min value {array.max():.5f}"
        )
    sums = array.sum(axis=-1).ravel()
    if (off := np.abs(1.0 - sums - noise) > tolerance).any():
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {sums[off][0]:.5f}")


def check_means(means: ArrayLike, K: int, D: int, leading: tuple[int, ...] = ()) -> Array:
    """Means as (*leading, K, D) float64."""
    return _array("means", means, (*leading, K, D))


def check_matrices(
    kind: str, matrices: ArrayLike, covariance: str, K: int, D: int, leading: tuple[int, ...] = ()
) -> Array:
    """Covariances or precisions in scikit-learn's shape -> canonical shape, symmetric positive definite."""
    family = COVARIANCES[covariance]
    array = _array(f"{covariance} {kind}", matrices, (*leading, *family.natural_shape(K, D)))
    array = array.reshape(*leading, *family.shape(K, D))
    try:
        factorise(array)
        if family.matrices:
            scale = np.sqrt(variances(array))  # symmetric whatever the unit of each feature
            skew = np.abs(array - array.swapaxes(-1, -2)) / (scale[..., :, None] * scale[..., None, :])
            if not (skew <= ASYMMETRY).all():
                raise SingularCovarianceError([])
    except SingularCovarianceError:
        demand = "symmetric, positive-definite" if family.matrices else "positive"
        raise ValueError(f"'{covariance} {kind}' should be {demand}") from None
    return array


def check_precisions(
    precisions: ArrayLike, covariance: str, K: int, D: int, leading: tuple[int, ...] = ()
) -> tuple[Array, Array]:
    """Precisions in scikit-learn's shape -> covariances and factor."""
    return from_precisions(check_matrices("precision", precisions, covariance, K, D, leading))


def make_params(
    weights: ArrayLike,
    means: ArrayLike,
    covariances: ArrayLike,
    covariance: str = "full",
    noise: tuple[float, ArrayLike] | None = None,
) -> Params:
    """A mixture from known parameters, checked.

    Parameters
    ----------
    weights : (K,) array-like, sum 1, with that of noise if there is any
    means : (K, D) array-like
    covariances : array-like
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied_diag, a number tied_spherical
    covariance : "full", "tied", "diag", "spherical", "tied_diag" or "tied_spherical"
    noise : weight and box (2, D) of a component of constant density, optional

    Returns
    -------
    Params

    Raises
    ------
    ValueError
        for shapes that do not match, entries that are not finite, weights that do not sum to 1, covariances that
        are not symmetric positive definite

    Examples
    --------
    >>> import fastem
    >>> fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [1.0, 4.0], "spherical").factor.ravel()
    array([1. , 0.5])
    """
    find(covariance)
    rows = _numbers("The parameter 'means'", means)
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"The parameter 'means' should have the shape of (K, D), but got {rows.shape}")
    K, D = rows.shape
    matrices = check_matrices("covariance", covariances, covariance, K, D)
    uniform = None if noise is None else check_noise(noise, D)
    shares = check_weights(weights, K, 0.0 if uniform is None else uniform.weight)
    return Params(shares, check_means(means, K, D), matrices, factorise(matrices), uniform)
