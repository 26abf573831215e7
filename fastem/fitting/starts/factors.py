"""The start of a mixture of factor analysers: principal axes of the rows of each component of a Gaussian start."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastem.model.factor_model import FactorModel
from fastem.model.factors import FactorParams, canonical
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource, Source
from fastem.sources.parts import agreed

ROWS_PER_COMPONENT = 500, 10_000  # of the sample: at least these rows times K, and in all
MOST_BYTES = 2**28  # of the sample
DENSE = 200  # rows or columns of a matrix of which all axes are found; of larger ones, the first alone
LEAST_SHARE = 0.01  # of a principal variance, for a factor: along a loading of 0 there is no gradient


def begin_factors(source: Source, params: Params, model: FactorModel, rng: np.random.RandomState) -> FactorParams:
    """Return the mixture of factor analysers that begins where a Gaussian mixture with variances alone does.

    Rows of a sample go to their most probable components, or to those that their labels say. The loadings are the
    principal axes of these rows, in the units of the columns' standard deviations unless all uniquenesses of a
    component are equal; the uniquenesses are what the loadings leave of the variances.
    """
    rows = max(ROWS_PER_COMPONENT[0] * len(params.means), ROWS_PER_COMPONENT[1])
    X, weight, given = source.sample(min(rows, MOST_BYTES // (8 * source.n_features)), rng)
    return agreed(source, partial(split, params, model, X, weight, given))


def split(params: Params, model: FactorModel, X: Array, weight: Array, given: Array | None) -> FactorParams:
    """Return the mixture that begins with these rows; `given` are their labels, or None."""
    labels = score(ArraySource(X), params, label=True).label
    if given is not None and given.ndim == 1:
        labels = np.where(given >= 0, given, labels)
    away = X - params.means[labels]
    scale = np.sqrt(weight @ away**2 / weight.sum())
    equal = params.covariances.shape[-1] < X.shape[1]
    scale = np.full_like(scale, np.sqrt((scale**2).mean())) if equal else scale
    scale = np.where(scale > 0, scale, 1.0)
    Z, mass = np.sqrt(weight)[:, None] * away / scale, np.bincount(labels, weight, len(params.means))
    loadings, left = np.empty((*params.means.shape, model.n_factors)), np.empty_like(params.means)
    for k in range(len(params.means)):
        own = labels == k
        if np.count_nonzero(own) <= model.n_factors + 1:  # too few: those of all components
            own = np.ones(len(X), dtype=bool)
        rows = Z[own] / np.sqrt(weight[own].sum())
        axes = principal(rows, model.n_factors)
        loadings[k] = scale[:, None] * axes
        left[k] = scale**2 * np.maximum((rows**2).sum(axis=0) - (axes**2).sum(axis=1), LEAST_SHARE)
    shared = np.average(left, axis=0, weights=mass)[None] if len(params.covariances) == 1 else left
    noise = shared.mean(axis=1, keepdims=True) if equal else shared
    start = Params(params.weights, params.means, noise[:, None], 1 / np.sqrt(noise[:, None]))
    return canonical(model.feasible(FactorParams(*start[:4], loadings)))


def principal(rows: Array, q: int) -> Array:
    """Return the q principal axes of rows (n, D), (D, q), each as long as what its variance has above the others'."""
    (n, D), k = rows.shape, min(q, *rows.shape)
    if min(n, D) <= DENSE or not rows.any():
        _, lengths, axes = np.linalg.svd(rows, full_matrices=False)
    else:
        from scipy.sparse.linalg import svds  # 30 ms, which most programs need not pay

        _, lengths, axes = svds(rows, k, tol=1e-3, v0=np.random.RandomState(0).uniform(size=min(n, D)))
    order = np.argsort(-lengths, kind="stable")[:k]
    top = lengths[order] ** 2
    rest = max(((rows**2).sum() - top.sum()) / max(D - q, 1), 0.0)
    long = np.sqrt(np.maximum(top - rest, LEAST_SHARE * top))
    return np.pad(axes[order].T * long, ((0, 0), (0, q - k)))
