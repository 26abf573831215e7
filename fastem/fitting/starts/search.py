"""The search for a better optimum: components of a fit to a sample go to other places, until that helps no more."""

from __future__ import annotations

from collections.abc import Iterator
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

# Numbers chosen on mixtures of known optimum: 30 problems of 2 to 16 features and 5 to 16 components.
PATIENCE = 30  # moves in a row that may fail
LEAST_ESTIMATE = -0.02  # nats per row that a move must promise; what one comes to is up to 0.03 more or less
LEAST_GAIN = 1e-4  # nats per row for which a move is taken
ROUNDS = (4, 8, 16, 48)  # iterations of EM after a move


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
        """Return the events that report a search, with component k as number `order.index(k)`."""
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
    found, K = Search(result), len(result.params.means)
    for _ in range(3 * K):
        before = found
        for move, halves in promising(sample, before.result, model, covariance):
            found = found._replace(tried=found.tried + 1)
            trial = try_move(sample, before.result, move, halves, model, covariance)
            if trial is not None:
                gain = trial.history[-1] - before.result.history[-1]
                found = Search(trial, found.tried, (*found.taken, (move, gain)))
                break
        else:
            break
    return found


def promising(
    sample: ArraySource, best: Result, model: GaussianModel, covariance: Array
) -> Iterator[tuple[Move, Params]]:
    """Yield the moves that promise most, the best first, and the halves of the component that each splits.

    A move promises what its split gains, less what its merge costs. Splits are those that may be worth the cheapest
    merge.
    """
    params, K = best.params, len(best.params.means)
    scale = np.sqrt(np.diagonal(covariance))
    scale = np.where(scale > 0, scale, 1.0)
    members = Members.of(sample, params)
    cost = merge_costs(params, members, model.family)
    pairs = np.argwhere(np.tri(K, k=-1, dtype=bool) & np.isfinite(cost))
    pairs = pairs[np.argsort(cost[tuple(pairs.T)], kind="stable")]
    moves: list[tuple[float, Move, Params]] = []
    for k in range(K):
        cheapest = pairs[(pairs != k).all(axis=1)][:PATIENCE]
        if not len(cheapest):
            continue
        costs = cost[tuple(cheapest.T)]
        halves = cut(sample, params, members, k, model, max(costs[0] + LEAST_ESTIMATE, 0.0), scale)
        if halves.params is None:
            continue
        for (freed, into), c in zip(cheapest.tolist(), costs.tolist(), strict=True):
            moves.append((halves.gain - c, Move(freed, into, k), halves.params))
    moves.sort(key=lambda move: -move[0])
    for promise, move, halves_ in moves[:PATIENCE]:
        if promise >= LEAST_ESTIMATE:
            yield move, halves_


def try_move(
    sample: ArraySource, best: Result, move: Move, halves: Params, model: GaussianModel, covariance: Array
) -> Result | None:
    """Return the fit that EM makes after a move; None if it is not better than the best, or not as sound."""
    try:
        start = moved(best.params, move, halves, model)
    except SingularCovarianceError:
        return None
    trial = climb(sample, start, model, best.history[-1], ROUNDS)
    higher = trial.history[-1] > best.history[-1] + LEAST_GAIN
    return trial if higher and is_as_sound(trial, best, model, covariance) else None


def is_as_sound(trial: Result, best: Result, model: GaussianModel, covariance: Array) -> bool:
    """Return whether a fit has no more lost or thin components than another, and none that has collapsed."""
    if trial.status is Status.DEGENERATE or not (model.monotone or not is_too_narrow(trial, covariance)):
        return False
    return sum(unsound(model, trial)) <= sum(unsound(model, best))


def unsound(model: GaussianModel, result: Result) -> tuple[int, int]:
    """Return how many components of a fit are lost, and how many are thin."""
    return len(find_lost(model, result.stats).components), int(np.count_nonzero(are_thin(model, result)))
