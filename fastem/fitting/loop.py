"""The one EM loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.fitting.interruption import handing_over
from fastem.fitting.lost import ON_COLLAPSE, Lost, find_lost
from fastem.fitting.options import check_choices, check_em, check_fixed
from fastem.fitting.stopping import LOOKBACK, Course, Stop
from fastem.kernels.jit import threads
from fastem.kernels.mixture import HARD, SOFT
from fastem.model.checks import check_n_threads
from fastem.model.exclusions import check_exclusions
from fastem.model.families import find_family
from fastem.model.matrices import EPS, SingularCovarianceError
from fastem.model.maximisation import NOTHING_HELD, GaussianModel, Held, held_parameters, make_model
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.table import find_remedy
from fastem.model.result import Event, Result, Status
from fastem.model.stats import Stats
from fastem.passes.precision import update_if_shown
from fastem.passes.statistics import evaluate, overall
from fastem.sources.blocks import Source
from fastem.sources.labels import check_kept
from fastem.sources.opening import find_source
from fastem.sources.parts import agreed, failing_together

Callback = Callable[[int, float, Params], Any]

PATIENCE = 2  # reseeds in a row that may fail


def e_step(source: Source, params: Params, model: Model, exact: bool = False) -> Stats:
    """Return the statistics of a pass under `params`; with `exact` in float64, whatever the rows."""
    return evaluate(source, params, mode=HARD if model.hard else SOFT, exact=exact)


def last_update(source: Source, result: Result, model: Model) -> Params:
    """Return the M-step after the last pass; where sums in float32 are too coarse, after the same pass in float64."""
    params = agreed(source, partial(update_if_shown, model, result.stats, result.params))
    if params is None:
        stats = e_step(source, result.params, model, exact=True)
        params = agreed(source, partial(model.update, stats, result.params))
    return params


def find_lost_exactly(source: Source, result: Result, model: GaussianModel) -> Lost:
    """Return the components that lost their rows or rank; where sums in float32 say so, sums in float64 decide."""
    lost = agreed(source, partial(find_lost, model, result.stats))
    if result.stats.eps == EPS or not len(lost.components):
        return lost
    return agreed(source, partial(find_lost, model, e_step(source, result.params, model, exact=True)))


class Decision(NamedTuple):
    """What follows a pass: one decision, which all processes that drive a fit take over from the first of them.

    Attributes
    ----------
    bound : float, the objective per row
    fell : bool, whether that is less than before by more than rounding
    status : Status or None, how the fit ends; None if it goes on
    params : Params or None, of the next pass, if there is one
    collapsed : list of int, the components that have no covariance, if the fit ends by them
    interrupted : bool, whether Ctrl-C came while the callback ran
    coarse : bool, whether sums in float32 do not show the next parameters: the pass is to be done again in float64
    """

    bound: float
    fell: bool
    status: Status | None = None
    params: Params | None = None
    collapsed: Sequence[int] = ()
    interrupted: bool = False
    coarse: bool = False


@dataclass(frozen=True)
class Rules:
    """By what a fit goes on or ends.

    Attributes
    ----------
    model : Model
    stop : Stop
    max_iter : int, most passes
    sum_w : float, the weight of all rows
    callback : function or None
    previous : float, the bound that the first change is taken against
    done : int, passes before the first of this loop
    """

    model: Model
    stop: Stop
    max_iter: int
    sum_w: float
    callback: Callback | None = None
    previous: float = -np.inf
    done: int = 0

    def decide(self, before: Result | None, params: Params, stats: Stats) -> Decision:
        """Decide what follows a pass under `params`, after the iterations of `before`."""
        bound = self.model.objective(params, stats)
        fell = before is not None and self.model.fell(
            before.history[-1], bound, params, max(stats.eps, before.stats.eps)
        )
        if fell and self.model.monotone:
            return Decision(bound, fell, Status.DECREASED)
        past = before.history if before else []
        n_iter = len(past) + 1
        try:
            if self.callback is not None and self.callback(self.done + n_iter, bound, params):
                return Decision(bound, fell, Status.INTERRUPTED)
        except KeyboardInterrupt:
            return Decision(bound, fell, Status.INTERRUPTED, interrupted=True)
        recent = [self.previous, *past[-LOOKBACK:], bound][-LOOKBACK:]
        if self.stop(Course(recent, self.sum_w, params, before and before.params)):
            return Decision(bound, fell, Status.CONVERGED)
        if n_iter >= self.max_iter:
            return Decision(bound, fell, Status.MAX_ITER)
        return self.next(bound, fell, params, stats)

    def next(self, bound: float, fell: bool, params: Params, stats: Stats) -> Decision:
        """Decide what follows if the fit goes on: the M-step, which fails where a component collapses."""
        try:
            updated = update_if_shown(self.model, stats, params)
            return Decision(bound, fell, params=updated, coarse=updated is None)
        except SingularCovarianceError as error:
            return Decision(bound, fell, Status.DEGENERATE, collapsed=error.components)


def iterate(
    source: Source,
    params: Params,
    model: Model,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
    previous: float = -np.inf,
    done: int = 0,
    resume: Result | None = None,
    keep: Callable[[Result], None] | None = None,
) -> Result:
    """Run EM from `params` until a rule ends it. `previous` and `done` are those of `Rules`.

    Each turn evaluates the parameters by a pass over the data, and decides. Parameters that are no mixture (a collapsed
    component) and, under a monotone model, a fall of the objective end the fit where it was. `keep` is given the result
    of each iteration but the last; from such a one, `resume`, the loop goes on as if it had never stopped.
    """
    rules = Rules(model, stop, max_iter, source.sum_w, callback, previous, done)
    result = resume
    with handing_over(lambda _: result):
        if result is not None:
            try:
                params = last_update(source, result, model)
            except SingularCovarianceError as error:
                return collapsed_result(result, error.components, done)
        while True:
            stats = e_step(source, params, model)
            decision = agreed(source, partial(rules.decide, result, params, stats))
            if decision.coarse:
                exact = e_step(source, params, model, exact=True)
                decision = agreed(source, partial(rules.next, decision.bound, decision.fell, params, exact))
            events = list(result.events) if result is not None else []
            if decision.fell:
                assert result is not None
                change = decision.bound - result.history[-1]
                events.append(Event(done + result.n_iter + 1, "fell", change=change))
                if decision.status is Status.DECREASED:
                    return result._replace(status=Status.DECREASED, events=events)
            history = [*(result.history if result is not None else ()), decision.bound]
            result = Result(params, stats, stats.loglik, history, len(history), Status.INTERRUPTED, events)
            if decision.interrupted:
                raise KeyboardInterrupt
            if decision.collapsed:
                return collapsed_result(result, decision.collapsed, done)
            if decision.params is None:
                assert decision.status is not None
                return result._replace(status=decision.status)
            params = decision.params
            if keep is not None:
                keep(result)


def collapsed_result(result: Result, components: Sequence[int], done: int = 0) -> Result:
    """Return the result of a fit that ends where some `components` have no covariance; `done` passes came before it."""
    detail = "singular covariance: the parameters before are kept"
    event = Event(done + result.n_iter, "collapsed", tuple(components), detail)
    return result._replace(status=Status.DEGENERATE, events=[*result.events, event])


def fit_with_reseeds(
    source: Source,
    params: Params,
    model: GaussianModel,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
    previous: float = -np.inf,
    on_collapse: str = "reseed",
    resume: Result | None = None,
    keep: Callable[[Result], None] | None = None,
) -> Result:
    """Run `iterate`; under a monotone model again, from a better place for components that lost their rows or rank.

    A reseed lowers the objective at first: its result is kept only if that ends higher than without it. Attempts end
    after `PATIENCE` in a row that left as many components lost, and all passes count towards `max_iter`. `resume` and
    `keep` are those of the first `iterate`: what comes after it is done again.
    """
    params = agreed(source, partial(model.feasible, params))
    best = iterate(
        source,
        params,
        model,
        stop=stop,
        max_iter=max_iter,
        callback=callback,
        previous=previous,
        resume=resume,
        keep=keep,
    )
    propose = ON_COLLAPSE[on_collapse]
    lost = find_lost_exactly(source, best, model)
    passes, failed = best.n_iter, 0
    while model.monotone and best.status is Status.CONVERGED and passes < max_iter and failed < PATIENCE:
        proposal = agreed(source, partial(propose, model, best.params, lost, failed))
        if proposal is None:
            break
        begun = best._replace(events=[*best.events, proposal.event(passes)])
        left = max_iter - passes
        with handing_over(partial(better_of, begun, final=proposal.final)):
            trial = iterate(source, proposal.params, model, stop=stop, max_iter=left, callback=callback, done=passes)
        passes += trial.n_iter
        best = better_of(begun, trial, proposal.final)
        before, lost = lost, find_lost_exactly(source, best, model)
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
    covariance_type: str = "full",
    assignment: str = "soft",
    fixed: Iterable[str] = (),
    reg_covar: float = 0.0,
    regularization: str | Remedy | None = None,
    sample_weight: ArrayLike | None = None,
    labels: Any = None,
    tol: float = 1e-3,
    stop: str = "change",
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
    covariance_type : "full", "tied", "diag", "spherical", "tied_diag" or "tied_spherical"
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
        under the priors of "ridge" and "map", and by stop="aitken"
    labels : components of rows that are known, as `GaussianMixture.fit` takes them
        on_collapse must be "reseed" then
    tol : stop when what `stop` measures is less
    stop : "change", of the mean log-likelihood from pass to pass, as scikit-learn; "aitken", an estimate of what
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
    check_em(params, covariance_type, reg_covar, tol, max_iter)
    check_choices("em", stop=stop, on_collapse=on_collapse, assignment=assignment)
    fixed = check_fixed("em", fixed)
    check_exclusions(on_collapse=on_collapse, regularization=regularization, fixed=fixed)
    held = held_parameters(fixed, params.weights, params.means, params[2:4])
    remedy = find_remedy(regularization, reg_covar)
    source = find_source(X, sample_weight, labels, n_features=params.means.shape[1])
    check_kept(source, on_collapse)
    with failing_together(source), threads(check_n_threads(n_threads)):
        model = model_for(source, covariance_type, remedy, held, assignment)
        return fit_with_reseeds(
            source, params, model, stop=Stop(stop, tol), max_iter=max_iter, callback=callback, on_collapse=on_collapse
        )


def model_for(
    source: Source, covariance_type: str, remedy: Remedy, held: Held = NOTHING_HELD, assignment: str = "soft"
) -> GaussianModel:
    """The M-step of a family under a remedy, for the rows of a source."""
    family = find_family(covariance_type)
    model = make_model(family, remedy, lambda: overall(source, family.shape(1, source.n_features)))
    return replace(model, held=held, hard=assignment == "hard")
