"""Interruption of fits: Ctrl-C and rows that cannot be read end a fit with what it has so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastem.model.result import Result
from fastem.sources.blocks import SourceError


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C during a fit.

    Attributes
    ----------
    result : Result or None
        the last complete iteration; None if there was none
    """

    def __init__(self, result: Result | None) -> None:
        self.result = result
        super().__init__("the fit was interrupted; .result holds the last complete iteration")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)


@contextmanager
def handing_over(so_far: Callable[[Result | None], Result | None]) -> Iterator[None]:
    """Give the result of an unfinished fit to the exception that ends it.

    Parameters
    ----------
    so_far : function
        called with the result that the exception brings from inside, or None; returns that of this fit, or None

    Raises
    ------
    SourceError
        the one that comes, with ``.result``
    FitInterrupted
        in place of a KeyboardInterrupt
    """
    try:
        yield
    except SourceError as error:
        error.result = so_far(error.result)
        raise
    except KeyboardInterrupt as error:
        raise FitInterrupted(so_far(getattr(error, "result", None))) from error
