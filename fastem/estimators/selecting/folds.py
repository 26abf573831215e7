"""Folds of rows for cross-validation: the fold of each row, and sources of all rows but those of a fold."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Set
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.sources.blocks import (
    ArraySource,
    Block,
    BlockSource,
    Source,
    cumulated,
    kind_of_rows,
    n_positive,
    rows_at_once,
)
from fastem.sources.scans import all_weights


def deal(cv: Any, source: Source, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, (N,); each has rows of positive weight, and rows of weight 0 change nothing."""
    N, n_present = source.n_rows, source.n_present
    weight = None if n_present == N else all_weights(source)
    present = np.ones(N, dtype=bool) if weight is None else weight > 0
    folds = np.asarray(cv)
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool) and 2 <= cv <= n_present:
        folds = np.zeros(N, dtype=np.int64)
        folds[present] = np.random.RandomState(seed).permutation(n_present) % int(cv)
    if folds.dtype.kind not in "iu" or folds.shape != (N,) or len(np.unique(folds[present])) < 2:
        raise ValueError(
            f"cv must be an int in [2, {n_present}], or the fold of each of the {N} rows, integers of two values or "
            f"more; got {cv!r:.60}"
        )
    return np.where(present, folds, folds[present][0])


def is_mapped(array: Any) -> bool:
    """Return whether an array is a view of a memory map."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


class Rows(NamedTuple):
    """A source, and partitions of its rows to start from, by the number of components; None if there are none."""

    source: Source
    partitions: dict[int, NDArray[Any]] | None

    def part(self, keep: NDArray[np.bool_]) -> Rows:
        """Return the rows that are to be kept, (N,) bool.

        Rows in memory are copied; of other sources all rows are read, and those that are not kept have weight 0.
        """
        source, partitions = self
        if isinstance(source, ArraySource) and not is_mapped(source.X):
            kept = Block(0, source.X, source.weight, source.labels).take(keep)
            own = partitions and {K: labels[keep] for K, labels in partitions.items()}
            return Rows(ArraySource(*kept[1:3], source.columns, kept.labels, source.rows_kind), own)
        if not isinstance(source, BlockSource):
            raise ValueError(f"criterion='cv' needs rows that come block by block; got a {type(source).__name__}")
        return Rows(Masked(source, keep), partitions)


def checked(partitions: Mapping[int, ArrayLike], sizes: Set[int]) -> dict[int, NDArray[Any]]:
    """Return a partition for each number of components as an array, (N,) (`moments` checks what is in it)."""
    if not isinstance(partitions, Mapping):
        raise TypeError(
            f"partitions must map each number of components to labels of the rows, as {{2: labels}} does; got "
            f"{type(partitions).__name__}"
        )
    missing = sorted(sizes - partitions.keys())
    if missing:
        raise ValueError(f"partitions must have one for each number of components; there is none for {missing[0]}")
    return {K: np.asarray(partitions[K]) for K in sizes}


class Masked(BlockSource):
    """A source whose rows have weight 0 unless they are to be kept."""

    def __init__(self, source: BlockSource, keep: NDArray[np.bool_]) -> None:
        self.source, self.keep, self.n_features = source, keep, source.n_features
        self.dtype, self.columns, self.rows_kind = source.dtype, source.columns, kind_of_rows(source)
        self._counted: tuple[int, float] | None = None

    @property
    def n_rows(self) -> int:
        """The number of rows, as in `Source`."""
        return self.source.n_rows

    @property
    def n_present(self) -> int:
        """The number of rows of positive weight, as in `BlockSource`, which takes a pass."""
        return self._counts()[0]

    @property
    def sum_w(self) -> float:
        """The sum of weights, as in `BlockSource`, which takes a pass."""
        return self._counts()[1]

    def _counts(self) -> tuple[int, float]:
        """Return `n_present` and `sum_w`, by a pass the first time."""
        if self._counted is None:
            n_present, sum_w = 0, 0.0
            for block in self.blocks(rows_at_once(self.n_features)):
                weight = np.asarray(block.weight)
                n_present, sum_w = n_present + n_positive(weight), float(cumulated(sum_w, weight)[-1])
            self._counted = n_present, sum_w
        return self._counted

    def at_once(self, rows: int, grain: int) -> int:
        """Return how many rows a task takes, as `BlockSource` does."""
        return self.source.at_once(rows, grain)

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """Give the blocks of all rows, with their weights, as `BlockSource` does."""
        with closing(self.source.blocks(rows)) as blocks:
            for block in blocks:
                kept = self.keep[block.start : block.start + len(block.X)].astype(np.float64)
                yield block._replace(weight=kept if block.weight is None else kept * block.weight)
