"""The fit of a `BayesianGaussianMixture`: its prior, the loop, and what the estimator takes over from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastem.estimators.bayesian.state import STICKS, PosteriorState, prior_of_fit, set_posterior, set_prior
from fastem.estimators.parameters import SOLVERS, check_shared, check_strings
from fastem.estimators.protocol import check_hooks
from fastem.estimators.rows import rows_for
from fastem.estimators.state import family_of, set_names, set_params_of, set_record
from fastem.estimators.training import check_followed, check_warm, fit_plainly, take_over, warn_of_fit
from fastem.fitting.loop import Callback
from fastem.fitting.steps import e_step
from fastem.fitting.stepwise import step_towards
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_threads, copy_of_shape, demand, real_or_nan
from fastem.model.families import CONSTRAINED, COVARIANCES, Covariance, find_family
from fastem.model.given import check_matrices
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.variational import Posterior, Prior
from fastem.model.variational_model import VariationalModel
from fastem.passes.precision import update_unless_coarse
from fastem.passes.statistics import overall
from fastem.sources.blocks import Source
from fastem.sources.labels import is_labelled
from fastem.sources.opening import find_source
from fastem.sources.parts import agreed, failing_together
from fastem.sources.scans import check_extent

NAME = "BayesianGaussianMixture"
PRIORS = (
    "weight_concentration_prior",
    "mean_precision_prior",
    "mean_prior",
    "degrees_of_freedom_prior",
    "covariance_prior",
)
PRIOR_TYPES = (STICKS, "dirichlet_distribution")
MOST_ROWS = 1e150  # that a prior may count for: products with the weights of rows, up to 1e100 each, do not overflow


def fit_posterior(model: PosteriorState, X: Any, sample_weight: Any = None, callback: Callback | None = None) -> Source:
    """Fit the posterior of a mixture to rows, and return their source.

    All is computed and checked before an attribute is set. Warnings are those of the caller's caller.
    """
    check_hooks(model)
    check_parameters(model)
    source = find_source(X, sample_weight, min_rows=2, who=NAME)
    if is_labelled(source):
        raise ValueError(f"{NAME} takes no labels of rows: leave them out of the source, or fit a GaussianMixture")
    check_extent(source, model.n_components, NAME)
    before = warm_start_of(model, source.n_features)
    family = find_family(model.covariance_type)
    with failing_together(source), threads(model.n_threads):
        prior = prior_of(model, source.n_features, lambda: moments_of(source, family))
    update = VariationalModel(prior, family, model.reg_covar)
    posterior, results, kept = fit_plainly(model, source, before, callback, lambda sample: update)
    take_over(model, posterior, results, kept, np.dtype(np.float64))
    assert isinstance(posterior, Posterior)
    set_posterior(model, posterior)
    set_prior(model, prior)
    model.n_samples_seen_ = source.sum_w
    set_names(model, source.columns)
    warn_of_fit(model, results[kept], model.reg_covar)
    return source


def warm_start_of(model: PosteriorState, D: int) -> tuple[Params, float] | None:
    """Return the posterior and the bound that warm_start continues from, for rows of D features; None to start anew."""
    if not (model.warm_start and hasattr(model, "converged_")):
        return None
    check_warm(model, D, **kinds_of_prior(model))
    return model.posterior_, model.lower_bound_


def kinds_of_prior(model: PosteriorState) -> dict[str, tuple[Any, Any]]:
    """Return the kind of prior that a fitted mixture asks for now, and that it was fitted with, under its name."""
    name = "weight_concentration_prior_type"
    return {name: (getattr(model, name), PRIOR_TYPES[not model.posterior_.has_sticks])}


def follow_posterior(model: PosteriorState, X: Any, sample_weight: Any) -> None:
    """Take a step of stochastic variational inference by a block of rows, from a posterior that is fitted."""
    given = {name: getattr(model, name) for name in PRIORS}
    priors = {name: (value, getattr(model, f"{name}_")) for name, value in given.items() if value is not None}
    check_followed(model, **kinds_of_prior(model), **priors)
    source, posterior = rows_for(model, X, sample_weight), model.posterior_
    update = VariationalModel(prior_of_fit(model), family_of(model), model.reg_covar)
    known = np.isfinite(model.lower_bound_)  # not so where max_iter was 0
    running = update.expected(posterior, model.lower_bound_ - posterior.lower_bound(entropy=0.0) if known else 0.0)
    with failing_together(source), threads(check_n_threads(model.n_threads)):
        stats = step_towards(e_step(source, posterior, update), running)
        moved = agreed(source, partial(update_unless_coarse, update, stats, posterior))
        if moved is None:
            stats = step_towards(e_step(source, posterior, update, exact=True), running)
            moved = agreed(source, partial(update.update, stats))
    assert isinstance(moved, Posterior)
    bound = moved.lower_bound(stats.entropy)
    set_params_of(model, moved, np.dtype(np.float64))
    set_posterior(model, moved)
    set_record(model, None, bound, [*model.lower_bounds_, bound], model.n_iter_ + 1)
    model.n_samples_seen_ += source.sum_w


# --- the prior ----------------------------------------------------------------------------------------------------


def check_parameters(model: PosteriorState) -> None:
    """Raise a ValueError, in scikit-learn's words, for constructor parameters that cannot be used."""
    check_shared(model, NAME, [name for name in COVARIANCES if name not in CONSTRAINED])
    solvers = [name for name in SOLVERS if name != "lbfgs"]
    check_strings(model, NAME, weight_concentration_prior_type=PRIOR_TYPES, solver=solvers)
    for name in ("weight_concentration_prior", "mean_precision_prior", "degrees_of_freedom_prior"):
        value = getattr(model, name)
        demand(value is None or is_positive(value), name, "None or a float in the range (0.0, inf)", value, NAME)
    value = model.mean_prior
    demand(value is None or is_list(value), "mean_prior", "None or an array-like", value, NAME)
    value = model.covariance_prior
    known = value is None or is_list(value) or is_positive(value)
    demand(known, "covariance_prior", "None, an array-like or a float in the range (0.0, inf)", value, NAME)


def is_positive(value: Any) -> bool:
    """Return whether a value is a positive, finite number."""
    return 0 < real_or_nan(value) < np.inf


def is_list(value: Any) -> bool:
    """Return whether a value is an array or a list."""
    return np.ndim(value) > 0


def prior_of(model: PosteriorState, D: int, moments: Callable[[], tuple[Array, Array]]) -> Prior:
    """Return the prior that the parameters ask for; those that are None are made of the rows, as in scikit-learn.

    `moments` returns the mean of the rows and their covariance, as `moments_of` does; it is called if need be.
    """
    family = find_family(model.covariance_type)
    dof = D if model.degrees_of_freedom_prior is None else model.degrees_of_freedom_prior
    if not dof > D - 1:
        raise ValueError(f"The parameter 'degrees_of_freedom_prior' should be greater than {D - 1}, but got {dof:.3f}.")
    precision = 1.0 if model.mean_precision_prior is None else float(model.mean_precision_prior)
    for name, rows in (("degrees_of_freedom_prior", dof), ("mean_precision_prior", precision)):
        if rows > MOST_ROWS:
            raise ValueError(f"The parameter '{name}' counts rows: at most {MOST_ROWS}, but got {rows:.3g}.")
    mean = None if model.mean_prior is None else copy_of_shape("means", model.mean_prior, (D,))
    scatter = None if model.covariance_prior is None else check_scatter(model.covariance_prior, family, D)
    if mean is None or scatter is None:
        found_mean, found_scatter = moments()
        mean = found_mean if mean is None else mean
        scatter = found_scatter if scatter is None else scatter
    concentration = model.weight_concentration_prior
    return Prior(
        model.weight_concentration_prior_type == STICKS,
        1.0 / model.n_components if concentration is None else float(concentration),
        precision,
        mean,
        float(dof),
        scatter,
    )


def check_scatter(covariance: Any, family: Covariance, D: int) -> Array:
    """Return a given covariance_prior in canonical shape, (1, D|1, D|1); raise a ValueError for another one."""
    of_one = family.natural_shape(1, D)
    shape = of_one if family.shared else of_one[1:]
    array = copy_of_shape(f"{family.name} covariance_prior", covariance, shape)
    return check_matrices("covariance_prior", array.reshape(of_one), family.name, 1, D)


def moments_of(source: Source, family: Covariance) -> tuple[Array, Array]:
    """Return the mean of all rows, (D,), and their covariance without bias in the family's form, (1, D|1, D|1)."""
    total = overall(source, family.shape(1, source.n_features))
    if not total.sum_w > 1:
        raise ValueError(
            f"the sum of sample_weight, {total.sum_w:.3g}, is the number of rows that beliefs are made of, and must be "
            "more than 1: scale the weights, or pass mean_prior and covariance_prior"
        )
    with np.errstate(all="ignore"):
        _, means, covariances = agreed(source, lambda: family.estimate(total, 0.0))
    return means[0], covariances * (total.sum_w / (total.sum_w - 1))
