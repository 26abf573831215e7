"""Interruption of fits: by Ctrl-C or rows that cannot be read, a fit ends with the result that it has so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastem.model.result import Result
from fastem.sources.blocks import SourceError


class FitInterrupted(KeyboardInterrupt):
    """The user pressed Ctrl-C during a fit.

    Attributes
    ----------
    result : Result or None
        the result of the last complete iteration; None if there was none

    See Also
    --------
    em, lbfgs : fits that raise it.
    GaussianMixture.fit : keeps the result in the estimator before it raises it.

    Examples
    --------
    >>> import fastem
    >>> def press_ctrl_c(iteration, mean_loglik, params):
    ...     if iteration == 2:
    ...         raise KeyboardInterrupt
    >>> start = fastem.make_params([0.5, 0.5], [[0.0], [12.0]], [4.0, 4.0], "spherical")
    >>> X = [[0.0], [2.0], [10.0], [12.0]]
    >>> try:
    ...     fastem.em(X, start, covariance_type="spherical", callback=press_ctrl_c)
    ... except fastem.FitInterrupted as error:
    ...     print(error.result.n_iter)
    2
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
        called with the result that the exception brings from inside, or None if it brings none; returns the result
        of this fit, or None if it has none

    Raises
    ------
    SourceError
        the one that ends the fit, with ``.result``
    FitInterrupted
        in place of a KeyboardInterrupt that ends the fit
    """
    try:
        yield
    except SourceError as error:
        error.result = so_far(error.result)
        raise
    except KeyboardInterrupt as error:
        raise FitInterrupted(so_far(getattr(error, "result", None))) from error
