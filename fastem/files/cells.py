"""The cells of tables of text: which are empty, numbers or words."""

from __future__ import annotations

import math
import re

# What pyarrow reads as an empty cell.
EMPTY = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN")
    + ("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null")
)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
INTEGER = re.compile(r"[+-]?\d+")


def is_number(cell: str, decimal: str = ".") -> bool:
    """Tell whether a cell is a number; ``1_000``, a number for Python, is not."""
    if decimal == ",":
        cell = cell.replace(".", "_").replace(",", ".")
    try:
        return "_" not in cell and cell.strip() not in EMPTY and not math.isnan(float(cell))
    except ValueError:
        return False


def is_word(cell: str, decimal: str) -> bool:
    """Tell whether a cell is neither empty nor a number."""
    return cell.strip() not in EMPTY and not is_number(cell, decimal)


def is_finite(cell: str, decimal: str) -> bool:
    """Tell whether a cell is a finite number."""
    return is_number(cell, decimal) and math.isfinite(float(cell.replace(decimal, ".")))


def is_variance(cell: str, decimal: str) -> bool:
    """Tell whether a cell is a number of at least 0, or infinite."""
    return is_number(cell, decimal) and float(cell.replace(decimal, ".")) >= 0
