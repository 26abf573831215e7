"""Sources of rows that are read anew on each pass, and `as_source`, which makes a source of whatever holds rows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fastem.dask_source import DaskSource, is_dask
from fastem.delimited import is_text
from fastem.frames import chosen, is_frame
from fastem.readers import FunctionReader, ParquetReader, Piece, Reader, SlicedReader, TextReader
from fastem.sources import (
    ArraySource,
    Block,
    BlockSource,
    Source,
    SourceError,
    cumulated,
    n_positive,
    rows_at_once,
    watched,
)
from fastem.tables import INPUT_ENDINGS, alternatives, layout, map_npy
from fastem.validate import (
    NAME,
    check_again,
    check_again_weights,
    check_finite,
    check_label_values,
    check_labels,
    check_n_features,
    check_names,
    check_rows,
    check_weight,
    check_weight_scale,
    check_weight_values,
    feature_names,
    warn_of_rounding,
)

T = TypeVar("T")


class Totals(NamedTuple):
    """What a pass finds out.

    Attributes
    ----------
    n_rows : int
    n_present : int, of positive weight
    sum_w : float, as `cumulated` adds
    largest : float, of the weights
    """

    n_rows: int = 0
    n_present: int = 0
    sum_w: float = 0.0
    largest: float = 0.0


class StreamSource(BlockSource):
    """Rows that a reader gives in pieces: put together to the blocks asked for, while the next block is being read.

    One thread reads, at most one block ahead, so that two blocks of rows are in memory. The first pass checks values;
    later ones find out by their sums if rows have changed, or look too where there are none.
    """

    def __init__(self, reader: Reader) -> None:
        if reader.n_features < 1:
            raise ValueError("Found array with 0 feature(s) while a minimum of 1 is required.")
        self.reader, self.passes = reader, 0
        self.n_features, self.dtype, self.columns = reader.n_features, reader.dtype, reader.columns
        self.labelled = reader.label_shape is not None
        self._totals: Totals | None = None
        self._spare: list[list[Block]] = []  # buffers of passes before; a pass has its own, in whatever thread it runs

    @property
    def n_rows(self) -> int:
        """See Source; known beforehand, or by a pass."""
        return self._found().n_rows if self.reader.n_rows is None else self.reader.n_rows

    @property
    def n_present(self) -> int:
        """See BlockSource; by a pass, if there are weights."""
        return self._found().n_present if self.reader.weighted else self.n_rows

    @property
    def sum_w(self) -> float:
        """See BlockSource; by a pass, if there are weights."""
        return self._found().sum_w if self.reader.weighted else float(self.n_rows)

    def _found(self) -> Totals:
        """What the first complete pass found out; a pass for it, if there has been none."""
        if self._totals is None:
            self.for_each(lambda block: None, rows_at_once(self.n_features))
        assert self._totals is not None
        return self._totals

    def at_once(self, rows: int, grain: int) -> int:
        """See BlockSource: two blocks are in memory."""
        return super().at_once(min(rows, rows_at_once(self.n_features)), grain)

    def reduce(self, function: Callable[[Block], T], rows: int, grain: int | None = None) -> T:
        """See Source."""
        if self._totals is None:
            return super().reduce(function, rows, grain)
        number, total = self.passes + 1, cast(Any, 0)
        function = watched(function, lambda block: self._changed(number, check_again, block))
        with closing(self.blocks(rows if grain is None else self.at_once(rows, grain), look=False)) as blocks:
            for block in blocks:
                total = total + function(block)
        return cast(T, total)

    def _changed(self, number: int, check: Callable[..., None], *what: Any) -> None:
        """SourceError, with the number of the pass, if a check finds that rows have changed."""
        try:
            check(*what)
        except OSError as error:
            raise SourceError(f"pass {number} over the data: {error}") from error

    def blocks(self, rows: int, look: bool = True) -> Generator[Block, None, None]:
        """See BlockSource; `look` at the values, also after the first pass."""
        self.passes += 1
        buffers = self._spare.pop() if self._spare else []
        if not buffers or len(buffers[0].X) < rows:
            buffers = [self._buffer(rows), self._buffer(rows)]
        look = look or self._totals is None
        yield from ahead(self._filled([_first_rows(buffer, rows) for buffer in buffers], self.passes, look))
        self._spare.append(buffers)  # not of a pass that was left early: its reader may still be at work

    def _filled(self, two: list[Block], number: int, look: bool) -> Generator[Block, None, None]:
        """The blocks of a pass, in two buffers by turns: one is filled while the other is in use."""
        rows, buffers = len(two[0].X), itertools.cycle(two)
        block, filled, totals = next(buffers), 0, Totals()
        for X, weight, labels in self._pieces(number):
            after, taken = self._added(totals, len(X), weight, labels, number), 0
            while taken < len(X):
                n = min(rows - filled, len(X) - taken)
                with np.errstate(over="ignore"):  # a long double becomes infinity
                    block.X[filled : filled + n] = X[taken : taken + n]
                if self._totals is None:
                    warn_of_rounding(np.asarray(X[taken : taken + n]), block.X[filled : filled + n])
                if look:
                    self._look(block.X[filled : filled + n], totals.n_rows + taken, number)
                if block.weight is not None and weight is not None:
                    block.weight[filled : filled + n] = weight[taken : taken + n]
                if block.labels is not None and labels is not None:
                    block.labels[filled : filled + n] = labels[taken : taken + n]
                filled, taken = filled + n, taken + n
                if filled == rows:
                    yield block._replace(start=totals.n_rows + taken - rows)
                    block, filled = next(buffers), 0
            totals = after
        if filled:
            yield _first_rows(block, filled)._replace(start=totals.n_rows - filled)
        self._end(totals, number)

    def _look(self, X: NDArray[Any], first: int, number: int) -> None:
        if self._totals is None:
            check_finite(X, first, self.reader.where)
        else:
            self._changed(number, check_again, Block(first, X, None))

    def _buffer(self, rows: int) -> Block:
        shape = self.reader.label_shape
        return Block(
            0,
            np.empty((rows, self.n_features), self.dtype),
            np.empty(rows) if self.reader.weighted else None,
            None if shape is None else np.empty((rows, *shape), np.bool_ if shape else np.int64),
        )

    def _pieces(self, number: int) -> Iterator[Piece]:
        """The reader's pieces that have rows; SourceError for one that cannot be read."""
        try:
            for piece in self.reader.pieces():
                if len(piece[0]):
                    yield piece
        except Exception as error:
            cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
            where = self.reader.where
            raise SourceError(f"pass {number} over the data: {where} could not be read ({cause})") from error

    def _added(
        self, totals: Totals, n: int, weight: NDArray[Any] | None, labels: NDArray[Any] | None, number: int
    ) -> Totals:
        """The totals after n more rows, whose weights and labels the first pass looks at."""
        if labels is not None and self._totals is None:
            check_label_values(labels, totals.n_rows)
        if weight is not None and self._totals is not None:
            self._changed(number, check_again_weights, weight, totals.n_rows)
        if weight is None or self._totals is not None:
            return totals._replace(n_rows=totals.n_rows + n)
        check_weight_values(weight, totals.n_rows)
        sum_w, largest = cumulated(totals.sum_w, weight)[-1], max(totals.largest, weight.max())
        return Totals(totals.n_rows + n, totals.n_present + n_positive(weight), float(sum_w), float(largest))

    def _end(self, totals: Totals, number: int) -> None:
        """A complete pass brings as many rows as expected; the first is what later ones are held to."""
        expected = self.reader.n_rows if self._totals is None else self._totals.n_rows
        if expected is not None and totals.n_rows != expected:
            raise SourceError(f"pass {number} over the data brought {totals.n_rows} rows, expected {expected}")
        if self._totals is None:
            if totals.n_rows == 0:
                raise ValueError("Found array with 0 sample(s): the source has no rows.")
            if self.reader.weighted:
                check_weight_scale(totals.largest)
            self._totals = totals


def _first_rows(block: Block, n: int) -> Block:
    weight, labels = (None if array is None else array[:n] for array in (block.weight, block.labels))
    return Block(block.start, block.X[:n], weight, labels)


END = object()


def ahead(items: Generator[Block, None, None]) -> Generator[Block, None, None]:
    """The items of a generator that runs in a thread of its own, one item ahead of who asks for them.

    It is a daemon: who leaves early, by Ctrl-C for instance, does not wait for a read that takes long.
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
            item, error = _get(ready)
            if error is not None:
                raise error
            if item is END:
                return
            wanted.put(True)
            yield item
    finally:
        wanted.put(False)
        thread.join(timeout=0.1)


def _get(queue: SimpleQueue[T]) -> T:
    """The next of a queue. Waiting without a timeout, the main thread may not notice Ctrl-C: the signal can reach
    another thread, and on Windows none ends the wait.
    """
    while True:
        try:
            return queue.get(timeout=0.1)
        except Empty:
            pass


def as_source(
    X: Any, sample_weight: Any = None, labels: Any = None, *, columns: Sequence[str | int] | None = None
) -> Source:
    """Rows from wherever they are, for `GaussianMixture`'s methods, `em`, `accumulate` and `moments`.

    All of these take what this function takes; it is there to choose columns, weights and labels, and to keep what a
    first pass found out. Whatever rows come from and whatever pieces they are stored in, results are
    the same to the bit, and memory does not grow with the number of rows (but for what the caller asks to be returned:
    labels of N rows are N integers).

    Parameters
    ----------
    X : where the rows are
        an (N, D) array-like or data frame (pandas, polars, a Table of pyarrow); a memory map, of which no copy is made;
        any object that has a shape and a dtype and gives an array for ``X[start:stop]``, such as a dataset of h5py or
        an array of Zarr (read in whole chunks);
        a path, Path or str: ``.npy`` is mapped into memory, ``.parquet`` or a folder of such files, in the order of
        their names, is read by row groups with ``pip install "fastem[parquet]"``, tables of text (``.csv``, ``.tsv``,
        ``.txt``, ``.dat``, each also ``.gz``) are parsed anew on each pass with ``pip install "fastem[cli]"``; or a
        `pyarrow.dataset.Dataset`;
        a function without arguments that yields blocks, and the same ones whenever it is called: array-likes (n, D), or
        tuples of one and its weights (n,), or of one, its weights or None, and its labels. It runs in a thread of its
        own;
        a Dask Array or DataFrame, with ``pip install "fastem[dask]"``: its rows stay on the workers, see
        `fastem.dask_source.DaskSource`;
        a source already: it is returned
    sample_weight : (N,) array-like, non-negative, or what slices like one; of Parquet and text the name of a column
    labels : (N,) integers from 0 on, -1 for unknown, or (N, K) bool, see `GaussianMixture.fit`; or what slices like
        that; of Parquet and text the name of a column of integers
    columns : names (of frames, Parquet and text) or positions of the columns wanted, default all but those of the
        weights and labels and, in text, a first column without a name that counts the rows

    Returns
    -------
    Source

    Raises
    ------
    ValueError, TypeError
        for what is no table of numbers. Values are looked at in the first pass over the rows: NaN, infinity,
        negative weights and labels that are none end it with a ValueError that names the row
    ImportError
        if a package is missing; the message names the extra to install
    SourceError
        (an OSError) by a later pass that cannot read its rows; it names the pass and the block, and ``.result`` holds
        the last complete iteration of the fit. (A memory map whose file is cut short kills the process.)

    Examples
    --------
    >>> import numpy as np, fastem
    >>> def blocks():
    ...     for seed in range(10):
    ...         yield np.random.default_rng(seed).normal(seed % 2 * 9.0, 1.0, size=(500, 2))
    >>> source = fastem.as_source(blocks)
    >>> source.n_rows, source.n_features
    (5000, 2)
    >>> fastem.GaussianMixture(2, random_state=0).fit(source).weights_.round(3)
    array([0.5, 0.5])
    """
    return find_source(X, sample_weight, labels, columns=columns)


def find_source(
    X: Any,
    sample_weight: Any = None,
    labels: Any = None,
    *,
    columns: Sequence[str | int] | None = None,
    n_features: int | None = None,
    min_rows: int = 1,
    who: str = NAME,
) -> Source:
    """`as_source`; ValueError for other than `n_features` columns."""
    if hasattr(X, "reduce") and hasattr(X, "for_each"):
        if sample_weight is not None or labels is not None or columns is not None:
            raise ValueError("a source has its own weights, labels and columns: pass them to as_source, with the rows")
        check_n_features(X.n_features, n_features)
        return X  # type: ignore[no-any-return]
    if isinstance(X, str | PurePath):
        X = map_npy(Path(X)) if is_npy(Path(X)) else Path(X)
    if columns is not None and is_frame(X):
        X, columns = chosen(X, columns), None
    if type(X) is not np.ndarray or columns is not None:
        if is_dask(X):
            source = DaskSource(X, sample_weight, labels, columns)
            check_n_features(source.n_features, n_features)
            return source
        reader = find_reader(X, sample_weight, columns, labels)
        if reader is not None:
            check_n_features(reader.n_features, n_features)
            return StreamSource(reader)
    rows = check_rows(X, n_features=n_features, min_rows=min_rows, who=who)
    weight, known = check_weight(sample_weight, len(rows)), check_labels(labels, len(rows))
    return ArraySource(rows, weight, feature_names(X), known)


def find_named(X: Any, names: NDArray[Any] | None, sample_weight: Any = None, who: str = NAME) -> Source:
    """`find_source` of rows whose columns must have these names: those of a frame are compared before its values.

    Files and Dask frames, which hold weights and labels beside the rows, may have other columns too.
    """
    if is_frame(X):
        check_names(feature_names(X), names, who)
        return find_source(X, sample_weight, who=who)
    stored, columns = stored_names(X), None
    if stored and names is not None:
        if not set(names) <= set(stored):
            check_names(np.array(stored, dtype=object), names, who)
        columns = list(names)
    source = find_source(X, sample_weight, columns=columns, who=who)
    check_names(source.columns, names, who)
    return source


def stored_names(X: Any) -> Sequence[str]:
    """The names of all columns of rows that are not in memory; none for rows without names."""
    if is_dask(X):
        names = feature_names(X)
        return () if names is None else list(names)
    if isinstance(X, str | PurePath) and not is_npy(Path(X)):
        return layout(_parquet_path(Path(X)))[0] or ()
    return list(X.schema.names) if hasattr(X, "get_fragments") else ()


def is_npy(path: Path) -> bool:
    """Whether a file is one of NumPy's, by its name."""
    return path.suffix.lower() == ".npy"


def find_reader(X: Any, sample_weight: Any, columns: Sequence[str | int] | None, labels: Any = None) -> Reader | None:
    """The reader for rows that are not in memory, or of which columns are wanted; None for an array-like."""
    if isinstance(X, PurePath) and is_text(Path(X)):
        return TextReader(Path(X), sample_weight, columns, labels)
    if isinstance(X, PurePath) or hasattr(X, "get_fragments"):
        return ParquetReader(_parquet_path(Path(X)) if isinstance(X, PurePath) else X, sample_weight, columns, labels)
    # A memory map of other numbers would be converted whole.
    mapped = isinstance(X, np.memmap) and X.ndim == 2 and X.dtype not in (np.float32, np.float64)
    if slices(X) or mapped or columns is not None:
        rows = X if hasattr(X, "shape") and hasattr(X, "dtype") else np.asarray(X)
        weight, known = (
            array if array is None or slices(array) else np.asarray(array) for array in (sample_weight, labels)
        )
        return SlicedReader(rows, weight, columns, known)
    if callable(X) and not isinstance(X, type):
        if sample_weight is not None or labels is not None:
            raise ValueError("a function yields its weights with the rows, as tuples (X, weight[, labels])")
        return FunctionReader(X)
    if isinstance(X, Iterator):
        kind = type(X).__name__
        raise TypeError(f"one pass would use up the rows: pass the function that makes the iterator, not {kind!r}")
    return None


def _parquet_path(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() in _OPENED_BY:
        package, extra = _OPENED_BY[path.suffix.lower()]
        raise ValueError(f'{path}: open it with {package} (pip install "fastem[{extra}]") and pass the array in it')
    if not path.is_dir() and path.suffix.lower() != ".parquet":
        raise ValueError(
            f"{path}: expected a file ending in {alternatives(INPUT_ENDINGS)}, or a folder of .parquet files"
        )
    return path


_OPENED_BY = {".h5": ("h5py", "hdf5"), ".hdf5": ("h5py", "hdf5"), ".zarr": ("zarr", "zarr")}


def slices(X: Any) -> bool:
    """Whether an object slices like an array that is elsewhere: it is no array, or stored in chunks."""
    like_array = hasattr(X, "shape") and hasattr(X, "dtype") and hasattr(X, "__getitem__") and not hasattr(X, "nnz")
    return like_array and (not hasattr(X, "__array__") or hasattr(X, "chunks"))
