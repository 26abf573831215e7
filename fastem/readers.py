"""How rows are read, piece by piece: from what slices like an array, from Parquet files, from a function.

`fastem.streams` makes a source of a reader. To add a kind of data is to add a reader here, and to
`fastem.streams.find_reader` how it is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastem.tables import choose_columns, first_line, number_columns, open_parquet
from fastem.validate import cast_rows, feature_names

PIECE_BYTES = 1 << 20  # of float64 rows: small enough to go from the reader into a block through the cache
BUFFER_BYTES = 1 << 16  # of a column of Parquet, as it is stored

Pieces = Iterator[tuple[NDArray[Any], NDArray[Any] | None]]


class Reader(Protocol):
    """Gives all rows, in order, as often as it is asked to.

    Attributes
    ----------
    n_features : int
    n_rows : int, or None if only a pass can tell
    dtype : of the rows as they are worked on, float64 or float32
    columns : (D,) array of str, their names, or None
    weighted : bool, whether the rows have weights
    where : str, what is being read, for messages
    """

    n_features: int
    n_rows: int | None
    dtype: np.dtype[Any]
    columns: NDArray[Any] | None
    weighted: bool
    where: str

    def pieces(self) -> Pieces:
        """Rows (n, D) of numbers and their weights (n,), or None; of any n."""


class SlicedReader:
    """Rows of an object that has a shape and a dtype and gives an array for ``x[start:stop]``.

    Parameters
    ----------
    X : (N, D)
    weight : (N,) of the same kind, or None
    columns : positions of the columns wanted, or None for all
    """

    n_rows: int | None
    columns: NDArray[Any] | None = None

    def __init__(self, X: Any, weight: Any = None, columns: Sequence[str | int] | None = None) -> None:
        if len(X.shape) != 2:
            raise ValueError(f"Expected 2D array, got {len(X.shape)}D array instead: shape {tuple(X.shape)}")
        N, D = (int(n) for n in X.shape)
        if weight is not None and tuple(weight.shape) != (N,):
            raise ValueError(f"sample_weight.shape == {tuple(weight.shape)}, expected {(N,)}!")
        self.n_rows = N
        self.X, self.weight, self.weighted, self.where = X, weight, weight is not None, "row 0"
        self.chosen = None if columns is None else choose_columns("X", columns, None, D)
        self.n_features = D if self.chosen is None else len(self.chosen)
        self.dtype = float_dtype(X.dtype)

    def pieces(self) -> Pieces:
        """See Reader; whole chunks, where the rows are stored in chunks."""
        chunk = (getattr(self.X, "chunks", None) or (1,))[0]
        rows = chunk * max(1, PIECE_BYTES // (8 * self.X.shape[1] * chunk))
        N = int(self.X.shape[0])
        for start in range(0, N, rows):
            part = slice(start, min(start + rows, N))
            self.where = f"the block of rows {part.start} to {part.stop - 1}"
            X = np.asarray(self.X[part])
            yield (
                X if self.chosen is None else X[:, self.chosen],
                None if self.weight is None else np.asarray(self.weight[part], dtype=np.float64),
            )


class ParquetReader:
    """Columns of a Parquet file, of a folder of them in the order of their names, or of a `pyarrow.dataset.Dataset`.

    A row group is read in parts, so that memory does not depend on its size.

    Parameters
    ----------
    data : Path or Dataset
    weight : name of the column of weights, or None
    columns : names or positions of the columns wanted; default all but that of the weights
    """

    n_rows: int | None
    columns: NDArray[Any] | None

    def __init__(self, data: Any, weight: str | None = None, columns: Sequence[str | int] | None = None) -> None:
        self.where = file = str(data) if isinstance(data, Path) else "the dataset"
        self.dataset = open_parquet(data) if isinstance(data, Path) else data
        try:
            self.n_rows = int(self.dataset.count_rows())  # from the files' footers
        except ValueError as error:
            raise ValueError(f"{file}: not parquet files, or damaged ones ({first_line(error)})") from error
        names = list(self.dataset.schema.names)
        wanted = [name for name in names if name != weight] if columns is None else list(columns)
        chosen = choose_columns(file, [*wanted, *([] if weight is None else [weight])], names, len(names))
        self.fields = number_columns(file, self.dataset.schema, chosen)
        self.weighted, self.n_features = weight is not None, len(wanted)
        self.columns = np.array(self.fields[: self.n_features], dtype=object)
        kinds = [self.dataset.schema.field(j).type.to_pandas_dtype() for j in chosen[: self.n_features]]
        self.dtype = float_dtype(np.result_type(*kinds))

    def pieces(self) -> Pieces:
        """See Reader."""
        from pyarrow.dataset import ParquetFragmentScanOptions

        options = ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=BUFFER_BYTES, pre_buffer=False)
        for fragment in self.dataset.get_fragments():
            self.where = str(fragment.path)
            for number in range(fragment.num_row_groups):
                self.where = f"row group {number} of {fragment.path}"
                batches = fragment.subset(row_group_ids=[number]).to_batches(
                    schema=self.dataset.schema,
                    columns=self.fields,
                    batch_size=max(1, PIECE_BYTES // (8 * len(self.fields))),
                    batch_readahead=1,
                    fragment_scan_options=options,
                    use_threads=False,
                )
                yield from map(self._arrays, batches)

    def _arrays(self, batch: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
        table = np.empty((len(self.fields), batch.num_rows))
        for values, column in zip(table, batch.columns, strict=True):
            values[:] = column.to_numpy(zero_copy_only=False)  # a null is None or NaN, and becomes NaN
        return table[: self.n_features].T, table[-1] if self.weighted else None


class FunctionReader:
    """Blocks that a function yields, anew each time it is called.

    Parameters
    ----------
    function : without arguments; gives an iterable of blocks, array-likes (n, D) or tuples of one and its weights (n,)
    """

    n_rows: int | None = None
    columns: NDArray[Any] | None

    def __init__(self, function: Callable[[], Iterable[Any]]) -> None:
        self.function, self.where = function, "block 0"
        first = next(iter(function()), None)
        if first is None:
            raise ValueError("Found array with 0 sample(s): the function yields no block.")
        rows, weight = first if isinstance(first, tuple) else (first, None)
        X = cast_rows(rows)
        self.columns, self.weighted = feature_names(rows), weight is not None
        self.n_features, self.dtype = X.shape[1], X.dtype

    def pieces(self) -> Pieces:
        """See Reader."""
        self.where = "block 0"
        for number, block in enumerate(self.function(), 1):
            rows, weight = block if isinstance(block, tuple) else (block, None)
            X = cast_rows(rows, n_features=self.n_features, min_rows=0)
            if X.dtype != self.dtype:
                raise ValueError(f"expected {self.dtype} as in the first block, got {X.dtype}")
            if self.weighted != (weight is not None) or (self.weighted and np.shape(weight) != (len(X),)):
                raise ValueError(f"expected {len(X) if self.weighted else 'no'} weights, got {np.size(weight)}")
            yield X, None if weight is None else np.asarray(weight, dtype=np.float64)
            self.where = f"block {number}"


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """What rows of this dtype are worked on in: float32 as it is, all other numbers float64."""
    found = np.dtype(dtype)
    if found.kind not in "fiub":
        raise ValueError(f"expected rows of numbers, found dtype {found}")
    return np.dtype(np.float32 if found.kind == "f" and found.itemsize == 4 else np.float64)
