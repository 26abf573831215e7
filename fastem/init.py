"""Starts: statistics of a first, crude assignment of rows to components, from which an M-step makes parameters."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastem.covariance import COVARIANCES, SingularCovarianceError, inverse_triangular, rounding, tolerance, variances
from fastem.em import FitInterrupted, at, climb, e_step, evaluate, moments, overall, score
from fastem.estep import HARD, LABELS, RESP, SOFT, Accumulator, Sums
from fastem.lloyd import (
    SAMPLE_ROWS,
    any_rows,
    distinct_sample,
    draw,
    lloyd,
    seeds,
    small,
    squared_distances,
    weights_of,
)
from fastem.model import Array, Noise, Params, Result, Stats, Status, permuted
from fastem.parts import PartedSource, agreed, reduce_to
from fastem.regularize import MStep, pooled
from fastem.reseed import rows_needed
from fastem.sources import ArraySource, Block, Known, Source, rounding_of
from fastem.stopping import Stop
from fastem.validate import ConvergenceWarning, exception

MAX_LLOYD, TOL = 300, 1e-4  # of k-means
LABELLED_LLOYD = 10  # steps of k-means among rows whose labels it keeps to
CLUTTER_ROWS, NEIGHBOURS = 5000, 10
# The race of init_params="auto"; numbers chosen on the sets of tests/sets.py.
RACE_ROWS = 10_000  # rows of its sample: max(RACE_ROWS, 50 K)
RACE_STARTS = 4  # per system of coordinates
RACE_LLOYD = 5  # steps of k-means
RACE_TIED = 20  # iterations with one covariance for all components, before each has its own
RACE_ROUNDS = (5, 20, 50)  # iterations of EM; after each round the better half goes on
RACE_TOL = 1e-5
COLLAPSED = 1e6  # mean squared distance of the data under a component (in its standard deviations)


class Given(NamedTuple):
    """Parts of a start that the user gives (None: to be found).

    Attributes
    ----------
    weights : (K,) or None
    means : (K, D) or None
    precisions : (covariances, factor), canonical shapes, or None
    noise : its component at the start, or None if there is none to be
    known : what labels of rows tell, or None if there are none
    """

    weights: Array | None = None
    means: Array | None = None
    precisions: tuple[Array, Array] | None = None
    noise: Noise | None = None
    known: Known | None = None

    @property
    def all_known(self) -> bool:
        """Whether labels leave nothing to EM: the fit is one M-step."""
        return self.known is not None and not self.known.n_unknown and self.noise is None


def start(source: Source, K: int, m_step: MStep, init: str, rng: np.random.RandomState, given: Given) -> Params:
    """Starting parameters: those given, the others from an M-step on the initialiser's statistics.

    Raises
    ------
    SingularCovarianceError
        with the cause: which column or component
    """
    if given.noise is None:
        return clusters(source, K, m_step, init, rng, given)
    rows = source if given.known else without_clutter(source, rng)
    params = clusters(rows, K, m_step, init, rng, given)
    return params._replace(weights=(1 - given.noise.weight) * params.weights, noise=given.noise)


def clusters(source: Source, K: int, m_step: MStep, init: str, rng: np.random.RandomState, given: Given) -> Params:
    """`start` without noise."""
    if given.all_known:
        given = Given()
    if given.weights is not None and given.means is not None and given.precisions is not None:
        return Params(given.weights, given.means, *given.precisions)
    order = np.arange(K)
    if m_step.held.means is not None:  # clusters of other means would say nothing about the components of these
        shape = m_step.family.shape(K, source.n_features)
        stats = evaluate(source, at(m_step.held.means), shape, HARD, distances=True)
    else:
        stats = INITIALISERS[init](source, K, m_step, rng)
        if given.means is not None and init in FIND_CLUSTERS:  # their numbers are not those of the means
            order = nearest_order(m_step.estimate(stats)[1], given.means, stats)
    weights, means, covariances = m_step.estimate(stats)
    weights, covariances = weights[order], covariances if m_step.family.shared else covariances[order]
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


def nearest_order(means: Array, given: Array, stats: Stats) -> NDArray[np.intp]:
    """The order in which clusters (K, D) are nearest to given means, one each: the sum of squared distances is least.

    Distances are in standard deviations of all rows, so that no column's unit counts.
    """
    variance = variances(pooled(stats).s2)[0] / stats.sum_w
    steps = (given[:, None] - means) / np.sqrt(np.where(variance > 0, variance, 1.0))
    distances = (steps**2).sum(axis=-1)
    order = distances.argmin(axis=1)
    if len(np.unique(order)) < len(order):  # two means are nearest to one cluster
        from scipy.optimize import linear_sum_assignment  # 16 MB and 0.2 s, which most programs need not pay

        _, order = linear_sum_assignment(distances)
    return np.asarray(order)


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
    sample = distinct_sample(source, K, rng)
    centres = lloyd(sample, seeds(sample, K, rng), small(sample, TOL), MAX_LLOYD).centres
    centres = agreed(source, lambda: centres[np.lexsort(centres.T[::-1])])
    return evaluate(source, at(centres), m_step.family.shape(K, source.n_features), HARD, distances=True)


def from_seeds(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """One row, chosen by k-means++, in each component."""
    return one_row_each(seeds(distinct_sample(source, K, rng), K, rng), m_step)


def from_rows(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """One row, drawn at random, in each component; no row twice, if there are enough."""
    return one_row_each(any_rows(distinct_sample(source, K, rng), K, rng), m_step)


def from_noise(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """Responsibilities drawn uniformly and normalised, in scikit-learn's order of draws; none for weight 0."""
    mean = overall(source, (0, 0, 0))
    origin, shape = at(np.repeat(mean.origin, K, axis=0)), m_step.family.shape(K, source.n_features)
    # Parts are done in no order, each where it is: what a block draws then depends on its place alone.
    seed = rng.randint(2**32, size=4, dtype=np.uint32) if isinstance(source, PartedSource) else None

    def add(block: Block) -> Sums:
        present = block.weights() > 0
        generator = rng if seed is None else np.random.RandomState([*seed, *divmod(block.start, 2**32)])
        drawn = generator.uniform(size=(np.count_nonzero(present), K))
        resp = np.zeros((len(block.X), K))
        resp[present] = drawn / drawn.sum(axis=1, keepdims=True)
        return Accumulator(origin, shape, RESP).sums(block._replace(labels=resp))

    grain = Accumulator(origin, shape, RESP).block_rows
    return reduce_to(source, Sums.stats, add, max(1024, 2**20 // K), grain)  # 8 MiB of uniforms at a time


def from_labels(source: Source, K: int, m_step: MStep, rng: np.random.RandomState) -> Stats:
    """Statistics of the rows whose component is known, if each has enough; else k-means that keeps to them.

    Components with such rows have a centre at their mean; others get theirs by k-means++ and a few steps of k-means
    on a sample; then all rows are assigned, where their labels hold. Basu, Banerjee & Mooney (2002), Semi-supervised
    clustering by seeding, ICML (their constrained k-means).
    """
    shape = m_step.family.shape(K, source.n_features)
    first = source.sample(1, np.random.RandomState(0)).X
    rough = evaluate(source, at(np.repeat(first[:1], K, axis=0)), (0, 0, 0), LABELS)
    seeded = rough.s0 > 0
    centres = rough.origin + rough.s1 / np.where(seeded, rough.s0, 1.0)[:, None]
    stats = evaluate(source, at(centres), shape, LABELS)
    row = min(1.0, source.sum_w / source.n_present)  # weights that sum to 1 are no counts
    if (stats.s0 >= 2 * row * rows_needed(m_step, source.n_features)[1]).all():
        return stats
    if not seeded.all():
        found = unlabelled_centres(source, centres, seeded, rng)
        centres = agreed(source, lambda: found)
    return evaluate(source, at(centres), shape, HARD, distances=True)


def unlabelled_centres(source: Source, centres: Array, seeded: NDArray[np.bool_], rng: np.random.RandomState) -> Array:
    """The centres (K, D), those that are not `seeded` by k-means beside the others, within what labels allow."""
    X, weight, labels = labelled_sample(source, len(centres), rng)
    may_be = np.equal.outer(labels, np.arange(len(centres))) | (labels < 0)[:, None] if labels.ndim == 1 else labels
    centres, nearest = centres.copy(), np.full(len(X), np.inf)
    if seeded.any():
        nearest = squared_distances(ArraySource(X), centres[seeded]).min(axis=1)
    for k in np.flatnonzero(~seeded):
        mass = weight * may_be[:, k]
        far = mass * nearest if np.isfinite(nearest[0]) else mass
        if not mass.any():
            continue  # no row may belong to it
        candidates = draw(far if far.any() else mass, 2 + int(np.log(len(centres))), rng)
        distances = np.minimum(nearest[:, None], squared_distances(ArraySource(X), X[candidates]))
        best = np.argmin(weight @ distances)
        centres[k], nearest = X[candidates[best]], distances[:, best]
    sample = ArraySource(X, weight, labels=labels)
    for _ in range(LABELLED_LLOYD):
        stats = evaluate(sample, at(centres), (0, 0, 0), HARD, distances=True)
        moving = ~seeded & (stats.s0 > 0)
        centres[moving] += stats.s1[moving] / stats.s0[moving, None]
    if labels.ndim == 1:  # those without a label are alike: numbered by their first coordinate
        free = centres[~seeded]
        centres[~seeded] = free[np.lexsort(free.T[::-1])]
    return centres


def labelled_sample(source: Source, K: int, rng: np.random.RandomState) -> tuple[Array, Array, NDArray[Any]]:
    """Rows in lexicographic order, their weights and labels."""
    X, weight, labels = source.sample(max(SAMPLE_ROWS, 50 * K), rng)
    assert labels is not None
    order = np.lexsort(np.column_stack([X, labels]).T[::-1])
    return X[order], weight[order], labels[order]


def one_row_each(rows: Array, m_step: MStep) -> Stats:
    """Statistics of K components that hold one row each: weights 1/K, covariances 0 (+ reg_covar)."""
    s2 = np.zeros(m_step.family.shape(*rows.shape))
    return Stats(np.nan, np.nan, np.nan, np.ones(len(rows)), np.zeros_like(rows), s2, rows, len(rows))


def without_clutter(source: Source, rng: np.random.RandomState) -> ArraySource:
    """A sample of the rows, weighted by the probability that they are no clutter: where a fit with noise starts from.

    A row in a region of density lambda has its k-th neighbour at a distance whose D-th power, times lambda, has a
    gamma distribution of shape k. Two densities, that of the clutter and that of the rest, are found by EM: Byers &
    Raftery (1998), J. Am. Stat. Assoc. 93, 577-584, eqs. 2-4.
    """
    from scipy.spatial import cKDTree  # a quarter of fastem's own import time
    from scipy.special import expit

    sample = distinct_sample(source, 1, rng, CLUTTER_ROWS)
    X, weight = sample.X, weights_of(sample)
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
    sample = distinct_sample(source, K, rng, RACE_ROWS)
    total = overall(sample, (1, sample.n_features, sample.n_features))
    covariance = COVARIANCES["full"].estimate(total, 0.0)[2][0]
    systems = coordinates(sample.X, weights_of(sample), rounding_of(source))
    entrants = list(itertools.product(partitions(sample, systems, K, rng), first_steps(m_step)))
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
    if not m_step.held.anything:  # components of which something is held are told apart by that
        best = permuted(best, np.lexsort(best.means.T[::-1]))
    return e_step(sample, best, m_step)


def partitions(
    sample: ArraySource, systems: list[Array], K: int, rng: np.random.RandomState
) -> list[NDArray[np.int64]]:
    """Labels of the rows, (N,) each, by k-means from RACE_STARTS seeds in each system of coordinates; each once."""
    found: dict[bytes, NDArray[np.int64]] = {}
    for X in systems:
        rows = ArraySource(X, sample.weight)
        enough = small(rows, TOL)
        for _ in range(RACE_STARTS):
            centres = lloyd(rows, seeds(rows, K, rng), enough, RACE_LLOYD).centres
            label = score(rows, at(centres), label=True, distances=True).label
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
    if tied.family.form != m_step.family.form or m_step.family.shared or m_step.held.precisions is not None:
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
                mode = HARD if m_step.hard else SOFT
                params = m_step(evaluate(sample, shared, family.shape(*shared.means.shape), mode))
            yield params


def coordinates(X: Array, weight: Array, eps: float) -> list[Array]:
    """The rows as they are, standardised, and whitened: (N, D), (N, up to D), (N, up to D).

    Standardised rows lack columns that are constant but for rounding (`eps` is that of the rows), whitened rows also
    those of which other columns explain all but rounding.
    """
    D, full = X.shape[1], COVARIANCES["full"]
    total = overall(ArraySource(X, weight), (1, D, D))
    _, mean, covariances = full.estimate(total, 0.0)
    variance, noise = np.diagonal(covariances[0]), rounding(total, eps, one_by_one=True)[0]
    kept = np.flatnonzero(variance > noise)
    if not len(kept):
        return [X]
    scale = np.sqrt(variance[kept])
    standard = (X[:, kept] - mean[0, kept]) / scale
    correlation = covariances[0][np.ix_(kept, kept)] / np.outer(scale, scale)
    lower, pivots, rank, _ = lapack.dpstrf(correlation, lower=1, tol=float((noise[kept] / variance[kept]).max()))
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
    "labels": from_labels,  # for rows that have labels, whatever init_params
}
FIND_CLUSTERS = ("auto", "kmeans")  # the others' components are alike, or numbered by labels
