"""Where rows come from. A source hands out blocks of rows; the driver hands in what to do with them.

The driver asks for blocks of a size that depends on the mixture's shape alone, and sums their statistics in order: so
the bits do not depend on where rows come from, nor on the pieces in which they come. An `ArraySource` has its rows at
hand, a `fastem.streams.StreamSource` reads them anew on each pass; what else follows `Source` will do as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.model import Array

BLOCK_BYTES = 4 << 20  # of rows in float64, where a block may be small

T = TypeVar("T")  # what can be added: to 0, and to its like


class Block(NamedTuple):
    """Consecutive rows of a source, valid until the next block is asked for.

    Attributes
    ----------
    start : int, the first row's index in the source
    X : (n, D) float64 or float32, any layout
    weight : (n,) float64, or None: every weight is 1
    labels : the component of each row, (n,) int64, -1 for unknown; or those that it may belong to, (n, K) bool;
        or None: all are unknown
    """

    start: int
    X: NDArray[Any]
    weight: Array | None
    labels: NDArray[Any] | None = None

    def weights(self) -> Array:
        """The weight of each row, (n,)."""
        return np.ones(len(self.X)) if self.weight is None else self.weight

    def present(self) -> Block:
        """Its rows of positive weight: the block itself if all are, else a copy."""
        there = True if self.weight is None else self.weight > 0
        if np.all(there):
            return self
        X, weight, labels = (None if array is None else array[there] for array in self[1:])
        return Block(self.start, X, weight, labels)  # type: ignore[arg-type]


class Sample(NamedTuple):
    """Rows drawn from a source.

    Attributes
    ----------
    X : (n, D) float64
    weight : (n,) float64
    labels : as those of a Block, or None
    """

    X: Array
    weight: Array
    labels: NDArray[Any] | None


class Source(Protocol):
    """What the driver asks of data; the functions are passed in, so that a source may run them where the rows are.

    One whose blocks have labels says so, by an attribute ``labelled`` that is True.

    Attributes
    ----------
    n_features : int
    n_rows : int
    n_present : int, rows of positive weight: a row of weight 0 is absent from all that is made of rows
    sum_w : float, the sum of the weights
    dtype : of the rows
    columns : (D,) array of str, their names, or None
    """

    @property
    def n_features(self) -> int: ...  # noqa: D102
    @property
    def n_rows(self) -> int: ...  # noqa: D102
    @property
    def n_present(self) -> int: ...  # noqa: D102
    @property
    def sum_w(self) -> float: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def columns(self) -> NDArray[Any] | None: ...  # noqa: D102

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """The sum, in order, of `function` over blocks of `rows` rows (the last may be shorter).

        With `grain`, over blocks of as many rows as the source likes, up to `rows`: multiples of `grain`, but the last.
        """

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """Call `function` on blocks of rows, in order; sizes as in `reduce`."""

    def sample(self, n: int, rng: np.random.RandomState) -> Sample:
        """About n rows; all rows of positive weight if there are no more."""


class SourceError(OSError):
    """A block of rows could not be read: the message names the pass over the data, the block and the cause.

    Attributes
    ----------
    result : Result or None
        the last complete iteration of the fit that this ended; None if there was none
    """

    def __init__(self, message: str, result: Any = None) -> None:
        self.result = result
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.result)


class BlockSource(ABC):
    """A source whose rows come one block after the other.

    A subclass sets the attributes of a Source.
    """

    n_features: int
    dtype: np.dtype[Any]
    columns: NDArray[Any] | None
    labelled: bool

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """See Source."""

    @property
    @abstractmethod
    def n_present(self) -> int:
        """See Source."""

    @property
    @abstractmethod
    def sum_w(self) -> float:
        """See Source; by `cumulated`."""

    @abstractmethod
    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """All rows, `rows` at a time, in order."""

    def at_once(self, rows: int, grain: int) -> int:
        """Rows of a block, where any multiple of `grain` up to `rows` will do."""
        return max(grain, rows // grain * grain)

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """See Source."""
        total: Any = 0
        with closing(self.blocks(rows if grain is None else self.at_once(rows, grain))) as blocks:
            for block in blocks:
                total = total + function(block)
        return total  # type: ignore[no-any-return]

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """See Source."""
        with closing(self.blocks(rows if grain is None else self.at_once(rows, grain))) as blocks:
            for block in blocks:
                function(block)

    def sample(self, n: int, rng: np.random.RandomState) -> Sample:
        """One row drawn from each of n strata of equal weight, in order: one sweep, no permutation of N rows."""
        return self.present() if self.n_present <= n else self.drawn(strata(n, self.sum_w, rng))

    def drawn(self, places: Array) -> Sample:
        """The rows at `places`, sums of weights in ascending order, with the weight 1 for each, and their labels."""
        n, done, sum_w = len(places), 0, 0.0
        rows, labels = np.empty((n, self.n_features)), []
        with closing(self.blocks(rows_at_once(self.n_features))) as blocks:
            for block in blocks:
                if block.weight is None:
                    stop = int(np.searchsorted(places, block.start + len(block.X)))
                    chosen = places[done:stop].astype(np.intp) - block.start
                else:
                    weights = cumulated(sum_w, block.weight)
                    sum_w = float(weights[-1])
                    stop = int(np.searchsorted(places, sum_w))
                    chosen = np.searchsorted(weights, places[done:stop], side="right")
                rows[done:stop] = block.X[chosen]
                if block.labels is not None:
                    labels.append(block.labels[chosen])
                done = stop
                if done == n:
                    break
        return Sample(rows, np.ones(n), np.concatenate(labels) if labels else None)

    def present(self) -> Sample:
        """All rows of positive weight."""
        rows, weights, labels = [], [], []
        with closing(self.blocks(rows_at_once(self.n_features))) as blocks:
            for block in blocks:
                there = block.present()
                rows.append(there.X.astype(np.float64))
                weights.append(there.weights())
                if there.labels is not None:
                    labels.append(there.labels)
        return Sample(np.concatenate(rows), np.concatenate(weights), np.concatenate(labels) if labels else None)


class ArraySource(BlockSource):
    """Rows of an array, in memory or memory-mapped; blocks are views."""

    def __init__(
        self,
        X: NDArray[Any],
        weight: Array | None = None,
        columns: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
    ) -> None:
        self.X, self.weight, self.columns, self.labels = X, weight, columns, labels
        self.n_features, self.dtype, self.labelled = X.shape[1], X.dtype, labels is not None
        self._n_present, self._sum_w = len(X), float(len(X))
        if weight is not None:
            self._n_present, self._sum_w, rows = 0, 0.0, rows_at_once(1)
            for start in range(0, len(X), rows):
                part = weight[start : start + rows]
                self._n_present += n_positive(part)
                self._sum_w = float(cumulated(self._sum_w, part)[-1])

    @property
    def n_rows(self) -> int:
        """See Source."""
        return len(self.X)

    @property
    def n_present(self) -> int:
        """See BlockSource."""
        return self._n_present

    @property
    def sum_w(self) -> float:
        """See BlockSource."""
        return self._sum_w

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """See BlockSource."""
        for start in range(0, self.n_rows, rows):
            part = slice(start, start + rows)
            weight, labels = (None if array is None else array[part] for array in (self.weight, self.labels))
            yield Block(start, self.X[part], weight, labels)


def watched(function: Callable[[Block], T], check: Callable[[Block], None]) -> Callable[[Block], T]:
    """The function, for rows that are read anew: `check` looks at a block whose sums are not finite.

    The first pass looks at all values. In later ones NaN, infinity and values that are too large show in the sums, so
    that rows that have changed since then cost nothing to notice.
    """

    def summed(block: Block) -> T:
        sums = function(block)
        if not is_finite(sums):
            check(block)
        return sums

    return summed


def is_finite(sums: Any) -> bool:
    """Whether all numbers are that a function made of a block: an array or an object that holds arrays."""
    values = vars(sums).values() if hasattr(sums, "__dict__") else (sums,)
    floats = (value for value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return all(np.isfinite(value).all() for value in floats)


def cumulated(before: float, weight: Array) -> Array:
    """Sums of `before` and the weights up to each, added one by one: the same bits in whatever blocks they come."""
    return np.cumsum(np.concatenate([[before], weight]))[1:]


def n_positive(weight: Array) -> int:
    """How many weights are not 0."""
    return int(np.count_nonzero(weight > 0))


def all_weights(source: Source) -> Array | None:
    """The weights of all rows of a source, (N,); None if it has none."""
    found: list[Array] = []

    def keep(block: Block) -> None:
        if block.weight is not None:
            found.append(block.weight.copy())

    source.for_each(keep, rows_at_once(source.n_features))
    return np.concatenate(found) if found else None


def strata(n: int, total: float, rng: np.random.RandomState) -> Array:
    """A place drawn in each of n equal parts of [0, total), in ascending order."""
    depth = (np.arange(n) + rng.uniform(size=n)) / n
    return np.asarray(np.minimum(depth * total, np.nextafter(total, 0.0)))


def rows_at_once(n_features: int) -> int:
    """Rows of a block that may have any size."""
    return max(1, BLOCK_BYTES // (8 * n_features))


@dataclass(frozen=True)
class Extent:
    """The range of the values; additive.

    Attributes
    ----------
    low, high : least and largest value, () or, by column, (D,)
    """

    low: Array
    high: Array

    def __add__(self, other: Extent) -> Extent:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Extent(low, high)

    def __radd__(self, other: object) -> Extent:
        return self if other == 0 else NotImplemented  # sum() starts from 0


def extent(source: Source, axis: int | None = None) -> Extent:
    """Of the rows that have a weight, in one pass; by column for axis 0.

    The range of all values bounds that of each column, and takes an eighth of the time.
    """

    def look(block: Block) -> Extent:
        X = block.present().X
        low = X.min(axis=axis, initial=np.inf).astype(np.float64)
        return Extent(low, X.max(axis=axis, initial=-np.inf).astype(np.float64))

    return source.reduce(look, rows_at_once(source.n_features))


def rounding_of(source: Source) -> float:
    """The relative rounding of the rows, by their dtype."""
    return float(np.finfo(source.dtype).eps)


# --- labels -------------------------------------------------------------------------------------------------------


def is_labelled(source: Source) -> bool:
    """Whether the blocks of a source have labels; one that says nothing of them has none."""
    return bool(getattr(source, "labelled", False))


def certain(labels: NDArray[Any]) -> NDArray[np.int64]:
    """The component of each row that may belong to one alone, else -1, (n,); labels as those of a Block."""
    if labels.ndim == 1:
        return labels
    return np.where(np.count_nonzero(labels, axis=1) == 1, labels.argmax(axis=1), -1)


def check_range(labels: NDArray[Any], K: int, first: int) -> None:
    """Refuse labels, as those of a Block, of other components than 0 to K - 1; `first` is the index of the first row.

    A pass does so for each block: a kernel would write beyond its arrays.
    """
    if labels.ndim == 2:
        if labels.shape[1] != K:
            raise ValueError(f"labels with {labels.shape[1]} columns, for {K} components")
        return
    outside = labels >= K
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"labels must lie in -1..{K - 1}, for {K} components; found {labels[row]} in row {first + row}"
        )


@dataclass(frozen=True)
class Known:
    """What the labels of rows that have a weight tell; additive.

    Attributes
    ----------
    mass : (K,) weight of the rows that are known to be of each component
    n_unknown : int, rows that may belong to more than one
    """

    mass: Array
    n_unknown: int

    def __add__(self, other: Known) -> Known:
        return Known(self.mass + other.mass, self.n_unknown + other.n_unknown)

    def __radd__(self, other: object) -> Known:
        return self if other == 0 else NotImplemented  # sum() starts from 0


def known(source: Source, K: int) -> Known:
    """In one pass; ValueError for a label that is beyond K."""

    def look(block: Block) -> Known:
        assert block.labels is not None
        check_range(block.labels, K, block.start)
        labels = certain(block.labels)
        weight = np.ones(len(labels)) if block.weight is None else block.weight
        one = labels >= 0
        mass = np.bincount(labels[one], weight[one], K).astype(np.float64)  # without any row it has integers
        return Known(mass, int(np.count_nonzero(weight[~one])))

    return source.reduce(look, rows_at_once(source.n_features))
