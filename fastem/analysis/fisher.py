"""Fisher vectors of sets of rows, from their statistics under a mixture with variances.

The vector is the gradient of the mean log-likelihood of a set in the parameters of the mixture, divided by the roots of
the Fisher information's diagonal, as Perronnin & Dance (2007) approximate it for a set whose rows belong to one
component each. Weights are exp(a_k) / sum_j exp(a_j), and the gradient is in a: Sanchez, Perronnin, Mensink & Verbeek
(2013), Int. J. Comput. Vis. 105, 222-245, eqs. 16 to 18.
"""

from __future__ import annotations

import numpy as np

from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats


def fisher_vectors(params: Params, stats: Stats) -> Array:
    """Return the Fisher vectors of sets of rows, (..., K + 2 K D), before any normalisation.

    The parts are those of the K weights, of the means (K, D), and of the standard deviations (K, D).

    Parameters
    ----------
    params : Params of K components with variances of their own; one of weight 0 has zeros
    stats : Stats of the rows under `params`, whose arrays may have leading batch axes
    """
    present = params.weights > 0
    root = np.sqrt(np.where(present, params.weights, 1.0))
    sd, weight = np.sqrt(params.covariances[:, 0]), stats.s0.sum(axis=-1, keepdims=True)
    total = np.where(weight > 0, weight, 1.0)  # a set without rows has the vector 0
    scale = np.where(present, 1.0 / root, 0.0)[:, None] / total[..., None]
    shares = np.where(weight > 0, stats.s0 / total - params.weights, 0.0) / root
    means = scale * stats.s1 / sd
    spreads = scale * (stats.s2[..., 0, :] / sd**2 - stats.s0[..., None]) / np.sqrt(2.0)
    batch = stats.s0.shape[:-1]
    return np.concatenate([shares, means.reshape(*batch, -1), spreads.reshape(*batch, -1)], axis=-1)


def improve(vectors: Array, alpha: float) -> Array:
    """Return vectors (..., P) with powers sign(z) |z|^alpha of their numbers, and of length 1; a vector of 0 stays.

    Perronnin, Sanchez & Mensink (2010), Improving the Fisher kernel for large-scale image classification, ECCV.
    """
    powers = np.sign(vectors) * np.abs(vectors) ** alpha
    length = np.linalg.norm(powers, axis=-1, keepdims=True)
    return np.asarray(powers / np.where(length > 0, length, 1.0))
