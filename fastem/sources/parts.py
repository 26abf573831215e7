"""Rows in parts that lie elsewhere: on the workers of a cluster, or in other processes.

A function is sent to the rows of each part, and runs where they are. Its results (statistics, a sample) come back and
are added pairwise in the order of the parts. So the bits depend on how the rows are cut into parts, but not on how many
machines hold these, nor on which machine ends first. `fastem.sources.dask_source` and `fastem.sources.mpi_source` are
the two kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array
from fastem.sources.blocks import Block, BlockSource, Sample, Source, Uniforms, kind_with, lacks_values, strata
from fastem.sources.weights import check_weight_scale

T = TypeVar("T")
R = TypeVar("R")


class Part(NamedTuple):
    """A part of the rows, where it lies.

    Attributes
    ----------
    number : int
    source : BlockSource, the rows of the part
    first : int, the index of its first row among all rows; 0 until the sizes of the parts are known
    before : float, the sum of the weights of all rows before; 0 until the sizes of the parts are known
    """

    number: int
    source: BlockSource
    first: int = 0
    before: float = 0.0


class Size(NamedTuple):
    """How large a part is.

    Attributes
    ----------
    n_rows : int
    n_present : int, rows of positive weight
    sum_w : float, the sum of the weights
    gaps : bool, whether a value is missing
    """

    n_rows: int
    n_present: int
    sum_w: float
    gaps: bool = False


class PartedSource(ABC):
    """A source whose rows are in parts; see `fastem.sources.blocks.Source`.

    A subclass sets the attributes n_features, dtype and columns.
    """

    n_features: int
    dtype: np.dtype[Any]
    columns: NDArray[Any] | None
    labelled = False
    missing = False
    errors: Any = None
    rows_options: Mapping[str, Any] = MappingProxyType({})
    is_leader = True  # whether this process prints and writes files: one does, of all that run the same fit
    _sizes: list[Size] | None = None  # of the parts; None before the first pass

    @abstractmethod
    def sum_over_parts(self, function: Callable[[Part], T | None]) -> T | None:
        """Run a function where each part lies, and return the sum of its results; see `sum_pairwise`.

        The function can be pickled. It returns None for a part that has nothing to add.
        """

    @abstractmethod
    def local_rows(self) -> BlockSource:
        """Return the rows that lie in this process."""

    def agreed(self, function: Callable[[], T]) -> T:
        """Return the result of a function, the same in all processes that run this fit; see the function `agreed`."""
        return function()

    def check_alike(self, what: str, value: dict[str, Any]) -> None:  # noqa: B027
        """Raise a ValueError unless all processes that run this fit have the same value."""

    def failing_together(self) -> AbstractContextManager[None]:
        """Return a context that all processes leave if one of them fails; see the function `failing_together`."""
        return nullcontext()

    def sizes(self) -> list[Size]:
        """Return the size of each part; the first call is a pass over the rows, which checks all values."""
        if self._sizes is None:
            found = self.sum_over_parts(_measure_part) or []
            if not sum(size.n_rows for size in found):
                raise ValueError("Found array with 0 sample(s): the source has no rows.")
            check_weight_scale(sum(size.sum_w for size in found))
            self._sizes = found
        return self._sizes

    def offsets(self) -> list[tuple[int, float]]:
        """Return the number and the sum of weights of the rows before each part, and last those of all rows."""
        n_rows, _, weights, _ = zip(*self.sizes(), strict=True)
        return list(zip(accumulate(n_rows, initial=0), accumulate(weights, initial=0.0), strict=True))

    @property
    def rows_kind(self) -> str:
        """See Source; by a pass, if rows may have gaps."""
        gaps = self.missing and any(size.gaps for size in self.sizes())
        return kind_with(self.errors is not None, gaps, self.rows_options)

    @property
    def n_rows(self) -> int:
        """See Source; by a pass."""
        return self.offsets()[-1][0]

    @property
    def n_present(self) -> int:
        """See Source; by a pass."""
        return sum(size.n_present for size in self.sizes())

    @property
    def sum_w(self) -> float:
        """See Source; by a pass."""
        return self.offsets()[-1][1]

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """See Source: each part begins a block, and parts are added pairwise."""
        return self.reduce_to(_return_unchanged, function, rows, grain)

    def reduce_to(self, finish: Callable[[T], R], function: Callable[[Block], T], rows: int, grain: int | None) -> R:
        """Return the sum of `finish(sum of a part)` over all parts; see the function `reduce_to`."""
        self.sizes()
        total = self.sum_over_parts(partial(_reduce_part, finish=finish, function=function, rows=rows, grain=grain))
        assert total is not None
        return total

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """Raise a TypeError: results for each row stay where the row lies. Use `local_rows(source)` instead."""
        raise TypeError(
            "rows in parts have no order of their own: only those of local_rows(source) can be gone through"
        )

    def sample(self, n: int, rng: Uniforms) -> Sample:
        """See Source; these are the rows that one source of all rows would give."""
        places = None if self.n_present <= n else strata(n, self.sum_w, rng)
        pieces = self.sum_over_parts(partial(_sample_part, places=places))
        assert pieces is not None
        return Sample.joined(pieces)


def _measure_part(part: Part) -> list[Size]:
    """Return the size of a part, in a list, so that sums are lists."""
    rows = part.source
    return [Size(rows.n_rows, rows.n_present, rows.sum_w, lacks_values(rows))]  # the last after a pass


def _return_unchanged(value: T) -> T:
    return value


def _reduce_part(
    part: Part, finish: Callable[[T], R], function: Callable[[Block], T], rows: int, grain: int | None
) -> R | None:
    if not part.source.n_rows:
        return None

    def placed(block: Block) -> T:
        return function(block._replace(start=part.first + block.start))

    return finish(part.source.reduce(placed, rows, grain))


def _sample_part(part: Part, places: Array | None) -> list[Sample] | None:
    """Return the rows of a part at `places` in the weight of all rows; all rows of positive weight if it is None."""
    if not part.source.n_rows:
        return None
    if places is None:
        return [part.source.present()]
    begin, end = np.searchsorted(places, [part.before, part.before + part.source.sum_w])
    own = np.minimum(places[begin:end] - part.before, np.nextafter(part.source.sum_w, 0.0))
    return [part.source.draw(own)] if len(own) else None


def add(a: T | None, b: T | None) -> T | None:
    """Return a + b, where None counts as nothing."""
    if a is None or b is None:
        return b if a is None else a
    return a + b  # type: ignore[operator, no-any-return]


def sum_pairwise(values: Sequence[T | None]) -> T | None:
    """Return the sum ((a + b) + (c + d)) + ...: neighbours are added, then neighbours among these sums, and so on.

    So the sums of each 2, 4, 8 ... consecutive values can be made in different processes, and the bits of the total
    stay the same. None counts as nothing; the sum of no values is None.
    """
    while len(values) > 1:
        pairs = [add(*values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0] if values else None


# --- functions for any source, in parts or not -----------------------------------------------------------------------


def reduce_to(
    source: Source, finish: Callable[[T], R], function: Callable[[Block], T], rows: int, grain: int | None = None
) -> R:
    """Sum `function` over the blocks of a source, and return `finish` of the sum.

    If the rows are in parts, `finish` is applied to the sum of each part, and its results are added: so what travels
    between machines is as small as `finish` makes it.
    """
    if isinstance(source, PartedSource):
        return source.reduce_to(finish, function, rows, grain)
    return finish(source.reduce(function, rows, grain))


def agreed(source: Source, function: Callable[[], T]) -> T:
    """Call `function` and return its result. In distributed fits, run it on rank 0 and broadcast its result or error.

    All processes that run a fit so take the same decisions and work with the same bits, even if their processors
    compute other last bits.
    """
    agreed_by_all = getattr(source, "agreed", None)  # quicker than isinstance
    return function() if agreed_by_all is None else agreed_by_all(function)


def check_alike(source: Source, what: str, value: Callable[[], dict[str, Any]]) -> None:
    """Raise a ValueError in distributed fits unless `value` returns the same on all ranks; `what` names it."""
    if isinstance(source, PartedSource):
        source.check_alike(what, value())


def is_leader(source: Source) -> bool:
    """Tell whether this process prints and writes files. In distributed fits, rank 0 alone does."""
    return not isinstance(source, PartedSource) or source.is_leader


def failing_together(source: Source) -> AbstractContextManager[None]:
    """Return a context for a fit. In distributed fits, an error on one rank ends the context on all ranks.

    The rank that failed raises its own error, and the others raise a RankError, so that no rank waits for ever.
    """
    return source.failing_together() if isinstance(source, PartedSource) else nullcontext()


def local_rows(source: Source) -> Source:
    """Return the rows that this process scores. In distributed fits, these are the rank's own; else all rows."""
    return source.local_rows() if isinstance(source, PartedSource) else source
