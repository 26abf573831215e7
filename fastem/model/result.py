"""What a fit returns: its result, the status that says why it ended, and the events on its way."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from fastem.model.params import Params
from fastem.model.stats import Stats


class Status(Enum):
    """Why a fit ended.

    See Also
    --------
    Result : has the status of a fit.

    Examples
    --------
    >>> import fastem
    >>> fastem.Status.CONVERGED.advice
    'Converged: what the stopping rule measures fell below tol.'
    """

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
        """A sentence that says what the status means and what to do."""
        return str(self.value)

    @classmethod
    def _missing_(cls, name: object) -> Status | None:
        return cls.__members__.get(str(name))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name alone, for skops too: another wording of the advice does not make a file unreadable."""
        return type(self), (self.name,)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return self.__reduce__()


class Event(NamedTuple):
    """Something that a fit went through and its user should know of.

    Attributes
    ----------
    iteration : int
        the pass over the data at which it happened, from 1; 0 if it was in the start
    what : str
        one word: "fell" (the objective), "collapsed", "lost", "reseeded", "dropped", "undone" or "passes"; of a start
        "moved" (a component, to another place) or "searched"; of rows with missing values "empty" (rows) or "unseen"
        (a feature, in all rows of a component)
    components : tuple of int
        the components that it concerns
    detail : str
    change : float
        the change of the objective (per row, but for posteriors), if `what` is "fell", "moved" or "searched"; else 0
    """

    iteration: int
    what: str
    components: tuple[int, ...] = ()
    detail: str = ""
    change: float = 0.0


class Certificate(NamedTuple):
    """What tells how near a fit has come to a stationary point of its objective, which need not be the best maximum.

    Attributes
    ----------
    passes : float
        rows read in the course of the fit, in samples too, divided by the number of all rows. Those that the start
        takes do not count
    gain : float
        what the objective has yet to gain, in nats of all rows, as the last steps predict. It is no bound: where the
        likelihood is flat it is too small
    gradient : float
        the length of EM's next step in the coordinates of ``Parametrization.around(params)``. Where the likelihood has
        a gradient, this is its length per row there, up to how far the information of the complete data is from the
        identity
    """

    passes: float
    gain: float
    gradient: float

    def __str__(self) -> str:
        gain = (
            f"{self.gain:.2g} nats of all rows are left to gain" if self.gain < float("inf") else "no end is in sight"
        )
        return f"{self.passes:.4g} passes over all rows: {gain}, the scaled gradient per row is {self.gradient:.2g}."


class Result(NamedTuple):
    """What `em` and `lbfgs` return.

    Attributes
    ----------
    params : Params
        the fitted mixture
    stats : Stats
        the statistics of the last pass, under `params`
    loglik : float
        the total log-likelihood under `params`; in classification EM the classification log-likelihood
    history : list of float
        the objective per row, pass by pass: the mean log-likelihood, and with a `regularization` its log prior, up to
        a constant
    n_iter : int
        the number of passes (in `lbfgs` of iterations), without those of attempts that were given up
    status : Status
        why the fit ended
    events : sequence of Event
        what its user should know of, in order
    certificate : Certificate or None
        how near the fit has come to a stationary point; None unless it was accelerated

    See Also
    --------
    em, lbfgs : make such results.
    Status : the reasons why a fit ends.

    Examples
    --------
    >>> import fastem
    >>> start = fastem.make_params([0.5, 0.5], [[0.0], [12.0]], [4.0, 4.0], "spherical")
    >>> result = fastem.em([[0.0], [2.0], [10.0], [12.0]], start, covariance_type="spherical", tol=1e-6)
    >>> result.status, len(result.history) == result.n_iter
    (<Status.CONVERGED: 'Converged: what the stopping rule measures fell below tol.'>, True)
    """

    params: Params
    stats: Stats
    loglik: float
    history: list[float]
    n_iter: int
    status: Status
    events: Sequence[Event] = ()
    certificate: Certificate | None = None

    @property
    def n_passes(self) -> float:
        """The number of passes over all rows, with those in vain; `n_iter` unless there is a certificate."""
        return self.n_iter if self.certificate is None else self.certificate.passes
