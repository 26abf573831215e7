"""Tables of numbers in files of text, npy and parquet, in and out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastem.files.arrow import require_pyarrow
from fastem.files.atomic import given_path, replacing
from fastem.files.delimited import read_text
from fastem.files.text_detection import find_layout
from fastem.files.text_layout import ENDINGS as TEXT_ENDINGS
from fastem.files.text_layout import NOTHING_SAID, TextLayout, TextOptions, is_text

Array = npt.NDArray[Any]

OUTPUT_ENDINGS = (".csv", ".npy", ".parquet")
INPUT_ENDINGS = (*TEXT_ENDINGS, ".npy", ".parquet")
_PARQUET_BUFFER = 1 << 16  # bytes of a column, as it is stored, that are read at a time
_CHUNK_ROWS = 65_536  # rows turned into Python objects at a time when csv is written


def read_table(
    path: str | os.PathLike[str], columns: Sequence[str | int] | None = None
) -> tuple[Array, list[str] | None]:
    r"""Read a table of numbers from a file of text, ``.npy`` or ``.parquet``, or a folder of ``.parquet`` files.

    How a table of text (``.csv``, ``.tsv``, ``.txt``, ``.dat``, each also ``.gz``) is laid out is found out by
    `fastem.files.text_detection.find_layout`. A ``.npy`` file is mapped into memory, not read, unless columns are
    chosen; its values are not looked at.

    Parameters
    ----------
    path : str or path-like
        The file; text needs ``pip install "fastem[cli]"``, parquet ``pip install "fastem[parquet]"``.
    columns : sequence of str or int, optional
        Names or 0-based positions of the columns wanted, in the order wanted. Default: all but an index.

    Returns
    -------
    X : ndarray of shape (N, D)
        float64 from text; the stored dtype from npy (1-D becomes N x 1); the columns' common dtype from
        parquet.
    names : list of str, or None
        The D columns' names, None where the file has none.

    Raises
    ------
    ValueError
        The ending is unknown, a column does not exist, the table is empty, or a cell is not a finite number
        (named by column and row; rows are counted from 1 and, in text, as lines of the file).
    ImportError
        The file is text or parquet and pyarrow is not installed.
    OSError
        The file does not exist or cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastem.files.tables import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "table.csv")
    ...     with open(path, "w") as stream:
    ...         _ = stream.write("a,b\n1,2\n3,4\n")
    ...     read_table(path, columns=["b"])
    (array([[2.],
           [4.]]), ['b'])
    """
    source = given_path(path)
    found = find_columns(source)
    chosen = found.features if columns is None else choose_columns(source, columns, found.names, found.n_columns)
    X = _find_read(source)(source, chosen) if found.text is None else read_text(source, found.text, chosen)[0]
    if not X.size:
        raise ValueError(f"{source}: the table is empty")
    return X, None if found.names is None else [found.names[j] for j in chosen]


class TableColumns(NamedTuple):
    """The columns of a table.

    Attributes
    ----------
    names : list of str, or None if the columns have no names
    n_columns : int
    text : TextLayout, how a table of text is laid out; None for other files
    """

    names: list[str] | None
    n_columns: int
    text: TextLayout | None = None

    @property
    def features(self) -> list[int]:
        """The positions of all columns, without a first one that only counts or names the rows."""
        return list(range(int(self.text is not None and self.text.index), self.n_columns))


def find_columns(path: str | os.PathLike[str], options: TextOptions = NOTHING_SAID) -> TableColumns:
    """Find the columns of a table. The options are for tables of text; errors are those of `read_table`."""
    source = given_path(path)
    if source.is_dir():
        return _find_parquet_columns(source)
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    if is_text(source):
        text = find_layout(source, options)
        return TableColumns(text.names, text.n_columns, text)
    if source.suffix.lower() == ".npy":
        return TableColumns(None, map_npy(source).shape[1])
    if source.suffix.lower() == ".parquet":
        return _find_parquet_columns(source)
    raise ValueError(f"{source}: expected a file ending in {alternatives(INPUT_ENDINGS)}")


def _find_read(path: Path) -> Callable[[Path, list[int]], Array]:
    """Return the function that reads a .npy or .parquet file."""
    return _read_npy if path.suffix.lower() == ".npy" else _read_parquet


def choose_columns(
    path: Path | str, columns: Sequence[str | int] | None, names: Sequence[str] | None, n_columns: int
) -> list[int]:
    """Return the positions of columns given by name or by 0-based position (a name goes first)."""
    if columns is None:
        return list(range(n_columns))
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise TypeError(f"columns must be a list of names or positions; got {columns!r:.60}")
    chosen = []
    for column in columns:
        found = [j for j, name in enumerate(names or ()) if name == column]
        if not found and str(column).isdecimal() and int(column) < n_columns:
            found = [int(column)]
        if len(found) != 1:
            there = f"0 to {n_columns - 1}" if names is None else ", ".join(names)
            problem = "more than one column" if found else "no column"
            raise ValueError(f"{path}: {problem} '{column}'; the columns are {there}")
        if found[0] in chosen:
            raise ValueError(f"{path}: column '{column if names is None else names[found[0]]}' is chosen twice")
        chosen += found
    return chosen


def _read_npy(path: Path, chosen: list[int]) -> Array:
    X = map_npy(path)
    return X if chosen == list(range(X.shape[1])) else X[:, chosen]


def map_npy(path: Path) -> Array:
    """Map a .npy file as a table. `open_memmap` reads no other format and never a pickle."""
    try:
        X = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a .npy file of numbers, or a damaged one ({first_line(error)})") from error
    if X.dtype.kind not in "fiub" or X.ndim not in (1, 2):
        found = f"{X.dtype} of shape {X.shape}"
        raise ValueError(f"{path}: expected numbers in one or two dimensions, found {found}")
    return X[:, np.newaxis] if X.ndim == 1 else X


def _find_parquet_columns(path: Path) -> TableColumns:
    with open_parquet(parquet_files(path)[0]) as file:
        return TableColumns(list(file.schema_arrow.names), len(file.schema_arrow.names))


def _read_parquet(path: Path, chosen: list[int]) -> Array:
    parts, names = [], list[str]()
    for part in parquet_files(path):
        with open_parquet(part) as file:
            schema = file.schema_arrow
            names = names or [schema.names[j] for j in chosen]
            check_numbers(part, schema, choose_columns(part, names, schema.names, 0))
            table = file.read(columns=names)
        parts.append(np.stack([_to_finite_array(part, name, table.column(name)) for name in names], axis=1))
    return np.concatenate(parts)


def check_numbers(path: Path | str, schema: Any, chosen: Sequence[int]) -> None:
    """Raise ValueError if a column of an Arrow schema does not hold numbers."""
    import pyarrow as pa

    for field in map(schema.field, chosen):
        kind = field.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"{path}: column '{field.name}' holds {kind}, expected numbers; choose other columns")


def _to_finite_array(path: Path, name: str, column: Any) -> Array:
    """Turn an Arrow column into an array, naming the first null or non-finite value."""
    bad = column.is_null().to_numpy()
    values: Array = column.to_numpy()
    if not bad.any():
        bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        found = "a null" if column[row].as_py() is None else values[row]
        raise ValueError(f"{path}: column '{name}', row {row + 1}: expected a finite number, found {found}")
    return values


def parquet_files(path: Path) -> list[Path]:
    """Return the file itself, or all .parquet files in a folder and its subfolders, in the order of their names."""
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise ValueError(f"{path}: a folder without .parquet files")
    return files


def open_parquet(path: Any, name: str = "") -> Any:
    """Open a file (of this name) as a `pyarrow.parquet.ParquetFile` that reads in small parts."""
    require_pyarrow(name or path, "parquet")
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path, buffer_size=_PARQUET_BUFFER, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name or path}: not a parquet file, or a damaged one ({first_line(error)})") from error


def write_table(path: str | os.PathLike[str], values: Array, names: Sequence[str]) -> None:
    r"""Write labels, scores or samples to ``.csv`` (with a header), ``.npy`` or ``.parquet``; whole or not at all.

    Parameters
    ----------
    path : str or path-like
        Ends in ``.csv``, ``.npy`` or ``.parquet``. An existing file is replaced.
    values : ndarray of shape (N,) or (N, C)
        Numbers. In csv, floats are written with the digits that read back as the same double.
    names : sequence of str
        The C column names (one for a 1-D array), not used in npy.

    Raises
    ------
    ValueError
        The ending is none of these, or the folder does not exist.
    ImportError
        The file is to be parquet and pyarrow is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fastem.files.tables import write_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels.csv")
    ...     write_table(path, np.array([0, 1]), ["label"])
    ...     Path(path).read_text()
    'label\n0\n1\n'
    """
    with writing(path, names, len(values)) as write:
        write(values)


Write = Callable[[Array], None]


@contextmanager
def writing(path: str | os.PathLike[str], names: Sequence[str], n_rows: int) -> Iterator[Write]:
    """Give a function that writes the rows of a table block by block, `n_rows` in all; else as `write_table`."""
    target = given_path(path)
    check_output(target, OUTPUT_ENDINGS)
    with replacing(target) as stream, _WRITERS[target.suffix.lower()](stream, names, n_rows) as write:
        yield write


@contextmanager
def _writing_csv(stream: IO[bytes], names: Sequence[str], n_rows: int) -> Iterator[Write]:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    yield csv_writer(text, names)
    text.detach()  # flushed, and left open for replacing


@contextmanager
def _writing_npy(stream: IO[bytes], names: Sequence[str], n_rows: int) -> Iterator[Write]:
    def write(values: Array) -> None:
        if not stream.tell():
            shape = n_rows, *values.shape[1:]
            descr = np.lib.format.dtype_to_descr(values.dtype)
            np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
        stream.write(values.tobytes())

    yield write


@contextmanager
def _writing_parquet(stream: IO[bytes], names: Sequence[str], n_rows: int) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as stack:
        writers: list[Any] = []

        def write(values: Array) -> None:
            columns = _two_dimensional(values).T
            table = pa.table([pa.array(np.ascontiguousarray(column)) for column in columns], names=list(names))
            if not writers:
                writers.append(stack.enter_context(parquet.ParquetWriter(stream, table.schema)))
            writers[0].write_table(table)

        yield write


_WRITERS = {".csv": _writing_csv, ".npy": _writing_npy, ".parquet": _writing_parquet}


def _two_dimensional(values: Array) -> Array:
    return values[:, None] if values.ndim == 1 else values


def csv_writer(stream: IO[str], names: Sequence[str]) -> Write:
    """Write a csv header to an open stream, and return a function that writes rows after it; as `write_table`."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)

    def write(values: Array) -> None:
        table = _two_dimensional(values)
        for start in range(0, len(table), _CHUNK_ROWS):
            writer.writerows(table[start : start + _CHUNK_ROWS].tolist())

    return write


def check_output(path: Path, endings: tuple[str, ...]) -> None:
    """Raise ValueError if a file with one of the endings could not be written here."""
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path}: expected a file ending in {alternatives(endings)}")
    folder = Path(os.path.realpath(path)).parent  # of what a link leads to
    if not folder.is_dir():
        raise ValueError(f"{path}: the folder '{folder if path.is_symlink() else path.parent}' does not exist")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{path}: cannot be written here")
    if path.suffix.lower() == ".parquet":
        require_pyarrow(path, "parquet")


def alternatives(endings: tuple[str, ...]) -> str:
    """Join endings to a part of a sentence: ".csv, .npy or .parquet"."""
    return endings[0] if len(endings) == 1 else f"{', '.join(endings[:-1])} or {endings[-1]}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error) or type(error).__name__).splitlines()[0]
