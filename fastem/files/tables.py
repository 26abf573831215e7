"""Tables of numbers in csv, npy and parquet, in and out; and files that appear whole or not at all."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fastem.files.atomic import _alternatives, _require_pyarrow, check_output, replacing

Array = npt.NDArray[Any]

OUTPUT_ENDINGS = (".csv", ".npy", ".parquet")
_PARQUET_BUFFER = 1 << 16  # bytes of a column, as it is stored, that are read at a time
_CHUNK_ROWS = 65_536  # rows turned into Python objects at a time when csv is written


def read_table(
    path: str | os.PathLike[str], columns: Sequence[str | int] | None = None
) -> tuple[Array, list[str] | None]:
    r"""Read a table of numbers from a ``.csv``, ``.npy`` or ``.parquet`` file, or a folder of ``.parquet`` files.

    The first line of a csv file is a header if its cells are not numbers. A ``.npy`` file is mapped into
    memory, not read, unless columns are chosen; its values are not looked at.

    Parameters
    ----------
    path : str or path-like
        The file; parquet needs ``pip install "fastem[parquet]"``.
    columns : sequence of str or int, optional
        Names or 0-based positions of the columns wanted, in the order wanted. Default: all.

    Returns
    -------
    X : ndarray of shape (N, D)
        float64 from csv; the stored dtype from npy (1-D becomes N x 1); the columns' common dtype from
        parquet.
    names : list of str, or None
        The D columns' names, None where the file has none.

    Raises
    ------
    ValueError
        The ending is unknown, a column does not exist, the table is empty, or a cell is not a finite number
        (named by column and row; rows are counted from 1 and, in csv, as lines of the file).
    ImportError
        The file is parquet and pyarrow is not installed.
    OSError
        The file does not exist or cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastem.tables import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "table.csv")
    ...     with open(path, "w") as stream:
    ...         _ = stream.write("a,b\n1,2\n3,4\n")
    ...     read_table(path, columns=["b"])
    (array([[2.],
           [4.]]), ['b'])
    """
    source = Path(path)
    names, n_columns = layout(source)
    read = _format(source)[1]
    chosen = choose_columns(source, columns, names, n_columns)
    X = read(source, chosen)
    if not X.size:
        raise ValueError(f"{source}: the table is empty")
    return X, None if names is None else [names[j] for j in chosen]


def layout(path: str | os.PathLike[str]) -> tuple[list[str] | None, int]:
    """Return the names of a table's columns, None where it has none, and their number; errors as in `read_table`."""
    source = Path(path)
    return _format(source)[0](source)


def choose_columns(
    path: Path | str, columns: Sequence[str | int] | None, names: Sequence[str] | None, n_columns: int
) -> list[int]:
    """Return the positions of columns given by name or by 0-based position (a name goes first)."""
    if columns is None:
        return list(range(n_columns))
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
            raise ValueError(f"{path}: column '{column}' is chosen twice")
        chosen += found
    return chosen


def _csv_layout(path: Path) -> tuple[list[str] | None, int]:
    """Look at the first rows of a csv file: the header, if there is one, and the number of columns."""
    rows = (row for _, row in _csv_rows(path))
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path}: the file is empty")
    words = [cell for cell in first if cell.strip() and not _is_number(cell, finite=False)]
    if not words:
        return None, len(first)
    if numbers := [cell for cell in first if _is_number(cell, finite=False)]:
        # A header such as id,2019 or a first row such as 5.1,setosa: guessing could silently lose a row.
        raise ValueError(
            f"{path}: the first row mixes names ('{words[0]}') and numbers ('{numbers[0]}'); "
            "give the file a header of names only"
        )
    if next(rows, None) is None:
        raise ValueError(f"{path}: a header and no rows")
    return [cell.strip() for cell in first], len(first)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, cells) of the rows that are not blank."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.reader(stream)
        try:
            yield from ((rows.line_num, row) for row in rows if row)
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not UTF-8 text") from None
        except csv.Error as error:
            raise ValueError(f"{path}: row {rows.line_num}: {error}") from error


def _csv_read(path: Path, chosen: list[int]) -> Array:
    names, n_columns = _csv_layout(path)
    header_line = 0 if names is None else next(_csv_rows(path))[0]
    # A field for every column, wanted or not, makes the parser refuse rows of another length.
    dtype = [(str(j), "f8" if j in chosen else "U1") for j in range(n_columns)]
    options: dict[str, Any] = {"delimiter": ",", "quotechar": '"', "comments": None, "encoding": "utf-8-sig"}
    try:
        table = np.loadtxt(path, dtype=dtype, ndmin=1, skiprows=header_line, **options)
    except ValueError as error:
        raise ValueError(_csv_fault(path, chosen) or f"{path}: {error}") from error
    X = np.stack([table[str(j)] for j in chosen], axis=1)
    if not np.isfinite(X).all():
        raise ValueError(_csv_fault(path, chosen))
    return X


def _csv_fault(path: Path, chosen: list[int]) -> str | None:
    """Find the first cell that the fast parser could not take, and say where it is."""
    names, n_columns = _csv_layout(path)
    labels = names or [str(j) for j in range(n_columns)]
    rows = _csv_rows(path)
    if names is not None:
        next(rows)
    for line, row in rows:
        if len(row) != n_columns:
            return f"{path}: row {line} has {len(row)} cells, expected {n_columns}"
        for j in chosen:
            if not _is_number(row[j]):
                place = f"column '{labels[j]}', row {line}"
                return f"{path}: {place}: expected a finite number, found '{row[j]:.40}'"
    return None


def _is_number(text: str, finite: bool = True) -> bool:
    """Tell whether a csv cell is a number; Python's ``1_000`` is none."""
    try:
        return "_" not in text and (math.isfinite(float(text)) or not finite)
    except ValueError:
        return False


def _npy_layout(path: Path) -> tuple[None, int]:
    return None, map_npy(path).shape[1]


def _npy_read(path: Path, chosen: list[int]) -> Array:
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


def _parquet_layout(path: Path) -> tuple[list[str], int]:
    with open_parquet(parquet_files(path)[0]) as file:
        return list(file.schema_arrow.names), len(file.schema_arrow.names)


def _parquet_read(path: Path, chosen: list[int]) -> Array:
    parts, names = [], list[str]()
    for part in parquet_files(path):
        with open_parquet(part) as file:
            schema = file.schema_arrow
            names = names or [schema.names[j] for j in chosen]
            check_numbers(part, schema, choose_columns(part, names, schema.names, 0))
            table = file.read(columns=names)
        parts.append(np.stack([_parquet_column(part, name, table.column(name)) for name in names], axis=1))
    return np.concatenate(parts)


def check_numbers(path: Path | str, schema: Any, chosen: Sequence[int]) -> None:
    """Raise ValueError if a column of an Arrow schema does not hold numbers."""
    import pyarrow as pa

    for field in map(schema.field, chosen):
        kind = field.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"{path}: column '{field.name}' holds {kind}, expected numbers; choose other columns")


def _parquet_column(path: Path, name: str, column: Any) -> Array:
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
    """The file, or the files in a folder and those in it, in the order of their names."""
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise ValueError(f"{path}: a folder without .parquet files")
    return files


def open_parquet(path: Any, name: str = "") -> Any:
    """Open a file (of this name) as a `pyarrow.parquet.ParquetFile` that reads in small parts."""
    _require_pyarrow(name or path)
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path, buffer_size=_PARQUET_BUFFER, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name or path}: not a parquet file, or a damaged one ({first_line(error)})") from error


_Layout = Callable[[Path], tuple[list[str] | None, int]]
_Read = Callable[[Path, list[int]], Array]

_FORMATS: dict[str, tuple[_Layout, _Read]] = {
    ".csv": (_csv_layout, _csv_read),
    ".npy": (_npy_layout, _npy_read),
    ".parquet": (_parquet_layout, _parquet_read),
}


def _format(path: Path) -> tuple[_Layout, _Read]:
    if path.is_dir():
        return _FORMATS[".parquet"]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"{path}: expected a file ending in {_alternatives(tuple(_FORMATS))}")
    return _FORMATS[path.suffix.lower()]


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
    >>> from fastem.tables import write_table
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
    """As `write_table`, but give a function that takes the table's rows block by block, `n_rows` in all."""
    target = Path(path)
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


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error) or type(error).__name__).splitlines()[0]
