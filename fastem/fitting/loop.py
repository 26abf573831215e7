"""The EM loop: pass, decision, M-step, until a rule ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem.fitting.degenerate import collapsed_result
from fastem.fitting.interruption import handing_over
from fastem.fitting.steps import e_step, last_update
from fastem.fitting.stopping import LOOKBACK, Course, Stop
from fastem.model.matrices import SingularCovarianceError
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.result import Event, Result, Status
from fastem.model.stats import Stats
from fastem.passes.precision import update_unless_coarse
from fastem.sources.blocks import Source
from fastem.sources.parts import agreed

Callback = Callable[[int, float, Params], Any]  # of the iteration, the objective per row and the parameters


class Decision(NamedTuple):
    """What follows a pass. In distributed fits rank 0 decides, and the other processes take its decision over.

    Attributes
    ----------
    bound : float, the objective per row under the parameters of the pass
    fell : bool, whether that is less than before by more than rounding
    status : Status or None, how the fit ends; None if it goes on
    params : Params of the next pass, or None if there is none
    singular : sequence of int, the components that have no covariance; the fit ends if there are any
    interrupted : bool, whether Ctrl-C came while the callback ran
    coarse : bool, whether sums in float32 do not show the next parameters: the pass is to be done again in float64
    """

    bound: float
    fell: bool
    status: Status | None = None
    params: Params | None = None
    singular: Sequence[int] = ()
    interrupted: bool = False
    coarse: bool = False


@dataclass(frozen=True)
class Rules:
    """The rules by which a fit goes on or ends.

    Attributes
    ----------
    model : Model
    stop : Stop
    max_iter : int, how many passes there are at most
    callback : function or None, called after each pass; the fit ends if it returns True
    previous : float, the objective per row from which the first change is taken
    done : int, how many passes came before the first of this loop
    """

    model: Model
    stop: Stop
    max_iter: int
    callback: Callback | None = None
    previous: float = -np.inf
    done: int = 0

    def decide(self, before: Result | None, params: Params, stats: Stats, sum_w: float) -> Decision:
        """Decide what follows a pass under `params` over rows of weight `sum_w`, after the iterations of `before`."""
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
        if self.stop(Course(recent, sum_w, params, before and before.params)):
            return Decision(bound, fell, Status.CONVERGED)
        if n_iter >= self.max_iter:
            return Decision(bound, fell, Status.MAX_ITER)
        return self.update(bound, fell, params, stats)

    def update(self, bound: float, fell: bool, params: Params, stats: Stats) -> Decision:
        """Decide what follows if the fit goes on: the M-step, or the end where a component has collapsed."""
        try:
            updated = update_unless_coarse(self.model, stats, params)
            return Decision(bound, fell, params=updated, coarse=updated is None)
        except SingularCovarianceError as error:
            return Decision(bound, fell, Status.DEGENERATE, singular=error.components)


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
    """Run EM from `params` until a rule ends it.

    Each turn evaluates the parameters by a pass over the data, and decides. The fit ends where it was if parameters
    are no mixture (a component has collapsed) or, under a monotone model, if the objective falls.

    Parameters
    ----------
    source, params, model : the rows, the start and what is fitted
    stop, max_iter, callback, previous, done : as in `Rules`
    resume : Result, optional
        of an iteration of an earlier call, from which the loop goes on as if it had never stopped
    keep : function, optional
        called with the result of each iteration but the last

    Raises
    ------
    FitInterrupted, SourceError
        with the result of the last complete iteration
    """
    rules = Rules(model, stop, max_iter, callback, previous, done)
    result = resume
    with handing_over(lambda _: result):
        if result is not None:
            try:
                params = last_update(source, result, model)
            except SingularCovarianceError as error:
                return collapsed_result(result, error.components, done)
        while True:
            stats = e_step(source, params, model)
            decision = decide_together(source, rules, result, params, stats)
            events = events_until(result, decision, done)
            if decision.status is Status.DECREASED:
                assert result is not None
                return result._replace(status=Status.DECREASED, events=events)
            history = [*(result.history if result is not None else ()), decision.bound]
            result = Result(params, stats, stats.loglik, history, len(history), Status.INTERRUPTED, events)
            if decision.interrupted:
                raise KeyboardInterrupt
            if decision.singular:
                return collapsed_result(result, decision.singular, done)
            if decision.params is None:
                assert decision.status is not None
                return result._replace(status=decision.status)
            params = decision.params
            if keep is not None:
                keep(result)


def decide_together(source: Source, rules: Rules, before: Result | None, params: Params, stats: Stats) -> Decision:
    """Decide on one process for all; do the pass again in float64 where float32 does not show the next parameters."""
    # The weight of all rows is known for nothing after the first pass; before it, a stream would need a pass for that.
    decision = agreed(source, partial(rules.decide, before, params, stats, source.sum_w))
    if not decision.coarse:
        return decision
    exact = e_step(source, params, rules.model, exact=True)
    return agreed(source, partial(rules.update, decision.bound, decision.fell, params, exact))


def events_until(before: Result | None, decision: Decision, done: int) -> list[Event]:
    """Return the events of the iterations so far, with a fall of the objective that the decision has seen."""
    if before is None:
        return []
    events = list(before.events)
    if decision.fell:
        events.append(Event(done + before.n_iter + 1, "fell", change=decision.bound - before.history[-1]))
    return events
