"""A source that counts its rows in each pass, for progress bars."""

from collections.abc import Callable
from typing import Any

from fastem.sources.blocks import Block, Sample, Source, Uniforms, kind_of_rows, options_of_rows
from fastem.sources.labels import is_labelled
from fastem.sources.opening import may_have_gaps


class Rows:
    """A source that calls `count` with the number of rows of each block, after the block is done.

    It has no column names: commands choose the columns by name, and the model compares no names.
    """

    columns = None

    def __init__(self, source: Source) -> None:
        self.source, self.n_features, self.dtype = source, source.n_features, source.dtype
        self.labelled, self.missing = is_labelled(source), may_have_gaps(source)
        self.rows_options = options_of_rows(source)
        self.count: Callable[[int], None] = lambda n: None

    @property
    def rows_kind(self) -> str:
        """See Source."""
        return kind_of_rows(self.source)

    @property
    def n_rows(self) -> int:
        """See Source."""
        return self.source.n_rows

    @property
    def n_present(self) -> int:
        """See Source."""
        return self.source.n_present

    @property
    def sum_w(self) -> float:
        """See Source."""
        return self.source.sum_w

    def reduce(self, function: Callable[[Block], Any], rows: int, grain: int | None = None) -> Any:
        """See Source."""

        def counted(block: Block) -> Any:
            result = function(block)
            self.count(len(block.X))
            return result

        return self.source.reduce(counted, rows, grain)

    def for_each(self, function: Callable[[Block], None], rows: int, grain: int | None = None) -> None:
        """See Source."""

        def counted(block: Block) -> None:
            function(block)
            self.count(len(block.X))

        self.source.for_each(counted, rows, grain)

    def sample(self, n: int, rng: Uniforms) -> Sample:
        """See Source."""
        return self.source.sample(n, rng)
