"""Starts: statistics of a first, crude assignment of rows to components, from which an M-step makes parameters."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastem.covariance import COVARIANCES, SingularCovarianceError, inverse_triangular, tolerance
from fastem.em import FitInterrupted, at, climb, evaluate, moments, overall, score
from fastem.estep import HARD, RESP, Accumulator, Sums
from fastem.model import Array, Noise, Params, Result, Stats, Status, permuted
from fastem.regularize import MStep
from fastem.sources import ArraySource, Block, Source
from fastem.stopping import Stop
from fastem.validate import ConvergenceWarning, exception

SAMPLE_ROWS = 50_000  # k-means and seeds look at max(SAMPLE_ROWS, 50 K) rows at most
MAX_LLOYD = 300
CLUTTER_ROWS, NEIGHBOURS = 5000, 10
# The race of init_params="auto"; numbers chosen on the sets of tests/sets.py.
RACE_ROWS = 10_000  # rows of its sample: max(RACE_ROWS, 50 K)
RACE_STARTS = 4  # per system of coordinates
RACE_LLOYD = 5  # steps of k-means
RACE_TIED = 20  # iterations with one covariance for all components, before each has its own
RACE_ROUNDS = (5, 20, 50)  # iterations of EM; after each round the better half goes on
RACE_TOL = 1e-5
RANK_TOL = 1e-10  # share of a column's variance below which other columns explain all of it
COLLAPSED = 1e6  # mean squared distance of the data under a component (in its standard deviations)


class Given(NamedTuple):
    """Parts of a start that the user gives (None: to be found).

    Attributes
    ----------
    weights : (K,) or None
    means : (K, D) or None
    precisions : (covariances, factor), canonical shapes, or None
    noise : its component at the start, or None if there is none to be
    """

    weights: Array | None = None
    means: Array | None = None
    precisions: tuple[Array, Array] | None = None
    noise: Noise | None = None


def start(source: Source, K: int, m_step: MStep, init: str, rng: np.random.RandomState, given: Given) -> Params:
    """Starting parameters: those given, the others from an M-step on the initialiser's statistics.

    Raises
    ------
    SingularCovarianceError
        with the cause: which column or component
    """
    if given.noise is None:
        return clusters(source, K, m_step, init, rng, given)
    params = clusters(without_clutter(source, rng), K, m_step, init, rng, given)
    return params._replace(weights=(1 - given.noise.weight) * params.weights, noise=given.noise)


def clusters(source: Source, K: int, m_step: MStep, init: str, rng: np.random.RandomState, given: Given) -> Params:
    """`start` without noise."""
    if given.weights is not None and given.means is not None and given.precisions is not None:
        return Params(given.weights, given.means, *given.precisions)
    stats = INITIALISERS[init](source, K, m_step, rng)
    weights, means, covariances = m_step.estimate(stats)
    try:
        precisions = given.precisions or (covariances, m_step.factorise(covariances))
    except SingularCovarianceError as error:
        raise error.because(cause(source, stats)) from None
    n_distinct = len(np.unique(means, axis=0))
    if n_distinct < K and given.means is None:
        warnings.warn(
            f"Number of distinct clusters ({n_distinct}) found smaller than n_clusters ({K}). Possibly due to "
            "duplicate points in X.",
            exception(ConvergenceWarning),
            stacklevel=6,
        )
    return Params(
        weights if given.weights is None else given.weights, means if given.means is None else given.means, *precisions
    )


def cause(source: Source, stats: Stats) -> str:
    """Why the covariances of a start are singular."""
    if not stats.s2.any() and stats.sum_w == len(stats.s0):
        return "This start puts one row into each component, which needs reg_covar > 0."
    total = overall(source, (1, source.n_features, source.n_features))
    covariance = COVARIANCES["full"].estimate(total, 0.0)[2][0]
    scale = np.sqrt(np.diagonal(covariance))
    constant = np.flatnonzero(scale == 0)
    if len(constant) == len(scale):
        return "All rows of X are identical."
    if len(constant):
        return f"Column {constant[0]} of X is constant."
    correlation = covariance / np.outer(scale, scale)
    _, pivots, rank, _ = lapack.dpstrf(correlation, lower=1, tol=tolerance(len(scale), 0.0))
    if rank < len(scale):
        return f"Column {pivots[rank] - 1} of X is a linear combination of other columns."
    few = np.flatnonzero(stats.s0 <= source.n_features)
    if len(few):
        return (
            f"Component {few[0]} starts with a weight of {stats.s0[few[0]]:g} rows in {source.n_features} dimensions."
        )
    return "The rows of a component lie in a subspace."


def from_kmeans(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """k-means on at most max(50,000, 50 K) rows, then one assignment of all rows to its centres.

    Components are numbered by their centres' first coordinate (then the second, ...), not by the seed's luck.
    """
    X, weight = distinct_sample(source, K, rng)
    centres = lloyd(X, weight, seeds(X, weight, K, rng))
    centres = centres[np.lexsort(centres.T[::-1])]
    return evaluate(source, at(centres), m_step.family.shape(K, source.n_features), HARD, distances=True)


def from_seeds(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """One row, chosen by k-means++, in each component."""
    return one_row_each(seeds(*distinct_sample(source, K, rng), K, rng), m_step)


def from_rows(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """One row, drawn at random, in each component; no row twice, if there are enough."""
    X, weight = distinct_sample(source, K, rng)
    chosen: list[int] = []
    left = weight.copy()
    for _ in range(K):
        chosen.append(int(draw(left if left.any() else weight, 1, rng)[0]))
        left[chosen[-1]] = 0.0
    return one_row_each(X[chosen], m_step)


def from_noise(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """Responsibilities drawn uniformly and normalised, in scikit-learn's order of draws; none for weight 0."""
    mean = overall(source, (0, 0, 0))
    origin, shape = at(np.repeat(mean.origin, K, axis=0)), m_step.family.shape(K, source.n_features)

    def add(block: Block) -> Sums:
        present = np.ones(len(block.X), dtype=bool) if block.weight is None else block.weight > 0
        drawn = rng.uniform(size=(np.count_nonzero(present), K))
        resp = np.zeros((len(block.X), K))
        resp[present] = drawn / drawn.sum(axis=1, keepdims=True)
        return Accumulator(origin, shape, RESP, resp).sums(block._replace(start=0))

    grain = Accumulator(origin, shape, RESP).block_rows
    return source.reduce(add, max(1024, 2**20 // K), grain).stats()  # 8 MiB of uniforms at a time


def one_row_each(rows: Array, m_step: MStep) -> Stats:
    """Statistics of K components that hold one row each: weights 1/K, covariances 0 (+ reg_covar)."""
    s2 = np.zeros(m_step.family.shape(*rows.shape))
    return Stats(np.nan, np.nan, np.nan, np.ones(len(rows)), np.zeros_like(rows), s2, rows, len(rows))


def distinct_sample(source: Source, K: int, rng: np.random.RandomState, rows: int = SAMPLE_ROWS) -> tuple[Array, Array]:
    """A sample's distinct rows in lexicographic order and their weights.

    So, as long as all rows are in the sample, neither their order nor repetition instead of weights changes what is
    drawn from it.
    """
    X, weight = source.sample(max(rows, 50 * K), rng)
    order = np.lexsort(X.T[::-1])
    X, weight = X[order], weight[order]
    first = np.flatnonzero(np.concatenate([[True], (X[1:] != X[:-1]).any(axis=1)]))
    return X[first], np.add.reduceat(weight, first)


def without_clutter(source: Source, rng: np.random.RandomState) -> ArraySource:
    """A sample of the rows, weighted by the probability that they are no clutter: where a fit with noise starts from.

    A row in a region of density lambda has its k-th neighbour at a distance whose D-th power, times lambda, has a
    gamma distribution of shape k. Two densities, that of the clutter and that of the rest, are found by EM: Byers &
    Raftery (1998), J. Am. Stat. Assoc. 93, 577-584, eqs. 2-4.
    """
    from scipy.spatial import cKDTree  # a quarter of fastem's own import time
    from scipy.special import expit

    X, weight = distinct_sample(source, 1, rng, CLUTTER_ROWS)
    low, high = X.min(axis=0), X.max(axis=0)
    scaled = (X - low) / (high - low)
    k = min(NEIGHBOURS, len(X) - 1)
    distance = cKDTree(scaled).query(scaled, k=[k + 1])[0][:, 0]
    log_distance = np.log(np.maximum(distance, np.finfo(np.float64).tiny))
    log_volume = X.shape[1] * (log_distance - np.median(log_distance))
    volume, clean = np.exp(np.minimum(log_volume, 600.0)), (log_volume < 0).astype(np.float64)
    for _ in range(100):
        dense, sparse = weight * clean, weight * (1 - clean)
        if not (dense.any() and sparse.any()):  # one density explains all
            return ArraySource(X, weight)
        rates = [k * part.sum() / (part @ volume) for part in (dense, sparse)]
        log_odds = np.log(dense.sum() / sparse.sum()) + k * np.log(rates[0] / rates[1])
        clean = expit(log_odds - (rates[0] - rates[1]) * volume)
    return ArraySource(X, weight * clean)


def draw(mass: Array, n: int, rng: np.random.RandomState) -> NDArray[np.intp]:
    """n indices with probability proportional to `mass`, by the inverse of the cumulated mass."""
    cumulated = np.cumsum(mass)
    target = np.minimum(rng.uniform(size=n) * cumulated[-1], np.nextafter(cumulated[-1], 0))
    return np.asarray(np.searchsorted(cumulated, target, side="right"))


def squared_distances(X: Array, centres: Array) -> Array:
    """(N, K)"""
    return -2.0 * score(ArraySource(X), at(centres), joint=True, distances=True).joint


def seeds(X: Array, weight: Array, K: int, rng: np.random.RandomState) -> Array:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007): of 2 + log K candidates, the one that helps most; (K, D).

    If there are fewer distinct rows than K, rows repeat.
    """
    n_candidates = 2 + int(np.log(K))
    chosen = draw(weight, 1, rng)
    nearest = squared_distances(X, X[chosen])[:, 0]
    for _ in range(1, K):
        mass = weight * nearest
        candidates = draw(mass if mass.any() else weight, n_candidates, rng)
        distances = np.minimum(nearest[:, None], squared_distances(X, X[candidates]))
        best = np.argmin(weight @ distances)
        nearest = distances[:, best]
        chosen = np.append(chosen, candidates[best])
    return np.asarray(X[chosen])


def lloyd(X: Array, weight: Array, centres: Array, tol: float = 1e-4, max_iter: int = MAX_LLOYD) -> Array:
    """Lloyd's k-means until the centres' squared shift is below tol times the mean variance; (K, D).

    Each turn is the fused pass in its hard mode without second moments. As in scikit-learn, an empty cluster takes
    the row that is farthest from its centre.
    """
    source = ArraySource(X, weight)
    total = overall(source, (1, 1, X.shape[1]))
    enough = tol * float(np.mean(total.s2)) / total.sum_w
    for _ in range(max_iter):
        stats = evaluate(source, at(centres), (0, 0, 0), HARD, distances=True)
        empty = np.flatnonzero(stats.s0 == 0)
        moved = centres + stats.s1 / np.where(stats.s0 > 0, stats.s0, 1.0)[:, None]
        if len(empty):
            distances = squared_distances(X, centres).min(axis=1)
            moved[empty] = X[np.argsort(-distances, kind="stable")[: len(empty)]] if len(X) >= len(empty) else X[0]
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if shift <= enough:
            break
    return centres


def race(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """Statistics of the best of many short fits to a sample, which start from several systems of coordinates.

    k-means depends on the units of the columns, and no one choice of units serves all data: k-means in raw,
    standardised and whitened coordinates gives labels, EM in the columns' own units fits mixtures from them, and the
    likelihood, which can be compared because all are densities of the same rows (or the objective of the remedy in
    use), decides. Successive halving (Karnin, Koren & Somekh 2013): after each of RACE_ROUNDS the better half goes on.
    Without a remedy a component that collapses, or whose labels have no covariance, puts its fit out of the race; if
    none is left, the start is that of `from_kmeans`.
    """
    try:
        best = winner(source, K, m_step, rng)
    except FitInterrupted as interrupt:  # its result is that of a short fit to a sample
        raise FitInterrupted(None) from interrupt
    return from_kmeans(source, K, m_step, rng) if best is None else best


def winner(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats | None:
    """Statistics of the sample under the mixture that wins the race, by the means' order; None if all are out."""
    X, weight = distinct_sample(source, K, rng, RACE_ROWS)
    sample = ArraySource(X, weight)
    total = overall(sample, (1, X.shape[1], X.shape[1]))
    covariance = COVARIANCES["full"].estimate(total, 0.0)[2][0]
    entrants = list(itertools.product(partitions(X, weight, K, rng), first_steps(m_step)))
    runners: Iterable[Params] = contenders(sample, entrants, K, m_step)
    stop, n_kept = Stop("change", RACE_TOL), len(entrants)
    results: list[Result] = []
    for n_iter in RACE_ROUNDS:
        n_kept, results = -(-n_kept // 2), []
        for params in runners:
            result = climb(sample, params, m_step, stop=stop, max_iter=n_iter)
            sound = m_step.remedy.monotone or not collapsed(result, covariance)
            if sound and result.status is not Status.DEGENERATE:  # sorted keeps the first of equals first
                results = sorted([*results, result], key=lambda result: -result.history[-1])[:n_kept]
        runners = [result.params for result in results]
    if not results:
        return None
    best = results[0].params
    order = np.lexsort(best.means.T[::-1])
    return evaluate(sample, permuted(best, order))


def partitions(X: Array, weight: Array, K: int, rng: np.random.RandomState) -> list[NDArray[np.int64]]:
    """Labels of the rows, (N,) each, by k-means from RACE_STARTS seeds in each system of coordinates; each once."""
    found: dict[bytes, NDArray[np.int64]] = {}
    for rows in coordinates(X, weight):
        for _ in range(RACE_STARTS):
            centres = lloyd(rows, weight, seeds(rows, weight, K, rng), max_iter=RACE_LLOYD)
            label = score(ArraySource(rows), at(centres), label=True, distances=True).label
            _, first, label = np.unique(label, return_index=True, return_inverse=True)
            label = first.argsort().argsort()[label]  # numbered as they appear
            found.setdefault(label.tobytes(), label)
    return list(found.values())


def first_steps(m_step: MStep) -> list[MStep]:
    """The M-steps that make a mixture of a partition.

    Components with full covariances of their own first share one, for RACE_TIED iterations: it is estimated from all
    rows, so that partitions in different coordinates come to agree before K D^2 parameters fit each its own noise.
    Under a remedy, whose objective sees through that noise, fits that have their own from the start compete as well.
    """
    tied = replace(m_step, family=COVARIANCES["tied"])
    if tied.family.form != m_step.family.form or m_step.family.shared:
        return [m_step]
    return [tied, m_step] if m_step.remedy.monotone else [tied]


def contenders(
    sample: ArraySource, entrants: list[tuple[NDArray[np.int64], MStep]], K: int, m_step: MStep
) -> Iterator[Params]:
    """The mixtures that enter the race, each of a partition and a first M-step."""
    family = m_step.family
    for label, first in entrants:
        stats = moments(
            sample.X, labels=label, n_components=K, covariance=first.family.name, sample_weight=sample.weight
        )
        with contextlib.suppress(SingularCovarianceError):
            params = first(stats)
            if first.family != family:
                shared = climb(sample, params, first, stop=Stop("change", RACE_TOL), max_iter=RACE_TIED).params
                params = m_step(evaluate(sample, shared, family.shape(*shared.means.shape)))
            yield params


def coordinates(X: Array, weight: Array) -> list[Array]:
    """The rows as they are, standardised, and whitened: (N, D), (N, up to D), (N, up to D).

    Standardised rows lack constant columns, whitened rows also those that are linear combinations of others.
    """
    D = X.shape[1]
    _, mean, covariances = COVARIANCES["full"].estimate(overall(ArraySource(X, weight), (1, D, D)), 0.0)
    kept = np.flatnonzero(np.diagonal(covariances[0]))
    if not len(kept):
        return [X]
    scale = np.sqrt(np.diagonal(covariances[0])[kept])
    standard = (X[:, kept] - mean[0, kept]) / scale
    correlation = covariances[0][np.ix_(kept, kept)] / np.outer(scale, scale)
    lower, pivots, rank, _ = lapack.dpstrf(correlation, lower=1, tol=RANK_TOL)
    inverse = inverse_triangular(np.tril(lower[:rank, :rank]))
    white = np.einsum("ni,ji->nj", standard[:, pivots[:rank] - 1], inverse)  # BLAS' bits may depend on its threads
    return [X, standard, white]


def collapsed(result: Result, covariance: Array) -> bool:
    """Whether a component is too narrow for its likelihood to mean anything.

    One with a covariance matrix of its own has D rows or fewer (fewer than 2 otherwise), so that only `reg_covar`
    bounds its density; or the data, whose `covariance` is given, lie 1000 standard deviations from a component. That
    is in the mean, trace(covariance of the data times inverse of the component's): it depends on no units.
    """
    factor, stats = result.params.factor, result.stats
    shared, D = factor.shape[0] == 1, factor.shape[-1]
    rows = stats.s0 * (stats.n_rows / stats.sum_w)
    if not shared and rows.min() < (D + 1 if factor.shape[-2] > 1 else 2):
        return True
    if factor.shape[-2] == 1:
        distance = (factor[:, 0] ** 2 * np.diagonal(covariance)).sum(axis=-1)
    else:
        distance = (np.einsum("kij,jl->kil", factor, covariance) * factor).sum(axis=(-2, -1))
    return bool(distance.max() > COLLAPSED)


Initialiser = Callable[[Source, int, MStep, np.random.RandomState], Stats]
INITIALISERS: dict[str, Initialiser] = {
    "auto": race,
    "kmeans": from_kmeans,
    "k-means++": from_seeds,
    "random": from_noise,
    "random_from_data": from_rows,
}
