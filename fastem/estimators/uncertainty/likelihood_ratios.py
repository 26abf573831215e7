"""Likelihood ratios of mixtures of K and K + 1 components on many sets of rows, by fits from several starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.uncertainty.replicates import Fits, Rows, fit_sets
from fastem.fitting.lost import HALF
from fastem.model.families import Covariance
from fastem.model.matrices import Array, factorise
from fastem.model.params import Params
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.result import Status
from fastem.model.stats import outer

NATS = 1e-4  # the change of all rows' log-likelihood at which a fit has converged
K_MEANS = 2  # starts from k-means, for each of K (if it is more than 1) and K + 1 components
MORE = 10  # starts from k-means for a set to which no fit so far is sound
LARGEST_PRECISION = 1e8  # of a direction, in units of the rows' standard deviation: beyond it a component is a spike

Mixtures = tuple[Array, Array, Array, Array]  # of G sets: weights, means, covariances and factors


def log_likelihood_ratios(
    sets: list[Rows], params: Params, family: Covariance, rng: np.random.RandomState
) -> tuple[Array, Mixtures]:
    """Return twice the log-likelihood ratio of K + 1 and K components on each set, (G,), and the mixtures of K.

    K components start at `params` and, if K > 1, at k-means. K + 1 start at the set's own mixture of K, with each
    component in turn cut in half across its longest axis, and at k-means. The best fit counts in which no component is
    a spike: so the poles of likelihoods that are unbounded are left out on all sets alike. A set for which that leaves
    no fit of K + 1 tries k-means again; if that is in vain, the ratio is 0, for a mixture of K is one of K + 1. Where
    it leaves no fit of K, the ratio is NaN.

    Parameters
    ----------
    sets : list of G Rows, in units of about their standard deviation
    params : Params of K components
    family : Covariance
    rng : RandomState
    """
    K = len(params.weights)
    fits = [start_at(sets, params[:4]), *(start_at_clusters(sets, params[:4], rng) for _ in range(K_MEANS * (K > 1)))]
    null, bound = best_of(fits)
    for part, instead in zip(null, params[:4], strict=True):
        part[np.isnan(bound)] = instead
    halves = [split(null, donor, family.shared) for donor in range(K)]
    fits = [start_at(sets, start) for start in halves]
    fits += [start_at_clusters(sets, halves[0], rng) for _ in range(K_MEANS)]
    _, alternative = best_of(fits)
    for _ in range(MORE):
        if not len(lost := np.flatnonzero(np.isnan(alternative))):
            break
        again = start_at_clusters([sets[i] for i in lost], tuple(part[lost] for part in halves[0]), rng)
        alternative[lost] = best_of([again])[1]
    ratio = 2 * np.array([rows.weight.sum() for rows in sets]) * (np.fmax(alternative, bound) - bound)
    return ratio, null


def start_at(sets: list[Rows], start: tuple[Array, ...]) -> Fits:
    """Return the fits from given mixtures."""
    return fit_sets(sets, start, RegCovar(), NATS / len(sets[0].X))


def start_at_clusters(sets: list[Rows], like: tuple[Array, ...], rng: np.random.RandomState) -> Fits:
    """Return the fits from k-means, of as many components as the mixtures `like` have."""
    K = like[1].shape[-2]
    uniforms = rng.uniform(size=(len(sets), 1 + (K - 1) * (2 + int(np.log(K)))))
    return fit_sets(sets, like, RegCovar(), NATS / len(sets[0].X), uniforms)


def best_of(fits: list[Fits]) -> tuple[Mixtures, Array]:
    """Return the mixtures of the best fit to each set in which no component is a spike, and the fits' bounds, (G,).

    The bound is NaN where all have one.
    """
    bounds = np.stack([np.where(are_sound(one), one.bound, -np.inf) for one in fits])
    best, every = bounds.argmax(axis=0), np.arange(bounds.shape[1])
    weights, means, covariances, factor = (
        np.stack(column)[best, every] for column in zip(*(one.mixtures for one in fits), strict=True)
    )
    bound = bounds[best, every]
    return (weights, means, covariances, factor), np.where(np.isfinite(bound), bound, np.nan)


def are_sound(fits: Fits) -> NDArray[np.bool_]:
    """Return which fits have no component that is a spike, (G,) bool."""
    ended = (fits.status == Status.CONVERGED) | (fits.status == Status.MAX_ITER)
    precision = (fits.mixtures[3] ** 2).sum(axis=(-2, -1)).max(axis=-1)
    return np.asarray(ended & (precision <= LARGEST_PRECISION))


def split(mixtures: Mixtures, donor: int, shared: bool) -> Mixtures:
    """Return mixtures with a component more, the last: the donor is cut in half across its longest axis.

    A half of a normal has its mean at sqrt(2 / pi) standard deviations, and that much less variance.
    """
    weights, means, covariances, _ = mixtures
    axis = longest_axis(covariances[:, 0 if shared else donor], means.shape[-1])
    step, every = np.sqrt(HALF) * axis, [*range(means.shape[1]), donor]
    weights, means = weights[:, every], means[:, every]
    weights[:, [donor, -1]] /= 2
    means[:, donor] -= step
    means[:, -1] += step
    if not shared:
        covariances = covariances[:, every]
        less = outer(step[:, None], step[:, None], (1, *covariances.shape[2:])) / (
            means.shape[-1] // covariances.shape[-1]
        )
        covariances[:, [donor, -1]] -= less
    return weights, means, covariances, factorise(covariances)


def longest_axis(covariances: Array, D: int) -> Array:
    """Return a standard deviation along the longest axis of covariances (G, D|1, D|1), (G, D).

    A sphere has none: it takes the first feature's.
    """
    if covariances.shape[-2] > 1:
        values, vectors = np.linalg.eigh(covariances)
        return np.asarray(np.sqrt(values[:, -1:]) * vectors[..., -1])
    widest = covariances[:, 0].argmax(axis=-1)
    return np.asarray(np.eye(D)[widest] * np.sqrt(covariances[:, 0].max(axis=-1))[:, None])
