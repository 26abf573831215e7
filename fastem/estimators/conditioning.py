"""The mixture of targets, given the features that rows have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.analysis.marginals import Conditional, marginalise
from fastem.model.params import Params
from fastem.passes.patterns import Patterns
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.opening import may_have_gaps

Fill = Callable[[Conditional, NDArray[Any], NDArray[np.intp]], None]


def for_each_pattern(source: Source, params: Params, fill: Fill, n_samples: int = 1) -> None:
    """Call `fill` with the mixture of the targets given some features, rows of these features, and the rows' numbers.

    Parameters
    ----------
    source : Source of rows (N, V), in which values may be missing
    params : Params of the features and, behind them, the targets
    fill : function
    n_samples : int, how many numbers `fill` makes for each row and target
    """
    V, D = source.n_features, params.means.shape[1]

    def given(observed: NDArray[np.bool_]) -> Conditional:
        features = np.flatnonzero(observed)
        part = marginalise(params, np.concatenate([features, np.arange(V, D)]))
        return Conditional.given_features(part, np.arange(len(features)))

    whole = Conditional.given_features(params, np.arange(V))

    def each(block: Block) -> None:
        rows = block.start + np.arange(len(block.X))
        if not may_have_gaps(source):
            fill(whole, block.X, rows)
            return
        gaps = Patterns.of(block.X)
        for observed, start, stop in zip(gaps.observed, gaps.bounds[:-1], gaps.bounds[1:], strict=True):
            own = gaps.order[start:stop]
            fill(given(observed), block.X[own][:, observed], rows[own])

    source.for_each(each, rows_at_once(len(whole.means) * (D + n_samples)))
