"""Seeds of k-means and the samples that they are drawn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.lloyd import squared_distances
from fastem.model.matrices import Array
from fastem.passes.nearest import two_nearest
from fastem.sources.blocks import ArraySource, Source

MANY = 1000  # seeds and centres for which what is done for fewer of them would take too long
FIRST_SEEDS = 64  # of MANY, by which rows are told apart before others are drawn
SEED_ROWS = 50_000  # seeds are drawn from max(SEED_ROWS, 50 K) rows at most


def distinct_sample(source: Source, K: int, rng: np.random.RandomState, rows: int = SEED_ROWS) -> ArraySource:
    """Return the distinct rows of a sample in lexicographic order, with their weights.

    If the sample has all rows, what is drawn from it depends neither on their order nor on whether rows are repeated
    or have weights.
    """
    X, weight, _ = source.sample(max(rows, 50 * K), rng)
    order = np.argsort(X[:, 0])
    if np.diff(X[order, 0]).all():  # no ties: all rows are distinct, and in order
        return ArraySource(X[order], weight[order])
    order = np.lexsort(X.T[::-1])  # which takes five times as long
    X, weight = X[order], weight[order]
    first = np.flatnonzero(np.concatenate([[True], (X[1:] != X[:-1]).any(axis=1)]))
    return ArraySource(X[first], np.add.reduceat(weight, first))


def weights_of(sample: ArraySource) -> Array:
    """Return the weights of the rows, (N,)."""
    return np.ones(sample.n_rows) if sample.weight is None else sample.weight


def draw_indices(mass: Array, n: int, rng: np.random.RandomState) -> NDArray[np.intp]:
    """Return n indices, drawn with probability proportional to `mass` by the inverse of the cumulated mass."""
    cumulated = np.cumsum(mass)
    target = np.minimum(rng.uniform(size=n) * cumulated[-1], np.nextafter(cumulated[-1], 0))
    return np.asarray(np.searchsorted(cumulated, target, side="right"))


def draw_seeds(sample: ArraySource, K: int, rng: np.random.RandomState) -> Array:
    """Draw K rows, (K, D), by greedy k-means++ (Arthur & Vassilvitskii 2007).

    Each is the one of 2 + log K candidates that helps most. If there are fewer distinct rows than K, rows repeat.
    MANY seeds are drawn with less work; see `draw_many_seeds`.
    """
    if K >= MANY:
        return draw_many_seeds(sample, K, rng)
    X, weight, n_candidates = sample.X, weights_of(sample), 2 + int(np.log(K))
    chosen = draw_indices(weight, 1, rng)
    nearest = squared_distances(sample, X[chosen])[:, 0]
    for _ in range(1, K):
        mass = weight * nearest
        candidates = draw_indices(mass if mass.any() else weight, n_candidates, rng)
        distances = np.minimum(nearest[:, None], squared_distances(sample, X[candidates]))
        best = np.argmin(weight @ distances)
        nearest = distances[:, best]
        chosen = np.append(chosen, candidates[best])
    return np.asarray(X[chosen], dtype=np.float64)


def draw_many_seeds(sample: ArraySource, K: int, rng: np.random.RandomState) -> Array:
    """Draw many rows, (K, D), by greedy k-means++ in which what a candidate helps is counted near it alone.

    Each row has a nearest seed. A candidate is tried on the rows of the cluster that it is drawn from, and taken by
    those of them to which it is nearer; all rows look at the new seeds each time that these are an eighth of all. So
    seeds do not cost 2 + log K distances of all rows each: 3 s of processor time instead of 60, for K = 2000 of 100,000
    rows of 16 columns.
    """
    X, weight, n_candidates = sample.X, weights_of(sample), 2 + int(np.log(K))
    seeds = draw_seeds(sample, FIRST_SEEDS, rng)
    label, nearest, _ = two_nearest(X, seeds)
    while len(seeds) < K:
        begin, end = len(seeds), min(K, len(seeds) + len(seeds) // 8)
        members = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label, minlength=begin))[:-1])
        error: Array = np.zeros(end)
        error[:begin] = np.bincount(label, weight * nearest, begin)
        chosen = []
        for new in range(begin, end):
            mass = error if error.any() else np.asarray(np.bincount(label, weight, end), np.float64)
            clusters = draw_indices(mass, n_candidates, rng)
            trials = [Trial.of(X, weight, members[k], nearest, rng) for k in clusters]
            best = int(np.argmax([trial.gain for trial in trials]))
            row, closer, distance, _ = trials[best]
            rows, k = members[clusters[best]], clusters[best]
            members[k] = rows[~closer]
            members.append(rows[closer])
            nearest[rows[closer]], label[rows[closer]] = distance[closer], new
            for changed in (k, new):
                error[changed] = weight[members[changed]] @ nearest[members[changed]]
            chosen.append(row)
        found = two_nearest(X, X[chosen])
        seeds, closer = np.concatenate([seeds, X[chosen]]), found.first < nearest
        label, nearest = np.where(closer, begin + found.label, label), np.where(closer, found.first, nearest)
    return np.asarray(seeds, dtype=np.float64)


class Trial(NamedTuple):
    """A row of a cluster that may become a seed.

    Attributes
    ----------
    row : int
    closer : (n,) bool, the rows of the cluster to which it is closer than their seed
    distance : (n,), squared distances of the rows of the cluster to it
    gain : float, by how much it lowers the sum of squared distances of the cluster
    """

    row: int
    closer: NDArray[np.bool_]
    distance: Array
    gain: float

    @classmethod
    def of(cls, X: Array, weight: Array, rows: NDArray[np.intp], nearest: Array, rng: np.random.RandomState) -> Trial:
        """Draw a row of a cluster, whose rows these are, with a probability that grows with its distance."""
        before, w = nearest[rows], weight[rows]
        mass = w * before
        row = rows[draw_indices(mass if mass.any() else w, 1, rng)[0]]
        distance = ((X[rows] - X[row]) ** 2).sum(axis=1)
        closer = distance < before
        return cls(int(row), closer, distance, float((w * (before - distance))[closer].sum()))


def draw_distinct_rows(sample: ArraySource, K: int, rng: np.random.RandomState) -> Array:
    """Draw K rows at random, (K, D); no row twice, if there are enough."""
    weight, chosen = weights_of(sample), list[int]()
    left = weight.copy()
    for _ in range(K):
        chosen.append(int(draw_indices(left if left.any() else weight, 1, rng)[0]))
        left[chosen[-1]] = 0.0
    return np.asarray(sample.X[chosen], dtype=np.float64)
