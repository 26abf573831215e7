"""The start from k-means."""

from __future__ import annotations

import numpy as np

from fastem.fitting.centres import move_centres
from fastem.fitting.lloyd import run_lloyd, tolerated_shift
from fastem.fitting.seeds import MANY, distinct_sample, draw_seeds
from fastem.fitting.starts.beginning import Beginning
from fastem.kernels.mixture import HARD
from fastem.model.maximisation import GaussianModel
from fastem.model.params import unit_spheres
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import Source
from fastem.sources.parts import agreed

MAX_LLOYD, TOL = 300, 1e-4  # most iterations and tolerance of k-means


def from_kmeans(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return the statistics of the clusters of k-means, whose centres move where that helps.

    k-means runs on at most max(50,000, 50 K) rows; then all rows are assigned to its centres.

    Components are numbered by their centres' first coordinate (then the second, ...), so that the seed does not matter.
    """
    sample = distinct_sample(source, K, rng)
    tolerated = tolerated_shift(sample, TOL)
    centres = draw_seeds(sample, K, rng)
    if K < MANY:  # moves of many begin at once, and have steps of k-means between them
        centres = run_lloyd(sample, centres, tolerated, MAX_LLOYD).centres
    centres = move_centres(sample, centres, tolerated, MAX_LLOYD)
    centres = agreed(source, lambda: centres[np.lexsort(centres.T[::-1])])
    shape = model.moments_shape(K, source.n_features)
    return Beginning(evaluate(source, unit_spheres(centres), shape, HARD, distances=True))
