"""EM that goes on, after it has converged, from a better place for lost components."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastem.fitting.degenerate import find_lost_exactly
from fastem.fitting.interruption import handing_over
from fastem.fitting.loop import Callback, iterate
from fastem.fitting.lost import ON_COLLAPSE
from fastem.fitting.stopping import Stop
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.result import Event, Result, Status
from fastem.sources.blocks import Source
from fastem.sources.parts import agreed

PATIENCE = 2  # reseeds in a row that may fail


def fit_with_reseeds(
    source: Source,
    params: Params,
    model: GaussianModel,
    *,
    stop: Stop,
    max_iter: int,
    callback: Callback | None = None,
    on_collapse: str = "reseed",
    first: Callable[..., Result] = iterate,
    again: Callable[..., Result] = iterate,
) -> Result:
    """Run a loop of EM; under a monotone model run it again from a better place for components that are lost.

    A reseed lowers the objective at first. Its result is kept only if the objective ends higher than without it.
    Attempts end after `PATIENCE` in a row that left as many components lost, and all passes count towards `max_iter`.

    Parameters
    ----------
    source, params, model : the rows, the start and what is fitted
    stop, max_iter, callback : as in `fastem.fitting.loop.Rules`
    on_collapse : str, a row of `fastem.fitting.lost.ON_COLLAPSE`
    first, again : functions, the loop of the first run and that of the others, `iterate` or `climb`. What the first
        one keeps and resumes is that run alone: what comes after it is done again

    Raises
    ------
    FitInterrupted, SourceError
        with the best result so far
    """
    params = agreed(source, partial(model.feasible, params))
    best = first(source, params, model, stop=stop, max_iter=max_iter, callback=callback)
    propose = ON_COLLAPSE[on_collapse]
    lost = find_lost_exactly(source, best, model)
    done, passes, failed = best.n_iter, best.n_passes, 0
    while model.monotone and best.status is Status.CONVERGED and passes + 1 <= max_iter and failed < PATIENCE:
        proposal = agreed(source, partial(propose, model, best.params, lost, failed))
        if proposal is None:
            break
        begun = best._replace(events=[*best.events, proposal.event(done)])
        left = max_iter - passes
        with handing_over(partial(better_of, begun, final=proposal.final)):
            trial = again(source, proposal.params, model, stop=stop, max_iter=left, callback=callback, done=done)
        done, passes = done + trial.n_iter, passes + trial.n_passes
        best = better_of(begun, trial, proposal.final)
        before, lost = lost, find_lost_exactly(source, best, model)
        failed = 0 if proposal.final or len(lost.components) < len(before.components) else failed + 1
    if not len(lost.components):
        return best
    event = Event(done, "lost", tuple(map(int, lost.components)), str(lost))
    return best._replace(events=[*best.events, event])


def better_of(best: Result, trial: Result | None, final: bool) -> Result:
    """Return what a fit and its continuation from a proposal make together.

    Parameters
    ----------
    best : Result, whose last event is that of the proposal
    trial : Result of the continuation, or None if there is none
    final : bool, whether the continuation is kept even if its objective is less
    """
    if trial is None:
        return best
    gain = trial.history[-1] - best.history[-1]
    if final or (gain > 0 and trial.status is not Status.DEGENERATE):
        history = [*best.history, *trial.history]
        events = [*best.events, *trial.events]
        return after_more(trial, best.n_passes)._replace(history=history, n_iter=len(history), events=events)
    detail = f"the objective ended {-gain:.3g} lower"
    event = Event(best.events[-1].iteration + trial.n_iter, "undone", best.events[-1].components, detail)
    status = Status.INTERRUPTED if trial.status is Status.INTERRUPTED else best.status
    return after_more(best, trial.n_passes)._replace(status=status, events=[*best.events, event])


def after_more(result: Result, passes: float) -> Result:
    """Return a result whose certificate, if there is one, counts so many passes more."""
    certificate = result.certificate
    return result._replace(certificate=certificate and certificate._replace(passes=certificate.passes + passes))
