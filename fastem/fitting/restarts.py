"""Fits from several starts, in turn: what `verbose` prints of them, and how a checkpoint takes them up again."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import numpy as np

from fastem.fitting.checkpoint import Checkpoint, describe, plain
from fastem.fitting.gradient import after_one_step, ascend
from fastem.fitting.loop import Callback, FitInterrupted, e_step, fit_with_reseeds
from fastem.fitting.starts.table import Given, make_start
from fastem.fitting.stopping import Stop
from fastem.model.checks import check_random_state
from fastem.model.maximisation import MStep
from fastem.model.params import Params
from fastem.model.result import Result, Status
from fastem.sources.blocks import Source, SourceError
from fastem.sources.parts import agreed, check_alike, is_leader


def fit_from_starts(
    model: Any,
    source: Source,
    m_step: MStep,
    given: Given,
    before: tuple[Params, float] | None,
    callback: Callback | None,
    checkpoint: str | os.PathLike[str] | None,
) -> list[Result]:
    """The result of each start that `n_init` asks for.

    Parameters
    ----------
    model : GaussianMixture, for its constructor's parameters
    source, m_step : the rows, and the M-step for them
    given : parts of the start that the user gives
    before : parameters and bound of the fit that warm_start continues, or None
    callback, checkpoint : as in `GaussianMixture.fit`

    Raises
    ------
    FitInterrupted, SourceError
        with the best result so far
    """
    rng, K = check_random_state(model.random_state), model.n_components
    printer = Printer(model.verbose if is_leader(source) else 0, model.verbose_interval, callback)
    init, stop, max_iter = model.init_params, Stop(model.criterion, model.tol), model.max_iter
    n_starts, bound = (1, before[1]) if before else (model.n_init, -np.inf)
    solver = model.solver
    if given.known is not None:
        init = "labels"
    if given.all_known:  # one M-step, after which any change is small enough
        before, n_starts, bound, stop, max_iter = None, 1, 0.0, Stop("change", np.inf), min(max_iter, 1)
        solver = "em"
    check_alike(source, "parameters", lambda: plain(model.get_params(deep=False)) | {"random_state": None})
    fit = {} if checkpoint is None else describe(model.get_params(deep=False), source, before, given.known)
    keep = Checkpoint(checkpoint if is_leader(source) else None, fit, rng)
    rng, loaded = agreed(source, lambda: (rng, keep.load()))
    results = revived(source, m_step, loaded)
    try:
        for number in range(n_starts):
            current = results[number] if number < len(results) else None
            if current is not None and current.status is not Status.INTERRUPTED:
                continue
            printer.begin(number)
            if current is not None:
                params = current.params
            else:
                keep(results)
                params = before[0] if before else make_start(source, K, m_step, init, rng, given)
                if solver != "em" and not before and given.precisions is None:
                    params = after_one_step(source, params, m_step)
            if max_iter == 0:
                return [Result(params, None, -np.inf, [], 0, Status.MAX_ITER)]  # type: ignore[arg-type]
            em = partial(
                fit_with_reseeds,
                previous=bound,
                on_collapse=model.on_collapse,
                resume=current,
                keep=partial(note, keep, results, number),
            )
            result = (em if solver == "em" else ascend)(
                source,
                params,
                m_step,
                stop=stop,
                max_iter=max_iter,
                callback=printer,
            )
            printer.end(result)
            results = with_run(results, number, result)
            if result.status is Status.INTERRUPTED:
                return results
        keep(results)
    except (KeyboardInterrupt, SourceError) as end:
        done = [*results, getattr(end, "result", None)]
        best = max(filter(None, done), key=rank, default=None)
        if isinstance(end, SourceError):
            end.result = best
            raise
        raise FitInterrupted(best) from end
    finally:
        keep.write()
    return results


def rank(result: Result) -> tuple[bool, int, float]:
    """Order of restarts: the larger bound, but a collapsed component's unbounded one last.

    Where components were dropped the most of them first: their log priors make bounds of different numbers differ.
    """
    return (
        result.status is not Status.DEGENERATE,
        len(result.params.weights),
        result.history[-1] if result.n_iter else 0.0,
    )


def revived(source: Source, m_step: MStep, results: list[Result]) -> list[Result]:
    """Results with the statistics that a checkpoint does not keep, where they are needed."""
    open_ended = any(result.status is Status.INTERRUPTED for result in results)  # then any may end as the best
    best = max(results, key=rank, default=None)

    def evaluated(result: Result) -> Result:
        return result._replace(stats=e_step(source, result.params, m_step))

    return [evaluated(one) if open_ended or one is best else one for one in results]


def with_run(results: list[Result], number: int, result: Result) -> list[Result]:
    """The results with that of one run in its place."""
    return [*results[:number], result, *results[number + 1 :]]


def note(keep: Checkpoint, results: list[Result], number: int, result: Result) -> None:
    """Note a run's last iteration."""
    keep(with_run(results, number, result))


class Printer:
    """The callback that prints what `verbose` asks for, at every `interval` iterations, and calls the user's."""

    def __init__(self, verbose: int, interval: int, callback: Callback | None) -> None:
        self.verbose, self.interval, self.callback = verbose, interval, callback
        self.before, self.since = -np.inf, time.perf_counter()

    def begin(self, number: int) -> None:
        """Of a start."""
        self.before, self.since = -np.inf, time.perf_counter()
        if self.verbose:
            print(f"Initialization {number}")

    def __call__(self, iteration: int, bound: float, params: Params) -> Any:
        """After each pass."""
        if self.verbose and iteration % self.interval == 0:
            more = f"\t time lapse {time.perf_counter() - self.since:.5f}s\t ll change {bound - self.before:.5f}"
            print(f"  Iteration {iteration}" + (more if self.verbose > 1 else ""))
        self.before = bound
        return self.callback is not None and self.callback(iteration, bound, params)

    def end(self, result: Result) -> None:
        """Of a start's fit."""
        if self.verbose:
            more = f"\t time lapse {time.perf_counter() - self.since:.5f}s\t lower bound {result.history[-1]:.5f}."
            print(f"Initialization {result.status.name.lower()}" + (more if self.verbose > 1 else ""))
