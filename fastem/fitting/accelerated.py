"""The loop of accelerated EM: a pass, Anderson's step where the objective does not fall on it, else EM's own step.

A trial is a step of `fastem.fitting.acceleration`. It is evaluated by a pass, and is taken if the objective of the
model in use is no less there than where it begins. Otherwise the next pass is at EM's iterate, which the model's M-step
has made already and which cannot be lower: so the objective never falls, and a trial in vain costs one pass (which the
memory of points learns from). Nothing is asked of a model but its M-step and its objective.

reg_covar maximises nothing, and EM's own step may lower the log-likelihood under it. It is the log-likelihood that is
compared all the same: a trial is taken if that does not fall, and EM's step is taken whatever happens, as in EM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import numpy as np

from fastem.fitting.acceleration import STRETCH, Memory, Way, scaled_length
from fastem.fitting.degenerate import collapsed_result
from fastem.fitting.interruption import handing_over
from fastem.fitting.loop import Callback
from fastem.fitting.steps import e_step, last_update
from fastem.fitting.stopping import Stop
from fastem.model.matrices import SingularCovarianceError
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.result import Certificate, Event, Result, Status
from fastem.model.stats import Stats
from fastem.sources.blocks import Source
from fastem.sources.parts import agreed

LEAST_DIFFERENCES = 2  # a gain that fewer of them predict ends no fit
SLOWEST = 0.9  # by which predicted gains shrink from step to step, for the sum of those to come


class Point(NamedTuple):
    """A mixture, what a pass under it gave, and what EM makes of it.

    Attributes
    ----------
    params : Params
    stats : Stats
    updated : Params or None, EM's iterate; None if a component has no covariance
    target : Params or None, what acceleration takes it for, as `Model.target` returns it
    singular : sequence of int, the components without one
    """

    params: Params
    stats: Stats
    updated: Params | None
    target: Params | None = None
    singular: Sequence[int] = ()


class Turn(NamedTuple):
    """What follows a pass. In distributed fits rank 0 decides, and the other processes take its decision over.

    Attributes
    ----------
    taken : bool, whether the fit has gone to the point of the pass
    bound : float, the objective there
    certificate : Certificate or None, of the last point that was taken
    fell : bool, whether the objective fell by more than rounding
    status : Status or None, how the fit ends; None if it goes on
    params : Params of the next pass, or None if there is none
    trial : bool, whether they are a trial
    interrupted : bool, whether Ctrl-C came while the callback ran
    """

    taken: bool
    bound: float
    certificate: Certificate | None
    fell: bool = False
    status: Status | None = None
    params: Params | None = None
    trial: bool = False
    interrupted: bool = False


class Ascent:
    """The course of an accelerated fit, where it is decided: in distributed fits on rank 0 alone.

    The arguments are those of `climb`.
    """

    def __init__(
        self,
        model: Model,
        tol: float,
        max_iter: int,
        callback: Callback | None,
        done: int,
        memory: Memory,
        passes: float,
    ) -> None:
        self.model, self.tol, self.max_iter, self.callback, self.done = model, tol, max_iter, callback, done
        self.memory = memory
        self.at: Point | None = None
        self.bounds: list[float] = []  # at the points that were taken
        self.way: Way | None = None  # ahead of the last of them
        self.certificate = Certificate(passes, np.inf, np.inf)

    def turn(self, point: Point, trial: bool) -> Turn:
        """Decide what follows the pass at a point, which is a trial or EM's own iterate."""
        self.certificate = self.certificate._replace(passes=self.certificate.passes + 1)
        bound = self.model.objective(point.params, point.stats)
        if point.target is not None:
            self.memory.add(point.params, point.target)
        fell = self.at is not None and self.model.fell(
            self.bounds[-1], bound, point.params, max(point.stats.eps, self.at.stats.eps)
        )
        if trial and (fell or point.updated is None or not np.isfinite(bound)):
            return self.refuse(bound)
        if fell and self.model.monotone:
            return Turn(False, bound, self.certificate, fell, Status.DECREASED)
        if self.way is not None:
            self.memory.note_step(trial, self.way.concave)
        self.at = point
        self.bounds.append(bound)
        return self.take(point)._replace(fell=fell)

    def refuse(self, bound: float) -> Turn:
        """Decide what follows a trial in vain: EM's iterate, if there may be another pass."""
        assert self.at is not None
        assert self.way is not None
        shortest = STRETCH if self.at.target is self.at.updated else 1.0  # a step of 1 is EM's own, or a guess
        self.memory.note_failure(self.way.concave, shortest)
        if self.certificate.passes + 1 > self.max_iter:
            return Turn(False, bound, self.certificate, status=Status.MAX_ITER)
        return Turn(False, bound, self.certificate, params=self.at.updated)

    def take(self, point: Point) -> Turn:
        """Decide what follows a point that the fit has gone to."""
        gain = np.inf
        if point.target is not None:
            self.way = self.memory.look_ahead()
            rows = 1.0 if self.model.per_row else point.stats.sum_w  # times the gain per row is that of the objective
            self.memory.gains.append(rows * self.way.gain)
            gradient = scaled_length(point.params, point.target)
            gain = self.gain_left(point.stats.eps, rows * (gradient**2 / 2))
            of_all = gain * point.stats.sum_w / rows
            self.certificate = Certificate(self.certificate.passes, of_all, gradient)
        here = partial(Turn, True, self.bounds[-1], self.certificate)
        try:
            if self.callback is not None and self.callback(self.done + len(self.bounds), self.bounds[-1], point.params):
                return here(status=Status.INTERRUPTED)
        except KeyboardInterrupt:
            return here(status=Status.INTERRUPTED, interrupted=True)
        if point.updated is None or self.way is None:
            return here(status=Status.DEGENERATE)
        if gain < self.tol and self.way.n_differences >= LEAST_DIFFERENCES:
            return here(status=Status.CONVERGED)
        if self.certificate.passes + 1 > self.max_iter:
            return here(status=Status.MAX_ITER)
        return self.go_on(point, self.way)

    def resume(self, result: Result, at: Point) -> Turn:
        """Return the turn after the last point of an earlier call."""
        self.at, self.bounds = at, list(result.history)
        if result.certificate is not None:
            self.certificate = result.certificate
        if at.target is None:
            return Turn(True, self.bounds[-1], self.certificate, status=Status.DEGENERATE)
        if not len(self.memory.points):
            self.memory.add(at.params, at.target)
        self.way = self.memory.look_ahead()
        return self.go_on(at, self.way)

    def go_on(self, point: Point, way: Way) -> Turn:
        """Return the turn to the next point: a trial if it is time for one and it is a mixture, else EM's iterate."""
        ahead = partial(Turn, True, self.bounds[-1], self.certificate)
        if not self.memory.pace.wait and way.params is not None:
            with suppress(SingularCovarianceError, np.linalg.LinAlgError):
                return ahead(params=self.model.feasible(way.params), trial=True)
        return ahead(params=point.updated)

    def gain_left(self, eps: float, own: float) -> float:
        """Return what the objective has yet to gain, as predictions at the last points say.

        It is the last prediction, or more if the one before fell short of what was gained; with those to come if they
        go on shrinking as the last ones did. Where it is no number, because the objective is not concave, but EM's
        own step gains less than rounding of relative size `eps` hides, it is that.
        """
        *_, first, before, last = np.inf, np.inf, *self.memory.gains
        if last == np.inf:
            return own if own <= 64 * eps * (1 + abs(self.bounds[-1])) else np.inf
        if len(self.memory.gains) < 2:
            return last
        gained = self.bounds[-1] - self.bounds[-2]
        if not 0 < before < np.inf:
            return max(last, gained)
        ratio = last / before
        shrinks = np.sqrt(last / first) if 0 < first < np.inf else ratio
        return float(max(last, ratio * gained) / (1 - min(shrinks, SLOWEST)))


def climb(
    source: Source,
    params: Params,
    model: Model,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
    done: int = 0,
    resume: Result | None = None,
    keep: Callable[[Result, Memory], None] | None = None,
    memory: Memory | None = None,
    passes: float = 0.0,
    e_step: Callable[[Source, Params, Model], Stats] = e_step,
) -> Result:
    """Run accelerated EM from `params` until a rule ends it, as `fastem.fitting.loop.iterate` runs EM.

    Parameters
    ----------
    source, params, model : the rows, the start and what is fitted
    stop : Stop, whose tol bounds what the objective has yet to gain
    max_iter : int, how many passes over the rows there are at most, with those of trials in vain
    callback : function, called at each point that is taken; the fit ends if it returns True
    done : int, how many such points came before the first of this loop
    resume : Result, optional
        of an earlier call, from whose last point the loop goes on. Default None: it begins at `params`
    keep : function, optional
        called with the result and the memory at each point that is taken but the last
    memory : Memory, optional
        of the points on the way to `params`, or to the end of `resume`. Default None: there are none
    passes : float, default 0
        passes over the rows that were made on this way
    e_step : function, optional
        makes a pass. Default: that of `fastem.fitting.steps`

    Returns
    -------
    Result
        Its history has the objective at the points that were taken

    Raises
    ------
    FitInterrupted, SourceError
        with the result of the last point that was taken
    """
    memory = Memory() if memory is None else memory
    ascent = Ascent(model, stop.tol, max_iter, callback, done, memory, passes)
    result, trial = resume, False
    with handing_over(lambda _: result):
        if result is not None:
            point = look(source, model, result.params, result.stats)
            turn = agreed(source, partial(ascent.resume, result, point))
            if turn.params is None:
                return collapsed_result(result, point.singular, done)
            params, trial = turn.params, turn.trial
        while True:
            point = look(source, model, params, e_step(source, params, model))
            turn = agreed(source, partial(ascent.turn, point, trial))
            if turn.taken:
                result = extend(result, point, turn, done)
                if turn.interrupted:
                    raise KeyboardInterrupt
                if turn.status is Status.DEGENERATE:
                    return collapsed_result(result, point.singular, done)
                if turn.params is not None and keep is not None:
                    keep(result, memory)
            if turn.params is None:
                assert result is not None
                assert turn.status is not None
                events = result.events if turn.taken else [*result.events, *fall(result, turn, done)]
                return result._replace(status=turn.status, certificate=turn.certificate, events=events)
            params, trial = turn.params, turn.trial


def look(source: Source, model: Model, params: Params, stats: Stats) -> Point:
    """Return the point at which a pass gave these statistics, with EM's iterate from there."""
    try:
        begun = Result(params, stats, stats.loglik, [], 0, Status.INTERRUPTED)
        updated = last_update(source, begun, model)
        return Point(params, stats, updated, model.target(updated, stats))
    except SingularCovarianceError as error:
        return Point(params, stats, None, None, error.components)


def extend(before: Result | None, point: Point, turn: Turn, done: int) -> Result:
    """Return the result at a point that was taken, after the points before."""
    history = [*(before.history if before else ()), turn.bound]
    events = [*before.events, *fall(before, turn, done)] if before else []
    ending, loglik = Status.INTERRUPTED, point.stats.loglik
    return Result(point.params, point.stats, loglik, history, len(history), ending, events, turn.certificate)


def fall(before: Result, turn: Turn, done: int) -> list[Event]:
    """Return the event of a fall of the objective after the points of `before`; none if it did not fall."""
    change = turn.bound - before.history[-1]
    return [Event(done + before.n_iter + 1, "fell", change=change)] if turn.fell else []
