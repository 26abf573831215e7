"""How rows are read, piece by piece: from objects that slice like arrays, Parquet files, tables of text, and functions.

`fastem.sources.streams` makes a source of a reader. To add a kind of data, add a reader here, and add to
`fastem.sources.opening.find_reader` how it is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastem.files.arrow import copy_column
from fastem.files.delimited import read_blocks
from fastem.files.tables import check_numbers, choose_columns, find_columns, open_parquet, parquet_files
from fastem.model.checks import real_numbers
from fastem.model.frames import is_frame
from fastem.sources.blocks import Block
from fastem.sources.errors import check_error_columns, check_error_shape
from fastem.sources.labels import check_label_kind
from fastem.sources.rows import cast_rows, feature_names

PIECE_BYTES = 1 << 20  # of float64 rows: small enough to go from the reader into a block through the cache
CHUNK_BYTES = 1 << 26  # most that is read at once of a chunk of HDF5 or Zarr


class Reader(Protocol):
    """Gives all rows, in order, as often as it is asked to.

    Attributes
    ----------
    n_features : int
    n_rows : int; None if only a pass can tell
    dtype : numpy.dtype of the rows in computations, float64 or float32
    columns : (D,) array of str, the names of the columns; None if they have no names
    weighted : bool, whether the rows have weights
    label_shape : tuple, the shape of the label of one row: () for an integer, (K,) for booleans; None without labels
    error_shape : tuple, the shape of the errors of one row: (D,) or (D, D); None without errors
    where : str, what is being read, for messages
    """

    n_features: int
    n_rows: int | None
    dtype: np.dtype[Any]
    columns: NDArray[Any] | None
    weighted: bool
    label_shape: tuple[int, ...] | None
    error_shape: tuple[int, ...] | None
    where: str

    def pieces(self) -> Iterator[Block]:
        """Yield all rows, in blocks of any size whose `start` is 0. Rows and labels are numbers of any dtype."""


class SlicedReader:
    """Rows of an object that has a shape and a dtype and gives an array for ``x[start:stop]``.

    Parameters
    ----------
    X : (N, D)
    weight : (N,) of the same kind; None: every weight is 1
    columns : positions of the columns wanted; None: all columns
    labels : (N,) or (N, K) of the same kind; None: all are unknown
    errors : (N, D) or (N, D, D) of the same kind, of the columns wanted; None: there are none
    """

    n_rows: int | None
    columns: NDArray[Any] | None = None

    def __init__(
        self,
        X: Any,
        weight: Any = None,
        columns: Sequence[str | int] | None = None,
        labels: Any = None,
        errors: Any = None,
    ) -> None:
        if len(X.shape) != 2:
            raise ValueError(f"Expected 2D array, got {len(X.shape)}D array instead: shape {tuple(X.shape)}")
        N, D = (int(n) for n in X.shape)
        if weight is not None and tuple(weight.shape) != (N,):
            raise ValueError(f"sample_weight.shape == {tuple(weight.shape)}, expected {(N,)}!")
        if labels is not None:
            check_label_kind(labels.shape, labels.dtype, N)
        self.n_rows = N
        self.X, self.weight, self.weighted, self.where = X, weight, weight is not None, "row 0"
        self.labels, self.label_shape = labels, None if labels is None else tuple(labels.shape[1:])
        self.chosen = None if columns is None else choose_columns("X", columns, None, D)
        self.n_features = D if self.chosen is None else len(self.chosen)
        self.errors = errors
        self.error_shape = None if errors is None else check_error_shape(errors.shape, N, self.n_features)
        self.dtype = float_dtype(X.dtype)

    def pieces(self) -> Iterator[Block]:
        """See Reader; if the rows are stored in chunks that are not huge, whole chunks are read."""
        chunks, row_bytes = getattr(self.X, "chunks", None) or (1,), 8 * self.X.shape[1]
        chunk = chunks[0] if isinstance(chunks[0], int) else 1
        rows = max(1, min(chunk * max(1, PIECE_BYTES // (row_bytes * chunk)), CHUNK_BYTES // row_bytes))
        N = int(self.X.shape[0])
        for start in range(0, N, rows):
            part = slice(start, min(start + rows, N))
            self.where = f"the block of rows {part.start} to {part.stop - 1}"
            X = np.asarray(self.X[part])
            yield Block(
                0,
                X if self.chosen is None else X[:, self.chosen],
                None if self.weight is None else np.asarray(self.weight[part], dtype=np.float64),
                None if self.labels is None else np.asarray(self.labels[part]),
                None if self.errors is None else np.asarray(self.errors[part], dtype=np.float64),
            )


class ParquetReader:
    """Columns of a Parquet file, of a folder of them in the order of their names, or of a `pyarrow.dataset.Dataset`.

    A row group is read in parts, so that memory does not depend on its size. (Dataset's own batches decode it whole,
    and to import `pyarrow.dataset` takes 33 MB: it is used for a Dataset only.)

    Parameters
    ----------
    data : Path or Dataset
    weight : name of the column of weights; None: every weight is 1
    columns : names or positions of the columns wanted; None: all but those of the weights and labels
    labels : name of the column of labels; None: all are unknown
    errors : names of the columns of variances, one for each feature; None: there are none
    """

    n_rows: int | None
    columns: NDArray[Any] | None
    label_shape: tuple[int, ...] | None

    def __init__(
        self,
        data: Any,
        weight: str | None = None,
        columns: Sequence[str | int] | None = None,
        labels: str | None = None,
        errors: Sequence[str | int] | None = None,
    ) -> None:
        self.where = place = str(data) if isinstance(data, Path) else "the dataset"
        self.data = parquet_files(data) if isinstance(data, Path) else data
        self.weighted, self.fields = weight is not None, list[str]()
        self.label_shape = None if labels is None else ()
        beside = [*(errors or ()), *(name for name in (weight, labels) if name is not None)]
        n_rows, kinds = 0, [np.dtype(np.bool_)]
        for name, file in self._files():
            with file:
                schema, n_rows = file.schema_arrow, n_rows + file.metadata.num_rows
            names = list(schema.names)
            if not self.fields:
                own = choose_columns(place, beside, names, len(names))
                wanted = [j for j in range(len(names)) if j not in own] if columns is None else columns
                self.fields = [names[j] for j in choose_columns(place, [*wanted, *beside], names, len(names))]
            chosen = choose_columns(name, self.fields, names, 0)
            check_numbers(name, schema, chosen)
            features = chosen[: len(chosen) - len(beside)]
            kinds += [np.dtype(schema.field(j).type.to_pandas_dtype()) for j in features]
        self.n_rows, names = n_rows, self.fields[: len(self.fields) - len(beside)]
        self.columns, self.n_features = np.array(names, dtype=object), len(names)
        self.error_shape = check_error_columns(errors, self.n_features)
        self.dtype = float_dtype(np.result_type(*kinds))

    def _files(self) -> Iterator[tuple[str, Any]]:
        """Yield the name of each file and the open file."""
        for part in self.data if isinstance(self.data, list) else self.data.get_fragments():
            name = str(part) if isinstance(part, Path) else str(part.path)
            self.where = f"row group 0 of {name}"
            yield name, open_parquet(part if isinstance(part, Path) else part.open(), name)

    def pieces(self) -> Iterator[Block]:
        """See Reader."""
        rows = max(1, PIECE_BYTES // (8 * len(self.fields)))
        for name, file in self._files():
            with file:
                for number in range(file.num_row_groups):
                    self.where = f"row group {number} of {name}"
                    batches = file.iter_batches(rows, row_groups=[number], columns=self.fields, use_threads=False)
                    yield from map(self._copy_batch, batches)

    def _copy_batch(self, batch: Any) -> Block:
        """Copy a batch of Arrow columns into a block."""
        table = np.empty((len(self.fields), batch.num_rows))
        for values, field in zip(table, self.fields, strict=True):
            copy_column(batch.column(field), values)
        return split_table(self, table.T)


class TextReader:
    """Columns of a table of text, parsed anew on each pass.

    Parameters
    ----------
    path : Path
    weight : name of the column of weights; None: every weight is 1
    columns : names or positions of the columns wanted; None: all but an index and those of the weights and labels
    labels : name of the column of labels; None: all are unknown
    errors : names or positions of the columns of variances, one for each feature; None: there are none
    """

    n_rows: int | None = None
    columns: NDArray[Any] | None
    label_shape: tuple[int, ...] | None
    dtype = np.dtype(np.float64)
    again = False  # whether the file has been read before

    def __init__(
        self,
        path: Path,
        weight: str | None = None,
        columns: Sequence[str | int] | None = None,
        labels: str | None = None,
        errors: Sequence[str | int] | None = None,
    ) -> None:
        found = find_columns(path)
        assert found.text is not None
        self.path, self.layout, self.where = path, found.text, str(path)
        self.weighted, self.label_shape = weight is not None, None if labels is None else ()
        given = [*(errors or ()), *(name for name in (weight, labels) if name is not None)]
        beside = choose_columns(path, given, found.names, found.n_columns)
        features = [j for j in found.features if j not in beside]
        if columns is not None:
            features = choose_columns(path, columns, found.names, found.n_columns)
        self.n_features, self.chosen = len(features), [*features, *beside]
        self.error_shape = check_error_columns(errors, self.n_features)
        self.columns = None if found.names is None else np.array([found.names[j] for j in features], dtype=object)

    def pieces(self) -> Iterator[Block]:
        """See Reader."""
        for table in read_blocks(self.path, self.layout, self.chosen, again=self.again):
            yield split_table(self, table)
        self.again = True


class FunctionReader:
    """Blocks that a function yields, again each time it is called.

    Parameters
    ----------
    function : callable without arguments
        returns an iterable of blocks: array-likes (n, D), or tuples of one and, as far as there are such, its weights,
        labels and errors, where None stands for what is not there
    missing : bool, default False
        whether values may be missing, so that masked entries are
    """

    n_rows: int | None = None
    columns: NDArray[Any] | None

    def __init__(self, function: Callable[[], Iterable[Any]], missing: bool = False) -> None:
        self.function, self.missing, self.where = function, missing, "block 0"
        first = next(iter(self.call()), None)
        if first is None:
            raise ValueError("Found array with 0 sample(s): the function yields no block.")
        rows, weight, labels, errors = _split_block(first)
        X = cast_rows(rows, min_rows=0, missing=missing)
        self.columns, self.weighted = feature_names(rows), weight is not None
        self.label_shape = None if labels is None else np.shape(labels)[1:]
        self.n_features, self.dtype = X.shape[1], X.dtype
        self.error_shape = (
            None if errors is None else check_error_shape(np.shape(errors), len(X), X.shape[1], one_per_row=True)
        )

    def call(self) -> Iterable[Any]:
        """Return the blocks that the function yields; raise a TypeError if it returns a block, or nothing."""
        blocks = self.function()
        if not isinstance(blocks, Iterable) or is_frame(blocks) or getattr(blocks, "ndim", 3) < 3:
            raise TypeError(
                "a function as X should yield blocks of rows, or return a list of them, whenever it is called; this "
                f"one returned {type(blocks).__name__}"
            )
        return blocks

    def pieces(self) -> Iterator[Block]:
        """See Reader."""
        self.where = "block 0"
        for number, block in enumerate(self.call(), 1):
            rows, weight, labels, errors = _split_block(block)
            X = cast_rows(rows, n_features=self.n_features, min_rows=0, missing=self.missing)
            if X.dtype != self.dtype:
                raise ValueError(f"expected {self.dtype} as in the first block, got {X.dtype}")
            if self.weighted != (weight is not None) or (self.weighted and np.shape(weight) != (len(X),)):
                raise ValueError(f"expected {len(X) if self.weighted else 'no'} weights, got {np.size(weight)}")
            if (labels is None) != (self.label_shape is None):
                raise ValueError(f"expected labels {'as' if labels is None else 'in no block, as'} in the first block")
            if labels is not None:
                labels = np.asarray(labels)
                check_label_kind(labels.shape, labels.dtype, len(X))
                if labels.shape[1:] != self.label_shape:
                    raise ValueError(f"expected labels as in the first block, got shape {labels.shape}")
            if (None if errors is None else np.shape(errors)[1:]) != self.error_shape:
                raise ValueError(f"expected errors as in the first block, got shape {np.shape(errors)}")
            if errors is not None:
                errors = real_numbers("errors", errors)
                check_error_shape(errors.shape, len(X), X.shape[1], one_per_row=True)
            yield Block(0, X, None if weight is None else np.asarray(weight, dtype=np.float64), labels, errors)
            self.where = f"block {number}"


def _split_block(block: Any) -> tuple[Any, Any, Any, Any]:
    """Split a block that a function yields into rows, weights, labels and errors; None for each that is absent."""
    if not isinstance(block, tuple):
        return block, None, None, None
    if not 1 <= len(block) <= 4:
        raise ValueError(
            f"expected rows, or a tuple (X, weight), (X, weight, labels) or (X, weight, labels, errors); "
            f"got {len(block)} parts"
        )
    rows, weight, labels, errors = (*block, None, None, None)[:4]
    return rows, weight, labels, errors


def split_table(reader: Reader, table: NDArray[Any]) -> Block:
    """Return the rows of a table whose columns are features and, as far as there are any, variances, weight, labels."""
    D, last = reader.n_features, table.shape[1]
    errors = None if reader.error_shape is None else table[:, D : 2 * D]
    labels = None if reader.label_shape is None else table[:, last - 1]
    return Block(0, table[:, :D], table[:, D if errors is None else 2 * D] if reader.weighted else None, labels, errors)


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype of rows in computations: float32 for float32, float64 for all other numbers."""
    found = np.dtype(dtype)
    if found.kind not in "fiub":
        raise ValueError(f"expected rows of numbers, found dtype {found}")
    return np.dtype(np.float32 if found.kind == "f" and found.itemsize == 4 else np.float64)
