"""Folds of rows for cross-validation: which rows are in which, and sources of all but one of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.sources.blocks import ArraySource, Block, BlockSource, Source, cumulated, rows_at_once


def deal(cv: Any, N: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, (N,)."""
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool) and 2 <= cv <= N:
        return np.random.RandomState(seed).permutation(N) % int(cv)
    folds = np.asarray(cv)
    if folds.dtype.kind not in "iu" or folds.shape != (N,) or len(np.unique(folds)) < 2:
        raise ValueError(
            f"cv must be an int in [2, {N}], or the fold of each of the {N} rows, integers of two values or more; got "
            f"{cv!r:.60}"
        )
    return folds


class Rows(NamedTuple):
    """A source, and partitions of its rows to start from, by the number of components."""

    source: Source
    partitions: dict[int, NDArray[Any]] | None

    def part(self, keep: NDArray[np.bool_]) -> Rows:
        """Those of its rows that are to be kept: a copy if they are in memory, else all, with weight 0 for others."""
        source, partitions = self
        if isinstance(source, ArraySource) and not isinstance(source.X, np.memmap):
            weight = None if source.weight is None else source.weight[keep]
            own = partitions and {K: labels[keep] for K, labels in partitions.items()}
            return Rows(ArraySource(source.X[keep], weight, source.columns), own)
        if not isinstance(source, BlockSource):
            raise ValueError(f"criterion='cv' needs rows that come block by block; got a {type(source).__name__}")
        return Rows(Masked(source, keep), partitions)


class Masked(BlockSource):
    """A source with weight 0 for the rows that are not to be kept."""

    def __init__(self, source: BlockSource, keep: NDArray[np.bool_]) -> None:
        self.source, self.keep, self.n_features = source, keep, source.n_features
        self.dtype, self.columns = source.dtype, source.columns
        self._sum_w: float | None = None

    @property
    def n_rows(self) -> int:
        """See Source."""
        return self.source.n_rows

    @property
    def sum_w(self) -> float:
        """See BlockSource."""
        if self._sum_w is None:
            self._sum_w = 0.0
            for block in self.blocks(rows_at_once(self.n_features)):
                self._sum_w = float(cumulated(self._sum_w, np.asarray(block.weight))[-1])
        return self._sum_w

    def at_once(self, rows: int, grain: int) -> int:
        """See BlockSource."""
        return self.source.at_once(rows, grain)

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """See BlockSource."""
        with closing(self.source.blocks(rows)) as blocks:
            for block in blocks:
                kept = self.keep[block.start : block.start + len(block.X)].astype(np.float64)
                yield block._replace(weight=kept if block.weight is None else kept * block.weight)
