"""Tables of text: how one is laid out, and its numbers, which pyarrow reads block by block.

Files of text do not say how they are laid out. `find_layout` looks at their beginning, and where that allows two
readings that give other numbers, it asks (a ValueError that names the option which decides) instead of guessing.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastem.files.arrow import copy_column, require_pyarrow

Array = NDArray[Any]

ENDINGS = (".csv", ".tsv", ".txt", ".dat")  # each also followed by .gz
DELIMITERS = (",", ";", "\t", "|", " ")  # a blank stands for any run of blanks and tabs
HEAD_BYTES = 1 << 18  # of the file, looked at to find its layout; more, if these are fewer than HEAD_LINES
HEAD_LINES = 10
BLOCK_BYTES = 1 << 20  # of text, turned into numbers at a time: larger ones took more time and memory
READ_BYTES = 1 << 20  # of a file, read at a time
DOUBT = 0.8  # two delimiters are in question if one explains so much of what the other does

# What pyarrow reads as an empty cell.
EMPTY = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN")
    + ("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null")
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_INTEGER = re.compile(r"[+-]?\d+")

Row = tuple[int, list[str]]  # the number of its last line, from 1, and its cells


@dataclass(frozen=True)
class TextOptions:
    """What the user says of a table of text; None: to be found.

    Attributes
    ----------
    delimiter : str, what separates cells; a blank: any run of blanks and tabs
    decimal : str, "." or ","
    header : bool, whether the first row holds names
    index : bool, whether the first column holds numbers or names of the rows
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None
    index: bool | None = None


NOTHING_SAID = TextOptions()


@dataclass(frozen=True)
class TextLayout:
    """How a table of text is laid out.

    Attributes
    ----------
    encoding, delimiter, decimal : str
    names : list of str, or None without a header
    units : list of str, the row under the header if that holds units, else empty
    n_columns : int
    index : bool, whether the first column is no feature
    skip : int, lines before the first row of numbers
    quoted : bool, whether there are quotes, which may hold line ends
    longest : int, characters of the longest line seen
    """

    encoding: str
    delimiter: str
    decimal: str
    names: list[str] | None
    units: list[str]
    n_columns: int
    index: bool
    skip: int
    quoted: bool
    longest: int


def is_text(path: Path) -> bool:
    """Tell by its ending whether a file is a table of text."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(ENDINGS)


# --- layout -------------------------------------------------------------------------------------------------------


def find_layout(path: Path, options: TextOptions = NOTHING_SAID) -> TextLayout:
    """Look at the beginning of a table of text; ValueError where it is doubtful, the message says what decides."""
    encoding, text = _head(path)
    delimiter = _find_delimiter(path, text, options) if options.delimiter is None else options.delimiter
    try:
        comments, rows = _rows(text, delimiter)
    except csv.Error as error:
        raise ValueError(f"{path}: {error}") from error
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    n = _width([cells for _, cells in rows])
    decimal = _find_decimal(path, delimiter, rows) if options.decimal is None else options.decimal
    skip, names, units = _find_header(path, comments, rows, n, delimiter, decimal, options)
    body = [cells for line, cells in rows if line > skip]
    if not body:
        raise ValueError(f"{path}: a header and no rows")
    index = _find_index(path, names, body, options)
    longest = max(map(len, _lines(text)))
    return TextLayout(encoding, delimiter, decimal, names, units, n, index, skip, '"' in text, longest)


def _head(path: Path) -> tuple[str, str]:
    """Return the encoding of a file and its first lines."""
    with _opened(path) as stream:
        raw = stream.read(HEAD_BYTES)
        while raw.count(b"\n") < HEAD_LINES and (more := stream.read(HEAD_BYTES)):
            raw += more
        whole = not stream.read(1)
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeDecodeError:
        encoding = "cp1252"  # of Western Windows; names alone depend on it, for numbers are ASCII
        text = raw.decode(encoding, errors="replace")
    if "\0" in text:
        raise ValueError(f"{path}: not text: it holds NUL bytes (UTF-16 needs a byte order mark at its beginning)")
    return encoding, text if whole else text[: text.rindex("\n") + 1]


def _rows(text: str, delimiter: str) -> tuple[list[Row], list[Row]]:
    """Cut text into cells: lines of comment (#) above the table, and its rows; blank lines are left out."""
    lines = _lines(_squeezed(text) if delimiter == " " else text)
    n_comments = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    above = [(n, line[1:].strip()) for n, line in enumerate(lines[:n_comments], 1) if line.strip()]
    comments = [(n, next(csv.reader([line], delimiter=delimiter), [])) for n, line in above]
    reader = csv.reader(lines[n_comments:], delimiter=delimiter)
    return comments, [(n_comments + reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]


def _lines(text: str) -> list[str]:
    """Cut text at its line ends, and not at what else str.splitlines takes for such."""
    return io.StringIO(text, newline="").readlines()


def _squeezed(text: str) -> str:
    """Text with one blank for each run of blanks and tabs, and none at either end of a line."""
    return re.sub(r"(?m)^ | $| (?=\r)", "", re.sub(r"[ \t]+", " ", text))


def _width(rows: Sequence[list[str]]) -> int:
    """Return the number of cells that most rows have."""
    counts = Counter(map(len, rows))
    return max(counts, key=lambda n: (counts[n], n))


def _find_delimiter(path: Path, text: str, options: TextOptions) -> str:
    """Choose the delimiter that cuts most of the rows into equally many cells, and these into most numbers."""
    ranked = []
    for delimiter in DELIMITERS:
        try:
            rows = [cells for _, cells in _rows(text, delimiter)[1]]
        except csv.Error:
            continue  # a whole row may be too long for one cell
        if delimiter != options.decimal and rows and _width(rows) > 1:
            ranked.append((_explained(rows[1:] or rows, delimiter), delimiter, rows))
    if not ranked:
        return ";" if options.decimal == "," else ","  # of one column
    ranked.sort(key=lambda one: -one[0])  # equals stay in the order of DELIMITERS
    score, best, rows = ranked[0]
    if best == "," and options.decimal is None and all(_DECIMAL_COMMA.fullmatch(",".join(cells)) for cells in rows):
        raise ValueError(
            f"{path}: rows such as {','.join(rows[0])} may be two numbers or one with a decimal comma: say which with "
            "--decimal . or --decimal ,"
        )
    for other_score, other, other_rows in ranked[1:]:
        as_good = other_score == score or (score < 1 and other_score >= DOUBT * score)
        if as_good and score > 0 and other_rows[1:] != rows[1:]:
            raise ValueError(
                f"{path}: cells may be separated by {best!r} ({_width(rows)} in a row) or by {other!r} "
                f"({_width(other_rows)}): say which with --delimiter"
            )
    return best


def _explained(rows: Sequence[list[str]], delimiter: str) -> float:
    """Return the share of rows that have the usual number of cells, times that of numbers among their cells."""
    n = _width(rows)
    usual = [cells for cells in rows if len(cells) == n]
    cells = [cell.strip() for row in usual for cell in row if cell.strip() not in EMPTY]
    numbers = sum(_is_number(cell) or bool(_DECIMAL_COMMA.fullmatch(cell)) for cell in cells)
    return len(usual) / len(rows) * numbers / max(len(cells), 1)


def _find_decimal(path: Path, delimiter: str, rows: Sequence[Row]) -> str:
    cells = [cell.strip() for _, row in rows for cell in row]
    commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    points = [cell for cell in cells if "." in cell and _is_number(cell)]
    if not commas:
        return "."
    if points:
        found = f"numbers with a comma, {commas[0]}, and with a point, {points[0]}"
    elif all(map(_THOUSANDS.fullmatch, commas)):
        found = f"{commas[0]} may be a number of thousands or one with three decimals"
    else:
        return ","
    raise ValueError(f"{path}: {found}: say which is the decimal sign with --decimal , or --decimal .")


def _find_header(
    path: Path, comments: Sequence[Row], rows: Sequence[Row], n: int, delimiter: str, decimal: str, options: TextOptions
) -> tuple[int, list[str] | None, list[str]]:
    """Return the lines above the first row of numbers, the names and the units."""
    (line, first), body = rows[0], [cells for _, cells in rows[1:]]
    has_header = _has_header(path, first, body, n, decimal) if options.header is None else options.header
    if not has_header:
        above = [cells for _, cells in comments[-1:] if len(cells) == n and options.header is None]
        start = line - 1 - sum("\n" in cell for cell in first)
        return start, [cell.strip() for cell in above[0]] if above else None, []
    names = [cell.strip() for cell in first]
    has_units = len(body) > 1 and _are_units(first, body[0], body[1:], decimal)
    if len(names) == n - 1 > 1 and not has_units:  # as R's write.table has it: the rows' names have none themselves
        names = ["", *names]
    if len(names) != n:
        hint = " (or --decimal , if the comma is the decimal sign)" if delimiter == "," and n == 2 else ""
        raise ValueError(f"{path}: row {line} has {len(names)} cells, expected {n}, as most rows have{hint}")
    if has_units:
        return rows[1][0], names, [cell.strip() for cell in body[0]]
    return line, names, []


def _are_units(names: list[str], row: list[str], body: Sequence[list[str]], decimal: str) -> bool:
    """Tell whether a row holds no number, but a word where the rows under it hold numbers, each under a name."""
    if any(cell.strip() and not name.strip() for name, cell in zip(names, row, strict=False)):
        return False  # names under a title
    return not any(_is_number(cell, decimal) for cell in row) and any(
        _is_word(cell, decimal)
        for cell, numbers in zip(row, _numeric(body, len(row), decimal), strict=False)
        if numbers
    )


def _numeric(body: Sequence[list[str]], n: int, decimal: str) -> list[bool]:
    """Tell which columns hold a number and no word."""
    columns = [[cells[j] for cells in body if len(cells) > j] for j in range(n)]
    return [
        any(_is_number(cell, decimal) for cell in column) and not any(_is_word(cell, decimal) for cell in column)
        for column in columns
    ]


def _has_header(path: Path, first: list[str], body: Sequence[list[str]], n: int, decimal: str) -> bool:
    """Tell whether the first row holds names; ValueError where it is doubtful."""
    if len(first) == n - 1:
        return True
    words = [j for j, cell in enumerate(first) if _is_word(cell, decimal)]
    under = body[1:] if len(body) > 1 and _are_units(first, body[0], body[1:], decimal) else body
    numeric = _numeric(under, len(first), decimal)
    if words and (not any(numeric) or any(numeric[j] for j in words)):
        return True
    numbers = [cell.strip() for cell, is_numeric in zip(first, numeric, strict=True) if is_numeric]
    repeated = any(first[j] == cells[j] for j in words for cells in under if len(cells) > j)
    if repeated or not all(map(_INTEGER.fullmatch, filter(None, numbers))):
        return False  # 5.1,setosa above 4.9,setosa
    nameless = first[0].strip() == ""
    if nameless and len(under) > 1 and _count_up([cells[0].strip() for cells in under]):
        return True  # as pandas writes a frame, whose first column then counts the rows
    if words or nameless or _resemble_names(numbers, under, numeric, decimal):
        shown = ", ".join(first[:6]) + (", ..." if len(first) > 6 else "")
        raise ValueError(
            f"{path}: the first row ({shown}) may hold names or values: say which with --header or --no-header"
        )
    return False


def _resemble_names(numbers: Sequence[str], body: Sequence[list[str]], numeric: Sequence[bool], decimal: str) -> bool:
    """Tell whether integers in the first row look like default names or years rather than values.

    They do if all numbers under one of them have decimals, or if they count up as the row under them does not.
    """
    columns = [[cells[j].strip() for cells in body if len(cells) > j] for j, wanted in enumerate(numeric) if wanted]
    if any(all(_is_finite(cell, decimal) and not _INTEGER.fullmatch(cell) for cell in column) for column in columns):
        return True
    return len(numbers) > 2 and _count_up(numbers) and not _count_up([column[0] for column in columns])


def _count_up(cells: Sequence[str]) -> bool:
    """Tell whether cells are integers, each one more than that before it."""
    if not all(map(_INTEGER.fullmatch, cells)):
        return False
    return all(int(two) - int(one) == 1 for one, two in itertools.pairwise(cells))


def _find_index(path: Path, names: list[str] | None, body: Sequence[list[str]], options: TextOptions) -> bool:
    """Tell whether the first column is an index: it has no name, and holds words or integers of which none recurs."""
    if options.index is not None:
        return options.index
    if names is None or len(names) < 2 or names[0] not in ("", "Unnamed: 0"):
        return False
    cells = [cells[0].strip() for cells in body]
    integers = [cell for cell in cells if _INTEGER.fullmatch(cell)]
    if len(set(integers)) == len(cells) or not any(map(_is_number, cells)):
        return True
    raise ValueError(
        f"{path}: the first column has no name and holds {', '.join(cells[:3])}, ...: say with --index that it counts "
        "the rows, or with --no-index that it is a feature"
    )


def _is_number(cell: str, decimal: str = ".") -> bool:
    """Tell whether a cell is a number; Python's ``1_000`` is none."""
    if decimal == ",":
        cell = cell.replace(".", "_").replace(",", ".")
    try:
        return "_" not in cell and cell.strip() not in EMPTY and not math.isnan(float(cell))
    except ValueError:
        return False


def _is_word(cell: str, decimal: str) -> bool:
    return cell.strip() not in EMPTY and not _is_number(cell, decimal)


def describe(layout: TextLayout, n_rows: int) -> str:
    """Say what was taken for what."""
    separator = {"\t": "tabs", " ": "blanks"}.get(layout.delimiter, repr(layout.delimiter))
    parts = [f"{n_rows} rows of {layout.n_columns} columns"]
    if layout.n_columns > 1:
        parts[0] += f" separated by {separator}"
    if layout.decimal != ".":
        parts.append(f"decimal sign {layout.decimal!r}")
    if layout.encoding != "utf-8":
        parts.append(f"encoding {layout.encoding}")
    parts.append("no header" if layout.names is None else f"header {_shown(layout.names)}")
    if layout.units:
        parts.append(f"units {_shown(layout.units)}")
    if layout.index:
        parts.append("the first column counts or names the rows")
    return "; ".join(parts)


def _shown(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or "(none)" for name in names[:most]) + more


# --- values -------------------------------------------------------------------------------------------------------


def read_blocks(
    path: Path, layout: TextLayout, chosen: Sequence[int], count: Callable[[int], None] = lambda n: None
) -> Iterator[Array]:
    """Yield the numbers of the columns chosen, (n, D) float64 with NaN for empty cells.

    `count` is told of every read how many bytes of the file it took. ValueError names the first cell that is no number.
    """
    require_pyarrow(path, "cli")
    import pyarrow as pa
    from pyarrow import csv as arrow

    fields = [str(j) for j in range(layout.n_columns)]
    wanted = [fields[j] for j in chosen]
    block = max(BLOCK_BYTES, 16 * layout.longest)  # of some rows at least
    options: dict[str, Any] = {
        "read_options": arrow.ReadOptions(column_names=fields, skip_rows=layout.skip, block_size=block),
        "parse_options": arrow.ParseOptions(delimiter=layout.delimiter, newlines_in_values=layout.quoted),
        "convert_options": arrow.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.float64()),
            include_columns=wanted,
            decimal_point=layout.decimal,
            null_values=sorted(EMPTY),
        ),
    }
    with _opened(path, layout, count) as stream:
        try:
            for batch in arrow.open_csv(stream, **options):
                table = np.empty((len(wanted), batch.num_rows))
                for values, column in zip(table, batch.columns, strict=True):
                    copy_column(column, values)
                yield table.T
        except pa.ArrowInvalid as error:
            found = find_fault(path, layout, chosen) or f"{path}: {str(error).splitlines()[0]}"
            raise ValueError(found) from error


def read(
    path: Path,
    layout: TextLayout,
    chosen: Sequence[int],
    count: Callable[[int], None] = lambda n: None,
    drop_incomplete: bool = False,
) -> tuple[Array, int]:
    """Read the columns chosen, (N, D) float64; with `drop_incomplete` without the rows that have an empty cell in them.

    Returns the table and the number of rows dropped. ValueError names the first cell that is no finite number.
    """
    table, n, n_dropped = np.empty((0, len(chosen))), 0, 0
    for block in read_blocks(path, layout, chosen, count):
        if drop_incomplete:
            complete = ~np.isnan(block).any(axis=1)
            n_dropped += len(block) - int(np.count_nonzero(complete))
            block = block[complete]
        if n + len(block) > len(table):  # in place, so that no copy of all rows is made
            table.resize((max(n + len(block), len(table) * 5 // 4), len(chosen)), refcheck=False)
        table[n : n + len(block)] = block
        n += len(block)
    table.resize((n, len(chosen)), refcheck=False)
    if not np.isfinite(table).all():
        raise ValueError(find_fault(path, layout, chosen, drop_incomplete))
    return table, n_dropped


def find_fault(path: Path, layout: TextLayout, chosen: Sequence[int], drop_incomplete: bool = False) -> str | None:
    """Find the first row of another length or cell that is no finite number, and say where it is."""
    for line, cells in _all_rows(path, layout):
        if len(cells) != layout.n_columns:
            return f"{path}: row {line} has {len(cells)} cells, expected {layout.n_columns}"
        for j in chosen:
            empty = cells[j].strip() in EMPTY
            if empty and drop_incomplete:
                break
            if empty or not _is_finite(cells[j], layout.decimal):
                name = layout.names[j] if layout.names else j
                return f"{path}: column '{name}', row {line}: expected a finite number, found '{cells[j]:.40}'"
    return None


def _is_finite(cell: str, decimal: str) -> bool:
    return _is_number(cell, decimal) and math.isfinite(float(cell.replace(decimal, ".")))


def _all_rows(path: Path, layout: TextLayout) -> Iterator[Row]:
    """Yield the rows under the header, with the numbers of their lines from 1."""
    encoding = "cp1252" if layout.encoding == "cp1252" else "utf-8-sig"
    with _opened(path, layout) as stream:
        lines = io.TextIOWrapper(stream, encoding, errors="replace", newline="")
        reader = csv.reader(itertools.islice(lines, layout.skip, None), delimiter=layout.delimiter)
        try:
            yield from ((layout.skip + reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise ValueError(f"{path}: row {layout.skip + reader.line_num}: {error}") from error


@contextmanager
def _opened(
    path: Path, layout: TextLayout | None = None, count: Callable[[int], None] = lambda n: None
) -> Iterator[IO[bytes]]:
    """Open a file, unpacked; with a layout as pyarrow takes it, in UTF-8 and with one delimiter between two cells."""
    with path.open("rb", buffering=0) as file:
        stream: Any = io.BufferedReader(_Chunks(_pieces(file, count)), READ_BYTES)
        try:
            if path.suffix.lower() == ".gz":
                stream = gzip.GzipFile(fileobj=stream)
            if layout is not None and (layout.delimiter == " " or layout.encoding in ("utf-16", "utf-32")):
                stream = io.BufferedReader(_Chunks(_rewritten(stream, layout)), READ_BYTES)
            yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: a damaged .gz file ({error})") from error


def _pieces(file: IO[bytes], count: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the bytes of a file, and tell how many."""
    while piece := file.read(READ_BYTES):
        count(len(piece))
        yield piece


def _rewritten(stream: IO[bytes], layout: TextLayout) -> Iterator[bytes]:
    """Yield a file of text in UTF-8, with one blank for each run of them if these separate the cells."""
    decode, rest = codecs.getincrementaldecoder(layout.encoding)("replace").decode, ""
    while piece := stream.read(READ_BYTES):
        lines, end, rest = (rest + decode(piece)).rpartition("\n")
        yield ((_squeezed(lines) if layout.delimiter == " " else lines) + end).encode()
    rest += decode(b"", True)
    yield (_squeezed(rest) if layout.delimiter == " " else rest).encode()


class _Chunks(io.RawIOBase):
    """The bytes of an iterable of chunks, as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.rest = iter(chunks), memoryview(b"")

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase."""
        while not self.rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return 0
            self.rest = memoryview(chunk)
        n = min(len(buffer), len(self.rest))
        buffer[:n], self.rest = self.rest[:n], self.rest[n:]
        return n
