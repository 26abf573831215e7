"""The one EM loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.fitting.lost import ON_COLLAPSE, Lost, find_lost
from fastem.fitting.options import check_choices, check_em, check_fixed
from fastem.fitting.stopping import LOOKBACK, Course, Stop
from fastem.kernels.jit import threads
from fastem.kernels.mixture import HARD, SOFT
from fastem.model.checks import check_n_threads
from fastem.model.families import find_family
from fastem.model.matrices import EPS, SingularCovarianceError
from fastem.model.maximisation import NOTHING_HELD, Held, MStep, held_parameters, make_m_step
from fastem.model.params import Params
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.table import find_remedy
from fastem.model.result import Event, Result, Status
from fastem.model.stats import Stats
from fastem.passes.precision import shown
from fastem.passes.statistics import evaluate, overall
from fastem.sources.blocks import Source, SourceError, rounding_of
from fastem.sources.labels import check_kept
from fastem.sources.opening import find_source
from fastem.sources.parts import agreed, failing_together

Callback = Callable[[int, float, Params], Any]

PATIENCE = 2  # reseeds in a row that may fail


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


def e_step(source: Source, params: Params, m_step: MStep, exact: bool = False) -> Stats:
    """The pass that comes before this M-step."""
    return evaluate(source, params, mode=HARD if m_step.hard else SOFT, exact=exact)


def stepped(source: Source, result: Result, m_step: MStep) -> Params:
    """The M-step after a pass; where sums in float32 are too coarse for it, after the same pass in float64."""
    params = agreed(source, partial(shown, m_step, result.stats, result.params))
    if params is None:
        stats = e_step(source, result.params, m_step, exact=True)
        params = agreed(source, partial(m_step, stats, result.params))
    return params


def lost_from(source: Source, result: Result, m_step: MStep) -> Lost:
    """The components that lost their rows or rank; where sums in float32 say so, sums in float64 decide."""
    lost = agreed(source, partial(find_lost, m_step, result.stats))
    if result.stats.eps == EPS or not len(lost.components):
        return lost
    return agreed(source, partial(find_lost, m_step, e_step(source, result.params, m_step, exact=True)))


def iterate(
    source: Source,
    params: Params,
    m_step: MStep,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
    previous: float = -np.inf,
    done: int = 0,
    resume: Result | None = None,
    keep: Callable[[Result], None] | None = None,
) -> Result:
    """The EM loop. `previous` is the bound that the first change is taken against, `done` the passes before these.

    Each turn proposes parameters, evaluates them by a pass over the data and accepts or rejects them. Rejected, with
    the end of the fit where it was, are parameters that are no mixture (a collapsed component) and, under a remedy
    that excludes it, a fall of the objective. `keep` is given the result of each iteration but the last; from such a
    one, `resume`, the loop goes on as if it had never stopped.
    """
    result = resume
    history = [] if result is None else list(result.history)
    events = [] if result is None else list(result.events)
    recent = [previous, *history][-LOOKBACK:]
    try:
        while True:
            if result is not None:
                try:
                    params = stepped(source, result, m_step)
                except SingularCovarianceError as error:
                    return collapsed_result(result, error, done)
            stats = e_step(source, params, m_step)
            bound, fell = agreed(source, partial(judge_pass, m_step, params, stats, result))
            if result is not None and fell:
                events.append(Event(done + len(history) + 1, "fell", change=bound - history[-1]))
                if m_step.remedy.monotone:
                    return result._replace(status=Status.DECREASED)
            history.append(bound)
            recent = [*recent[1 - LOOKBACK :], bound]
            before = result
            result = Result(params, stats, stats.loglik, history, len(history), Status.INTERRUPTED, events)
            if callback is not None and agreed(
                source, partial(callback_ends, callback, done + len(history), bound, params)
            ):
                return result
            course = Course(recent, source.sum_w, params, None if before is None else before.params)
            status = agreed(source, partial(decide_status, stop, course, len(history) >= max_iter))
            if status is not None:
                return result._replace(status=status)
            if keep is not None:
                keep(result)
    except (KeyboardInterrupt, SourceError) as error:
        if result is not None:
            del history[result.n_iter :]
        if isinstance(error, SourceError):
            error.result = result
            raise
        raise FitInterrupted(result) from error


def judge_pass(m_step: MStep, params: Params, stats: Stats, before: Result | None) -> tuple[float, bool]:
    """The objective per row, and whether it fell from that of the iteration `before`."""
    bound = m_step.objective(params, stats)
    if before is None:
        return bound, False
    return bound, m_step.fell(before.history[-1], bound, params, max(stats.eps, before.stats.eps))


def decide_status(stop: Stop, course: Course, last: bool) -> Status | None:
    """How a fit ends after a pass, the last that is allowed or not; None if it goes on."""
    return Status.CONVERGED if stop(course) else Status.MAX_ITER if last else None


def callback_ends(callback: Callback, iteration: int, bound: float, params: Params) -> bool:
    """Whether a callback ends the fit."""
    return bool(callback(iteration, bound, params))


def collapsed_result(result: Result, error: SingularCovarianceError, done: int = 0) -> Result:
    """The result of a fit whose next M-step, after `done` passes before its own, is singular."""
    detail = "singular covariance: the parameters before are kept"
    event = Event(done + result.n_iter, "collapsed", tuple(error.components), detail)
    return result._replace(status=Status.DEGENERATE, events=[*result.events, event])


def fit_with_reseeds(
    source: Source,
    params: Params,
    m_step: MStep,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
    previous: float = -np.inf,
    on_collapse: str = "reseed",
    resume: Result | None = None,
    keep: Callable[[Result], None] | None = None,
) -> Result:
    """`climb`, and again from a better place for components that lost their rows or rank (under monotone remedies).

    A reseed lowers the objective at first: its result is kept only if that ends higher than without it. Attempts end
    after `PATIENCE` in a row that left as many components lost, and all passes count towards `max_iter`. `resume` and
    `keep` are those of the first `climb`: what comes after it is done again.
    """
    params = agreed(source, partial(m_step.feasible, params))
    best = iterate(
        source,
        params,
        m_step,
        stop=stop,
        max_iter=max_iter,
        callback=callback,
        previous=previous,
        resume=resume,
        keep=keep,
    )
    lost = lost_from(source, best, m_step)
    passes, failed = best.n_iter, 0
    while m_step.remedy.monotone and best.status is Status.CONVERGED and passes < max_iter and failed < PATIENCE:
        proposal = agreed(source, partial(ON_COLLAPSE[on_collapse], m_step, best.params, lost, failed))
        if proposal is None:
            break
        begun = best._replace(events=[*best.events, proposal.event(passes)])
        left = max_iter - passes
        try:
            trial = iterate(source, proposal.params, m_step, stop=stop, max_iter=left, callback=callback, done=passes)
        except (FitInterrupted, SourceError) as end:
            end.result = better_of(begun, end.result, proposal.final)
            raise
        passes += trial.n_iter
        best = better_of(begun, trial, proposal.final)
        before, lost = lost, lost_from(source, best, m_step)
        failed = 0 if proposal.final or len(lost.components) < len(before.components) else failed + 1
    if not len(lost.components):
        return best
    event = Event(passes, "lost", tuple(map(int, lost.components)), str(lost))
    return best._replace(events=[*best.events, event])


def better_of(best: Result, trial: Result | None, final: bool) -> Result:
    """What a fit and its continuation from a proposal make together; `final` if that must be kept."""
    if trial is None:
        return best
    gain = trial.history[-1] - best.history[-1]
    if final or (gain > 0 and trial.status is not Status.DEGENERATE):
        history = [*best.history, *trial.history]
        events = [*best.events, *trial.events]
        return trial._replace(history=history, n_iter=len(history), events=events)
    detail = f"the objective ended {-gain:.3g} lower"
    event = Event(best.events[-1].iteration + trial.n_iter, "undone", best.events[-1].components, detail)
    status = Status.INTERRUPTED if trial.status is Status.INTERRUPTED else best.status
    return best._replace(status=status, events=[*best.events, event])


def em(
    X: Any,
    params: Params,
    *,
    covariance: str = "full",
    assignment: str = "soft",
    fixed: Iterable[str] = (),
    reg_covar: float = 0.0,
    regularization: str | Remedy | None = None,
    sample_weight: ArrayLike | None = None,
    labels: Any = None,
    tol: float = 1e-3,
    criterion: str = "change",
    max_iter: int = 100,
    on_collapse: str = "reseed",
    n_threads: int | None = None,
    callback: Callback | None = None,
) -> Result:
    """Fit a Gaussian mixture by expectation-maximisation from given parameters.

    Ends on an E-step: the result's parameters, statistics and log-likelihood belong together. scikit-learn ends on
    an M-step: its parameters after n iterations are ``m_step(em(..., max_iter=n).stats)``.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
        float32 and float64 arrays are read in place, all else is converted to float64
    params : Params, the start, for instance of `fastem.make_params`
    covariance : "full", "tied", "diag", "spherical", "tied_diag" or "tied_spherical"
    assignment : "soft", or "hard": classification EM, which gives each row, whole, to its most probable component, and
        maximises the classification log-likelihood sum_n w_n max_k log(weight_k p_k(x_n)); `Result.loglik` is that
    fixed : names among "weights", "means" and "covariances"
        parameters that stay what they are in `params` (with noise, weights in their proportions)
    reg_covar : added to every variance in each M-step. Above 0 no fixed objective is maximised: the
        log-likelihood may fall
    regularization : None, "ridge", "map", "floor", "ratio", or an instance of `fastem.Ridge`, `fastem.InverseWishart`,
        `fastem.EigenvalueFloor` or `fastem.EigenvalueRatio`: a remedy instead of reg_covar, with an objective that no
        iteration lowers. The history holds that objective: it falls only where a component was reseeded or dropped
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it
        weight 2 is the row twice, weight 0 the row absent. Only ratios of weights matter, but where rows are counted:
        under the priors of "ridge" and "map", and by the criterion "aitken"
    labels : components of rows that are known, as `GaussianMixture.fit` takes them
        on_collapse must be "reseed" then
    tol : stop when what the criterion measures is less
    criterion : "change", of the mean log-likelihood from pass to pass, as scikit-learn; "aitken", an estimate of what
        the log-likelihood of all rows has yet to gain; "parameters", their largest change, in standard deviations
    max_iter : most passes over the data, at least 1
    on_collapse : "reseed" or "drop"
        what becomes, under a remedy, of a component that has lost its rows or its rank when the fit has converged: it
        takes half of another component (and the fit goes on, and is undone if its objective ends lower), or is left
        out (the result then has fewer components)
    n_threads : use at most so many threads; default as many as Numba is set to (NUMBA_NUM_THREADS,
        `numba.set_num_threads`), which is never exceeded. The bits do not depend on it
    callback : called as ``callback(iteration, mean_loglik, params)`` after each pass; True ends the fit with
        Status.INTERRUPTED

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        for rows, weights, labels or parameters that are not finite or do not match
    FitInterrupted
        (a KeyboardInterrupt) on Ctrl-C, with the last complete iteration as ``.result``
    SourceError
        (an OSError) if rows that are read anew on each pass cannot be, with the same

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38; classification EM: Celeux & Govaert (1992), Comput.
    Stat. Data Anal. 14, 315-332.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> start = fastem.make_params([0.5, 0.5], [[0.0], [12.0]], [[[4.0]], [[4.0]]])
    >>> result = fastem.em(X, start, tol=1e-6)
    >>> result.status.name, result.params.means.round(3).ravel()
    ('CONVERGED', array([ 1., 11.]))
    """
    check_em(params, covariance, reg_covar, tol, max_iter)
    check_choices("em", criterion, on_collapse, regularization)
    held = held_parameters(check_fixed("em", assignment, fixed, on_collapse), params.weights, params.means, params[2:4])
    remedy = find_remedy(regularization, reg_covar)
    source = find_source(X, sample_weight, labels, n_features=params.means.shape[1])
    check_kept(source, on_collapse)
    with failing_together(source), threads(check_n_threads(n_threads)):
        m_step = m_step_for(source, covariance, remedy, held, assignment)
        stop = Stop(criterion, tol)
        return fit_with_reseeds(
            source, params, m_step, stop=stop, max_iter=max_iter, callback=callback, on_collapse=on_collapse
        )


def m_step_for(
    source: Source, covariance: str, remedy: Remedy, held: Held = NOTHING_HELD, assignment: str = "soft"
) -> MStep:
    """The M-step of a family under a remedy, for the rows of a source."""
    family = find_family(covariance)
    m_step = make_m_step(
        family, remedy, lambda: overall(source, family.shape(1, source.n_features)), rounding_of(source)
    )
    return replace(m_step, held=held, hard=assignment == "hard")
