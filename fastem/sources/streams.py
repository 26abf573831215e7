"""The source of rows that are read anew on each pass."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from fastem.sources.blocks import Block, BlockSource, SourceError, cumulated, kind_with, n_positive, rows_at_once
from fastem.sources.errors import check_error_values
from fastem.sources.labels import check_label_values
from fastem.sources.readers import Reader
from fastem.sources.rows import check_again, check_finite, has_gaps, warn_of_rounding
from fastem.sources.scans import check_if_not_finite
from fastem.sources.weights import check_again_weights, check_weight_scale, check_weight_values

T = TypeVar("T")


class Totals(NamedTuple):
    """What a pass finds out.

    Attributes
    ----------
    n_rows : int
    n_present : int, rows of positive weight
    sum_w : float, the sum of the weights, as `cumulated` adds
    largest : float, the largest weight
    gaps : bool, whether a value is missing
    """

    n_rows: int = 0
    n_present: int = 0
    sum_w: float = 0.0
    largest: float = 0.0
    gaps: bool = False


class StreamSource(BlockSource):
    """Rows that a reader gives in pieces, which are put together to blocks of the size asked for.

    A thread reads the next block while one is in use, so that two blocks of rows are in memory. The first pass checks
    all values. Later passes find out by their sums whether rows have changed; passes that make no sums check values
    again. With `missing`, NaN stands for a value that is missing.
    """

    def __init__(self, reader: Reader, missing: bool = False) -> None:
        if reader.n_features < 1:
            raise ValueError("Found array with 0 feature(s) while a minimum of 1 is required.")
        self.reader, self.passes, self.missing = reader, 0, missing
        self._again = partial(check_again, missing=missing)
        self.n_features, self.dtype, self.columns = reader.n_features, reader.dtype, reader.columns
        self.labelled = reader.label_shape is not None
        self._totals: Totals | None = None
        self._spare: list[list[Block]] = []  # buffers of earlier passes; each pass takes its own

    @property
    def n_rows(self) -> int:
        """See Source; found by a pass if the reader cannot tell."""
        return self._find_totals().n_rows if self.reader.n_rows is None else self.reader.n_rows

    @property
    def rows_kind(self) -> str:  # type: ignore[override]
        """See Source; before a pass has seen all rows, those that may have gaps are taken to have some."""
        gaps = self.missing if self._totals is None else self._totals.gaps
        return kind_with(self.reader.error_shape is not None, gaps, self.rows_options)

    @property
    def n_present(self) -> int:
        """See BlockSource; found by a pass if there are weights."""
        return self._find_totals().n_present if self.reader.weighted else self.n_rows

    @property
    def sum_w(self) -> float:
        """See BlockSource; found by a pass if there are weights."""
        return self._find_totals().sum_w if self.reader.weighted else float(self.n_rows)

    def _find_totals(self) -> Totals:
        """Return what the first complete pass found out; make that pass if there has been none."""
        if self._totals is None:
            self.for_each(lambda block: None, rows_at_once(self.n_features))
        assert self._totals is not None
        return self._totals

    def at_once(self, rows: int, grain: int) -> int:
        """See BlockSource; blocks are small, for two of them are in memory."""
        return super().at_once(min(rows, rows_at_once(self.n_features)), grain)

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """See Source."""
        if self._totals is None:
            return super().reduce(function, rows, grain)
        number, total = self.passes + 1, cast(Any, 0)
        function = check_if_not_finite(function, lambda block: self._check_unchanged(number, self._again, block))
        with closing(self.blocks(rows if grain is None else self.at_once(rows, grain), check=False)) as blocks:
            for block in blocks:
                total = total + function(block)
        return cast(T, total)

    def _check_unchanged(self, number: int, compare: Callable[..., None], *what: Any) -> None:
        """Raise a SourceError that names the pass if `compare(*what)` finds that rows have changed."""
        try:
            compare(*what)
        except OSError as error:
            raise SourceError(f"pass {number} over the data: {error}") from error

    def blocks(self, rows: int, check: bool = True) -> Generator[Block, None, None]:
        """See BlockSource; `check` asks for a check of values in passes after the first, too."""
        self.passes += 1
        buffers = self._spare.pop() if self._spare else []
        if not buffers or len(buffers[0].X) < rows:
            buffers = [self._make_buffer(rows), self._make_buffer(rows)]
        check = check or self._totals is None
        yield from read_ahead(
            self._fill_blocks([buffer.take(slice(0, rows)) for buffer in buffers], self.passes, check)
        )
        self._spare.append(buffers)  # not after a pass that was left early: its reader may still be at work

    def _fill_blocks(self, two: list[Block], number: int, check: bool) -> Generator[Block, None, None]:
        """Yield the blocks of a pass, in two buffers by turns: one is filled while the other is in use."""
        rows, buffers = len(two[0].X), itertools.cycle(two)
        block, filled, totals = next(buffers), 0, Totals()
        for piece in self._read_pieces(number):
            after, taken, gaps = self._add_piece(totals, piece, number), 0, totals.gaps
            while taken < len(piece.X):
                n = min(rows - filled, len(piece.X) - taken)
                given, copy = piece.take(slice(taken, taken + n)), block.take(slice(filled, filled + n))
                with np.errstate(over="ignore"):  # a long double becomes infinity
                    given.copy_to(copy)
                if self._totals is None:
                    warn_of_rounding(np.asarray(given.X), copy.X)
                if self.missing and self._totals is None:
                    gaps = gaps or has_gaps(copy.X)
                if check:
                    self._check_rows(copy._replace(start=totals.n_rows + taken), number)
                filled, taken = filled + n, taken + n
                if filled == rows:
                    yield block._replace(start=totals.n_rows + taken - rows)
                    block, filled = next(buffers), 0
            totals = after._replace(gaps=gaps)
        if filled:
            yield block.take(slice(0, filled))._replace(start=totals.n_rows - filled)
        self._finish_pass(totals, number)

    def _check_rows(self, block: Block, number: int) -> None:
        """Raise an error for rows that hold NaN or infinity, or, in a later pass, for others that the first refused."""
        if self._totals is None:
            check_finite(block.X, block.start, self.reader.where, self.missing)
            if block.errors is not None:
                check_error_values(block.errors, block.start)
        else:
            self._check_unchanged(number, self._again, block)

    def _make_buffer(self, rows: int) -> Block:
        """Return a block of uninitialised rows with the columns that the reader has."""
        shape, error_shape = self.reader.label_shape, self.reader.error_shape
        return Block(
            0,
            np.empty((rows, self.n_features), self.dtype),
            np.empty(rows) if self.reader.weighted else None,
            None if shape is None else np.empty((rows, *shape), np.bool_ if shape else np.int64),
            None if error_shape is None else np.empty((rows, *error_shape)),
        )

    def _read_pieces(self, number: int) -> Iterator[Block]:
        """Yield the reader's pieces that have rows; raise a SourceError for one that cannot be read."""
        try:
            for piece in self.reader.pieces():
                if len(piece.X):
                    yield piece
        except Exception as error:
            cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
            where = self.reader.where
            raise SourceError(f"pass {number} over the data: {where} could not be read ({cause})") from error

    def _add_piece(self, totals: Totals, piece: Block, number: int) -> Totals:
        """Return the totals after a piece more, whose weights and labels the first pass looks at."""
        n, weight, labels = len(piece.X), piece.weight, piece.labels
        if labels is not None and self._totals is None:
            check_label_values(labels, totals.n_rows)
        if weight is not None and self._totals is not None:
            self._check_unchanged(number, check_again_weights, weight, totals.n_rows)
        if weight is None or self._totals is not None:
            return totals._replace(n_rows=totals.n_rows + n)
        check_weight_values(weight, totals.n_rows)
        sum_w, largest = cumulated(totals.sum_w, weight)[-1], max(totals.largest, weight.max())
        n_present = totals.n_present + n_positive(weight)
        return Totals(totals.n_rows + n, n_present, float(sum_w), float(largest), totals.gaps)

    def _finish_pass(self, totals: Totals, number: int) -> None:
        """Check that a complete pass has brought as many rows as expected, and keep what the first one found out."""
        expected = self.reader.n_rows if self._totals is None else self._totals.n_rows
        if expected is not None and totals.n_rows != expected:
            raise SourceError(f"pass {number} over the data brought {totals.n_rows} rows, expected {expected}")
        if self._totals is None:
            if totals.n_rows == 0:
                raise ValueError("Found array with 0 sample(s): the source has no rows.")
            if self.reader.weighted:
                check_weight_scale(totals.largest)
            self._totals = totals


END = object()


def read_ahead(items: Generator[Block, None, None]) -> Generator[Block, None, None]:
    """Yield the items of a generator that runs in a thread of its own, one item ahead.

    The thread is a daemon: a caller who leaves early, by Ctrl-C for instance, does not wait for a long read.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    ready: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def read() -> None:
        while wanted.get():
            try:
                ready.put((next(items, END), None))
            except BaseException as error:
                ready.put((END, error))
        items.close()

    thread = threading.Thread(target=read, name="fastem-reader", daemon=True)
    thread.start()
    wanted.put(True)
    try:
        while True:
            item, error = _wait_for(ready)
            if error is not None:
                raise error
            if item is END:
                return
            wanted.put(True)
            yield item
    finally:
        wanted.put(False)
        thread.join(timeout=0.1)


def _wait_for(queue: SimpleQueue[T]) -> T:
    """Return the next item of a queue, once there is one.

    Without a timeout, the main thread might not notice Ctrl-C while it waits: the signal can reach another thread, and
    on Windows no signal ends the wait.
    """
    while True:
        try:
            return queue.get(timeout=0.1)
        except Empty:
            pass
