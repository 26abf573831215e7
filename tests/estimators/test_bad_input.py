"""Bad input: a table of what is done and what must come of it.

Each case runs in a process that may hang or die without harm to the others: that is its failure, and the next case
gets a new process. What is expected is one of

- an exception, as (exact type, pattern that its message must hold: it names the culprit);
- numbers, which must equal those that come out, or a function that computes them with NumPy or scikit-learn;
- a pattern for text, such as that of the command line with its exit status.

A NumPy RuntimeWarning is a failure too; scikit-learn's and our own warnings are not looked at here.
"""

import functools
import io
import os
import pickle
import re
import signal
import sys
import time
import warnings
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from _worker import LostError, Worker
from helpers import COLLAPSED, TYPES, natural
from sklearn.mixture import GaussianMixture as Peer

import fastem
from fastem import FitInterrupted, GaussianMixture, Params, SingularCovarianceError
from fastem.files.archive import ModelFileError
from fastem.kernels import jit, mixture
from fastem.model.checks import exception

RTOL = 1e-9  # of an entry and of the largest in its array
LIMIT = 60.0  # seconds; a case takes milliseconds, unless a kernel has to be compiled for it
NAN, INF = np.nan, np.inf

# Two groups of rows far from each other, so that responsibilities are 0 and 1 to all digits that count.
X = np.random.default_rng(0).normal(size=(60, 3))
X[30:] += 9.0
LABELS = np.repeat([0, 1], 30)
ONES = np.ones(60)
EYE = np.eye(3)


def put(array, value, row=7, column=1):
    """A copy with one entry changed."""
    array = np.array(array, dtype=None if np.asarray(value).dtype.kind == "f" else object)
    array[(row, column)[: array.ndim]] = value
    return array


def fit(rows=X, k=2, *, sample_weight=None, callback=None, **options):
    """A fit of two components."""
    options = {"n_components": k, "random_state": 0} | options
    return GaussianMixture(**options).fit(rows, sample_weight=sample_weight, callback=callback)


def one(rows=X, **options):
    """Mean and covariance of one component, which NumPy can compute."""
    model = fit(rows, 1, reg_covar=0.0, **options)
    return model.means_[0], model.covariances_[0]


def numpy_one(rows, aweights=None):
    rows = np.asarray(rows, dtype=float)
    return np.average(rows, axis=0, weights=aweights), np.cov(rows.T, bias=True, aweights=aweights)


@functools.cache
def model():
    return fit()


def params(**changes):
    return model().params_._replace(**changes)


# ---- rows: every entry point refuses the same in the same words --------------------------------------


def frame(**columns):
    """A data frame with columns changed."""
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(**columns)


FIT = {
    "fit": lambda rows: fit(rows),
    "fit_predict": lambda rows: GaussianMixture(2).fit_predict(rows),
    "moments": lambda rows: fastem.moments(rows, labels=LABELS),
}
USE = {
    **{
        name: lambda rows, name=name: getattr(model(), name)(rows)
        for name in ("predict", "predict_proba", "score_samples", "score", "bic", "aic", "_estimate_weighted_log_prob")
    },
    "accumulate": lambda rows: fastem.accumulate(rows, params()),
    "em": lambda rows: fastem.em(rows, params()),
    "log_density": lambda rows: fastem.log_density(rows, params()),
}
CALLS = FIT | USE

ROWS = {
    "NaN first": (lambda: put(X, NAN, 0, 0), ValueError, "Input X contains NaN"),
    "NaN last": (lambda: put(X, NAN, 59, 2), ValueError, "Input X contains NaN"),
    "inf": (lambda: put(X, INF), ValueError, "Input X contains infinity"),
    "-inf": (lambda: put(X, -INF), ValueError, "Input X contains infinity"),
    "float32 NaN": (lambda: put(X.astype("f4"), np.float32(NAN)), ValueError, "Input X contains NaN"),
    "float32 inf": (lambda: put(X.astype("f4"), np.float32(INF)), ValueError, "Input X contains infinity"),
    "float16 inf": (lambda: put(X.astype("f2"), np.float16(INF)), ValueError, "Input X contains infinity"),
    "swapped NaN": (lambda: put(X, NAN).astype(">f8"), ValueError, "Input X contains NaN"),
    "long double beyond double": (lambda: put(X.astype("g"), np.longdouble("1e400")), ValueError, "X .*infinity"),
    "an int beyond double": (lambda: put(X, 10**400), OverflowError, "int too large"),
    "a masked entry": (lambda: np.ma.masked_greater(X, X.max() - 0.1), ValueError, "X has masked entries"),
    "complex": (lambda: X + 0j, ValueError, "Complex data not supported"),
    "text": (lambda: [["a", "b", "c"]] * 60, ValueError, "strings"),
    "numbers as text": (lambda: X.astype("U"), ValueError, "strings"),
    "bytes": (lambda: X.astype("S"), ValueError, "strings"),
    "dates": (lambda: X.astype("i8").astype("M8[s]"), ValueError, r"dates or durations \(datetime64"),
    "durations": (lambda: X.astype("i8").astype("m8[s]"), ValueError, r"dates or durations \(timedelta64"),
    "records": (lambda: np.zeros(60, dtype=[("a", "f8"), ("b", "f8")]), ValueError, "strings: X has dtype"),
    "objects with None": (lambda: put(X, None), ValueError, "Input X contains NaN"),
    "objects with text": (lambda: put(X, "red"), ValueError, "could not convert string to float: 'red'"),
    "objects with a dict": (lambda: put(X, {}), TypeError, "not 'dict'"),
    "objects with a complex": (lambda: put(X, 1j), TypeError, "not 'complex'"),
    "ragged": (lambda: [[1.0, 2.0, 3.0], [1.0, 2.0]], ValueError, "inhomogeneous"),
    "None": (lambda: None, ValueError, "Expected 2D array, got scalar"),
    "a number": (lambda: 3.0, ValueError, "Expected 2D array, got scalar"),
    "a number of NumPy": (lambda: np.float64(3.0), ValueError, "Expected 2D array, got scalar"),
    "an array of no dimension": (lambda: np.array(3.0), ValueError, "Expected 2D array, got scalar"),
    "a dict": (lambda: {"a": [1.0]}, TypeError, "not 'dict'"),
    "a set": (lambda: {1.0, 2.0}, TypeError, "not 'set'"),
    "a generator": (lambda: (row for row in X), TypeError, "one pass would use up the rows: pass the function"),
    "a class": (lambda: GaussianMixture, TypeError, "not 'type'"),
    "a file's name": (lambda: "rows.csv", FileNotFoundError, "no such file"),
    "one axis": (lambda: X[:, 0], ValueError, "Expected 2D array, got 1D"),
    "three axes": (lambda: X[None], ValueError, "Found array with dim 3, while dim <= 2 is required"),
    "an empty list": (lambda: [], ValueError, "Expected 2D array, got 1D"),
    "no row": (lambda: X[:0], ValueError, r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\)"),
    "no column": (lambda: X[:, :0], ValueError, r"Found array with 0 feature\(s\) \(shape=\(60, 0\)\)"),
    "sparse matrix": (lambda: scipy.sparse.csr_matrix(X), TypeError, "Sparse data was passed"),
    "sparse array": (lambda: scipy.sparse.coo_array(X), TypeError, "Sparse data was passed"),
    "frame with NA": (lambda: pd.DataFrame(X.round()).astype("Int64").replace(0, pd.NA), ValueError, "X contains NaN"),
    "frame with text": (lambda: frame(c="red"), ValueError, "could not convert string to float"),
    "frame with dates": (lambda: frame(c=pd.Timestamp(0)), ValueError, "dates or durations"),
    "frame of dates": (lambda: pd.DataFrame(X).astype("i8").astype("M8[s]"), ValueError, "dates or durations"),
    "frame with time zones": (lambda: frame(c=pd.Timestamp(0, tz="UTC")), ValueError, r"durations \(.*UTC\]\)"),
    "frame with periods": (lambda: frame(c=pd.period_range("2020", periods=60)), TypeError, "not 'Period'"),
    "frame with categories": (lambda: frame(c=pd.Categorical(["u"] * 60)), ValueError, "could not convert string"),
}
NARROW = {
    "too few columns": (lambda: X[:, :2], ValueError, "X has 2 features, .* is expecting 3 features"),
    "too many columns": (lambda: np.c_[X, X], ValueError, "X has 6 features, .* is expecting 3 features"),
}

CASES = {
    f"{call}: {fault}": (lambda call=calls[call], make=make: call(make()), (error, words))
    for faults, calls in ((ROWS, CALLS), (NARROW, USE))
    for (fault, (make, error, words)), call in product(faults.items(), calls)
}

# ---- rows that are odd, and right --------------------------------------------------------------------

SMALL = np.ldexp(X.round(), -1)  # exact in any float
ODD_ROWS = {
    "lists": X.tolist(),
    "float16": SMALL.astype("f2"),
    "long double": X.astype("g"),
    "swapped": X.astype(">f8"),
    "booleans": X > 0,
    "int8": X.round().astype("i1"),
    "uint64": (X.round() + 2.0**30).astype("u8"),
    "objects": X.astype(object),
    "fractions": np.array([[Fraction(int(value), 3) for value in row] for row in X.round()]),
    "nothing masked": np.ma.masked_array(X, mask=False),
    "a subclass": X.view(type("Rows", (np.ndarray,), {})),
    "backwards": X[::-1, ::-1],
    "every second": np.repeat(X, 2, axis=0)[::2],
    "Fortran": np.asfortranarray(X),
    "read-only": np.frombuffer(X.tobytes()).reshape(60, 3),
    "unaligned": np.frombuffer(b"x" + X.tobytes(), dtype="f8", offset=1).reshape(60, 3),
    "frame of nullable ints": pd.DataFrame(X.round()).astype("Int64"),
    "frame of sparse columns": pd.DataFrame(X).astype(pd.SparseDtype("f8")),
    "frame, names twice": pd.DataFrame(X, columns=["a", "a", "b"]),
    "offset 1e9": X + 1e9,
    "subnormal entries": np.where(X < 0, 5e-324, X),
    "1e-100": X * 1e-100,
    "1e100": X * 1e100,
}
CASES |= {
    f"odd rows, {name}": (lambda rows=rows: one(rows), lambda rows=rows: numpy_one(rows))
    for name, rows in ODD_ROWS.items()
}
CASES |= {
    "odd rows, two": (lambda: one([[0.0, 1.0], [2.0, 0.0], [2.0, 4.0]]), lambda: numpy_one([[0, 1], [2, 0], [2, 4]])),
    "odd rows, as many components": (lambda: fit(X[:5], 5).score_samples(X[:5]).shape, (5,)),
    "odd rows, columns of stride 0": (
        lambda: fit(np.broadcast_to(X[:, :1], (60, 3)), 1).covariances_[0],
        lambda: np.var(X[:, 0]) + 1e-6 * EYE,
    ),
    "odd rows, all equal": (lambda: fit(np.ones((9, 3)), 1).covariances_[0], 1e-6 * EYE),
    "odd rows, wide": (lambda: fit(X.T[:, :40], 1).means_[0], lambda: X.T[:, :40].mean(axis=0)),
    "one row": (lambda: fit(X[:1], 1), (ValueError, r"Found array with 1 sample\(s\) .* minimum of 2")),
    "one row of three weighs": (
        lambda: fit(X[:3], 2, sample_weight=[0, 1, 0]),
        (ValueError, "n_components = 2, n_samples = 1"),
    ),
    "K > N": (lambda: fit(X[:5], 6), (ValueError, "n_components = 6, n_samples = 5")),
    "K of a billion": (lambda: fit(k=10**9), (ValueError, "n_components = 1000000000, n_samples = 60")),
    "all equal, strict": (
        lambda: fit(np.ones((9, 3)), reg_covar=0.0),
        (SingularCovarianceError, "All rows .*identical"),
    ),
    "constant column, strict": (
        lambda: fit(X * [1, 0, 1], reg_covar=0.0),
        (SingularCovarianceError, "Column 1 of X is constant"),
    ),
    "a column twice, strict": (
        lambda: fit(X[:, [0, 1, 0]], reg_covar=0.0),
        (SingularCovarianceError, "Column . of X is a linear combination"),
    ),
    "fewer rows than columns, strict": (
        lambda: fit(X.T[:, :9], 1, reg_covar=0.0),
        (SingularCovarianceError, COLLAPSED),
    ),
    "a row in each, strict": (
        lambda: fit(init_params="random_from_data", reg_covar=0.0),
        (SingularCovarianceError, "needs reg_covar > 0"),
    ),
    "names of two kinds": (
        lambda: fit(pd.DataFrame(X, columns=["a", 1, "c"])),
        (TypeError, "Feature names are only supported if all"),
    ),
    "other names": (
        lambda: fit(pd.DataFrame(X, columns=list("abc"))).predict(pd.DataFrame(X, columns=list("abz"))),
        (ValueError, "feature names should match"),
    ),
}

# ---- too large, too far ------------------------------------------------------------------------------

CASES |= {
    **{
        f"too large: {scale:g}, {family}": (
            lambda scale=scale, family=family: fit(X * scale, covariance_type=family),
            (ValueError, "values of X are too large"),
        )
        for scale, family in product((1e153, 1e200, 1e306), TYPES)
    },
    **{
        f"too small: 1e-158, {family}": (
            lambda family=family: fit(X * 1e-158, covariance_type=family, reg_covar=0.0),
            (SingularCovarianceError, "scale the input data"),
        )
        for family in TYPES
    },
    "too large: one row": (lambda: fit(put(X, 1.7e308)), (ValueError, "values of X are too large")),
    "too large: all nearly equal": (
        lambda: fit(X + 1e155),
        (ValueError, r"values of X are too large: squares of one such as 1e\+155 overflow"),
    ),
    "too large: bootstrap_test": (
        lambda: fastem.bootstrap_test(X * 1e200, n_samples=9),
        (ValueError, "values of X are too large"),
    ),
    "too large: a pair of rows": (
        lambda: fit(put(put(X, 1.7e308), -1.7e308, 8)),
        (ValueError, "values of X are too large"),
    ),
    "too large: with the weights": (
        lambda: fit(X * 1e110, sample_weight=1e90 * ONES),
        (ValueError, "values of X are too large"),
    ),
    "too large: float32 covariances": (
        lambda: fit(X.astype("f4") * np.float32(1e30)),
        (ValueError, "do not fit the range of float32: pass X as float64"),
    ),
    "too large: em": (lambda: fastem.em(X * 1e200, params()).status.name, "DEGENERATE"),
    "too large: accumulate": (lambda: fastem.accumulate(X * 1e200, params()).loglik, -INF),
    "too large: log_density": (lambda: fastem.log_density(X * 1e200, params()), -INF * ONES),
    "far: predict": (lambda: model().predict([[1e300, 1e300, 1e300]]).size, 1),
    "far: predict_proba": (lambda: model().predict_proba([[1e155, 0, 0], [1e300, 0, 0]]).sum(axis=1), [1, 1]),
    "far: score_samples": (lambda: model().score_samples([[1e155, 0, 0], [1.7e308, 0, 0]]), [-INF, -INF]),
    "far: score": (lambda: model().score([[1e300, 0, 0]]), -INF),
    "far: float32": (lambda: model().predict_proba(np.full((2, 3), 3e38, "f4")).sum(axis=1), [1, 1]),
    "far: 1e6 standard deviations": (
        lambda: model().score_samples(X + 1e6),
        lambda: Peer(2, random_state=0).fit(X).score_samples(X + 1e6),
    ),
}

# ---- sample weights ----------------------------------------------------------------------------------

WEIGHTED = {
    "fit": lambda w: fit(sample_weight=w),
    "score": lambda w: model().score(X, sample_weight=w),
    "bic": lambda w: model().bic(X, sample_weight=w),
    "accumulate": lambda w: fastem.accumulate(X, params(), w),
    "moments": lambda w: fastem.moments(X, labels=LABELS, sample_weight=w),
    "em": lambda w: fastem.em(X, params(), sample_weight=w),
}
BAD_WEIGHTS = {
    "complex": (ONES + 1j, "sample_weight should hold real numbers: got dtype complex128"),
    "None among them": (put(ONES, None), "sample_weight contains NaN"),
    "masked": (np.ma.masked_array(ONES, LABELS), "sample_weight has masked entries"),
    "dates": (ONES.astype("i8").astype("M8[s]"), "sample_weight should hold real numbers"),
    "a dict": ({}, "sample_weight should hold real numbers"),
    "ragged": ([1.0, [2.0]], "sample_weight should hold real numbers"),
    "no entry": ([], r"sample_weight.shape == \(0,\), expected \(60,\)"),
    "NaN alone": (NAN, "sample_weight contains NaN"),
    "too large": (1e304 * ONES, "sample_weight is too large"),
    "infinite sum": (1.7e308 * ONES, "sample_weight is too large"),
    "subnormal": (5e-324 * ONES, "sample_weight is too large or too small"),
}
CASES |= {
    f"weights, {call}: {fault}": (lambda call=call, w=w: WEIGHTED[call](w), (ValueError, words))
    for (fault, (w, words)), call in product(BAD_WEIGHTS.items(), WEIGHTED)
}
CASES |= {
    "weights, booleans": (lambda: one(sample_weight=LABELS > 0), lambda: numpy_one(X[30:])),
    "weights, zeros": (lambda: one(sample_weight=LABELS), lambda: numpy_one(X[30:])),
    "weights, one for all": (lambda: one(sample_weight=2.5), lambda: numpy_one(X)),
    "weights, 1e99": (lambda: one(sample_weight=1e99 * (1 + LABELS)), lambda: numpy_one(X, 1 + LABELS)),
    "weights, 1e-99": (lambda: one(sample_weight=1e-99 * (1 + LABELS)), lambda: numpy_one(X, 1 + LABELS)),
    "weights, 1e-300 beside 1": (lambda: one(sample_weight=np.where(LABELS, 1, 1e-300)), lambda: numpy_one(X[30:])),
    "weights, backwards": (
        lambda: one(sample_weight=np.arange(1.0, 61.0)[::-1]),
        lambda: numpy_one(X, np.arange(60, 0, -1)),
    ),
}

# ---- constructor parameters and starts ---------------------------------------------------------------

BAD_OPTIONS = {
    "n_components": (True, NAN, [2], 2 + 0j),
    "covariance_type": (["full"], b"full", {}),
    "tol": (INF, True, 1j, [1e-3], np.array(1e-3)),
    "reg_covar": (INF, True, 1j, [1e-6]),
    "max_iter": (True, NAN, INF),
    "n_init": (0, False, 2.0),
    "init_params": (None, ["kmeans"], b"kmeans"),
    "random_state": (2**32, True, 1.5, np.random.default_rng(0)),
    "warm_start": (1, None),
    "verbose_interval": (0, 1.5),
    "n_threads": (0, -1, True, 1.5, "2"),
}
FULL = natural(np.array([EYE, EYE]), "full")
ASYMMETRIC = np.array([[1.0, 0.9, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
INDEFINITE = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
BAD_STARTS = {
    "one weight": ("full", {"weights_init": [1.0]}, r"'weights' should have the shape of \(2,\)"),
    "three weights": ("full", {"weights_init": [0.5, 0.25, 0.25]}, r"'weights' should have the shape of \(2,\)"),
    "weights NaN": ("full", {"weights_init": [NAN, 1.0]}, "'weights' contains NaN"),
    "weights as text": ("full", {"weights_init": "ab"}, "'weights' should hold real numbers"),
    "weights complex": ("full", {"weights_init": [0.5 + 1j, 0.5]}, "'weights' should hold real numbers"),
    "weights masked": ("full", {"weights_init": np.ma.masked_array([0.5, 0.5], [0, 1])}, "'weights' has masked"),
    "three means": ("full", {"means_init": X[:3]}, r"'means' should have the shape of \(2, 3\), but got \(3, 3\)"),
    "narrow means": ("full", {"means_init": X[:2, :2]}, r"'means' should have the shape of \(2, 3\)"),
    "means NaN": ("full", {"means_init": put(X[:2], NAN, 1)}, "'means' contains NaN"),
    "means as a dict": ("full", {"means_init": {}}, "'means' should hold real numbers"),
    "means of dates": ("full", {"means_init": np.zeros((2, 3), "M8[s]")}, "'means' should hold real numbers"),
    "means ragged": ("full", {"means_init": [[1, 2, 3], [1]]}, "'means' should hold real numbers"),
    "full, indefinite": ("full", {"precisions_init": [EYE, INDEFINITE]}, "'full precision' should be symmetric, pos"),
    "full, asymmetric": ("full", {"precisions_init": [EYE, ASYMMETRIC]}, "'full precision' should be symmetric, pos"),
    "full, tiny asymmetric": ("full", {"precisions_init": [EYE, 1e-20 * ASYMMETRIC]}, "'full precision' should be sym"),
    "full, zero": ("full", {"precisions_init": 0 * FULL}, "'full precision' should be symmetric, positive-definite"),
    "full, one": ("full", {"precisions_init": [EYE]}, "'full precision' should have the shape of"),
    "full, infinite": ("full", {"precisions_init": INF * np.ones((2, 3, 3))}, "'full precision' contains NaN or inf"),
    "tied, two": ("tied", {"precisions_init": FULL}, r"'tied precision' should have the shape of \(3, 3\)"),
    "tied, indefinite": ("tied", {"precisions_init": INDEFINITE}, "'tied precision' should be symmetric, positive"),
    "diag, negative": ("diag", {"precisions_init": [[1, 1, 1], [1, -1, 1]]}, "'diag precision' should be positive"),
    "diag, zero": ("diag", {"precisions_init": np.zeros((2, 3))}, "'diag precision' should be positive"),
    "diag, matrices": ("diag", {"precisions_init": FULL}, r"'diag precision' should have the shape of \(2, 3\)"),
    "spherical, zero": ("spherical", {"precisions_init": [1.0, 0.0]}, "'spherical precision' should be positive"),
    "spherical, three": ("spherical", {"precisions_init": [1.0, 1.0, 1.0]}, "'spherical precision' should have the sh"),
}
CASES |= {
    f"option {name}={value!r:.9}": (lambda name=name, value=value: fit(**{name: value}), (ValueError, name))
    for name, values in BAD_OPTIONS.items()
    for value in values
    if name != "n_components"
}
CASES |= {
    f"option n_components={value!r}": (lambda value=value: fit(k=value), (ValueError, "n_components"))
    for value in BAD_OPTIONS["n_components"]
}
CASES |= {
    f"start, {name}": (lambda family=family, given=given: fit(covariance_type=family, **given), (ValueError, words))
    for name, (family, given, words) in BAD_STARTS.items()
}
CASES |= {
    "option max_iter=0": (lambda: fit(max_iter=0).n_iter_, 0),
    "option max_iter=10**30": (lambda: fit(max_iter=10**30).converged_, True),
    "option tol=1e300": (lambda: fit(tol=1e300).n_iter_, 2),
    "option tol as a fraction": (lambda: fit(tol=Fraction(1, 1000)).converged_, True),
    "option n_threads=10**6": (lambda: one(n_threads=10**6), lambda: numpy_one(X)),
    "option reg_covar=1e300": (lambda: fit(k=1, reg_covar=1e300).covariances_[0], 1e300 * EYE),
    "option random_state: numpy.random": (lambda: fit(random_state=np.random).converged_, True),
    "unknown option": (lambda: model().set_params(bandwidth=1), (ValueError, "Invalid parameter 'bandwidth'")),
    "warm start with another K": (
        lambda: fit(warm_start=True).set_params(n_components=3).fit(X),
        (ValueError, "n_components has changed: 2 in that fit, 3 now"),
    ),
    "warm start with another D": (
        lambda: fit(warm_start=True).fit(X[:, :2]),
        (ValueError, "n_features has changed: 3 in that fit, 2 now"),
    ),
}

# ---- attributes set by hand, pickles -----------------------------------------------------------------


def changed(**attributes):
    """A fitted model with attributes changed behind its back."""
    other = fit()
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


def unpickled(**attributes):
    """A model from a pickle's state with changes; a value of None takes the attribute away."""
    state = fit().__reduce_ex__(2)[2] | attributes
    other = GaussianMixture.__new__(GaussianMixture)
    other.__setstate__({name: value for name, value in state.items() if value is not None})
    return other


CASES |= {
    "by hand, five means": (lambda: changed(means_=X[:5]).predict(X), (ValueError, "reshape|shape of")),
    "by hand, five weights": (lambda: changed(weights_=ONES[:5] / 5).predict(X), (ValueError, "'weights' should have")),
    "by hand, weights that sum to 2": (lambda: changed(weights_=ONES[:2]).score(X), (ValueError, "normalized")),
    "by hand, NaN in the means": (
        lambda: changed(means_=put(X[:2], NAN, 1)).predict(X),
        (ValueError, "'means' contains"),
    ),
    "by hand, no factor": (
        lambda: changed(precisions_cholesky_=np.zeros((2, 3, 3))).score(X),
        (ValueError, "'factor' should have a positive diagonal"),
    ),
    "by hand, warm start from NaN": (
        lambda: changed(means_=NAN * X[:2], warm_start=True).fit(X),
        (ValueError, "'means' contains NaN"),
    ),
    "by hand, random_state": (lambda: changed(random_state="dice").sample(), (ValueError, "random_state")),
    "by hand, n_threads": (lambda: changed(n_threads="all").predict(X), (ValueError, "n_threads")),
    "by hand, covariance_type": (lambda: changed(covariance_type="tied").score(X), lambda: model().score(X)),
    "pickle, truncated": (
        lambda: pickle.loads(pickle.dumps(fit())[:-9]),
        (pickle.UnpicklingError, "truncated|ran out"),
    ),
    "pickle, without means": (lambda: unpickled(means_=None), (ValueError, "it has no means_")),
    "pickle, of another family": (
        lambda: unpickled(_fitted_type="ball"),
        (ValueError, "covariance_type must be one of"),
    ),
    "pickle, five means": (lambda: unpickled(means_=X[:5]), (ValueError, "'weights' should have the shape")),
    "not fitted": (
        lambda: GaussianMixture().predict(X),
        (exception(fastem.NotFittedError), "not fitted"),
    ),
}

# ---- sampling ----------------------------------------------------------------------------------------

CASES |= {
    f"sample({n!r})": (lambda n=n: model().sample(n), (ValueError, "'n_samples'"))
    for n in (0, -1, 1.5, None, "3", NAN, 10**30, [3], True)
}

# ---- the functions under the estimator ---------------------------------------------------------------

WITH_PARAMS = {
    "log_density": lambda p: fastem.log_density(X, p),
    "accumulate": lambda p: fastem.accumulate(X, p),
    "em": lambda p: fastem.em(X, p),
}
SPHERE = np.ones((1, 1, 1))
BAD_PARAMS = {
    "None": (lambda: None, TypeError, "params must be a fastem.Params"),
    "an estimator": (model, TypeError, "params must be a fastem.Params"),
    "lists": (lambda: Params([1.0], [[0.0] * 3], [[[1.0]]], [[[1.0]]]), TypeError, "'weights' should be an array"),
    "integers": (lambda: params(means=X[:2].astype(int)), TypeError, "'means' should be an array of floats"),
    "complex": (lambda: params(means=X[:2] + 0j), TypeError, "'means' should be an array of floats"),
    "five means": (lambda: params(means=X[:5]), ValueError, "'weights' should have the shape"),
    "means of one axis": (lambda: params(means=X[0]), ValueError, "'means' should have the shape"),
    "no component": (lambda: params(weights=ONES[:0], means=X[:0]), ValueError, "'means' should have the shape"),
    "NaN weights": (lambda: params(weights=np.array([NAN, 1.0])), ValueError, "'weights' contains NaN"),
    "negative weights": (lambda: params(weights=np.array([-0.5, 1.5])), ValueError, "'weights' should be in the range"),
    "weights that sum to 2": (lambda: params(weights=ONES[:2]), ValueError, "'weights' should be normalized"),
    "covariances of another D": (lambda: params(covariances=FULL[:, :2, :2]), ValueError, "'covariances' should have"),
    "covariances of another K": (lambda: params(covariances=np.array([EYE] * 3)), ValueError, "'covariances' should"),
    "factor of another shape": (lambda: params(factor=SPHERE), ValueError, "'factor' should have the shape"),
    "NaN in the factor": (lambda: params(factor=np.full((2, 3, 3), NAN)), ValueError, "'factor' contains NaN"),
    "a factor of 0": (lambda: params(factor=0 * FULL), ValueError, "'factor' should have a positive diagonal"),
}
CASES |= {
    f"params, {call}: {fault}": (lambda call=call, make=make: WITH_PARAMS[call](make()), (error, words))
    for (fault, (make, error, words)), call in product(BAD_PARAMS.items(), WITH_PARAMS)
}

BAD_EM = {
    "max_iter": (0, -1, 1.5, None),
    "tol": (NAN, -1, INF, "x", None, 1j),
    "reg_covar": (-1, INF, NAN, "x", None),
    "covariance_type": ("ball", "diag", None, ["full"]),
    "n_threads": (0, 1.5),
}
BAD_MOMENTS = {
    "neither": ({}, "either resp .* or labels"),
    "both": ({"resp": ONES[:, None], "labels": LABELS}, "either resp .* or labels"),
    "labels, too few": ({"labels": LABELS[1:]}, "labels must be 60 integers"),
    "labels, two axes": ({"labels": LABELS[:, None]}, "labels must be 60 integers"),
    "labels, fractions": ({"labels": LABELS + 0.5}, "labels: row 0 has label 0.5, expected an integer"),
    "labels, booleans": ({"labels": LABELS > 0}, "labels must be 60 integers"),
    "labels, text": ({"labels": ["a"] * 60}, "labels must be 60 integers"),
    "labels, -1": ({"labels": LABELS - 1}, "labels must lie in 0"),
    "labels, beyond K": ({"labels": LABELS, "n_components": 1}, r"labels must lie in 0\.\.0; got 0\.\.1"),
    "labels, identifiers": ({"labels": LABELS + 2**40}, "labels go up to .* for 60 rows: pass n_components"),
    "labels, unsigned 2**63": (
        {"labels": LABELS.astype("u8") + np.uint64(2**63)},
        "row 0 has label 9223372036854775808",
    ),
    "K = 0": ({"labels": 0 * LABELS, "n_components": 0}, "n_components must be an int"),
    "K = 2.7": ({"labels": LABELS, "n_components": 2.7}, "n_components must be an int"),
    "resp, K = 0": ({"resp": ONES[:, None], "n_components": 0}, "n_components must be an int"),
    "resp, K as text": ({"resp": ONES[:, None], "n_components": "1"}, "n_components must be an int"),
    "resp, another K": ({"resp": ONES[:, None], "n_components": 3}, r"resp must have shape \(60, 3\)"),
    "resp, too few rows": ({"resp": ONES[1:, None]}, r"resp must have shape \(60, K\)"),
    "resp, one axis": ({"resp": ONES}, r"resp must have shape \(60, K\)"),
    "resp, no column": ({"resp": ONES[:, None][:, :0]}, r"resp must have shape \(60, K\)"),
    "resp, NaN": ({"resp": put(X * 0, NAN)}, "resp must be finite"),
    "resp, negative": ({"resp": -ONES[:, None]}, "resp must be finite and not negative"),
    "resp, complex": ({"resp": 1j * ONES[:, None]}, "resp should hold real numbers"),
    "resp, text": ({"resp": [["a"]] * 60}, "resp should hold real numbers"),
    "resp, masked": ({"resp": np.ma.masked_array(X * 0 + 1, X > 1)}, "resp has masked entries"),
    "family": ({"labels": LABELS, "covariance_type": "ball"}, "covariance_type must be one of"),
    "family as a list": ({"labels": LABELS, "covariance_type": ["full"]}, "covariance_type must be one of"),
    "origin, one row": ({"labels": LABELS, "origin": X[:1]}, r"'means' should have the shape of \(2, 3\)"),
    "origin, NaN": ({"labels": LABELS, "origin": NAN * X[:2]}, "'means' contains NaN"),
}


@functools.cache
def stats(**options):
    return fastem.moments(X, labels=LABELS, **options)


CASES |= {
    f"em({name}={value!r})": (
        lambda name=name, value=value: fastem.em(X, params(), **{name: value}),
        (ValueError, name),
    )
    for name, values in BAD_EM.items()
    for value in values
}
CASES |= {
    f"moments, {name}": (lambda given=given: fastem.moments(X, **given), (ValueError, words))
    for name, (given, words) in BAD_MOMENTS.items()
}
CASES |= {
    "moments, labels backwards": (
        lambda: fastem.moments(X, labels=LABELS[::-1]).s1 * 0 + fastem.moments(X, labels=LABELS[::-1]).origin,
        lambda: [X[30:].mean(axis=0), X[:30].mean(axis=0)],
    ),
    "moments, labels as int8": (lambda: fastem.moments(X, labels=LABELS.astype("i1")).s0, [30, 30]),
    "moments, resp as Fortran": (
        lambda: fastem.moments(X, resp=np.asfortranarray(np.eye(2)[LABELS])).origin,
        lambda: [X[:30].mean(axis=0), X[30:].mean(axis=0)],
    ),
    "moments, resp of booleans": (lambda: fastem.moments(X, resp=np.eye(2)[LABELS] > 0).s0, [30, 30]),
    "moments, an empty component": (lambda: fastem.moments(X, labels=LABELS, n_components=3).s0, [30, 30, 0]),
    "m_step of None": (lambda: fastem.m_step(None), (TypeError, "stats must be a fastem.Stats")),
    "m_step, another family": (
        lambda: fastem.m_step(stats(), "diag"),
        (ValueError, "covariance_type='diag' needs second"),
    ),
    "m_step, no family": (lambda: fastem.m_step(stats(), "ball"), (ValueError, "covariance_type must be one of")),
    "m_step, an empty component": (
        lambda: fastem.m_step(fastem.moments(X, labels=LABELS, n_components=3)),
        (SingularCovarianceError, "Singular: component 2"),
    ),
    "m_step, one row": (
        lambda: fastem.m_step(fastem.moments(X, labels=np.arange(60) // 59)),
        (SingularCovarianceError, "Singular: component 1"),
    ),
    "m_step, responsibilities of 0": (
        lambda: fastem.m_step(fastem.moments(X, resp=0 * X)),
        (SingularCovarianceError, COLLAPSED),
    ),
    **{
        f"m_step(reg_covar={value!r})": (
            lambda value=value: fastem.m_step(stats(), reg_covar=value),
            (ValueError, "reg_"),
        )
        for value in (-0.5, NAN, INF, "x", None)
    },
    "statistics of two families": (lambda: stats() + stats(covariance_type="diag"), (ValueError, "do not add")),
    "statistics about other means": (
        lambda: stats() + fastem.moments(X, labels=LABELS, origin=X[:2]),
        (ValueError, "different origins cannot be added"),
    ),
    "statistics and a number": (lambda: stats() + 3, (TypeError, "Stats")),
    "shifted by one axis": (lambda: stats().shifted(X[0]), (ValueError, r"origin must have shape \(2, 3\)")),
}

GOOD = {"weights": [0.5, 0.5], "means": [[0.0, 0.0], [1.0, 1.0]], "covariances": [np.eye(2), np.eye(2)]}
BAD_MIXTURES = {
    "a dict for weights": ({"weights": {}}, "'weights' should hold real numbers"),
    "complex weights": ({"weights": [0.5 + 1j, 0.5]}, "'weights' should hold real numbers"),
    "three weights": ({"weights": [0.5, 0.25, 0.25]}, r"'weights' should have the shape of \(2,\)"),
    "weights that sum to .9": ({"weights": [0.5, 0.4]}, "'weights' should be normalized"),
    "negative weights": ({"weights": [-0.5, 1.5]}, r"'weights' should be in the range \[0, 1\]"),
    "no component": ({"weights": [], "means": np.empty((0, 2))}, r"'means' should have the shape of \(K, D\)"),
    "no feature": ({"means": np.empty((2, 0))}, r"'means' should have the shape of \(K, D\)"),
    "means of one axis": ({"means": [0.0, 1.0]}, r"'means' should have the shape of \(K, D\)"),
    "means as text": ({"means": [["a", "b"]] * 2}, "'means' should hold real numbers"),
    "masked means": ({"means": np.ma.masked_array(np.eye(2), np.eye(2))}, "'means' has masked entries"),
    "infinite means": ({"means": [[0.0, INF], [1.0, 1.0]]}, "'means' contains NaN or infinity"),
    "one covariance": ({"covariances": [np.eye(2)]}, "'full covariance' should have the shape"),
    "indefinite": ({"covariances": [np.eye(2), INDEFINITE[:2, :2]]}, "should be symmetric, positive-definite"),
    "asymmetric": ({"covariances": [np.eye(2), ASYMMETRIC[:2, :2]]}, "should be symmetric, positive-definite"),
    "tiny asymmetric": ({"covariances": [np.eye(2), 1e-20 * ASYMMETRIC[:2, :2]]}, "should be symmetric, positive-def"),
    "NaN covariance": ({"covariances": NAN * np.ones((2, 2, 2))}, "'full covariance' contains NaN"),
    "negative variances": (
        {"covariances": -np.ones((2, 2)), "covariance_type": "diag"},
        "'diag covariance' should be pos",
    ),
    "no family": ({"covariance_type": "ball"}, "covariance_type must be one of"),
    "a family as a list": ({"covariance_type": ["full"]}, "covariance_type must be one of"),
}
CASES |= {
    f"make_params, {name}": (lambda bad=bad: fastem.make_params(**(GOOD | bad)), (ValueError, words))
    for name, (bad, words) in BAD_MIXTURES.items()
}
CASES |= {
    "make_params, 1e-200": (
        lambda: fastem.log_density([[0.0]], fastem.make_params([1.0], [[0.0]], [[[1e-200]]])),
        [100 * np.log(10) - np.log(2 * np.pi) / 2],
    ),
    "make_params, lists changed later": (
        lambda: (means := np.zeros((1, 1)), fastem.make_params([1.0], means, [[[1.0]]]), means.fill(9))[1].means,
        [[0.0]],
    ),
}

# ---- callbacks and signals ---------------------------------------------------------------------------


class StopError(Exception):
    pass


def throw(error):
    raise error


def spoil(iteration, bound, p):
    p.means[:] = NAN


def interrupted(sig, error):
    """A fit that would last for hours gets a signal."""
    rows = np.tile(X, (500, 1))
    signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else lambda *_: throw(error))
    signal.setitimer(signal.ITIMER_REAL, 0.2) if sig == signal.SIGALRM else None
    callback = (lambda i, *_: os.kill(os.getpid(), sig) if i == 5 else None) if sig == signal.SIGINT else None
    fit(rows, 9, tol=0.0, max_iter=10**9, callback=callback, **start_of(9))


def fit_in_a_handler():
    """A signal's handler that scores while the thread that it interrupts compiles: as if nothing were compiled yet."""
    want = model().score(X)
    with jit._compiling:
        mixture.score_all._compiled.clear()
        return model().score(X) - want


def start_of(k):
    """A start that needs no k-means."""
    return {"weights_init": ONES[:k] / k, "means_init": X[:k], "precisions_init": np.array([EYE] * k)}


CASES |= {
    "callback raises": (lambda: fit(callback=lambda *_: throw(StopError("enough"))), (StopError, "enough")),
    "callback raises Ctrl-C": (
        lambda: fit(callback=lambda *_: throw(KeyboardInterrupt())),
        (FitInterrupted, "interru"),
    ),
    "callback exits": (lambda: fit(callback=lambda *_: sys.exit("bye")), (SystemExit, "bye")),
    "callback is no function": (lambda: fit(callback=3), (TypeError, "'int' object is not callable")),
    "callback takes nothing": (lambda: fit(callback=lambda: None), (TypeError, "positional arguments")),
    "callback returns an array": (lambda: fit(callback=lambda *_: X), (ValueError, "truth value of an array")),
    "callback says stop": (lambda: fit(callback=lambda *_: True).status_.name, "INTERRUPTED"),
    "callback fits": (lambda: fit(callback=lambda *_: fit() and None).means_, lambda: model().means_),
    "callback spoils the parameters": (lambda: fit(callback=spoil).means_, lambda: model().means_),
    "a fit in a signal's handler, while compiling": (fit_in_a_handler, 0.0),
    "callback of em raises": (
        lambda: fastem.em(X, params(), callback=lambda *_: throw(StopError("enough"))),
        (StopError, "enough"),
    ),
}
if os.name == "posix":
    CASES |= {
        "Ctrl-C": (lambda: interrupted(signal.SIGINT, None), (FitInterrupted, "the last complete iteration")),
        "another signal's exception": (
            lambda: interrupted(signal.SIGALRM, StopError("time is up")),
            (StopError, "time is up"),
        ),
    }

# ---- model files -------------------------------------------------------------------------------------


@functools.cache
def archive():
    """The bytes of a good model file."""
    fastem.save(model(), "good.npz", feature_names=["a", "b", "c"])
    with open("good.npz", "rb") as stream:
        return stream.read()


def load(bytes_, name="bad.npz"):
    with open(name, "wb") as stream:
        stream.write(bytes_)
    return fastem.load(name)


def load_crafted(**changes):
    """A good file with arrays changed, or taken away (None)."""
    content = dict(np.load(io.BytesIO(archive()))) | changes
    stream = io.BytesIO()
    np.savez(stream, **{name: value for name, value in content.items() if value is not None})
    return load(stream.getvalue())


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def defused(make):
    """What comes of a file that holds code; a folder that it makes says that it ran."""
    try:
        return make()
    finally:
        assert not os.path.exists("exploded")


class Wider(GaussianMixture):
    def __init__(self, n_components=2, random_state=0, extra=1):
        super().__init__(n_components, random_state=random_state)
        self.extra = extra


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def huge_array():
    """A file whose array of means claims to be larger than any memory."""
    stream = io.BytesIO()
    head = {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**10)}
    np.lib.format.write_array_header_1_0(stream, head)
    import zipfile

    whole = io.BytesIO(archive())
    with zipfile.ZipFile(whole, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the name is there twice, and the second counts
        file.writestr("means.npy", stream.getvalue())
    return whole.getvalue()


NOT_A_MIXTURE = "the arrays do not describe a mixture"
CRAFTED = {
    "newer version": ({"version": 2}, "version 2, expected 1"),
    "other format": ({"format": "safe"}, "expected format 'fastem.GaussianMixture', found 'safe'"),
    "no format": ({"format": None}, "not a fastem model"),
    "version as text": ({"version": "1"}, "array 'version'"),
    "no means": ({"means": None}, "expected an array 'means', found none"),
    "NaN": ({"means": NAN * X[:2]}, f"{NOT_A_MIXTURE}: .*'means' contains NaN"),
    "infinite": ({"covariances": np.full((2, 3, 3), INF)}, NOT_A_MIXTURE),
    "indefinite": ({"covariances": np.array([EYE, -EYE])}, "symmetric, positive-definite"),
    "weights": ({"weights": ONES[:2]}, f"{NOT_A_MIXTURE}: .*weights"),
    "K differs": ({"weights": ONES[:1]}, f"{NOT_A_MIXTURE}: .*weights"),
    "D differs": ({"means": X[:2, :2]}, NOT_A_MIXTURE),
    "axes": ({"means": X[0]}, f"{NOT_A_MIXTURE}: .*means"),
    "no component": ({"means": np.empty((0, 3))}, NOT_A_MIXTURE),
    "integers": ({"means": X[:2].astype(int)}, "float32 or float64 in array 'means', found int"),
    "half": ({"means": X[:2].astype("f2")}, "found float16"),
    "family": ({"covariance_type": "round"}, NOT_A_MIXTURE),
    "family as number": ({"covariance_type": 1}, "array 'covariance_type'"),
    "names": ({"feature_names": ["a", "b"]}, "expected no feature names or 3 strings"),
    "numbered names": ({"feature_names": [1, 2, 3]}, "or 3 strings, found int"),
    "not JSON": ({"parameters": "{"}, NOT_A_MIXTURE),
    "JSON list": ({"parameters": "[]"}, "should be a JSON object"),
    "deep JSON": ({"parameters": "[" * 100_000}, "should be a JSON object"),
    "unknown parameter": ({"parameters": '{"shape": 1}'}, "shape"),
    "nested parameter": ({"parameters": '{"tol": [1]}'}, r"should not contain 'tol': \[1\]"),
    "two families": ({"parameters": '{"covariance_type": "diag"}'}, "should not contain"),
    "status": ({"status": "HAPPY"}, "expected a status among CONVERGED, .*found 'HAPPY'"),
    "bounds": ({"lower_bounds": "none"}, "array 'lower_bounds', found <U4"),
    "converged": ({"converged": None}, "expected an array 'converged', found none"),
    "n_iter": ({"n_iter": 1.5}, "array 'n_iter', found float64"),
}
CASES |= {
    f"load, {name}": (lambda changes=changes: load_crafted(**changes), (ModelFileError, rf"^bad\.npz: .*{words}"))
    for name, (changes, words) in CRAFTED.items()
}
CASES |= {
    f"load, {name}": (make, (ModelFileError, rf"^bad\.npz: .*{words}"))
    for name, make, words in (
        ("empty file", lambda: load(b""), "not a model file, or a damaged one"),
        ("text", lambda: load(b"hello"), "not a model file, or a damaged one"),
        ("half a zip file", lambda: load(b"PK\x03\x04"), "not a model file, or a damaged one"),
        ("empty zip file", lambda: load(b"PK\x05\x06" + bytes(18)), "not a fastem model"),
        ("half a .npy", lambda: load(b"\x93NUMPY\x01"), "not a model file, or a damaged one"),
        ("a plain array", lambda: load(npy(X)), "not a model file"),
        ("a truncated model", lambda: load(archive()[:-9]), "not a model file, or a damaged one"),
        ("an array beyond memory", lambda: load(huge_array()), "not a model file, or a damaged one"),
        ("a pickle", lambda: defused(lambda: load(pickle.dumps(Bomb()))), "not a model file, or a damaged one"),
        ("code in an array", lambda: defused(lambda: load(npy(np.array([Bomb()])))), "not a model file, or a damaged"),
        (
            "code among arrays",
            lambda: defused(lambda: load_crafted(means=np.array([Bomb()]))),
            "not a model file, or a",
        ),
        ("another archive", lambda: load_crafted(format=None, version=None), "expected arrays format, version"),
    )
}
CASES |= {
    "load, no file": (lambda: fastem.load("absent.npz"), (FileNotFoundError, r"absent\.npz")),
    "load, a folder": (lambda: fastem.load("."), (IsADirectoryError, "directory")),
    "load, None": (lambda: fastem.load(None), (TypeError, "got None")),
    "save, unfitted": (
        lambda: fastem.save(GaussianMixture(), "m.npz"),
        (exception(fastem.NotFittedError), "not fitted"),
    ),
    "save, ending": (lambda: fastem.save(model(), "m.pkl"), (ValueError, r"m\.pkl: expected a file ending in \.npz")),
    "save, folder": (lambda: fastem.save(model(), "no/m.npz"), (ValueError, "the folder 'no' does not exist")),
    "save, one name": (lambda: fastem.save(model(), "m.npz", feature_names=["a"]), (ValueError, "3 names, .* got 1")),
    "save, a string of names": (lambda: fastem.save(model(), "m.npz", feature_names="abc"), (ValueError, "3 names")),
    "save, names of two axes": (
        lambda: fastem.save(model(), "m.npz", feature_names=[["a"], ["b"], ["c"]]),
        (ValueError, r"3 names, .* shape \(3, 1\)"),
    ),
    "save, a subclass with a parameter of its own": (
        lambda: (fastem.save(Wider().fit(X), "w.npz"), fastem.load("w.npz").score(X))[1],
        lambda: Wider().fit(X).score(X),
    ),
    "save, covariance_type changed": (
        lambda: (fastem.save(changed(covariance_type="tied"), "t.npz"), fastem.load("t.npz").score(X))[1],
        lambda: model().score(X),
    ),
}

# ---- the command line --------------------------------------------------------------------------------


def cli(command, **files):
    """Write files (name_csv="text", name_npy=array), run a command; its exit status and standard error."""
    from typer.testing import CliRunner

    from fastem.cli import app

    fastem.save(model(), "m.npz")
    fastem.save(model(), "named.npz", feature_names=["a", "b", "c"])
    np.save("x.npy", X)
    for name, content in files.items():
        with open(name.replace("_", "."), "wb") as stream:
            stream.write(content if isinstance(content, bytes) else npy(content))
    result = CliRunner().invoke(app, command.split())
    return f"{result.exit_code}: {result.stderr}"


COMMANDS = {
    "no file": ("fit absent.csv", {}, r"absent\.csv: no such file"),
    "a folder": ("fit .", {}, "a folder without .parquet files"),
    "an unknown ending": ("fit t.xls", {"t_xls": b""}, r"expected a file ending in \.csv, .*, \.npy or \.parquet"),
    "a word": ("fit t.csv", {"t_csv": b"a,b\n1,2\n3,x\n"}, "column 'b', row 3: expected a finite number, found 'x'"),
    "nan in csv": ("fit t.csv", {"t_csv": b"a,b\n1,2\n3,nan\n"}, "column 'b', row 3: .* found 'nan'"),
    "a date": ("fit t.csv", {"t_csv": b"a\n2020-01-01\n"}, "found '2020-01-01'"),
    "an empty file": ("fit t.csv", {"t_csv": b""}, "the file is empty"),
    "NUL bytes": ("fit t.csv", {"t_csv": b"a\n\0\n"}, r"t\.csv: not text: it holds NUL bytes"),
    "not UTF-8": ("fit t.csv", {"t_csv": b"a\n1\n\xff\n"}, "column 'a', row 3: expected a finite number, found 'ÿ'"),
    "a parquet file that is none": ("fit t.parquet", {"t_parquet": b"PAR1"}, "not a parquet file|need pyarrow"),
    "a npy file cut short": ("fit t.npy", {"t_npy": npy(X)[:-9]}, r"not a \.npy file of numbers, or a damaged one"),
    "a npy file of objects": ("fit t.npy", {"t_npy": np.array([{}])}, r"not a \.npy file of numbers"),
    "a npy file of text": ("fit t.npy", {"t_npy": X.astype("U")}, "expected numbers in one or two dimensions"),
    "NaN in npy": ("fit t.npy", {"t_npy": put(X, NAN)}, "Input X contains NaN"),
    "K > N": ("fit t.npy -k 3", {"t_npy": X[:2]}, "Expected n_samples >= n_components"),
    "K of a billion": ("fit x.npy -k 1000000000", {}, "Expected n_samples >= n_components"),
    "one row": ("fit t.npy", {"t_npy": X[:1]}, "Found array with 1 sample"),
    "no such column": ("fit faithful --columns z", {}, "no column 'z'; the columns are eruptions, waiting"),
    "no such weights": ("fit faithful --weights z", {}, "no column 'z'"),
    "negative weights": (
        "fit t.csv --weights w",
        {"t_csv": b"a,w\n1,1\n2,-1\n4,1\n"},
        "Negative values .*sample_weight",
    ),
    "a column twice": ("fit faithful --columns eruptions,0", {}, "chosen twice"),
    "no column": ("fit faithful --columns ,", {}, "no column ''"),
    "tol inf": ("fit x.npy --tol inf", {}, "'tol' parameter"),
    "reg_covar inf": ("fit x.npy --reg-covar inf", {}, "'reg_covar' parameter"),
    "constant column": ("fit t.npy --reg-covar 0", {"t_npy": X * [1, 0, 1]}, "Column 1 of X is constant"),
    "values too large": ("fit t.npy", {"t_npy": X * 1e200}, "values of X are too large"),
    "output in no folder": ("fit faithful -o no/m.npz", {}, "the folder 'no' does not exist"),
    "output of no kind": ("fit faithful -o m.pkl", {}, r"expected a file ending in \.npz"),
    "a model that is none": ("predict t.npz x.npy", {"t_npz": b"PK"}, "not a model file, or a damaged one"),
    "no model": ("info absent.npz", {}, r"absent\.npz: No such file"),
    "too many columns": ("predict m.npz t.npy", {"t_npy": np.c_[X, X]}, "X has 6 features"),
    "other columns": ("score named.npz t.csv", {"t_csv": b"a,b,d\n1,2,3\n"}, "no column 'c'; the columns are a, b, d"),
    "too many samples": ("sample m.npz -n 1" + "0" * 30, {}, "n_samples"),
}
CASES |= {
    f"fastem {name}": (
        lambda run=run, files=files: cli(run, **files),
        rf"^1: (fastem: t.csv: .*\n)?fastem: error: .*({words}).*\n$",
    )
    for name, (run, files, words) in COMMANDS.items()
}
CASES |= {
    f"fastem {command}": (lambda command=command: cli(command), "^2: Usage")
    for command in (
        "fit",
        "frob",
        "fit x.npy -k 0",
        "fit x.npy --covariance round",
        "fit x.npy --seed 4294967296",
        "anomalies m.npz x.npy --share 0",
        "fit x.npy --tol x",
        "fit x.npy --tol nan",
        "sample m.npz -n 0",
    )
}


# ---- the judge, in the worker, and the tests ---------------------------------------------------------


def judge(name, folder):
    """Run a case in a folder of its own; what is wrong with its outcome, or nothing."""
    call, expected = CASES[name]
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        try:
            got = call()
        except BaseException as error:
            return complaint_about(error, expected)
    return mismatch(got, expected)


def complaint_about(error, expected):
    kind, words = expected if isinstance(expected, tuple) and isinstance(expected[0], type) else (None, "")
    if type(error) is kind and re.search(words, str(error)):
        return ""
    return (
        f"got {type(error).__name__}: {str(error)[:500]!r}, expected {getattr(kind, '__name__', expected)}: {words!r}"
    )


def mismatch(got, expected):
    if isinstance(expected, str):
        return "" if re.search(expected, got) else f"got {got!r}, expected {expected!r}"
    if isinstance(expected, tuple) and isinstance(expected[0], type):
        return f"got {got!r:.500}, expected {expected[0].__name__}: {expected[1]!r}"
    expected = expected() if callable(expected) else expected
    both = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
    try:
        for one, other in both:
            size = np.abs(other, where=np.isfinite(other), out=np.zeros(np.shape(other))).max(initial=0.0)
            np.testing.assert_allclose(one, other, RTOL, RTOL * size)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    worker = Worker(judge)
    folder = tmp_path_factory.mktemp("bad_input")
    yield lambda name: worker.ask(name, str(folder), limit=LIMIT)
    worker.stop()


@pytest.mark.parametrize("name", CASES)
def test_bad_input(worker, name):
    assert worker(name) == ""


def test_there_are_many():
    assert len(CASES) >= 100


def test_a_worker_that_hangs_or_dies_is_replaced():
    worker = Worker(eval)
    assert worker.ask("6 * 7", limit=LIMIT) == 42
    begin = time.perf_counter()
    with pytest.raises(LostError, match=r"no answer within 0\.2 s"):
        worker.ask("__import__('time').sleep(1000)", limit=0.2)
    assert time.perf_counter() - begin < 10
    with pytest.raises(LostError, match="killed by SIGABRT" if os.name == "posix" else "ended"):
        worker.ask("__import__('os').abort()", limit=LIMIT)
    with pytest.raises(LostError, match="ended: 3"):
        worker.ask("__import__('os')._exit(3)", limit=LIMIT)
    assert worker.ask("6 * 7", limit=LIMIT) == 42
    worker.stop()


def test_the_judge_can_say_no(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CASES, "raises", (lambda: throw(TypeError("no X")), (ValueError, "X")))
    monkeypatch.setitem(CASES, "does not raise", (lambda: 3.0, (ValueError, "X")))
    monkeypatch.setitem(CASES, "other words", (lambda: throw(ValueError("Y")), (ValueError, "X")))
    monkeypatch.setitem(CASES, "a subclass", (lambda: throw(SingularCovarianceError([0])), (ValueError, "")))
    monkeypatch.setitem(CASES, "another number", (lambda: [1.0, NAN], [1.0, 2.0]))
    monkeypatch.setitem(CASES, "overflow", (lambda: np.float64(1e200) ** 2, INF))
    for name in ("raises", "does not raise", "other words", "a subclass", "another number", "overflow"):
        assert judge(name, str(tmp_path)) != "", name
