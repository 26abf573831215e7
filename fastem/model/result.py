"""What a fit returns: its status, the events on its way, and the result."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from fastem.model.params import Params
from fastem.model.stats import Stats


class Status(Enum):
    """Why a fit ended."""

    CONVERGED = "Converged: what the stopping rule measures fell below tol."
    MAX_ITER = "Stopped at max_iter before convergence: raise max_iter or tol, or try other starts."
    DEGENERATE = (
        "A component collapsed: its covariance became singular. The last sound parameters are kept; "
        "raise reg_covar, lower n_components, remove duplicated rows, or choose a regularization."
    )
    DECREASED = (
        "The objective fell by more than rounding explains, and the parameters before that are kept: centre and scale "
        "the data, and look for columns that nearly depend on others."
    )
    TOO_FEW_ROWS = "Not fitted: the group has fewer rows of positive weight than components; its parameters are NaN."
    INTERRUPTED = "Interrupted, by the callback or Ctrl-C: the parameters are the best of the complete iterations."

    @property
    def advice(self) -> str:
        """A sentence: what it means and what to do."""
        return str(self.value)

    @classmethod
    def _missing_(cls, name: object) -> Status | None:
        return cls.__members__.get(str(name))

    def __reduce__(self) -> tuple[Any, ...]:
        """By name, in pickles and for skops, so that another wording of the advice does not make a file unreadable."""
        return type(self), (self.name,)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return self.__reduce__()


class Event(NamedTuple):
    """Something that a fit went through and its user should know of.

    Attributes
    ----------
    iteration : int, the pass over the data at which it happened, from 1
    what : str, one word
    components : tuple of int, those that it concerns
    detail : str
    change : float, of the objective per row, if that is the event
    """

    iteration: int
    what: str
    components: tuple[int, ...] = ()
    detail: str = ""
    change: float = 0.0


class Result(NamedTuple):
    """What `em` returns; stats and loglik are those of params.

    Attributes
    ----------
    params : Params
    stats : Stats, of the last pass, made under `params`
    loglik : float, total log-likelihood under `params`; of classification EM that of the classification
    history : list of float, what EM maximises per row, pass by pass: the mean log-likelihood, under a remedy of
        `fastem.regularize` with its log prior (up to a constant)
    n_iter : int, passes done, without those of attempts that were given up
    status : Status
    events : sequence of Event
    """

    params: Params
    stats: Stats
    loglik: float
    history: list[float]
    n_iter: int
    status: Status
    events: Sequence[Event] = ()
