"""Rows in parts that lie elsewhere: in a cluster's workers, in other processes.

What is done to the rows of a part is done where they are; what comes back is what it makes of them (statistics, a
sample), summed pairwise in the order of the parts. So the bits depend on the parts, and on nothing else: not on how
many machines hold them, nor on which of them is first. `fastem.sources.dask_source` and `fastem.sources.mpi_source`
are the two kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array
from fastem.sources.blocks import Block, BlockSource, Sample, Source, strata
from fastem.sources.weights import check_weight_scale

T = TypeVar("T")
R = TypeVar("R")


class Part(NamedTuple):
    """A part of the rows, where it lies.

    Attributes
    ----------
    number : int
    source : BlockSource, of its rows
    first : int, index of its first row among all rows; 0 as long as sizes are unknown
    before : float, the weight of the rows before
    """

    number: int
    source: BlockSource
    first: int = 0
    before: float = 0.0


class Size(NamedTuple):
    """How large a part is: the number of its rows, of those of positive weight, and their weight."""

    n_rows: int
    n_present: int
    sum_w: float


class PartedSource(ABC):
    """A source whose rows are in parts; see `fastem.sources.blocks.Source`.

    A subclass sets the attributes n_features, dtype and columns.
    """

    n_features: int
    dtype: np.dtype[Any]
    columns: NDArray[Any] | None
    labelled = False
    leads = True  # whether it is for this process to print and to write files
    _sizes: list[Size] | None = None  # of the parts

    @abstractmethod
    def total(self, function: Callable[[Part], T | None]) -> T | None:
        """The sum, `pairwise`, of what a function that can be pickled makes of each part, where the part lies."""

    @abstractmethod
    def here(self) -> BlockSource:
        """The rows that lie in this process, whose scores it is asked for."""

    def agree(self, function: Callable[[], T]) -> T:
        """What a function returns: the same in all processes that drive this fit (see `agreed`)."""
        return function()

    def check_alike(self, what: str, value: dict[str, Any]) -> None:  # noqa: B027
        """ValueError unless all processes that drive this fit have the same value."""

    def together(self) -> AbstractContextManager[None]:
        """A context out of which an error in one process that drives the fit leads all of them."""
        return nullcontext()

    def sizes(self) -> list[Size]:
        """Of each part; the first pass, which looks at all values."""
        if self._sizes is None:
            found = self.total(_size) or []
            if not sum(size.n_rows for size in found):
                raise ValueError("Found array with 0 sample(s): the source has no rows.")
            check_weight_scale(sum(size.sum_w for size in found))
            self._sizes = found
        return self._sizes

    def starts(self) -> list[tuple[int, float]]:
        """Of each part the number of rows before it and their weight; and of the end."""
        n_rows, _, weights = zip(*self.sizes(), strict=True)
        return list(zip(accumulate(n_rows, initial=0), accumulate(weights, initial=0.0), strict=True))

    @property
    def n_rows(self) -> int:
        """See Source; by a pass."""
        return self.starts()[-1][0]

    @property
    def n_present(self) -> int:
        """See Source; by a pass."""
        return sum(size.n_present for size in self.sizes())

    @property
    def sum_w(self) -> float:
        """See Source; by a pass."""
        return self.starts()[-1][1]

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """See Source: each part begins a block, and parts are added pairwise."""
        return self.reduce_to(_itself, function, rows, grain)

    def reduce_to(self, finish: Callable[[T], R], function: Callable[[Block], T], rows: int, grain: int | None) -> R:
        """The same, of what `finish` makes of each part's sum."""
        self.sizes()
        total = self.total(partial(_reduce, finish=finish, function=function, rows=rows, grain=grain))
        assert total is not None
        return total

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """None: what is made of each row belongs to the rows' own process; take `here` of a source first."""
        raise TypeError("rows in parts have no order of their own: only those of here(source) can be gone through")

    def sample(self, n: int, rng: np.random.RandomState) -> Sample:
        """See Source: the rows that one source of all parts would give."""
        places = None if self.n_present <= n else strata(n, self.sum_w, rng)
        pieces = self.total(partial(_sample, places=places))
        assert pieces is not None
        return Sample.joined(pieces)


def _size(part: Part) -> list[Size]:
    return [Size(part.source.n_rows, part.source.n_present, part.source.sum_w)]


def _itself(value: T) -> T:
    return value


def _reduce(
    part: Part, finish: Callable[[T], R], function: Callable[[Block], T], rows: int, grain: int | None
) -> R | None:
    if not part.source.n_rows:
        return None

    def placed(block: Block) -> T:
        return function(block._replace(start=part.first + block.start))

    return finish(part.source.reduce(placed, rows, grain))


def _sample(part: Part, places: Array | None) -> list[Sample] | None:
    """The part's rows at places in the weight of all rows; all that have a weight if places are None."""
    if not part.source.n_rows:
        return None
    if places is None:
        return [part.source.present()]
    begin, end = np.searchsorted(places, [part.before, part.before + part.source.sum_w])
    own = np.minimum(places[begin:end] - part.before, np.nextafter(part.source.sum_w, 0.0))
    return [part.source.drawn(own)] if len(own) else None


def add(a: T | None, b: T | None) -> T | None:
    """Their sum; None is nothing."""
    if a is None or b is None:
        return b if a is None else a
    return a + b  # type: ignore[operator, no-any-return]


def pairwise(values: Sequence[T | None]) -> T | None:
    """The sum ((a + b) + (c + d)) + ...: of neighbours, then of neighbours among these.

    Sums of each 2, 4, 8 ... values in turn are parts of it, whoever makes them.
    """
    while len(values) > 1:
        pairs = [add(*values[i : i + 2]) for i in range(0, len(values) - 1, 2)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0] if values else None


# --- for the driver, of any source --------------------------------------------------------------------------------


def reduce_to(
    source: Source, finish: Callable[[T], R], function: Callable[[Block], T], rows: int, grain: int | None = None
) -> R:
    """`finish` of the sum of `function` over blocks; where rows are in parts the sum of `finish` of each part's.

    So what travels between machines is as small as `finish` makes it.
    """
    if isinstance(source, PartedSource):
        return source.reduce_to(finish, function, rows, grain)
    return finish(source.reduce(function, rows, grain))


def agreed(source: Source, function: Callable[[], T]) -> T:
    """What a function returns (or raises), where several processes drive a fit that of the first of them, for all.

    So a decision is one decision, and numbers that processors compute differently in the last bits are the same.
    """
    agree = getattr(source, "agree", None)  # quicker than isinstance
    return function() if agree is None else agree(function)


def check_alike(source: Source, what: str, value: Callable[[], dict[str, Any]]) -> None:
    """ValueError if processes that drive one fit disagree in what `value` returns; `what` that is."""
    if isinstance(source, PartedSource):
        source.check_alike(what, value())


def is_leader(source: Source) -> bool:
    """Whether it is for this process, of all that drive a fit, to print and to write files."""
    return not isinstance(source, PartedSource) or source.leads


def failing_together(source: Source) -> AbstractContextManager[None]:
    """A context out of which an error in one process leads all that drive a fit."""
    return source.together() if isinstance(source, PartedSource) else nullcontext()


def local_rows(source: Source) -> Source:
    """The rows of a source whose scores this process is asked for."""
    return source.here() if isinstance(source, PartedSource) else source
