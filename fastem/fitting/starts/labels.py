"""The start from rows whose component is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.degenerate import rows_needed
from fastem.fitting.lloyd import squared_distances
from fastem.fitting.seeds import SEED_ROWS, draw_indices
from fastem.fitting.starts.beginning import Beginning
from fastem.kernels.mixture import HARD, LABELS
from fastem.model.matrices import Array
from fastem.model.maximisation import GaussianModel
from fastem.model.params import unit_spheres
from fastem.passes.statistics import evaluate, moments_about_means
from fastem.sources.blocks import ArraySource, Source
from fastem.sources.parts import agreed

LABELLED_LLOYD = 10  # steps of k-means among rows whose labels it keeps to


def from_labels(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return the statistics of the rows whose component is known; if one has too few, those of k-means as well.

    Then components with such rows have a centre at their mean, and the others get one by k-means++ and a few steps of
    k-means on a sample. All rows are assigned to these centres, but labels hold: the constrained
    k-means of Basu, Banerjee & Mooney (2002), Semi-supervised clustering by seeding, ICML.
    """
    shape = model.moments_shape(K, source.n_features)
    stats = moments_about_means(source, K, shape, LABELS)
    seeded, centres = stats.s0 > 0, stats.origin
    row = min(1.0, source.sum_w / source.n_present)  # weights that sum to 1 are no counts
    if (stats.s0 >= 2 * row * rows_needed(model, source.n_features)[1]).all():
        return Beginning(stats)
    if not seeded.all():
        found = unlabelled_centres(source, centres, seeded, rng)
        centres = agreed(source, lambda: found)
    return Beginning(evaluate(source, unit_spheres(centres), shape, HARD, distances=True))


def unlabelled_centres(source: Source, centres: Array, seeded: NDArray[np.bool_], rng: np.random.RandomState) -> Array:
    """Return the centres (K, D), with those that are not `seeded` moved by k-means, as far as labels allow."""
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
        candidates = draw_indices(far if far.any() else mass, 2 + int(np.log(len(centres))), rng)
        distances = np.minimum(nearest[:, None], squared_distances(ArraySource(X), X[candidates]))
        best = np.argmin(weight @ distances)
        centres[k], nearest = X[candidates[best]], distances[:, best]
    sample = ArraySource(X, weight, labels=labels)
    for _ in range(LABELLED_LLOYD):
        stats = evaluate(sample, unit_spheres(centres), mode=HARD, second_moments=False, distances=True)
        moving = ~seeded & (stats.s0 > 0)
        centres[moving] += stats.s1[moving] / stats.s0[moving, None]
    if labels.ndim == 1:  # those without a label are alike: numbered by their first coordinate
        free = centres[~seeded]
        centres[~seeded] = free[np.lexsort(free.T[::-1])]
    return centres


def labelled_sample(source: Source, K: int, rng: np.random.RandomState) -> tuple[Array, Array, NDArray[Any]]:
    """Return a sample of rows in lexicographic order, their weights and labels."""
    X, weight, labels = source.sample(max(SEED_ROWS, 50 * K), rng)
    assert labels is not None
    order = np.lexsort(np.column_stack([X, labels]).T[::-1])
    return X[order], weight[order], labels[order]
