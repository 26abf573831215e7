"""Put values in the place of missing ones: what a mixture expects of them, or draws from what it says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.model.incomplete import Observed
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.missing import MissingScorer, groups
from fastem.passes.patterns import Patterns
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block

Fill = Callable[[Observed, int, Array, Array, NDArray[np.int32]], Array]


def filled(X: NDArray[Any], params: Params, fill: Fill) -> Array:
    """Return rows (n, D) as float64, whose missing values are those that a function returns for each pattern.

    It is called with the mixtures of a group of patterns, the number of the pattern, what is observed of its rows
    (n_p, V), their responsibilities (n_p, K), and the rows' numbers (n_p,).
    """
    out, n = X.astype(np.float64, order="C"), len(X)  # the bits do not depend on the layout
    scores = Scores.empty(n, params.n_columns, resp=True)
    MissingScorer(params).fill(Block(0, X, None), scores)
    found = Patterns.of(X)
    for group in groups(params, found):
        V = group.mixture.V
        for number, rows in enumerate(group.rows):
            index, features = found.order[rows], group.mixture.features[number]
            observed = out[index[:, None], features[:V]]
            values = fill(group.mixture, number, observed, scores.resp[index], index)
            out[index[:, None], features[V:]] = values
    return out


def expected_rows(X: NDArray[Any], params: Params) -> Array:
    """Return rows (n, D) with the conditional means of what is missing, given what is observed."""
    K = len(params.means)

    def fill(mixture: Observed, number: int, observed: Array, resp: Array, index: NDArray[np.int32]) -> Array:
        each = (resp[:, [k]] * mixture.conditional_means(number, k, observed) for k in range(K))
        expected = sum(each, np.zeros((len(index), mixture.features.shape[1] - mixture.V)))
        if params.noise is None:
            return expected
        middle = params.noise.box.mean(axis=0)[mixture.features[number, mixture.V :]]
        return np.asarray(expected + resp[:, [K]] * middle)

    return filled(X, params, fill)


def drawn_rows(X: NDArray[Any], params: Params, rng: np.random.RandomState) -> Array:
    """Return rows (n, D) with values drawn from the conditional distribution of what is missing.

    Each row takes D + 1 normal draws: so the values do not depend on the blocks in which rows come.
    """
    from scipy.special import ndtr

    draws = rng.standard_normal((len(X), X.shape[1] + 1))
    level = ndtr(draws[:, 0])

    def fill(mixture: Observed, number: int, observed: Array, resp: Array, index: NDArray[np.int32]) -> Array:
        missing = mixture.features[number, mixture.V :]
        component = (np.cumsum(resp, axis=1) < level[index, None]).sum(axis=1).clip(max=resp.shape[1] - 1)
        own, values = draws[index[:, None], 1 + missing], np.empty((len(index), len(missing)))
        for k in np.unique(component):
            rows = component == k
            if k == len(params.means):
                low, high = params.noise.box[:, missing]  # type: ignore[union-attr]
                values[rows] = low + (high - low) * ndtr(own[rows])
            else:
                means = mixture.conditional_means(number, k, observed[rows])
                values[rows] = means + mixture.deviations(number, k, own[rows])
        return values

    return filled(X, params, fill)
