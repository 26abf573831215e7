"""Seeds of k-means and the samples that they are drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.lloyd import squared_distances
from fastem.model.matrices import Array
from fastem.sources.blocks import ArraySource, Source

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
    """
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


def draw_distinct_rows(sample: ArraySource, K: int, rng: np.random.RandomState) -> Array:
    """Draw K rows at random, (K, D); no row twice, if there are enough."""
    weight, chosen = weights_of(sample), list[int]()
    left = weight.copy()
    for _ in range(K):
        chosen.append(int(draw_indices(left if left.any() else weight, 1, rng)[0]))
        left[chosen[-1]] = 0.0
    return np.asarray(sample.X[chosen], dtype=np.float64)
