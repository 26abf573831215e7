"""Fits from several starts, one after the other: what `verbose` prints, and how a checkpoint is taken up again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem.fitting.accelerated import climb
from fastem.fitting.acceleration import Memory
from fastem.fitting.checkpoint import Checkpoint, describe, plain
from fastem.fitting.gradient import after_one_step, ascend
from fastem.fitting.interruption import handing_over
from fastem.fitting.levels import climb_by_levels
from fastem.fitting.loop import Callback, iterate
from fastem.fitting.reseeding import fit_with_reseeds
from fastem.fitting.seeds import SEED_ROWS
from fastem.fitting.starts.models import KINDS
from fastem.fitting.starts.table import Given
from fastem.fitting.steps import e_step
from fastem.fitting.stopping import Stop
from fastem.fitting.totals import completed
from fastem.model.checks import check_random_state
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.result import Event, Result, Status
from fastem.sources.blocks import ArraySource, Source, lacks_values
from fastem.sources.parts import agreed, check_alike, is_leader


class FitOptions(NamedTuple):
    """How many fits there are, from which starts, and by which rules each ends.

    Attributes
    ----------
    n_components : int
    init_params : str, a row of `fastem.fitting.starts.table.STARTS`
    n_init : int, how many starts there are
    solver : "em", "lbfgs" or "auto"
    stop : Stop
    max_iter : int
    on_collapse : str, a row of `fastem.fitting.lost.ON_COLLAPSE`
    random_state : int, RandomState or None
    verbose, verbose_interval : int, what is printed and how often
    described : dict, all that a fit depends on, by name: processes compare it, and a checkpoint keeps it
    """

    n_components: int
    init_params: str
    n_init: int
    solver: str
    stop: Stop
    max_iter: int
    on_collapse: str
    random_state: Any
    verbose: int
    verbose_interval: int
    described: dict[str, Any]

    def for_labels(self, all_known: bool) -> FitOptions:
        """Return the options of a fit to rows with labels, which are its start; if all are known, it is one M-step."""
        if not all_known:
            return self._replace(init_params="labels")
        any_change = Stop("change", np.inf)
        return self._replace(
            init_params="labels", n_init=1, solver="em", stop=any_change, max_iter=min(self.max_iter, 1)
        )


@dataclass(frozen=True)
class Runs:
    """What the runs of a fit from several starts have in common.

    Attributes
    ----------
    source, model : the rows, and what is fitted to them
    options : FitOptions
    given : Given, parts of the start that the user gives
    sample : ArraySource of rows that solver "auto" begins on, or None
    before : Params of the fit that warm_start continues, or None if there is none
    bound : float, the objective per row from which the first change is taken
    rng : RandomState that starts draw from
    keep : Checkpoint
    printer : Printer
    """

    source: Source
    model: Model
    options: FitOptions
    given: Given
    sample: ArraySource | None
    before: Params | None
    bound: float
    rng: np.random.RandomState
    keep: Checkpoint
    printer: Printer

    def run(self, number: int, results: list[Result]) -> Result:
        """Fit from the start of this number, or go on with its run if `results` holds one that was interrupted."""
        options, current = self.options, results[number] if number < len(results) else None
        self.printer.begin(number)
        events: tuple[Event, ...] = ()  # an interrupted run has those of its start
        if current is not None:
            params = current.params
        else:
            self.keep(results)
            params, events = (self.before, ()) if self.before else self.first_params()
        if options.max_iter == 0:
            return Result(params, None, -np.inf, [], 0, Status.MAX_ITER, events)  # type: ignore[arg-type]
        begun = partial(after_start, events)

        def keep(result: Result, memory: Memory | None = None) -> None:
            self.keep(with_run(results, number, begun(result)), None if memory is None else (number, memory))

        with handing_over(lambda last: last and begun(last)):
            result = self.solver(number, current, keep)(
                self.source, params, self.model, stop=options.stop, max_iter=options.max_iter, callback=self.printer
            )
        self.printer.end(result)
        return begun(result)

    def solver(self, number: int, current: Result | None, keep: Callable[..., None]) -> Callable[..., Result]:
        """Return the function that makes the run of this number, or goes on with its result `current`.

        Each of its iterations is given to `keep`.
        """
        options = self.options
        if options.solver == "lbfgs":
            return ascend
        first: Callable[..., Result] = partial(iterate, previous=self.bound, resume=current, keep=keep)
        again: Callable[..., Result] = iterate
        if options.solver == "auto":
            begin: dict[str, Any] = {"sample": self.sample}
            if current is not None:
                run, memory = self.keep.memory or (number, None)
                begin = {"resume": current, "memory": memory if run == number else None}
            first, again = partial(climb_by_levels, keep=keep, **begin), climb
        if not KINDS[type(self.model)].mends:
            return first
        return partial(fit_with_reseeds, on_collapse=options.on_collapse, first=first, again=again)

    def first_params(self) -> tuple[Params, tuple[Event, ...]]:
        """Return the parameters that a fit begins with, and their start's events; L-BFGS begins after a step of EM."""
        K, init, rows = self.options.n_components, self.options.init_params, self.sample or self.source
        if lacks_values(rows):
            rows = completed(rows, max(SEED_ROWS, 50 * K), self.rng)
        mine = KINDS[type(self.model)].begin(rows, K, self.model, init, self.rng, self.given)
        params, events = agreed(self.source, lambda: mine)  # each process makes a sample's, and draws the same numbers
        if self.options.solver == "lbfgs" and self.given.precisions is None:
            assert isinstance(self.model, GaussianModel)  # the only model that L-BFGS fits
            params = after_one_step(self.source, params, self.model)
        return params, events


def after_start(events: tuple[Event, ...], result: Result) -> Result:
    """Return the result of a fit with the events of its start before its own."""
    return result._replace(events=[*events, *result.events])


def fit_from_starts(
    source: Source,
    model: Model,
    options: FitOptions,
    given: Given,
    before: tuple[Params, float] | None = None,
    callback: Callback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    sample: ArraySource | None = None,
) -> list[Result]:
    """Return the result of each start that `options` asks for.

    Parameters
    ----------
    source, model : the rows, and what is fitted to them
    options : FitOptions
    given : Given, parts of the start that the user gives
    before : parameters and bound of the fit that warm_start continues, or None if there is none
    callback, checkpoint : as in `GaussianMixture.fit`
    sample : rows that solver "auto" begins on, as `draw_sample` returns them; None: it begins on all rows

    Raises
    ------
    FitInterrupted, SourceError
        with the best result so far
    """
    rng = check_random_state(options.random_state)
    printer = Printer(options.verbose if is_leader(source) else 0, options.verbose_interval, callback)
    n_starts, bound = (1, before[1]) if before else (options.n_init, -np.inf)
    if given.known is not None:
        options = options.for_labels(given.all_known)
    if given.all_known:
        before, n_starts, bound = None, 1, 0.0
    check_alike(source, "parameters", lambda: plain(options.described) | {"random_state": None})
    fit = {} if checkpoint is None else describe(options.described, source, before, given.known)
    keep = Checkpoint(checkpoint if is_leader(source) else None, fit, rng)
    rng, loaded = agreed(source, lambda: (rng, keep.load()))
    results = with_statistics(source, model, loaded)
    runs = Runs(source, model, options, given, sample, before[0] if before else None, bound, rng, keep, printer)
    try:
        with handing_over(lambda last: best_of([*results, last])):
            for number in range(n_starts):
                if number < len(results) and results[number].status is not Status.INTERRUPTED:
                    continue
                result = runs.run(number, results)
                if options.max_iter == 0:
                    return [result]
                results = with_run(results, number, result)
                if result.status is Status.INTERRUPTED:
                    return results
            keep(results)
    finally:
        keep.write()
    return results


def best_of(results: Iterable[Result | None]) -> Result | None:
    """Return the best of the results that there are, or None."""
    return max(filter(None, results), key=rank, default=None)


def rank(result: Result) -> tuple[bool, int, float]:
    """Return the key by which results of restarts are compared: the larger, the better.

    Fits that ended because a component collapsed come last, for their bound is not bounded. Then results with more
    components are better: bounds of different numbers of components cannot be compared, as their log priors differ.
    Then the larger bound is better.
    """
    return (
        result.status is not Status.DEGENERATE,
        len(result.params.weights),
        result.history[-1] if result.n_iter else 0.0,
    )


def with_statistics(source: Source, model: Model, results: list[Result]) -> list[Result]:
    """Return the results of a checkpoint, which keeps no statistics, with these where they are needed."""
    open_ended = any(result.status is Status.INTERRUPTED for result in results)  # then any may end as the best
    best = best_of(results)

    def evaluated(result: Result) -> Result:
        return result._replace(stats=e_step(source, result.params, model))

    return [evaluated(one) if open_ended or one is best else one for one in results]


def with_run(results: list[Result], number: int, result: Result) -> list[Result]:
    """Return the results with that of the run of this number in its place."""
    return [*results[:number], result, *results[number + 1 :]]


class Printer:
    """The callback that prints what `verbose` asks for, every `interval` iterations, and calls the user's callback."""

    def __init__(self, verbose: int, interval: int, callback: Callback | None) -> None:
        self.verbose, self.interval, self.callback = verbose, interval, callback
        self.before, self.since = -np.inf, time.perf_counter()

    def begin(self, number: int) -> None:
        """Print that the fit from the start of this number begins."""
        self.before, self.since = -np.inf, time.perf_counter()
        if self.verbose:
            print(f"Initialization {number}")

    def __call__(self, iteration: int, bound: float, params: Params) -> Any:
        """Print the progress after a pass, and return whether the user's callback ends the fit."""
        if self.verbose and iteration % self.interval == 0:
            more = f"\t time lapse {time.perf_counter() - self.since:.5f}s\t ll change {bound - self.before:.5f}"
            print(f"  Iteration {iteration}" + (more if self.verbose > 1 else ""))
        self.before = bound
        return self.callback is not None and self.callback(iteration, bound, params)

    def end(self, result: Result) -> None:
        """Print how the fit from a start ended."""
        if self.verbose:
            more = f"\t time lapse {time.perf_counter() - self.since:.5f}s\t lower bound {result.history[-1]:.5f}."
            print(f"Initialization {result.status.name.lower()}" + (more if self.verbose > 1 else ""))
