"""Kinds of rows: for each, the class that sums up its statistics and the class that scores it.

A source tells its kind by the attribute `rows_kind`, a key of `KINDS`. A source without it has complete rows. What it
knows of all rows beside is in its `rows_options`.
To add a kind, write the two classes, and name them in a row of `KINDS` at the end of this module. `MIXTURES` there has
what sums up and scores complete rows under mixtures whose components are not Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from fastem.model.factors import FactorParams
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.model.student import StudentParams
from fastem.passes.binned import binned_accumulator, no_scorer
from fastem.passes.errors import errors_accumulator, errors_scorer
from fastem.passes.factors import FactorAccumulator, FactorScorer
from fastem.passes.missing import MissingAccumulator, MissingScorer
from fastem.passes.patterns import KnownPatterns
from fastem.passes.phases import accumulator
from fastem.passes.scorer import Scorer, Scores
from fastem.passes.shared_errors import shared_errors_accumulator, shared_errors_scorer
from fastem.passes.students import student_accumulator, student_scorer
from fastem.sources.blocks import Block, Source, kind_of_rows, options_of_rows


class Addable(Protocol):
    """What a pass has summed up of some rows; sums of consecutive rows are added in their order, beginning with 0."""

    def stats(self) -> Stats:
        """Return the statistics of these rows."""

    def __add__(self, other: Any) -> Any: ...
    def __radd__(self, other: object) -> Any: ...


class RowsAccumulator(Protocol):
    """What `evaluate` asks of an accumulator, which is made with the arguments of `fastem.passes.sums.Accumulator`.

    Attributes
    ----------
    block_rows : int, the grid of rows: only the last block may end within it
    slice_rows : int, the most rows of a block, a multiple of `block_rows`
    """

    block_rows: int
    slice_rows: int

    def sums(self, block: Block) -> Addable:
        """Return the sums over the rows of a block."""


class RowsScorer(Protocol):
    """What passes that score ask of a scorer, which is made with the arguments of `fastem.passes.scorer.Scorer`.

    Attributes
    ----------
    block_rows, slice_rows : int, as of a `RowsAccumulator`
    """

    block_rows: int
    slice_rows: int

    def fill(self, block: Block, scores: Scores) -> None:
        """Score the rows of a block into arrays of as many rows."""


class Kind(NamedTuple):
    """What handles a kind of rows.

    Attributes
    ----------
    accumulator : function that makes a `RowsAccumulator`
    scorer : function that makes a `RowsScorer`
    known : function
        Returns, for a source, what its earlier passes have found out or it was made with, as arguments of both by name.
    """

    accumulator: Callable[..., RowsAccumulator]
    scorer: Callable[..., RowsScorer]
    known: Callable[[Source], Mapping[str, Any]] = lambda source: {}


def stats_of(sums: Addable) -> Stats:
    """Return the statistics of rows that were summed up: what each part of a source sends."""
    return sums.stats()


def accumulator_for(source: Source, params: Params, *args: Any, **options: Any) -> RowsAccumulator:
    """Return what sums up the rows of a source under a mixture; arguments as of `fastem.passes.sums.Accumulator`."""
    kind = kind_of(source, params)
    return kind.accumulator(params, *args, **options, **kind.known(source))


def scorer_for(source: Source, params: Params, *, distances: bool = False) -> RowsScorer:
    """Return what scores the rows of a source under a mixture; arguments as of `fastem.passes.scorer.Scorer`."""
    kind = kind_of(source, params)
    return kind.scorer(params, distances=distances, **kind.known(source))


def kind_of(source: Source, params: Params) -> Kind:
    """Return what handles the rows of a source under a mixture."""
    rows, own = kind_of_rows(source), MIXTURES.get(type(params))
    if own is None:
        return KINDS[rows]
    if rows != "complete":
        raise ValueError(f"components that are not Gaussian take complete rows; these are of the kind {rows!r}")
    return own


def find_observed_mass(source: Source, params: Params, mode: int) -> Array | None:
    """Return the weight of the rows of each component that show each feature, (K, D); None for complete rows."""
    accumulator = accumulator_for(source, params, mode=mode)
    if not isinstance(accumulator, MissingAccumulator):
        return None
    return source.reduce(accumulator.observed_mass, accumulator.slice_rows, accumulator.block_rows)


def known_patterns(source: Source) -> dict[str, Any]:
    """Return the patterns that are known of the rows of a source."""
    notes = getattr(source, "notes", None)
    return {} if notes is None else {"known": notes.setdefault("patterns", KnownPatterns())}


# Of mixtures whose components are not Gaussian, for complete rows.
MIXTURES: dict[type[Params], Kind] = {
    StudentParams: Kind(student_accumulator, student_scorer),
    FactorParams: Kind(FactorAccumulator, FactorScorer),
}
KINDS = {
    "complete": Kind(accumulator, Scorer),
    "missing": Kind(MissingAccumulator, MissingScorer, known_patterns),
    "errors": Kind(errors_accumulator, errors_scorer),
    "errors and gaps": Kind(errors_accumulator, errors_scorer),
    "one error": Kind(shared_errors_accumulator, shared_errors_scorer, options_of_rows),
    "bins": Kind(binned_accumulator, no_scorer, options_of_rows),
}
