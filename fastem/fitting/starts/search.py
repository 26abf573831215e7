"""The search for a better optimum: components of a fit to a sample go to other places, until that helps no more."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.degenerate import are_thin, find_lost, is_too_narrow
from fastem.fitting.starts.cuts import climb, cut
from fastem.fitting.starts.moves import Members, Move, merge_costs, moved
from fastem.model.matrices import Array, SingularCovarianceError
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.result import Event, Result, Status
from fastem.sources.blocks import ArraySource

# Numbers chosen on 30 mixtures of known optimum, of 2 to 16 features and 5 to 16 components.
PATIENCE = 30  # moves in a row that may fail
LEAST_PROMISE = -0.06  # nats per row: moves among neighbours came to 0.03 more than they promised, others to 0.001
LEAST_GAIN = 1e-4  # nats per row for which a move is taken
MOST_SWEEPS = 50  # rounds of moves, after each of which all is looked at anew
ROUNDS = (4, 8, 16, 48)  # iterations of EM after a move


class Prospect(NamedTuple):
    """A move that may be tried.

    Attributes
    ----------
    promise : float, what it gains in nats per row, as far as known
    move : Move
    halves : Params, the component that is split, as a mixture of two
    """

    promise: float
    move: Move
    halves: Params

    def after(self, failed: Prospect, gain: float) -> Prospect:
        """Return this prospect once another has failed, with a `gain` of less than it promised.

        If both merge the same pair, that half of it did so is this one's loss as well.
        """
        if self.move[:2] != failed.move[:2]:
            return self
        return self._replace(promise=self.promise - max(0.0, failed.promise - gain) / 2)


class Search(NamedTuple):
    """What a search has come to.

    Attributes
    ----------
    result : Result of the best fit to the sample
    tried : int, how many moves were tried
    taken : tuple of (Move, gain), the moves that were taken, and what each gained in nats per row
    """

    result: Result
    tried: int = 0
    taken: tuple[tuple[Move, float], ...] = ()

    def events(self, order: NDArray[np.intp]) -> tuple[Event, ...]:
        """Return the events that report a search, none if no move was tried; component `order[k]` has the number k."""
        if not self.tried:
            return ()
        number = np.argsort(order).tolist()
        moves = [
            Event(
                0,
                "moved",
                (number[move.freed],),
                f"merged into {number[move.into]}, now half of {number[move.split]}: {gain:+.3g} per row",
                gain,
            )
            for move, gain in self.taken
        ]
        gain = sum(gain for _, gain in self.taken)
        summary = f"{self.tried} moves tried, {len(self.taken)} taken: {gain:+.3g} per row of the sample"
        return (*moves, Event(0, "searched", (), summary, gain))


def search(sample: ArraySource, result: Result, model: GaussianModel, covariance: Array) -> Search:
    """Move components from where two share a cluster to where one has two, for as long as the objective rises.

    The moves that promise most are tried: EM on the sample goes on from there for as long as it may become better than
    the best fit. One that ends higher is taken, unless a component of it is lost, thin or collapsed.

    Parameters
    ----------
    sample : ArraySource
    result : Result of EM on the sample
    model : GaussianModel
    covariance : (D, D), of the sample
    """
    found = Search(result)
    for _ in range(MOST_SWEEPS):
        before, found = found, sweep(sample, found, model, covariance)
        if found.result is before.result:
            break
    return found


def sweep(sample: ArraySource, found: Search, model: GaussianModel, covariance: Array) -> Search:
    """Return a search after all moves that are promising now; with the same result if none helps."""
    best, tried, taken, failed = found.result, found.tried, [*found.taken], 0
    prospects = find_prospects(sample, best.params, model, covariance)
    while prospects and failed < PATIENCE:
        prospect = max(prospects, key=lambda prospect: prospect.promise)
        if prospect.promise < LEAST_PROMISE:
            break
        trial = follow(sample, best, prospect, model)
        tried, gain = tried + 1, trial.history[-1] - best.history[-1] if trial else -np.inf
        if trial and gain > LEAST_GAIN and is_as_sound(trial, best, model, covariance):
            best, failed = trial, 0
            taken.append((prospect.move, gain))
            # The others' promises stay about what they were, as components are told apart.
            prospects = [other for other in prospects if not set(other.move) & set(prospect.move)]
        else:
            failed += 1
            prospects = [other.after(prospect, gain) for other in prospects if other is not prospect]
    return Search(best, tried, tuple(taken))


def follow(sample: ArraySource, best: Result, prospect: Prospect, model: GaussianModel) -> Result | None:
    """Return the fit that EM makes after a move from the best fit; None if its mixture is singular."""
    try:
        start = moved(best.params, prospect.move, prospect.halves, model)
    except SingularCovarianceError:
        return None
    return climb(sample, start, model, best.history[-1], ROUNDS)


def find_prospects(sample: ArraySource, params: Params, model: GaussianModel, covariance: Array) -> list[Prospect]:
    """Return the moves that may be tried: of each component's halves and the cheapest merges of two others.

    A move promises what its cut gains, less what its merge costs. Only cuts that may be worth the cheapest merge are
    made to the end.
    """
    K, variance, prospects = len(params.means), np.diagonal(covariance), list[Prospect]()
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))
    members = Members.of(sample, params)
    cost = merge_costs(params, members, model.family)
    pairs = np.argwhere(np.tri(K, k=-1, dtype=bool))
    pairs = pairs[np.argsort(cost[tuple(pairs.T)], kind="stable")]
    for k in range(K if K > 2 else 0):
        cheapest = pairs[(pairs != k).all(axis=1)][:PATIENCE].tolist()
        least = cost[tuple(cheapest[0])] + LEAST_PROMISE
        halves = cut(sample, params, members, k, model, max(least, 0.0), scale)
        if halves.params is not None:
            prospects += [
                Prospect(float(halves.gain - cost[freed, into]), Move(freed, into, k), halves.params)
                for freed, into in cheapest
            ]
    return prospects


def is_as_sound(trial: Result, best: Result, model: GaussianModel, covariance: Array) -> bool:
    """Return whether a fit has no more lost or thin components than another, and none that has collapsed."""
    if trial.status is Status.DEGENERATE or not (model.monotone or not is_too_narrow(trial, covariance)):
        return False
    return sum(unsound(model, trial)) <= sum(unsound(model, best))


def unsound(model: GaussianModel, result: Result) -> tuple[int, int]:
    """Return how many components of a fit are lost, and how many are thin."""
    return len(find_lost(model, result.stats).components), int(np.count_nonzero(are_thin(model, result)))
