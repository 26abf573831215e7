"""Score all rows of a source under a mixture: densities, labels, responsibilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.model.given import check_params
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.opening import find_source
from fastem.sources.parts import local_rows


def log_density(X: ArrayLike, params: Params) -> Array:
    """Return the log density of a mixture at each row.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
        The rows, float64 or float32; others are converted to float64.
    params : Params

    Returns
    -------
    (N,) float64
        -inf where the density underflows under every component.

    Raises
    ------
    ValueError
        If rows or parameters are not finite or do not fit together.

    See Also
    --------
    GaussianMixture.score_samples : the same for a fitted model
    accumulate : statistics of the rows for `m_step`, and their summed log density
    fastem.embed.log_density : the same at one point, in your own compiled code

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([1.0], [[0.0]], [[[1.0]]])
    >>> fastem.log_density([[0.0], [2.0]], params).round(3)
    array([-0.919, -2.919])
    """
    check_params(params)
    gaussian = type(params) is Params  # others are for complete rows without errors
    source = find_source(X, n_features=params.means.shape[1], takes_gaps=gaussian, with_errors=gaussian)
    return score(source, params, density=True).density


def score(source: Source, params: Params, *, distances: bool = False, **wanted: Any) -> Scores:
    """Return the scores of all rows of a source; `wanted` as in `Scores.empty`, `distances` as in `scorer_for`."""
    source, K = local_rows(source), len(params.means) if distances else params.n_columns
    scores = Scores.empty(source.n_rows, K, **wanted)
    scorer = scorer_for(source, params, distances=distances)

    def fill(block: Block) -> None:
        rows = slice(block.start, block.start + len(block.X))
        scorer.fill(block, Scores._make(out[rows] for out in scores))

    source.for_each(fill, scorer.slice_rows, scorer.block_rows)
    return scores


def mean_density(source: Source, params: Params) -> tuple[float, float]:
    """Return the weighted mean of the rows' log densities, and the sum of the weights."""
    scorer = scorer_for(source, params)

    def add(block: Block) -> Array:
        present = block.present()  # 0 times -inf would be NaN
        n, weight = len(present.X), present.weight
        scores = Scores.empty(n, 0, density=True)
        scorer.fill(present, scores)
        if weight is None:
            return np.array([scores.density.sum(), n])
        return np.array([(weight * scores.density).sum(), weight.sum()])

    total, sum_w = source.reduce(add, rows_at_once(source.n_features))
    return float(total / sum_w), float(sum_w)
