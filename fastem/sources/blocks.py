"""Describes sources. A source hands out blocks of rows, and the caller passes the function to run on each block.

Callers ask for blocks of a size that depends on the mixture's shape alone, and sum their statistics in order: so the
bits do not depend on where rows come from, nor on the pieces in which they are stored. An `ArraySource` has its rows in
memory, a `fastem.sources.streams.StreamSource` reads them anew on each pass; any other object that follows `Source`
will do too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array

BLOCK_BYTES = 4 << 20  # of rows in float64, in blocks whose size the caller does not care about

T = TypeVar("T")  # values that can be added to 0 and to each other


class Block(NamedTuple):
    """Consecutive rows of a source, valid until the next block is asked for.

    Attributes
    ----------
    start : int, the first row's index in the source
    X : (n, D) float64 or float32, any layout
    weight : (n,) float64; None if every weight is 1
    labels : (n,) int64, the component of each row, -1 for unknown; or (n, K) bool, the components that each row may
        belong to; None if all are unknown
    errors : (n, D) float64, the variances of the errors of measurement, or (n, D, D), their covariances; None if rows
        have no errors, or all the same
    """

    start: int
    X: NDArray[Any]
    weight: Array | None
    labels: NDArray[Any] | None = None
    errors: Array | None = None

    def take(self, index: slice | NDArray[Any]) -> Block:
        """Return a block of the rows that `index` chooses: views for a slice, else copies. `start` stays as it is.

        All code that chooses rows calls this method, so that a new column is cut together with the others.
        """
        columns: Any = (None if column is None else column[index] for column in self[1:])
        return Block(self.start, *columns)

    def copy_to(self, buffer: Block) -> None:
        """Copy the rows into the arrays of a block of as many rows, which has the same columns."""
        for column, copy in zip(self[1:], buffer[1:], strict=True):
            if column is not None and copy is not None:
                copy[...] = column

    def weights(self) -> Array:
        """Return the weight of each row, (n,)."""
        return np.ones(len(self.X)) if self.weight is None else self.weight

    def present(self) -> Block:
        """Return the rows of positive weight: the block itself if all are, else a copy."""
        positive = True if self.weight is None else self.weight > 0
        return self if np.all(positive) else self.take(np.asarray(positive))

    def to_sample(self) -> Sample:
        """Return a copy of the rows, which stays valid when the next block is asked for; without their errors."""
        labels = None if self.labels is None else self.labels.copy()
        return Sample(self.X.astype(np.float64), self.weights().copy(), labels)


class Sample(NamedTuple):
    """Rows drawn from a source.

    Attributes
    ----------
    X : (n, D) float64
    weight : (n,) float64
    labels : as in a Block
    """

    X: Array
    weight: Array
    labels: NDArray[Any] | None

    @classmethod
    def joined(cls, samples: Sequence[Sample]) -> Sample:
        """Return the rows of several samples, one after the other."""
        if len(samples) == 1:
            return samples[0]
        X, weight, *others = (
            None if column[0] is None else np.concatenate(column) for column in zip(*samples, strict=True)
        )
        return cls(X, weight, *others)  # type: ignore[arg-type]


class Uniforms(Protocol):
    """What a sample is drawn with: a RandomState, for one."""

    def uniform(self, *, size: int) -> Any:
        """Return numbers in [0, 1), (size,)."""


class SameDraw(NamedTuple):
    """Give one number as all draws. (A RandomState takes 80 us to make, even for one draw.)"""

    value: float

    def uniform(self, *, size: int) -> Array:
        """See Uniforms."""
        return np.full(size, self.value)


class Source(Protocol):
    """What passes and fits ask of rows. Functions are passed in, so that a source may run them where the rows are.

    A source whose blocks have labels has an attribute ``labelled`` that is True. One whose rows may have gaps, where
    values are NaN, has an attribute ``missing`` that is True. One whose rows are not handled as complete rows are has
    an attribute ``rows_kind``, a key of `fastem.passes.kinds.KINDS`, and may have ``rows_options``, a dict of what is
    known of all rows. One whose rows stay in memory may have ``notes``, a dict in which passes keep what they have
    found out.

    Attributes
    ----------
    n_features : int
    n_rows : int
    n_present : int, rows of positive weight; a row of weight 0 changes no result
    sum_w : float, the sum of the weights
    dtype : of the rows
    columns : (D,) array of str, the names of the columns; None if they have no names
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
        """Return the sum, in order, of `function` over blocks of `rows` rows; the last block may be shorter.

        With `grain`, blocks have as many rows as the source likes: multiples of `grain` up to `rows`, except the last.
        """

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """Call `function` on blocks of rows, in order; sizes as in `reduce`."""

    def sample(self, n: int, rng: Uniforms) -> Sample:
        """Draw about n rows; return all rows of positive weight if there are no more than n."""


class SourceError(OSError):
    """A block of rows could not be read. The message names the pass over the data, the block and the cause.

    Attributes
    ----------
    result : Result or None
        the last complete iteration of the fit that the error ended; None if no iteration was complete

    See Also
    --------
    as_source : Makes the sources whose rows are read.
    RankError : Another rank of MPI failed.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> def blocks():
    ...     yield np.arange(20.0).reshape(10, 2)
    ...     raise OSError("the disk is gone")
    >>> try:
    ...     fastem.GaussianMixture(2).fit(blocks)
    ... except fastem.SourceError as error:
    ...     print(error)
    pass 1 over the data: block 1 could not be read (OSError: the disk is gone)
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
    rows_kind: str
    rows_options: Mapping[str, Any] = MappingProxyType({})

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
        """See Source; added as `cumulated` does."""

    @abstractmethod
    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """Yield all rows, `rows` at a time, in order."""

    def at_once(self, rows: int, grain: int) -> int:
        """Return the rows of a block where any multiple of `grain` up to `rows` will do."""
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

    def sample(self, n: int, rng: Uniforms) -> Sample:
        """Draw a row from each of n strata of equal weight, in order: in one pass, without a permutation of N rows."""
        return self.present() if self.n_present <= n else self.draw(strata(n, self.sum_w, rng))

    def draw(self, places: Array) -> Sample:
        """Return the rows at `places`, with the weight 1 for each, and their labels.

        `places` are sums of weights in ascending order: a row lies between the weight of the rows before it and that
        weight plus its own.
        """
        done, sum_w, samples = 0, 0.0, []
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
                samples.append(block.take(chosen)._replace(weight=None).to_sample())
                done = stop
                if done == len(places):
                    break
        sample = Sample.joined(samples)
        return sample._replace(X=np.ascontiguousarray(sample.X))  # whatever the layout of the source's rows

    def present(self) -> Sample:
        """Return all rows of positive weight."""
        with closing(self.blocks(rows_at_once(self.n_features))) as blocks:
            return Sample.joined([block.present().to_sample() for block in blocks])


class ArraySource(BlockSource):
    """Rows of an array, in memory or memory-mapped; blocks are views."""

    def __init__(
        self,
        X: NDArray[Any],
        weight: Array | None = None,
        columns: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        rows_kind: str = "complete",
        errors: Array | None = None,
    ) -> None:
        if weight is not None and (weight == 1).all():
            weight = None  # passes are then quicker, and their bits the same
        self.X, self.weight, self.columns, self.labels = X, weight, columns, labels
        self.n_features, self.dtype, self.labelled = X.shape[1], X.dtype, labels is not None
        self.rows_kind, self.notes = rows_kind, dict[str, Any]()
        self.errors = errors
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
        rows_of_all = Block(0, self.X, self.weight, self.labels, self.errors)
        if 0 < self.n_rows <= rows:
            yield rows_of_all
            return
        for start in range(0, self.n_rows, rows):
            yield rows_of_all.take(slice(start, start + rows))._replace(start=start)


def cumulated(before: float, weight: Array) -> Array:
    """Return `before` plus the sum of the weights up to each, (n,).

    Weights are added one by one, so that the bits do not depend on the blocks in which they come.
    """
    return np.cumsum(np.concatenate([[before], weight]))[1:]


def n_positive(weight: Array) -> int:
    """Count the weights that are not 0."""
    return int(np.count_nonzero(weight > 0))


def strata(n: int, total: float, rng: Uniforms) -> Array:
    """Draw a number from each of n equal parts of [0, total), in ascending order, (n,)."""
    depth = (np.arange(n) + rng.uniform(size=n)) / n
    return np.asarray(np.minimum(depth * total, np.nextafter(total, 0.0)))


def rows_at_once(n_features: int) -> int:
    """Return the number of rows of a block whose size the caller does not care about."""
    return max(1, BLOCK_BYTES // (8 * n_features))


def kind_of_rows(source: Source) -> str:
    """Return the kind of rows of a source: a key of `fastem.passes.kinds.KINDS`."""
    return getattr(source, "rows_kind", "complete")


def options_of_rows(source: Source) -> Mapping[str, Any]:
    """Return what is known of all rows of a source, as arguments of what handles them."""
    return getattr(source, "rows_options", {})


def kind_with(errors: bool, gaps: bool, options: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the kind of rows that have errors, each its own, or gaps; `options` tell of errors that all share."""
    if "error_covariance" in options:
        return "one error"
    return ("errors and gaps" if gaps else "errors") if errors else "missing" if gaps else "complete"


def lacks_values(source: Source) -> bool:
    """Tell whether values are missing in rows of a source."""
    return kind_of_rows(source) in ("missing", "errors and gaps")


def rounding_of(source: Source) -> float:
    """Return the relative rounding error of numbers of the rows' dtype."""
    return float(np.finfo(source.dtype).eps)
