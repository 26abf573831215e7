"""What `select` does with mixtures of factor analysers: how a fit begins at a start, splits of it, and spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.factors.training import factor_model, set_factors
from fastem.estimators.state import family_of, remedy_of
from fastem.fitting.degenerate import NARROW
from fastem.fitting.lost import HALF
from fastem.fitting.starts.factors import begin_factors
from fastem.model.factor_model import FLOOR, FactorModel
from fastem.model.factors import FactorParams
from fastem.model.matrices import Array
from fastem.model.maximisation import pooled
from fastem.model.params import Params
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.stats import Stats, component_mass
from fastem.model.units import Units
from fastem.passes.statistics import evaluate, moments
from fastem.sources.blocks import Source, rounding_of
from fastem.sources.labels import check_all_labels

STEPS_OF_PARTITION = 10  # the M-step of factors iterates: it regresses on factors that depend on loadings


def begun_at(model: FactorMixture, start: Params) -> FactorMixture:
    """Return a mixture whose fit begins at the start that is given."""
    assert isinstance(start, FactorParams)
    begun = FactorMixture(**model.get_params() | {"warm_start": True})
    set_factors(begun, start)
    return begun


def of_labels(model: FactorMixture, source: Source, labels: NDArray[Any]) -> FactorParams:
    """Return the start that a partition of the rows makes: principal axes, and steps of EM in which it is known."""
    K, m_step = model.n_components, factor_model(model, source)
    variances = moments(source, labels=labels, n_components=K, covariance_type=model.covariance_type)
    given = check_all_labels(labels, source.n_rows, K)[0]
    rng = np.random.RandomState(model.random_state)
    params = begin_factors(source, m_step.gaussian.update(variances), m_step, rng)
    for _ in range(STEPS_OF_PARTITION):
        params = m_step.update(evaluate(source, params, given=given), params)
    return params


def splits(model: FactorMixture, stats: Stats, source: Source, most: int) -> tuple[FactorModel, list[FactorParams]]:
    """Return the model of an M-step, and the fit with one component cut in two, for `most` components.

    A component is cut at the mean of its longest factor, relative to all rows, and those go first whose weight times
    the square of its length is largest.
    """
    params, scale = model.params_, units_of(model, stats, rounding_of(source)).scale
    lengths = ((params.loadings / scale[:, None]) ** 2).sum(axis=1)
    donors = np.argsort(-stats.s0 * lengths.max(axis=1), kind="stable")[:most]
    return factor_model(model, source), [with_half(params, int(k), int(lengths[k].argmax())) for k in donors]


def with_half(params: FactorParams, donor: int, factor: int) -> FactorParams:
    """Return the mixture with a component more, the last: half of the donor, which is cut at the mean of a factor."""
    every = [*range(len(params.means)), donor]
    halves, shared = [donor, len(params.means)], len(params.covariances) == 1
    weights, means, loadings = params.weights[every], params.means[every], params.loadings[every]
    variances = params.covariances if shared else params.covariances[every]
    weights[halves] /= 2
    means[halves] += np.sqrt(HALF) * loadings[donor, :, factor] * [[-1], [1]]
    loadings[halves, :, factor] *= np.sqrt(1 - HALF)
    return FactorParams(weights, means, variances, 1 / np.sqrt(variances), loadings)


def has_spike(model: FactorMixture, stats: Stats, eps: float) -> bool:
    """Return whether a component is a spike: in some direction its variance is little but what a remedy makes of none.

    That a uniqueness is so small, a Heywood case, is not enough, as long as the factors of the component still vary
    in all directions of the features of which this is true. `eps` is the rounding of the rows.
    """
    units, params, remedy = units_of(model, stats, eps), model.params_, remedy_of(model)
    if isinstance(remedy, RegCovar):
        least = np.minimum(remedy.reg_covar / units.scale**2, NARROW / 2)
    else:
        mass = component_mass(stats)
        found = remedy.least(mass.sum(keepdims=True) if family_of(model).shared else mass)
        if found is None:
            return False
        least = found
    limit = 2 * np.maximum(least, FLOOR)
    relative = params.covariances[:, 0] / units.scale**2
    low = np.broadcast_to((relative <= limit) & units.varying, params.means.shape)
    scaled = params.loadings / units.scale[:, None]
    return any(are_dependent(own[few], float(np.max(limit))) for own, few in zip(scaled, low, strict=True))


def are_dependent(loadings: Array, least: float) -> bool:
    """Return whether some combination of features with these loadings (n, q) varies by no more than `least`."""
    n, q = loadings.shape
    return n > q or bool(n and np.linalg.eigvalsh(loadings @ loadings.T)[0] <= least)


def units_of(model: FactorMixture, stats: Stats, eps: float) -> Units:
    """Return the units in which the variances of all rows are 1."""
    return Units.of(family_of(model), pooled(stats), eps)
