"""Where rows come from. A source hands out blocks of rows; the driver hands in what to do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastem.model import Array, Stats


class Block(NamedTuple):
    """Consecutive rows of a source.

    Attributes
    ----------
    start : int, the first row's index in the source
    X : (n, D) float64 or float32, any layout
    weight : (n,) float64, or None: every weight is 1
    """

    start: int
    X: NDArray[Any]
    weight: Array | None


class Source(Protocol):
    """What the driver asks of data; the functions are passed in, so that a source may run them where the rows are.

    Attributes
    ----------
    n_features : int
    n_rows : int
    sum_w : float, the sum of the weights
    dtype : of the rows
    """

    n_features: int
    n_rows: int
    sum_w: float
    dtype: np.dtype[Any]

    def reduce(self, function: Callable[[Block], Stats], rows: int) -> Stats:
        """The sum, in order, of `function` over blocks of `rows` rows (the last may be shorter)."""

    def for_each(self, function: Callable[[Block], None], rows: int) -> None:
        """Call `function` on blocks of `rows` rows, in order."""

    def sample(self, n: int, rng: np.random.RandomState) -> tuple[Array, Array]:
        """About n rows as (n, D) float64 and their weights (n,); all rows of positive weight if there are no more."""


class ArraySource:
    """Rows of an array, in memory or memory-mapped; blocks are views."""

    def __init__(self, X: NDArray[Any], weight: Array | None = None) -> None:
        self.X, self.weight = X, weight
        self.n_rows, self.n_features = X.shape
        self.dtype = X.dtype
        self.sum_w = float(self.n_rows) if weight is None else float(weight.sum())

    def blocks(self, rows: int) -> Iterator[Block]:
        """Views of `rows` rows each, in order."""
        for start in range(0, self.n_rows, rows):
            part = slice(start, start + rows)
            yield Block(start, self.X[part], None if self.weight is None else self.weight[part])

    def reduce(self, function: Callable[[Block], Stats], rows: int) -> Stats:
        """See Source."""
        total: Any = 0
        for block in self.blocks(rows):
            total = total + function(block)
        return total  # type: ignore[no-any-return]

    def for_each(self, function: Callable[[Block], None], rows: int) -> None:
        """See Source."""
        for block in self.blocks(rows):
            function(block)

    def sample(self, n: int, rng: np.random.RandomState) -> tuple[Array, Array]:
        """One row drawn from each of n strata of equal weight, in order: one sweep, no permutation of N rows."""
        if self.n_rows <= n:
            chosen = np.arange(self.n_rows) if self.weight is None else np.flatnonzero(self.weight)
            weight = np.ones(len(chosen)) if self.weight is None else self.weight[chosen]
        else:
            depth = (np.arange(n) + rng.uniform(size=n)) / n
            if self.weight is None:
                chosen = np.minimum((depth * self.n_rows).astype(np.intp), self.n_rows - 1)
            else:
                cumulated = np.cumsum(self.weight)
                below_total = np.nextafter(cumulated[-1], 0)
                chosen = np.searchsorted(cumulated, np.minimum(depth * cumulated[-1], below_total), side="right")
            weight = np.ones(n)
        return self.X[chosen].astype(np.float64, copy=False), weight
