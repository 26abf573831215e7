"""The search for better optima of many mixtures at once: one move in each group, EM in all of these, and so on.

It is what `fastem.fitting.starts.search` does for one mixture. But a group has few rows, and EM on it takes
microseconds: moves are ranked by one look at the rows of all groups, without EM, and EM follows each to its end.
What a group gets depends on the other groups by the rounding of promises alone.

References
----------
Jones & Sibson (1987), What is projection pursuit?, J. R. Stat. Soc. A 150, 1-36 (the gain that a cut promises).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from fastem.estimators.groups.fits import Settings, run_fits
from fastem.estimators.groups.partition import Partition
from fastem.fitting.starts.cuts import OFFSET
from fastem.fitting.starts.moves import merged_covariances, separate_merge_costs
from fastem.fitting.starts.search import LEAST_GAIN
from fastem.kernels import groups as kernel
from fastem.model.families import Covariance
from fastem.model.matrices import TINY, Array, SingularCovarianceError, factorise
from fastem.model.params import Params

PATIENCE = 8  # moves of a group in a row that may fail
CHUNK = 1_000_000  # numbers of the largest array of a ranking
GIVEN = kernel.WEIGHTS + kernel.MEANS + kernel.PRECISIONS


class Fits(NamedTuple):
    """The fits of groups.

    Attributes
    ----------
    params : Params, whose arrays have a leading axis of groups
    status, n_iter : (G,) int64, as the kernel fills them
    bound : (G,), the log-likelihood per row
    """

    params: Params
    status: NDArray[np.int64]
    n_iter: NDArray[np.int64]
    bound: Array

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Which of them are mixtures that EM has not ended for a fault, (G,)."""
        return np.isin(self.status, (kernel.CONVERGED, kernel.MAX_ITER))

    def put(self, groups: NDArray[np.intp], others: Fits) -> None:
        """Replace the fits of some groups by others, in place."""
        for mine, theirs in zip((*self.params[:4], *self[1:]), (*others.params[:4], *others[1:]), strict=True):
            mine[groups] = theirs

    def take(self, groups: NDArray[np.intp] | NDArray[np.bool_]) -> Fits:
        """Return those of some groups."""
        return Fits(take(self.params, groups), self.status[groups], self.n_iter[groups], self.bound[groups])


class Rows(NamedTuple):
    """The rows of all groups.

    Attributes
    ----------
    parts : Partition, in whose order the rows are
    X : (N, D) float64
    weight : (N,) or None
    sizes : (G,), how many rows each group has, by their weights; weights that sum to less than the rows are no counts
    """

    parts: Partition
    X: Array
    weight: Array | None
    sizes: Array

    @classmethod
    def of(cls, parts: Partition, X: Array, weight: Array | None) -> Rows:
        """Put rows in the order of their groups."""
        sizes = np.diff(parts.bounds).astype(np.float64)
        if weight is not None:
            weight = parts.by_group(weight)
            sizes = np.maximum(sizes, np.diff(np.concatenate([[0.0], np.cumsum(weight)])[parts.bounds]))
        return cls(Partition(parts.labels, parts.bounds, None), parts.by_group(X), weight, sizes)


class Moves(NamedTuple):
    """Moves of components: `freed` is merged into another, and takes half of a third.

    Attributes
    ----------
    freed, into, split : (M,) int, components
    """

    freed: NDArray[np.intp]
    into: NDArray[np.intp]
    split: NDArray[np.intp]


class Prospects(NamedTuple):
    """The moves of groups that may be tried.

    Attributes
    ----------
    order : (G, M) int, the moves, those that promise most first
    axes : (G, K, D), one standard deviation along the axis across which a component would be cut
    """

    order: NDArray[np.intp]
    axes: Array


def search(rows: Rows, family: Covariance, fits: Fits, settings: Settings) -> None:
    """Look for better optima from the fits of groups, which are replaced by what is found.

    Each group tries its moves, those that promise most first, until PATIENCE of them in a row have failed. One whose
    fit is higher by LEAST_GAIN nats per row, and has no more thin components, is taken; all is then looked at anew.
    """
    G, K, D = fits.params.means.shape
    moves = all_moves(K)
    most = min(PATIENCE, len(moves.freed))
    looking = np.flatnonzero(fits.sound) if most else np.empty(0, np.intp)
    prospects, tried, changed = (
        Prospects(np.empty((G, most), np.intp), np.empty((G, K, D))),
        np.zeros(G, np.intp),
        looking,
    )
    while len(looking):
        for mine, new in zip(prospects, find_prospects(rows, family, fits.params, changed, moves), strict=True):
            mine[changed] = new
        tried[changed] = 0
        chosen = prospects.order[looking, tried[looking]]
        tried[looking] += 1
        changed = try_moves(
            rows, family, fits, settings, looking, Moves(*(m[chosen] for m in moves)), prospects.axes[looking]
        )
        looking = looking[(tried[looking] < most) | np.isin(looking, changed)]


def all_moves(K: int) -> Moves:
    """Return all moves of K components; which of the two that are merged is freed makes no difference."""
    pairs = itertools.combinations(range(K), 2)
    triples = [(second, first, k) for first, second in pairs for k in range(K) if k not in (first, second)]
    return Moves(*np.array(triples, dtype=np.intp).reshape(-1, 3).T)


def try_moves(
    rows: Rows, family: Covariance, fits: Fits, settings: Settings, groups: NDArray[np.intp], moves: Moves, axes: Array
) -> NDArray[np.intp]:
    """Make one move in each of some groups (n,), and keep the fits that are better; return their groups."""
    starts, possible = factorised(moved(take(fits.params, groups), moves, axes, family))
    groups, some = groups[possible], rows.parts.only(groups[possible])
    n_iter = np.zeros(len(groups), np.int64)
    trial = Fits(take(starts, possible), n_iter.copy(), n_iter, np.zeros(len(groups)))
    results = trial.status, trial.n_iter, trial.bound
    run_fits(some, rows.X, rows.weight, np.empty((len(groups), 0)), GIVEN, trial.params[:4], settings, results)
    better = trial.sound & (trial.bound > fits.bound[groups] + LEAST_GAIN)
    sizes = rows.sizes[groups]
    better &= n_thin(trial.params, family, sizes) <= n_thin(take(fits.params, groups), family, sizes)
    fits.put(groups[better], trial.take(better))
    return groups[better]


def take(params: Params, groups: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Params:
    """Return the mixtures of some groups."""
    weights, means, covariances, factor = params[:4]
    return Params(weights[groups], means[groups], covariances[groups], factor[groups])


def n_thin(params: Params, family: Covariance, sizes: Array) -> NDArray[np.intp]:
    """Return how many components have fewer rows than parameters, for groups of so many rows, (n,)."""
    D = params.means.shape[-1]
    needed = 1 + D + (0 if family.shared else family.n_parameters(1, D))
    return np.asarray((params.weights * sizes[:, None] < needed).sum(axis=1))


def factorised(params: Params) -> tuple[Params, NDArray[np.bool_]]:
    """Return mixtures with their factors, and for which of them there are such."""
    factor, possible = np.empty_like(params.covariances), np.ones(len(params.means), dtype=bool)
    for g, covariances in enumerate(params.covariances):
        try:
            factor[g] = factorise(covariances)
        except SingularCovarianceError:
            possible[g] = False
    return params._replace(factor=factor), possible


def moved(params: Params, moves: Moves, axes: Array, family: Covariance) -> Params:
    """Return mixtures after one move in each of them (n,), with the factor that they had before.

    Components are cut across `axes` (n, K, D).
    """
    weights, means, covariances = (array.copy() for array in params[:3])
    each, (freed, into, split) = np.arange(len(weights)), moves
    both = each[:, None], np.stack([freed, into], axis=1)
    w = np.maximum(weights[both], TINY)
    if not family.shared:
        pair = Params(w, means[both], covariances[both], covariances[both])
        covariances[each, into] = merged_covariances(pair, np.array([[0], [1]]), family)[:, 0]
        covariances[each, freed] = covariances[each, split]
    means[each, into] = (w[..., None] * means[both]).sum(axis=1) / w.sum(axis=1)[:, None]
    weights[each, into] = w.sum(axis=1)
    weights[each, split] = weights[each, freed] = weights[each, split] / 2
    step = OFFSET * axes[each, split]
    means[each, freed] = means[each, split] + step
    means[each, split] -= step
    return Params(weights, means, covariances, params.factor)


# --- what moves promise -----------------------------------------------------------------------------------------------


def find_prospects(rows: Rows, family: Covariance, params: Params, groups: NDArray[np.intp], moves: Moves) -> Prospects:
    """Return the prospects of some groups (n,): a move promises what its cut gains, less what its merge costs."""
    (_, K, D), most = params.means.shape, min(PATIENCE, len(moves.freed))
    found = Prospects(np.empty((len(groups), most), np.intp), np.empty((len(groups), K, D)))
    pairs = np.array(list(itertools.combinations(range(K), 2))).T
    for some in split_by_size(np.diff(rows.parts.bounds)[groups], K * D):
        X, weight = padded_rows(rows, groups[some])
        mixtures = take(params, groups[some])
        y, axes, log_det = standardised(X, mixtures, family)
        resp = weight[:, None] * responsibilities(y, mixtures.weights, log_det)
        gains = gains_of_cuts(y, resp)
        costs = separate_merge_costs(mixtures, pairs, family) + overlaps(resp, pairs)
        promise = gains.max(axis=-1)[:, moves.split] - np.repeat(costs, K - 2, axis=1)
        found.order[some] = np.argsort(-promise, axis=1, kind="stable")[:, :most]
        best = gains.argmax(axis=-1)[..., None, None]
        found.axes[some] = np.take_along_axis(axes, best, axis=-2)[..., 0, :]
    return found


def split_by_size(sizes: NDArray[np.int64], numbers: int) -> Iterator[NDArray[np.intp]]:
    """Give groups of about the same size together, as many as have CHUNK numbers if each row has so many."""
    order = np.argsort(sizes, kind="stable")[::-1]
    while len(order):
        n = max(1, CHUNK // (int(sizes[order[0]]) * numbers))
        yield order[:n]
        order = order[n:]


def padded_rows(rows: Rows, groups: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return the rows of groups, (n, B, D), and their weights (n, B), which are 0 beyond the rows of a group."""
    first, sizes = rows.parts.bounds[groups], np.diff(rows.parts.bounds)[groups]
    place = np.arange(sizes.max())
    index = first[:, None] + np.minimum(place, sizes[:, None] - 1)
    there = place < sizes[:, None]
    return rows.X[index], there * (1.0 if rows.weight is None else rows.weight[index])


def standardised(X: Array, params: Params, family: Covariance) -> tuple[Array, Array, Array]:
    """Return rows in the principal axes of components, (n, K, B, D); these axes, one standard deviation long,
    (n, K, D, D); and the log determinants of covariances, (n, K|1).

    The principal axes of a covariance that is no matrix are those of the features.
    """
    away = X[:, None] - params.means[:, :, None]
    K, D = params.means.shape[1:]
    if family.matrices:
        values, vectors = np.linalg.eigh(params.covariances)
        away = away @ vectors
    else:
        values = np.broadcast_to(params.covariances[..., 0, :], (*params.covariances.shape[:2], D))
        vectors = np.eye(D)
    sd = np.sqrt(np.maximum(values, TINY))
    axes = np.broadcast_to((sd[..., None, :] * vectors).swapaxes(-1, -2), (len(X), K, D, D))
    return away / sd[..., None, :], axes, 2 * np.log(sd).sum(axis=-1)


def responsibilities(y: Array, weights: Array, log_det: Array) -> Array:
    """Return the responsibilities (n, K, B) of components for rows in their principal axes."""
    with np.errstate(divide="ignore"):  # a component may have the weight 0
        joint = (np.log(weights) - log_det / 2)[..., None] - (y**2).sum(axis=-1) / 2
    resp = np.exp(joint - joint.max(axis=1, keepdims=True))
    return np.asarray(resp / resp.sum(axis=1, keepdims=True))


def gains_of_cuts(y: Array, resp: Array) -> Array:
    """Return what it may gain, in nats per row of a group, to cut a component across each of its axes, (n, K, D).

    It is the negentropy of the component's rows along the axis, by their skewness s and excess kurtosis k:
    (s^2 + k^2 / 4) / 12.
    """
    mass = resp.sum(axis=-1)
    third, fourth = ((resp[..., None] * y**power).sum(axis=2) / np.maximum(mass, TINY)[..., None] for power in (3, 4))
    share = mass / mass.sum(axis=1, keepdims=True)
    return np.asarray(share[..., None] * (third**2 + (fourth - 3) ** 2 / 4) / 12)


def overlaps(resp: Array, pairs: NDArray[np.intp]) -> Array:
    """Return how uncertain it is which of two components rows belong to: an entropy in nats per row, (n, P)."""
    own = xlogy(resp, resp).sum(axis=-1)
    both = np.stack([xlogy(t, t).sum(axis=-1) for t in (resp[:, i] + resp[:, j] for i, j in pairs.T)], axis=-1)
    return np.asarray((both - own[:, pairs].sum(axis=1)) / resp.sum(axis=(1, 2))[:, None])
