"""Decide where float32 arithmetic will do: for a pass, and for the M-step that follows it."""

from __future__ import annotations

import numpy as np

from fastem.model.matrices import EPS, Array, SingularCovarianceError, variances
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.rounding import mean_squares_along
from fastem.model.stats import Stats, component_mass

# What float32 arithmetic must keep, its relative rounding being EPS32.
EPS32 = float(np.finfo(np.float32).eps)
MOST_NOISE = 2**-7  # standard deviations of a component, in a whitened row: 6e-6 of the mean log-likelihood at most
MOST_LOSS = 2**-8  # of a variance, in second moments: costs a quarter of its square, 4e-6 of the mean log-likelihood
FLOAT32_RANGE = 2.0**-64, 2.0**64  # of variances: squares of rows, weighted and summed, neither overflow nor vanish


def may_use_float32(params: Params) -> bool:
    """Tell whether float32 arithmetic shows the narrowest direction of each component, in rows and in second moments.

    Rounding in y_i = sum_j W_ij (x_j - mean_j) has a standard deviation of about eps times the root of
    sum_j W_ij^2 (var_j + mean_j^2), as mean_j is rounded as well: MOST_NOISE bounds it. For second moments see
    `float32_shows`. At both bounds mean log-likelihoods agree with those of float64 to about 1e-5, where features are
    neither far from 0 nor strongly correlated to 1e-6.
    """
    variance = variances(params.covariances)
    noise = EPS32**2 * mean_squares_along(params.factor, variance + params.means**2)
    inside = (variance >= FLOAT32_RANGE[0]) & (variance <= FLOAT32_RANGE[1])
    return bool(noise.max() <= MOST_NOISE**2 and _keeps(params.factor, variance) and inside.all())


def float32_shows(stats: Stats, params: Params) -> bool:
    """Tell whether second moments that were summed in float32 show the covariances that an M-step made of them.

    The moments of each feature lose about eps32 of their size (0.1 to 0.9 times that was measured). A variance along a
    direction W_i so loses eps32 times sum_j W_ij^2 m_j, where m_j is the mean square of feature j about the mean of the
    pass.
    """
    mass = component_mass(stats)
    mass = mass.sum(keepdims=True) if len(stats.s2) == 1 else mass
    return _keeps(params.factor, variances(stats.s2) / mass[:, None] / (stats.s1.shape[1] // stats.s2.shape[-1]))


def _keeps(factor: Array, square: Array) -> bool:
    """Tell whether sums of squares in float32, for features of this mean square, keep the variances of a factor."""
    return bool(EPS32 * mean_squares_along(factor, square).max() <= MOST_LOSS)  # NaN and infinity are not kept


def update_unless_coarse(model: Model, stats: Stats, previous: Params) -> Params | None:
    """Return the parameters of the M-step; None where sums in float32 are too coarse to show them."""
    try:
        params = model.update(stats, previous)
    except SingularCovarianceError:
        if stats.eps == EPS:
            raise
        return None
    return params if stats.eps == EPS or float32_shows(stats, params) else None
