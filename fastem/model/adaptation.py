"""MAP adaptation of a mixture to rows.

The equations are 11 to 14 of Reynolds, Quatieri & Dunn (2000), Digit. Signal Process. 10, 19-41.

A component goes from its parameters to those of its rows by the share alpha = n / (n + relevance), where n is the
weight of these rows, sum_n w_n r_nk. Moments are about the means before, so that alpha E[x - mean] is s1 / (n +
relevance): nothing is divided by the weight of a component without rows, and no digits are lost however far from 0 the
rows are.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fastem.model.families import Storage
from fastem.model.matrices import Array, factorise
from fastem.model.params import Params
from fastem.model.stats import Stats, outer


def adapt(params: Params, stats: Stats, storage: Storage, relevance: float, update: Collection[str]) -> Params:
    """Return a mixture that is adapted to rows.

    Parameters
    ----------
    params : Params, without noise, whose components have covariances of their own
    stats : Stats of the rows under `params`, whose arrays may have leading batch axes
    storage : Storage of the covariances
    relevance : float > 0
    update : names among "weights", "means", "covariances"; the others stay as they are

    Returns
    -------
    Params
        with the batch axes of `stats`; arrays that stay as they are may be views, which cannot be written to
    """
    batch, D = stats.s0.shape[:-1], params.means.shape[-1]
    weights, means, covariances, factor = (np.broadcast_to(array, (*batch, *array.shape)) for array in params[:4])
    mass = stats.s0 + relevance
    if "weights" in update:
        weights = adapted_weights(params.weights, stats.s0, relevance)
    step = stats.s1 / mass[..., None] if "means" in update else np.zeros_like(stats.s1)
    if "means" in update:
        means = params.means + step
    if "covariances" in update:
        scatter = stats.s2 - outer(mass[..., None] * step, step, stats.s2.shape)
        covariances = scatter / storage.divisor(mass, D) + (relevance / mass)[..., None, None] * params.covariances
        factor = factorise(covariances)
    return Params(weights, means, covariances, factor)


def adapted_weights(weights: Array, s0: Array, relevance: float) -> Array:
    """Return weights (..., K) adapted to rows whose components have the weights s0 (..., K): eq. 11."""
    shares = s0 / s0.sum(axis=-1, keepdims=True)
    mixed = (s0 * shares + relevance * weights) / (s0 + relevance)
    return np.asarray(mixed / mixed.sum(axis=-1, keepdims=True))
