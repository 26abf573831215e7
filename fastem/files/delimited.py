"""The numbers in tables of text, which pyarrow reads block by block."""

from __future__ import annotations

import csv
import io
import itertools
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastem.files.arrow import copy_column, read_batches, require_pyarrow
from fastem.files.cells import EMPTY, INTEGER, is_finite, is_variance
from fastem.files.text_layout import TextLayout
from fastem.files.text_stream import open_text

Array = NDArray[Any]
Gaps = Literal["refuse", "drop", "keep"]  # what becomes of rows with empty cells; those that are kept are NaN

EXACT = 2.0**53  # float64 has all integers below
BLOCK_BYTES = 1 << 20  # of text, turned into numbers at a time: larger ones took more time and memory


def read_blocks(
    path: Path,
    layout: TextLayout,
    chosen: Sequence[int],
    count: Callable[[int], None] = lambda n: None,
    again: bool = False,
) -> Iterator[Array]:
    """Yield the numbers of the columns chosen, (n, D) float64 with NaN for empty cells.

    `count` is told of every read how many bytes of the file it took. A ValueError names the first cell that is no
    number. Unless the file is read `again`, a warning at the end names columns of integers that float64 rounds.
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
    large, n_rows = dict[int, int](), 0  # the first row of each column whose value is EXACT or more
    with open_text(path, layout, count) as stream:
        try:
            with closing(read_batches(stream, **options)) as batches:
                for batch in batches:
                    table = np.empty((len(wanted), batch.num_rows))
                    for j, values, column in zip(chosen, table, batch.columns, strict=True):
                        copy_column(column, values)
                        if not again and j not in large and (beyond := np.abs(values) >= EXACT).any():
                            large[j] = n_rows + int(beyond.argmax())
                    n_rows += batch.num_rows
                    yield table.T
        except pa.ArrowInvalid as error:
            found = find_fault(path, layout, chosen) or f"{path}: {str(error).splitlines()[0]}"
            raise ValueError(found) from error
    if large:
        warn_of_identifiers(path, layout, large)


def warn_of_identifiers(path: Path, layout: TextLayout, large: dict[int, int]) -> None:
    """Warn of integers that float64 rounds, which are identifiers as a rule, in the rows that `large` has by column."""
    found = dict[int, str]()
    for row, (_, cells) in enumerate(itertools.islice(_read_rows(path, layout), max(large.values()) + 1)):
        found |= {j: cells[j].strip() for j in large if large[j] == row and INTEGER.fullmatch(cells[j].strip())}
    if found:
        names = ", ".join(repr(str(layout.names[j] if layout.names else j)) for j in found)
        warnings.warn(
            f"{path}: column{'s' * (len(found) > 1)} {names}: integers of 2**53 and more, such as "
            f"{next(iter(found.values())):.40}, are rounded. As a rule they are identifiers and no measurements: "
            "choose the other columns. If they are measurements, subtract an offset first",
            stacklevel=2,
        )


def read_text(
    path: Path,
    layout: TextLayout,
    chosen: Sequence[int],
    count: Callable[[int], None] = lambda n: None,
    gaps: Gaps = "refuse",
    variances: Sequence[int] = (),
) -> tuple[Array, int]:
    """Read the columns chosen, (N, D) float64; `gaps` says what becomes of rows with an empty cell.

    Return the table and the number of rows left out. A ValueError names the first cell that is no finite number, or in
    the columns of `variances` neither a variance nor infinite, as that of what was not measured.
    """
    cells, n_dropped = array("d"), 0  # it grows in place: no second copy of all rows is made
    for block in read_blocks(path, layout, chosen, count):
        if gaps == "drop":
            complete = ~np.isnan(block).any(axis=1)
            n_dropped += len(block) - int(np.count_nonzero(complete))
            block = block[complete]
        cells.frombytes(block.tobytes())
    table = np.asarray(cells).reshape(-1, len(chosen))
    own = np.isin(chosen, variances)
    values = table[:, ~own] if variances else table
    if np.isinf(values).any() or (gaps != "keep" and np.isnan(values).any()) or not (table[:, own] >= 0).all():
        raise ValueError(find_fault(path, layout, chosen, gaps, variances))
    return table, n_dropped


def find_fault(
    path: Path, layout: TextLayout, chosen: Sequence[int], gaps: Gaps = "refuse", variances: Sequence[int] = ()
) -> str | None:
    """Say where the first row of another length, or cell that `read_text` refuses, is; return None without one."""
    for line, cells in _read_rows(path, layout):
        if len(cells) != layout.n_columns:
            return f"{path}: row {line} has {len(cells)} cells, expected {layout.n_columns}"
        for j in chosen:
            empty = cells[j].strip() in EMPTY
            if empty and gaps == "drop":
                break
            if j in variances:
                expected, fits = "a variance, or inf", not empty and is_variance(cells[j], layout.decimal)
            else:
                expected, fits = "a finite number", gaps == "keep" if empty else is_finite(cells[j], layout.decimal)
            if not fits:
                name = layout.names[j] if layout.names else j
                return f"{path}: column '{name}', row {line}: expected {expected}, found '{cells[j]:.40}'"
    return None


def _read_rows(path: Path, layout: TextLayout) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows under the header, with the numbers of their lines from 1."""
    encoding = "cp1252" if layout.encoding == "cp1252" else "utf-8-sig"
    with open_text(path, layout) as stream:
        lines = io.TextIOWrapper(stream, encoding, errors="replace", newline="")
        reader = csv.reader(itertools.islice(lines, layout.skip, None), delimiter=layout.delimiter)
        try:
            yield from ((layout.skip + reader.line_num, cells) for cells in reader if cells)
        except csv.Error as error:
            raise ValueError(f"{path}: row {layout.skip + reader.line_num}: {error}") from error
