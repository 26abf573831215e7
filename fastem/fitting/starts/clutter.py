"""Find the rows that are no clutter: a fit with noise starts from these."""

from __future__ import annotations

import numpy as np

from fastem.fitting.seeds import distinct_sample, weights_of
from fastem.sources.blocks import ArraySource, Source

CLUTTER_ROWS, NEIGHBOURS = 5000, 10


def without_clutter(source: Source, rng: np.random.RandomState) -> ArraySource:
    """Return a sample of the rows, weighted by the probability that they are no clutter.

    A row in a region of density lambda has its k-th neighbour at a distance whose D-th power, times lambda, has a
    gamma distribution of shape k. EM finds two densities, one of the clutter and one of the rest: Byers &
    Raftery (1998), J. Am. Stat. Assoc. 93, 577-584, eqs. 2-4.
    """
    from scipy.spatial import cKDTree  # a quarter of fastem's own import time
    from scipy.special import expit

    sample = distinct_sample(source, 1, rng, CLUTTER_ROWS)
    X, weight = sample.X, weights_of(sample)
    low, high = X.min(axis=0), X.max(axis=0)
    scaled = (X - low) / np.where(high > low, high - low, 1.0)  # a column may be constant in the sample
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
