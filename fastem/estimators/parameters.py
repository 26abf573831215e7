"""Checks of the parameters and the state of a GaussianMixture, in scikit-learn's words."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.fitting.options import check_choices, check_fixed
from fastem.fitting.starts.table import INIT_PARAMS
from fastem.model.checks import (
    NAME,
    SEEDS,
    check_n_threads,
    copy_of_shape,
    demand,
    finite_of_shape,
    is_seed,
    real_numbers,
    real_or_nan,
)
from fastem.model.exclusions import check_exclusions
from fastem.model.families import COVARIANCES, Covariance
from fastem.model.given import check_means, check_noise, shape_of_means
from fastem.model.matrices import Array, variances

SOLVERS = ("em", "lbfgs", "auto")


def check_features(features: Any, most: int, D: int, names: NDArray[Any] | None) -> NDArray[np.intp]:
    """Return the positions, (V,), of features that are given by position or by name.

    Parameters
    ----------
    features : sequence of int or str, or one of them
    most : int, how many may be given
    D : int, how many there are
    names : (D,), or None if the features have no names

    Raises
    ------
    ValueError
        unless they are distinct features, from one to `most`
    """
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
    """Return the values of n features as (n,) float64; raise a ValueError unless they are finite."""
    return finite_of_shape("values", np.ravel(real_numbers("The parameter 'values'", values)), (n,))


# --- constructor parameters ---------------------------------------------------------------------------------------


def check_shared(estimator: Any, caller: str, families: Iterable[str] = COVARIANCES) -> None:
    """Raise a ValueError, in scikit-learn's words, for parameters that mixtures and their posteriors have in common.

    `caller` is the class that messages name, `families` are the covariance types that it has.
    """
    for name, least in (("n_components", 1), ("n_init", 1), ("verbose_interval", 1), ("max_iter", 0), ("verbose", 0)):
        value = getattr(estimator, name)
        is_int = isinstance(value, numbers.Integral) and (name == "verbose" or not isinstance(value, (bool, np.bool_)))
        demand(is_int and value >= least, name, f"an int in the range [{least}, inf)", value, caller)
    for name in ("tol", "reg_covar"):
        value = getattr(estimator, name)
        demand(0 <= real_or_nan(value) < np.inf, name, "a float in the range [0.0, inf)", value, caller)
    check_strings(estimator, caller, covariance_type=families, init_params=INIT_PARAMS)
    value = estimator.warm_start
    demand(isinstance(value, (bool, np.bool_)), "warm_start", "an instance of 'bool'", value, caller)
    demand(is_seed(estimator.random_state), "random_state", SEEDS, estimator.random_state, caller)
    check_n_threads(estimator.n_threads)


def check_strings(estimator: Any, caller: str, **choices: Iterable[str]) -> None:
    """Raise a ValueError unless each of these parameters is one of its `choices`."""
    for name, known in choices.items():
        value = getattr(estimator, name)
        if not isinstance(value, str) or value not in known:
            demand(False, name, f"a str among {{{', '.join(map(repr, sorted(known)))}}}", value, caller)


def check_constructor(estimator: Any, caller: str = NAME) -> None:
    """Raise a ValueError, in scikit-learn's words, for constructor parameters of a mixture that cannot be used.

    `caller` is the class that messages name: that of the mixture, or of what makes it of parameters of its own.
    """
    check_shared(estimator, caller)
    check_strings(estimator, caller, solver=SOLVERS)
    check_choices(caller, **{name: getattr(estimator, name) for name in ("stop", "on_collapse", "assignment")})
    fixed = check_fixed(caller, estimator.fixed)
    check_exclusions(
        covariance_type=estimator.covariance_type,
        solver=estimator.solver,
        regularization=estimator.regularization,
        assignment=estimator.assignment,
        fixed=fixed,
        on_collapse=estimator.on_collapse,
        stop=estimator.stop,
    )
    for name, start in (("means", "means_init"), ("covariances", "precisions_init")):
        if name in fixed and getattr(estimator, start) is None:
            raise ValueError(f"fixed={fixed!r} holds the {name} at their start, which is to be given as {start}")
    for name in ("noise", "missing"):
        value = getattr(estimator, name)
        demand(isinstance(value, (bool, np.bool_)), name, "an instance of 'bool'", value, caller)


def check_top(m: Any, K: int) -> int:
    """Return m as an int; raise a ValueError unless it is one from 1 to K, the number of components."""
    if not isinstance(m, (int, np.integer)) or isinstance(m, bool) or not 1 <= m <= K:
        raise ValueError(f"m must be an int in [1, {K}], as there are {K} components; got {m!r}")
    return int(m)


def check_state(estimator: Any, family: Covariance) -> None:
    """Raise a ValueError for a fitted estimator's arrays that are not those of a mixture of this family.

    So a pickle from elsewhere cannot crash a kernel.
    """
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        if not hasattr(estimator, name):
            raise ValueError(f"the state is not that of a mixture: it has no {name}")
    K, D = check_means(estimator.means_, *shape_of_means(estimator.means_)).shape
    shape = family.natural_shape(K, D)
    weights = copy_of_shape("weights", estimator.weights_, (K,))
    covariances = copy_of_shape("covariances", estimator.covariances_, shape)
    cholesky = copy_of_shape("precisions_cholesky", estimator.precisions_cholesky_, shape)
    noise = 0.0
    if hasattr(estimator, "noise_box_"):
        noise = check_noise((estimator.noise_weight_, estimator.noise_box_), D).weight
    sound = (weights >= 0).all() and abs(weights.sum() + noise - 1) < 1e-3
    for array in (covariances, cholesky):
        sound = sound and (variances(array.reshape(family.shape(K, D))) > 0).all()
    if not sound:
        raise ValueError("the state is not that of a mixture: weights, covariances or precisions are not positive")
