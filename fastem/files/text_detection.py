"""How a table of text is laid out: `find_layout` looks at its beginning.

Files of text do not say how they are laid out. Where the beginning allows two readings that give other numbers,
`find_layout` does not guess: it raises a ValueError that names the option which decides.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fastem.files.cells import DECIMAL_COMMA, EMPTY, INTEGER, THOUSANDS, is_finite, is_number, is_word
from fastem.files.text_layout import NOTHING_SAID, TextLayout, TextOptions
from fastem.files.text_stream import open_text, squeeze_blanks

DELIMITERS = (",", ";", "\t", "|", " ")  # a blank stands for any run of blanks and tabs
HEAD_BYTES = 1 << 18  # of the file, looked at to find its layout; more, if these are fewer than HEAD_LINES
HEAD_LINES = 10
DOUBT = 0.8  # two delimiters are in question if one explains so much of what the other does

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Row = tuple[int, list[str]]  # the number of its last line, from 1, and its cells


def find_layout(path: Path, options: TextOptions = NOTHING_SAID) -> TextLayout:
    """Find out how a table of text is laid out by its beginning.

    Raise a ValueError where that is doubtful; the message names the option that decides.
    """
    encoding, text = _head(path)
    delimiter = _find_delimiter(path, text, options) if options.delimiter is None else options.delimiter
    try:
        comments, rows = _cut(text, delimiter)
    except csv.Error as error:
        raise ValueError(f"{path}: {error}") from error
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    n = _usual_width([cells for _, cells in rows])
    decimal = _find_decimal(path, delimiter, rows) if options.decimal is None else options.decimal
    skip, names, units = _find_header(path, comments, rows, n, delimiter, decimal, options)
    body = [cells for line, cells in rows if line > skip]
    if not body:
        raise ValueError(f"{path}: a header and no rows")
    index = _find_index(path, names, body, options)
    longest = max(map(len, _split_lines(text)))
    return TextLayout(encoding, delimiter, decimal, names, units, n, index, skip, '"' in text, longest)


def _head(path: Path) -> tuple[str, str]:
    """Return the encoding of a file and its first lines."""
    with open_text(path) as stream:
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


def _cut(text: str, delimiter: str) -> tuple[list[Row], list[Row]]:
    """Cut text into cells: lines of comment (#) above the table, and its rows; blank lines are left out."""
    lines = _split_lines(squeeze_blanks(text) if delimiter == " " else text)
    n_comments = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    above = [(n, line[1:].strip()) for n, line in enumerate(lines[:n_comments], 1) if line.strip()]
    comments = [(n, next(csv.reader([line], delimiter=delimiter), [])) for n, line in above]
    reader = csv.reader(lines[n_comments:], delimiter=delimiter)
    return comments, [(n_comments + reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]


def _split_lines(text: str) -> list[str]:
    """Cut text at its line ends only; str.splitlines takes more characters for line ends."""
    return io.StringIO(text, newline="").readlines()


def _usual_width(rows: Sequence[list[str]]) -> int:
    """Return the number of cells that most rows have."""
    counts = Counter(map(len, rows))
    return max(counts, key=lambda n: (counts[n], n))


def _find_delimiter(path: Path, text: str, options: TextOptions) -> str:
    """Choose the delimiter that cuts most of the rows into equally many cells, most of them numbers."""
    ranked = []
    for delimiter in DELIMITERS:
        try:
            rows = [cells for _, cells in _cut(text, delimiter)[1]]
        except csv.Error:
            continue  # a whole row may be too long for one cell
        if delimiter != options.decimal and rows and _usual_width(rows) > 1:
            ranked.append((_score_cut(rows[1:] or rows, delimiter), delimiter, rows))
    if not ranked:
        return ";" if options.decimal == "," else ","  # of one column
    ranked.sort(key=lambda one: -one[0])  # equals stay in the order of DELIMITERS
    score, best, rows = ranked[0]
    if best == "," and options.decimal is None and all(DECIMAL_COMMA.fullmatch(",".join(cells)) for cells in rows):
        raise ValueError(
            f"{path}: rows such as {','.join(rows[0])} may be two numbers or one with a decimal comma: say which with "
            "--decimal . or --decimal ,"
        )
    for other_score, other, other_rows in ranked[1:]:
        as_good = other_score == score or (score < 1 and other_score >= DOUBT * score)
        if as_good and score > 0 and other_rows[1:] != rows[1:]:
            raise ValueError(
                f"{path}: cells may be separated by {best!r} ({_usual_width(rows)} in a row) or by {other!r} "
                f"({_usual_width(other_rows)}): say which with --delimiter"
            )
    return best


def _score_cut(rows: Sequence[list[str]], delimiter: str) -> float:
    """Return the share of rows that have the usual number of cells, times the share of numbers among their cells."""
    n = _usual_width(rows)
    usual = [cells for cells in rows if len(cells) == n]
    cells = [cell.strip() for row in usual for cell in row if cell.strip() not in EMPTY]
    numbers = sum(is_number(cell) or bool(DECIMAL_COMMA.fullmatch(cell)) for cell in cells)
    return len(usual) / len(rows) * numbers / max(len(cells), 1)


def _find_decimal(path: Path, delimiter: str, rows: Sequence[Row]) -> str:
    """Tell whether the decimal sign of the numbers is a point or a comma; raise a ValueError where it is doubtful."""
    cells = [cell.strip() for _, row in rows for cell in row]
    commas = [cell for cell in cells if DECIMAL_COMMA.fullmatch(cell)]
    points = [cell for cell in cells if "." in cell and is_number(cell)]
    if not commas:
        return "."
    if points:
        found = f"numbers with a comma, {commas[0]}, and with a point, {points[0]}"
    elif all(map(THOUSANDS.fullmatch, commas)):
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
    return not any(is_number(cell, decimal) for cell in row) and any(
        is_word(cell, decimal)
        for cell, numbers in zip(row, _find_numeric(body, len(row), decimal), strict=False)
        if numbers
    )


def _find_numeric(body: Sequence[list[str]], n: int, decimal: str) -> list[bool]:
    """Tell which columns hold a number and no word."""
    columns = [[cells[j] for cells in body if len(cells) > j] for j in range(n)]
    return [
        any(is_number(cell, decimal) for cell in column) and not any(is_word(cell, decimal) for cell in column)
        for column in columns
    ]


def _has_header(path: Path, first: list[str], body: Sequence[list[str]], n: int, decimal: str) -> bool:
    """Tell whether the first row holds names; raise a ValueError where it is doubtful."""
    if len(first) == n - 1:
        return True
    words = [j for j, cell in enumerate(first) if is_word(cell, decimal)]
    under = body[1:] if len(body) > 1 and _are_units(first, body[0], body[1:], decimal) else body
    numeric = _find_numeric(under, len(first), decimal)
    if words and (not any(numeric) or any(numeric[j] for j in words)):
        return True
    numbers = [cell.strip() for cell, is_numeric in zip(first, numeric, strict=True) if is_numeric]
    repeated = any(first[j] == cells[j] for j in words for cells in under if len(cells) > j)
    if repeated or not all(map(INTEGER.fullmatch, filter(None, numbers))):
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
    if any(all(is_finite(cell, decimal) and not INTEGER.fullmatch(cell) for cell in column) for column in columns):
        return True
    return len(numbers) > 2 and _count_up(numbers) and not _count_up([column[0] for column in columns])


def _count_up(cells: Sequence[str]) -> bool:
    """Tell whether cells are integers, each one more than the one before it."""
    if not all(map(INTEGER.fullmatch, cells)):
        return False
    return all(int(two) - int(one) == 1 for one, two in itertools.pairwise(cells))


def _find_index(path: Path, names: list[str] | None, body: Sequence[list[str]], options: TextOptions) -> bool:
    """Tell whether the first column is an index: it has no name, and holds words or integers that all differ."""
    if options.index is not None:
        return options.index
    if names is None or len(names) < 2 or names[0] not in ("", "Unnamed: 0"):
        return False
    cells = [cells[0].strip() for cells in body]
    integers = [cell for cell in cells if INTEGER.fullmatch(cell)]
    if len(set(integers)) == len(cells) or not any(map(is_number, cells)):
        return True
    raise ValueError(
        f"{path}: the first column has no name and holds {', '.join(cells[:3])}, ...: say with --index that it counts "
        "the rows, or with --no-index that it is a feature"
    )
