"""What a start returns."""

from __future__ import annotations

from typing import NamedTuple

from fastem.model.result import Event
from fastem.model.stats import Stats


class Beginning(NamedTuple):
    """What a start returns: statistics, of which an M-step makes the first parameters, and what it went through.

    Attributes
    ----------
    stats : Stats
    events : tuple of Event, at iteration 0
    """

    stats: Stats
    events: tuple[Event, ...] = ()
