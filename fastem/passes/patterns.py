"""Find the rows that have the same features observed, so that a kernel can do them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.sources.blocks import Block

MOST_KNOWN = 1 << 26  # rows whose patterns are kept: 256 MiB


@dataclass(frozen=True)
class Patterns:
    """The patterns of observed features among some rows, and the rows of each.

    Attributes
    ----------
    order : (n,) int32
        The rows, those of a pattern together and in their order.
    observed : (P, D) bool
        Which features are observed in each pattern. Where it is there, the pattern of complete rows is the first, and
        that of rows of which nothing is observed is the last.
    bounds : (P + 1,) int64
        ``order[bounds[p] : bounds[p + 1]]`` are the rows of pattern p.
    """

    order: NDArray[np.int32]
    observed: NDArray[np.bool_]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, X: NDArray[Any]) -> Patterns:
        """Find the patterns of rows (n, D), in which NaN is missing."""
        missing = np.isnan(X)
        words = _words(missing)
        order = np.lexsort(words.T[::-1]) if words.shape[1] > 1 else np.argsort(words[:, 0], kind="stable")
        words = words[order]
        first = np.flatnonzero(np.concatenate([[True], _differ(words[1:], words[:-1])]))
        return cls(order.astype(np.int32), ~missing[order[first]], np.append(first, len(X)))

    def informative(self, labels: NDArray[Any] | None) -> Patterns:
        """Return the patterns without the rows of which nothing is observed and whose labels, as in a Block, are open.

        Such rows would count for nothing but the pace of EM: they would keep parameters where they are.
        """
        if self.observed[-1].any():
            return self
        start, empty = self.bounds[-2], self.order[self.bounds[-2] :]
        known = are_informative(labels, empty)
        order = np.concatenate([self.order[:start], empty[known]])
        if known.any():
            return Patterns(order, self.observed, np.append(self.bounds[:-1], len(order)))
        return Patterns(order, self.observed[:-1], self.bounds[:-1])

    def groups(self, most: int) -> Iterator[NDArray[np.intp]]:
        """Yield the patterns of which equally many features are observed, at most `most` at a time."""
        n_observed = self.observed.sum(axis=1)
        for number in np.unique(n_observed)[::-1]:
            same = np.flatnonzero(n_observed == number)
            for start in range(0, len(same), most):
                yield same[start : start + most]


def are_informative(labels: NDArray[Any] | None, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return of which rows the labels, as in a Block, tell something."""
    if labels is None:
        return np.zeros(len(rows), np.bool_)
    return np.asarray(labels[rows] >= 0 if labels.ndim == 1 else ~labels[rows].all(axis=1))


class KnownPatterns:
    """The patterns of blocks of the same rows, which each pass needs again: found once, as far as memory permits.

    They take four bytes for each row.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], Patterns] = {}
        self._n_rows = 0

    def of(self, block: Block) -> Patterns:
        """Return the patterns of a block."""
        key = block.start, len(block.X)
        found = self._found.get(key)
        if found is None:
            found = Patterns.of(block.X)
            self._n_rows += len(block.X)
            if self._n_rows <= MOST_KNOWN:
                self._found[key] = found
        return found


def _differ(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows (n, n_words) differ; for one word, `any` along the last axis takes longer than all else."""
    return np.asarray(a[:, 0] != b[:, 0] if a.shape[1] == 1 else (a != b).any(axis=1))


def _words(missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the bits of rows as few numbers, (n, n_words); those of two bytes are sorted in a quarter of the time."""
    packed = np.packbits(missing, axis=1)
    n, n_bytes = packed.shape
    size = next((size for size in (1, 2, 4) if n_bytes <= size), 8)
    padded = np.zeros((n, -(-n_bytes // size) * size), np.uint8)
    padded[:, :n_bytes] = packed
    return padded.view(f">u{size}").astype(f"u{size}")
