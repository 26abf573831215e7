"""What is known of a table of text: what the user says of it, and how it is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".csv", ".tsv", ".txt", ".dat")  # each also followed by .gz


@dataclass(frozen=True)
class TextOptions:
    """What the user says of a table of text. None means that `find_layout` has to find it out.

    Attributes
    ----------
    delimiter : str, what separates cells; a blank stands for any run of blanks and tabs
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
    names : list of str, or None if there is no header
    units : list of str, the row under the header if that holds units; else an empty list
    n_columns : int
    index : bool, whether the first column only counts or names the rows
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


def describe(layout: TextLayout, n_rows: int) -> str:
    """Describe a layout in one line, for the user to check."""
    separator = {"\t": "tabs", " ": "blanks"}.get(layout.delimiter, repr(layout.delimiter))
    parts = [f"{n_rows} rows of {layout.n_columns} columns"]
    if layout.n_columns > 1:
        parts[0] += f" separated by {separator}"
    if layout.decimal != ".":
        parts.append(f"decimal sign {layout.decimal!r}")
    if layout.encoding != "utf-8":
        parts.append(f"encoding {layout.encoding}")
    parts.append("no header" if layout.names is None else f"header {_join_some(layout.names)}")
    if layout.units:
        parts.append(f"units {_join_some(layout.units)}")
    if layout.index:
        parts.append("the first column counts or names the rows")
    return "; ".join(parts)


def _join_some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or "(none)" for name in names[:most]) + more
