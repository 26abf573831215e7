"""Lloyd's k-means on any source of rows, for the starts of fits and for `fastem.KMeans`.

Each iteration is one fused pass, which gives each row to its nearest centre and sums rows up by centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.kernels.mixture import HARD
from fastem.model.matrices import EPS, Array
from fastem.model.maximisation import pooled
from fastem.model.params import unit_spheres
from fastem.model.stats import Stats
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.passes.scores import score
from fastem.passes.statistics import evaluate, some_row
from fastem.sources.blocks import Block, Source, rows_at_once


class Clustering(NamedTuple):
    """What `run_lloyd` returns.

    Attributes
    ----------
    centres : (K, D)
    n_iter : int, how many passes were made
    shift : float, the last squared shift of the centres
    settled : bool, whether that shift is rounding: no row has changed its cluster
    """

    centres: Array
    n_iter: int
    shift: float
    settled: bool


def run_lloyd(
    source: Source,
    centres: Array,
    tolerated: float,
    max_iter: int,
    report: Callable[[int, float], Any] | None = None,
) -> Clustering:
    """Run Lloyd's k-means until no row changes its cluster or the centres' squared shift is at most `tolerated`.

    Empty clusters take the rows that are farthest from their centres. `report` is called with the iteration, from 0,
    and the inertia under its centres.

    References
    ----------
    Lloyd (1982), IEEE Trans. Inf. Theory 28, 129-137.
    """
    n_iter, shift, settled = 0, np.inf, False
    while n_iter < max_iter and not settled and shift > tolerated:
        stats = assign(source, centres)
        if report is not None:
            report(n_iter, inertia(stats))
        moved = cluster_means(fill_empty_clusters(source, stats))
        shift, n_iter = float(((moved - centres) ** 2).sum()), n_iter + 1
        # Sums are about the centres: if rows stay, these move by the rounding of the means alone.
        size = (centres**2).sum() + len(centres) * inertia(stats) / stats.sum_w
        centres, settled = moved, bool(shift <= (16 * EPS) ** 2 * size)
    return Clustering(centres, n_iter, shift, settled)


def assign(source: Source, centres: Array) -> Stats:
    """Return, for each centre, the weight and first moment, about it, of the rows that are nearest to it."""
    spheres = unit_spheres(centres)
    return evaluate(source, spheres, mode=HARD, second_moments=False, ignore_labels=True, distances=True)


def inertia(stats: Stats) -> float:
    """Return the sum of squared distances of rows to the centres with which `assign` made these statistics."""
    return 0.0 - 2.0 * stats.loglik  # not -0.0


def cluster_means(stats: Stats) -> Array:
    """Return the mean of each cluster's rows; without rows, as in scikit-learn, it is that of the largest cluster."""
    filled = stats.s0 > 0
    centres = stats.origin + stats.s1 / np.where(filled, stats.s0, 1.0)[:, None]
    centres[~filled] = centres[np.argmax(stats.s0)]
    return centres


def fill_empty_clusters(source: Source, stats: Stats) -> Stats:
    """Return the statistics after each empty cluster has taken one of the rows that are farthest from their centres."""
    empty = np.flatnonzero(stats.s0 == 0)
    if not len(empty):
        return stats
    far = farthest(source, stats.origin, len(empty))
    if far.distance[0] == 0:  # fewer distinct rows than clusters
        return stats
    s0, s1 = stats.s0.copy(), stats.s1.copy()
    for k, row, weight, label in zip(empty, far.rows, far.weight, far.label, strict=False):
        s0[label] -= weight if s0[label] > (1 + 4 * EPS) * weight else s0[label]  # 0 without its last row
        s1[label] -= weight * (row - stats.origin[label])
        s0[k], s1[k] = weight, weight * (row - stats.origin[k])
    return replace(stats, s0=s0, s1=s1)


@dataclass(frozen=True)
class Far:
    """Rows that are farthest from their centres. Two such lists add up to one.

    The farthest comes first; among equals the one that was read first.

    Attributes
    ----------
    n : int, how many rows are kept
    distance : (n,), squared distances
    rows : (n, D)
    weight : (n,)
    label : (n,) int, the centres of the rows
    """

    n: int
    distance: Array
    rows: Array
    weight: Array
    label: NDArray[np.intp]

    def __add__(self, other: Far) -> Far:
        parts = zip(self._parts(), other._parts(), strict=True)
        distance, rows, weight, label = (np.concatenate(pair) for pair in parts)
        return Far(self.n, distance, rows, weight, label).keep_farthest()

    def _parts(self) -> tuple[NDArray[Any], ...]:
        return self.distance, self.rows, self.weight, self.label

    def __radd__(self, other: object) -> Far:
        return self if other == 0 else NotImplemented  # sum() starts from 0

    def keep_farthest(self) -> Far:
        """Return the n rows that are farthest."""
        order = np.argsort(-self.distance, kind="stable")[: self.n]
        return Far(self.n, self.distance[order], self.rows[order], self.weight[order], self.label[order])


def farthest(source: Source, centres: Array, n: int) -> Far:
    """Return the n rows of positive weight that are farthest from their centres."""
    (K, D), scorer = centres.shape, scorer_for(source, unit_spheres(centres), distances=True)

    def collect(block: Block) -> Far:
        present = block.present()
        scores = Scores.empty(len(present.X), K, joint=True)
        scorer.fill(present, scores)
        joint, rows = scores.joint, present.X.astype(np.float64)
        return Far(n, -2.0 * joint.max(axis=1), rows, present.weights(), joint.argmax(axis=1)).keep_farthest()

    return source.reduce(collect, rows_at_once(max(K, D)))


def tolerated_shift(source: Source, tol: float) -> float:
    """Return the squared shift of centres that counts as none: `tol` times the mean variance of the columns.

    One pass about a row will do: of N rows it is at most sqrt(N) standard deviations from the mean.
    """
    if tol == 0:
        return 0.0
    shape = 1, 1, source.n_features
    near = evaluate(source, unit_spheres(some_row(source)), shape, HARD, ignore_labels=True, distances=True)
    total = pooled(near)
    return tol * float(np.mean(total.s2)) / total.sum_w


def squared_distances(source: Source, centres: Array) -> Array:
    """Return the squared distances of all rows to all centres, (N, K)."""
    return 0.0 - 2.0 * score(source, unit_spheres(centres), joint=True, distances=True).joint  # not -0.0
