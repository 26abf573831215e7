"""Starts from one row in each component."""

from __future__ import annotations

import numpy as np

from fastem.fitting.seeds import distinct_sample, draw_distinct_rows, draw_seeds
from fastem.fitting.starts.beginning import Beginning
from fastem.model.matrices import Array
from fastem.model.maximisation import GaussianModel
from fastem.model.stats import Stats
from fastem.sources.blocks import Source


def from_seeds(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return statistics with one row, chosen by k-means++, in each component."""
    return Beginning(one_row_each(draw_seeds(distinct_sample(source, K, rng), K, rng), model))


def from_rows(source: Source, K: int, model: GaussianModel, rng: np.random.RandomState) -> Beginning:
    """Return statistics with one row, drawn at random, in each component; no row twice, if there are enough."""
    return Beginning(one_row_each(draw_distinct_rows(distinct_sample(source, K, rng), K, rng), model))


def one_row_each(rows: Array, model: GaussianModel) -> Stats:
    """Return statistics of K components with one row each; their M-step has weights 1/K and covariances 0."""
    s2 = np.zeros(model.moments_shape(*rows.shape))
    return Stats(np.nan, np.nan, np.nan, np.ones(len(rows)), np.zeros_like(rows), s2, rows, len(rows))
