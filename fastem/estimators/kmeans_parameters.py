"""Checks of the parameters of a `KMeans`, in scikit-learn's words."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np

from fastem.model.checks import SEEDS, check_n_threads, demand, is_seed, real_numbers, real_or_nan
from fastem.model.given import check_means
from fastem.model.matrices import Array

KMEANS_INIT = ("k-means++", "random")
ALGORITHMS = ("lloyd", "elkan")


def check_kmeans(estimator: Any) -> None:
    """Raise a ValueError, in scikit-learn's words, for constructor parameters of `KMeans` that cannot be used."""
    name = type(estimator).__name__
    for parameter, least in (("n_clusters", 1), ("max_iter", 1), ("verbose", 0)):
        value = getattr(estimator, parameter)
        is_int = isinstance(value, numbers.Integral) and (parameter == "verbose" or not isinstance(value, bool))
        demand(is_int and value >= least, parameter, f"an int in the range [{least}, inf)", value, name)
    init, n_init, tol = estimator.init, estimator.n_init, estimator.tol
    named = init in KMEANS_INIT if isinstance(init, str) else callable(init) or np.ndim(init) > 0
    among = "{" + ", ".join(map(repr, sorted(KMEANS_INIT))) + "}"
    demand(named, "init", f"a str among {among}, a callable or an array-like", init, name)
    auto, is_int = isinstance(n_init, str), isinstance(n_init, numbers.Integral) and not isinstance(n_init, bool)
    sound = n_init == "auto" if auto else is_int and n_init >= 1
    demand(sound, "n_init", "a str among {'auto'} or an int in the range [1, inf)", n_init, name)
    demand(0 <= real_or_nan(tol) < np.inf, "tol", "a float in the range [0.0, inf)", tol, name)
    demand(is_seed(estimator.random_state), "random_state", SEEDS, estimator.random_state, name)
    copy_x, algorithm = estimator.copy_x, estimator.algorithm
    kind = "an instance of 'bool' or an instance of 'numpy.bool'"
    demand(isinstance(copy_x, bool | np.bool_), "copy_x", kind, copy_x, name)
    among = "{" + ", ".join(map(repr, sorted(ALGORITHMS))) + "}"
    known = isinstance(algorithm, str) and algorithm in ALGORITHMS
    demand(known, "algorithm", f"a str among {among}", algorithm, name)
    if algorithm == "elkan" and estimator.n_clusters == 1:
        warnings.warn(
            "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
            RuntimeWarning,
            stacklevel=3,
        )
    check_n_threads(estimator.n_threads)


def check_centres(centres: Any, K: int, D: int) -> Array:
    """Return given centres as (K, D) float64; raise a ValueError for another shape."""
    array = real_numbers("init", centres)
    if array.ndim != 2 or len(array) != K:
        raise ValueError(f"The shape of the initial centers {array.shape} does not match the number of clusters {K}.")
    if array.shape[1] != D:
        raise ValueError(
            f"The shape of the initial centers {array.shape} does not match the number of features of the data {D}."
        )
    return check_means(array, K, D)
