"""Moves of k-means centres from where they are of little use to clusters that share one.

Lloyd's k-means seldom moves a centre from one cluster to another: where two seeds have fallen into one cluster, and
none into its neighbour, it ends there.
"""

from __future__ import annotations

import numpy as np

from fastem.fitting.lloyd import assign, cluster_means, inertia, run_lloyd, squared_distances
from fastem.fitting.many_centres import settle_many
from fastem.fitting.seeds import MANY, weights_of
from fastem.model.matrices import Array
from fastem.passes.nearest import Nearest
from fastem.sources.blocks import ArraySource, rows_at_once

MOVE_ROWS = 5000  # moves are tried on fewer than two times this, whatever the sample
# A cut gains more once all centres have followed. Over 200 problems as of scripts/kmeans_starts.py k-means ended within
# 0.1 % of the least inertia in 84 % of runs; with 1.5 in 78 %; with 2.5, where more moves are in vain, in 88 %.
HOPE = 2.0


def move_centres(sample: ArraySource, centres: Array, tolerated: float, max_iter: int) -> Array:
    """Return better centres than those, (K, D), at which Lloyd's k-means has ended; the same array if no move helps.

    The centre that is of least use goes to the cluster of most inertia, where to cut that in two promises to gain more
    than the centre's loss costs. Then k-means goes on. Moves end with the first that does not lower the inertia. Of
    MANY centres, many move at once (`fastem.fitting.many_centres`).

    References
    ----------
    Fritzke (1997), The LBG-U method for vector quantization, Neural Process. Lett. 5, 35-45.
    """
    if len(centres) < 2:
        return centres
    if len(centres) >= MANY:
        return settle_many(sample, centres, tolerated)
    rows, moved = thinned(sample, len(centres)), centres
    nearest = find_nearest(rows, centres)
    for _ in range(len(centres)):
        start = propose_move(rows, moved, nearest)
        if start is None:
            break
        trial = run_lloyd(rows, start, tolerated, max_iter).centres
        after = find_nearest(rows, trial)
        if weights_of(rows) @ (after.first - nearest.first) >= 0:
            break
        moved, nearest = trial, after
    if moved is centres:
        return centres
    if rows is not sample:
        moved = run_lloyd(sample, moved, tolerated, max_iter).centres
    return moved if inertia(assign(sample, moved)) < inertia(assign(sample, centres)) else centres


def thinned(sample: ArraySource, K: int) -> ArraySource:
    """Return every n-th row of a sample, so that moves of K centres are tried on MOVE_ROWS, or 50 K, or a few more."""
    every = sample.n_rows // max(MOVE_ROWS, 50 * K)
    return sample if every < 2 else ArraySource(sample.X[::every], weights_of(sample)[::every])


def find_nearest(rows: ArraySource, centres: Array) -> Nearest:
    """Return the nearest of two or more centres for each row, and the second."""
    size = rows_at_once(len(centres))  # all rows times 1,500 centres would take 2 GB
    parts = [nearest_in(rows.X[start : start + size], centres) for start in range(0, rows.n_rows, size)]
    return Nearest(*map(np.concatenate, zip(*parts, strict=True)))


def nearest_in(X: Array, centres: Array) -> Nearest:
    """Return the nearest of the centres for each row of an array, and the second."""
    distances = squared_distances(ArraySource(X), centres)
    label, each = distances.argmin(axis=1), np.arange(len(X))
    first = distances[each, label]
    distances[each, label] = np.inf
    return Nearest(label, first, distances.min(axis=1))


def propose_move(rows: ArraySource, centres: Array, nearest: Nearest) -> Array | None:
    """Return the centres after a move, (K, D); None if it promises no gain."""
    weight, K = weights_of(rows), len(centres)
    error = np.bincount(nearest.label, weight * nearest.first, K)
    use = np.bincount(nearest.label, weight * (nearest.second - nearest.first), K)
    idle = int(use.argmin())
    shared = int(np.where(np.arange(K) == idle, -1.0, error).argmax())
    if HOPE * error[shared] <= use[idle]:
        return None
    mine = nearest.label == shared
    halves, gain = halve(ArraySource(rows.X[mine], weight[mine]), centres[shared])
    if HOPE * gain <= use[idle]:
        return None
    moved = centres.copy()
    moved[[idle, shared]] = halves
    return moved


def halve(rows: ArraySource, centre: Array) -> tuple[Array, float]:
    """Return two centres, (2, D), for the rows about one, and by how much they lower the inertia.

    They are the means of the rows on either side of the centre, along the feature that varies most.
    """
    variance = np.average((rows.X - centre) ** 2, axis=0, weights=rows.weight)
    step = np.where(np.arange(len(centre)) == variance.argmax(), np.sqrt(variance), 0.0)
    stats = assign(rows, np.array([centre - step, centre + step]))
    halves = cluster_means(stats)
    return halves, float(stats.s0 @ ((halves - centre) ** 2).sum(axis=1))
