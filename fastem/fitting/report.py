"""What happened in a fit, as a table: `GaussianMixture.fit_report_`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastem.model.result import Certificate, Event, Result, Status

SHOWN = 40  # events that are printed


class Start(NamedTuple):
    """How the fit from one of `n_init` starts went.

    Attributes
    ----------
    status : Status
    n_iter : int
    bound : float, the objective per row at its end
    events : tuple of Event
    certificate : Certificate or None
        passes, gain left and gradient at its end; None unless it was accelerated
    """

    status: Status
    n_iter: int
    bound: float
    events: tuple[Event, ...]
    certificate: Certificate | None = None

    @classmethod
    def of(cls, result: Result) -> Start:
        """Make it of the result of the fit from this start."""
        bound = result.history[-1] if result.n_iter else -math.inf
        return cls(result.status, result.n_iter, bound, tuple(result.events), result.certificate)


@dataclass(frozen=True)
class Report:
    """What happened in a fit; `print` shows it as tables.

    Attributes
    ----------
    starts : tuple of Start, one for each start that was made; empty if there was no fit
    kept : int, the index of the start whose parameters the estimator has
    """

    starts: tuple[Start, ...]
    kept: int

    @property
    def events(self) -> tuple[Event, ...]:
        """The events of the start that was kept."""
        return self.starts[self.kept].events if self.starts else ()

    def __str__(self) -> str:
        if not self.starts:
            return "No fit: the parameters were given."
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        rows = [
            (str(number), str(one.n_iter), f"{one.bound:.10g}", one.status.name, "kept" * (number == self.kept))
            for number, one in enumerate(self.starts)
        ]
        yield from text_table(("start", "iterations", "objective", "status", ""), rows)
        kept = self.starts[self.kept]
        yield kept.status.advice
        if kept.certificate is not None:
            yield str(kept.certificate)
        yield ""
        events = [(str(number), *row) for number, one in enumerate(self.starts) for row in _rows(one.events)]
        if not events:
            yield "Nothing else to report."
            return
        yield from text_table(("start", "iteration", "event", "components", "what happened"), events[:SHOWN])
        if len(events) > SHOWN:
            yield f"... and {len(events) - SHOWN} more, in .starts"


def _rows(events: Sequence[Event]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the events as rows of the table; falls at successive iterations make one row."""
    position = 0
    while position < len(events):
        event = events[position]
        run = [event]
        for other in events[position + 1 :]:
            if not event.what == other.what == "fell" or other.iteration != run[-1].iteration + 1:
                break
            run.append(other)
        position += len(run)
        iterations = f"{event.iteration}" if len(run) == 1 else f"{event.iteration}-{run[-1].iteration}"
        fall = f"objective {sum(one.change for one in run):+.3g}" if event.what == "fell" else event.detail
        yield iterations, event.what, ", ".join(map(str, event.components)), fall


NO_FIT = Report((), 0)


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table of text, with columns as wide as their widest cells."""
    widths = [max(len(row[j]) for row in (titles, *rows)) for j in range(len(titles))]
    for row in (titles, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
