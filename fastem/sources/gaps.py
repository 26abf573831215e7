"""What is missing in the rows of a source: found in one pass, before a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.sources.blocks import Block, Source, lacks_values, rows_at_once
from fastem.sources.errors import check_measured


@dataclass(frozen=True)
class Gaps:
    """How many values of rows of positive weight are there. Those of blocks can be added.

    Attributes
    ----------
    observed : (D,) int, the values of each column
    n_empty : int, the rows of which nothing is observed
    """

    observed: NDArray[np.int64]
    n_empty: int

    def __add__(self, other: Gaps) -> Gaps:
        return Gaps(self.observed + other.observed, self.n_empty + other.n_empty)

    def __radd__(self, other: object) -> Gaps:
        return self if other == 0 else NotImplemented  # sum() starts from 0


def find_gaps(source: Source) -> Gaps | None:
    """Find out what is missing, in one pass; return None for complete rows.

    Raises
    ------
    ValueError
        if a column has no value, or an infinite error in all rows: nothing can be said of it
    """
    errors = getattr(source, "errors", None)
    if isinstance(errors, np.ndarray):
        check_measured(errors)
    if not lacks_values(source):
        return None
    found = source.reduce(_count_in_block, rows_at_once(source.n_features))
    if not lacks_values(source):  # the pass has shown that nothing is missing
        return None
    if not found.observed.all():
        raise ValueError(f"{_name(source, int(np.argmin(found.observed)))} has no observed value: leave it out.")
    return found


def _count_in_block(block: Block) -> Gaps:
    observed = ~np.isnan(block.present().X)
    return Gaps(np.count_nonzero(observed, axis=0).astype(np.int64), int(np.count_nonzero(~observed.any(axis=1))))


def _name(source: Source, column: int) -> str:
    """Return how a message names a column of a source."""
    names: Any = getattr(source, "columns", None)
    return f"Column {column} of X" if names is None else f"Column {names[column]!r} of X"
