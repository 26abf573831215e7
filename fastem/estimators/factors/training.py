"""The fit of a `FactorMixture`: what is fitted, from which starts, and what the estimator takes over."""

from __future__ import annotations

import numbers
from functools import partial
from typing import Any

import numpy as np

from fastem.estimators.factors.state import NAME, FactorState
from fastem.estimators.parameters import SOLVERS, check_shared, check_strings
from fastem.estimators.rows import rows_for
from fastem.estimators.state import family_of, remedy_of, set_names, set_params_of, set_record
from fastem.estimators.training import check_warm, fit_plainly, take_over, warn_of_fit
from fastem.fitting.loop import Callback
from fastem.fitting.models import model_for
from fastem.model.checks import demand
from fastem.model.factor_model import FLOOR, NOISE, FactorModel
from fastem.model.factors import FactorParams, canonical
from fastem.model.matrices import Array
from fastem.model.remedies.inverse_wishart import InverseWishart
from fastem.passes.factors import factor_means
from fastem.passes.statistics import overall
from fastem.sources.blocks import ArraySource, Source
from fastem.sources.opening import find_source
from fastem.sources.scans import check_extent, check_known


def fit_factors(
    model: FactorState, X: Any, sample_weight: Any = None, callback: Callback | None = None, labels: Any = None
) -> Source:
    """Fit a mixture of factor analysers to rows, and return their source.

    All is computed and checked before an attribute is set. Warnings are those of the caller's caller.
    """
    check_parameters(model)
    source = find_source(X, sample_weight, labels, min_rows=2, who=NAME)
    check_extent(source, model.n_components, NAME)
    check_known(source, model.n_components)
    check_n_factors(model.n_factors, source)
    before = None
    if model.warm_start and hasattr(model, "converged_"):
        check_warm(model, source.n_features, n_factors=(model.n_factors, np.shape(model.loadings_)[2]))
        before = model.params_, model.lower_bound_
    make_model = partial(factor_model, model, source)
    params, results, kept = fit_plainly(model, source, before, callback, make_model)
    assert isinstance(params, FactorParams)
    take_over(model, params, results, kept, np.dtype(np.float64))
    model.loadings_ = canonical(params).loadings
    set_names(model, source.columns)
    warn_of_fit(model, results[kept], 0.0)
    return source


def factor_model(model: FactorState, source: Source, sample: ArraySource | None = None) -> FactorModel:
    """Return what a fit of an estimator to the rows of a source maximises; `sample` as in `model_for`."""
    gaussian = model_for(source, model.covariance_type, remedy_of(model), sample=sample)
    total = overall(source, (1, 1, source.n_features), near=sample)
    least = FLOOR * total.s2[0, 0] / total.sum_w
    least = least.mean(keepdims=True) if gaussian.moments_shape(1, len(least))[-1] < len(least) else least
    return FactorModel(gaussian, model.n_factors, least)


def set_factors(model: FactorState, params: FactorParams) -> None:
    """Set the attributes of a mixture whose parameters are given."""
    set_params_of(model, params, np.dtype(np.float64))
    model.loadings_ = params.loadings.copy()
    set_record(model, None, -np.inf, [], 0)


def check_n_factors(q: int, source: Source) -> None:
    """Raise a ValueError for more factors than the rows have features."""
    if q > source.n_features:
        raise ValueError(
            f"n_factors={q} is more than the number of columns of X (n_features = {source.n_features}): "
            "use fewer factors, or GaussianMixture, whose full covariances have no factors"
        )


def check_parameters(model: FactorState) -> None:
    """Raise a ValueError, in scikit-learn's words, for constructor parameters that cannot be used."""
    check_strings(model, NAME, noise=NOISE, solver=[name for name in SOLVERS if name != "lbfgs"])
    check_shared(model, NAME)
    q = model.n_factors
    is_int = isinstance(q, numbers.Integral) and not isinstance(q, bool | np.bool_)
    demand(is_int and q >= 1, "n_factors", "an int in the range [1, inf)", q, NAME)
    remedy = remedy_of(model)
    if isinstance(remedy, InverseWishart) and remedy.shrinkage > 0:
        raise ValueError(
            "FactorMixture: regularization='map' has a prior of means, which depends on whole covariances. Use "
            "fastem.InverseWishart(shrinkage=0), which has none, or 'geometric'"
        )


def scores_of_factors(model: FactorState, X: Any) -> Array:
    """Return the posterior means of the factors of each row's most probable component, (N, q)."""
    return factor_means(rows_for(model, X), model.params_)


def noise_of(model: FactorState) -> str:
    """Return what `noise` was when the mixture was made, whatever it has been set to since."""
    return next(name for name, family in NOISE.items() if family == family_of(model).name)
