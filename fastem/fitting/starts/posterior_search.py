"""The start of a posterior by init_params="auto": components are merged, or cut in two, while the bound rises.

Under a prior a component may be left without rows, so that merging two needs no third to cut, and one that is free can
take half of another. What a merge gains is known before it is tried: statistics add up, and the bound of the posterior
that they make tells. (The entropy of the responsibilities falls by that of the choice between the two.) Under a
Dirichlet process the order of components matters: the bound is best with the largest first.

References
----------
Ueda & Ghahramani (2002), Bayesian model search for mixture models based on optimizing variational bounds, Neural Netw.
15, 1223-1241; Kurihara, Welling & Teh (2007), Collapsed variational Dirichlet process mixture models, IJCAI, 2796-2801.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.accelerated import climb
from fastem.fitting.interruption import handing_over
from fastem.fitting.levels import ROWS_PER_COMPONENT
from fastem.fitting.seeds import distinct_sample, weights_of
from fastem.fitting.starts.beginning import Beginning
from fastem.fitting.starts.cuts import LOOKAHEAD, cut
from fastem.fitting.starts.kmeans import from_kmeans
from fastem.fitting.starts.moves import Members, merge_costs, merged_covariances, overlaps
from fastem.fitting.starts.race import RACE_ROWS, run_race
from fastem.fitting.steps import e_step
from fastem.fitting.stopping import Stop
from fastem.model.families import COVARIANCES
from fastem.model.matrices import Array, SingularCovarianceError
from fastem.model.params import Params
from fastem.model.result import Event, Result, Status
from fastem.model.stats import Stats
from fastem.model.variational import Posterior
from fastem.model.variational_model import VariationalModel
from fastem.passes.statistics import overall
from fastem.sources.blocks import ArraySource, Source, rounding_of
from fastem.sources.parts import agreed

# Numbers chosen on the 30 problems of scripts/posterior_optimum.py.
PATIENCE = 30  # moves in a row that may fail; merges that are looked at
LEAST_PROMISE = -0.06  # nats per row, as in the search for a mixture
LEAST_GAIN = 0.1  # nats of all rows of the sample for which a move is taken
MOST_SWEEPS = 50  # rounds of moves, after each of which all is looked at anew
LEAST_PASSES, MOST_PASSES = 4, 60  # after a move
IN_USE = 0.5  # of a row: a component with less is free


class Move(NamedTuple):
    """What is merged and what is cut; one of both, or both.

    Attributes
    ----------
    promise : float, what it gains in nats of all rows, as far as known
    pair : tuple of two int, the components that are merged, the second into the first; empty if none are
    split : tuple of one int, the component that is cut; empty if none is
    halves : Params, it as a mixture of two, or None
    """

    promise: float
    pair: tuple[int, ...] = ()
    split: tuple[int, ...] = ()
    halves: Params | None = None

    def __str__(self) -> str:
        return " and ".join(["two components merged"] * bool(self.pair) + ["one cut in two"] * bool(self.split))


class Cells(NamedTuple):
    """The rows of each component as a mixture, and the weight of all rows."""

    mixture: Params
    total: float

    @classmethod
    def of(cls, stats: Stats, posterior: Params, model: VariationalModel) -> Cells:
        """Make them of the statistics of a pass."""
        _, means, covariances = model.gaussian.estimate(stats)
        return cls(Params(stats.s0 / stats.sum_w, means, covariances, posterior.factor), stats.sum_w)

    def stats(self, model: VariationalModel) -> Stats:
        """Return the statistics of these rows."""
        return model.family.expected(self.mixture, self.total, model.reg_covar)

    def in_order(self, model: VariationalModel) -> Cells:
        """Return them in the order that is best under the prior, or else in that of their means."""
        weights, means = self.mixture.weights, self.mixture.means
        order = np.argsort(-weights, kind="stable") if model.prior.sticks else np.lexsort(means.T[::-1])
        return Cells(self.mixture.permuted(order), self.total)

    def after(self, move: Move, model: VariationalModel) -> Cells:
        """Return the cells after a move: what it leaves free takes half of what it cuts."""
        weights, means, covariances = (array.copy() for array in self.mixture[:3])
        free = move.pair[1] if move.pair else int(weights.argmin())
        if move.pair:
            into, pair = move.pair[0], np.array(move.pair)
            covariances[0 if model.family.shared else into] = merged_covariances(
                self.mixture, pair[:, None], model.family
            )[0]
            means[into] = np.average(means[pair], axis=0, weights=weights[pair])
            weights[pair] = weights[pair].sum(), 0.0
        if move.halves is not None:
            places = [*move.split, free]
            if not model.family.shared:
                covariances[places] = move.halves.covariances
            weights[places], means[places] = weights[move.split[0]] * move.halves.weights, move.halves.means
        return Cells(Params(weights, means, covariances, self.mixture.factor), self.total)


def from_posterior_search(source: Source, K: int, model: VariationalModel, rng: np.random.RandomState) -> Beginning:
    """Return the statistics of the best posterior that a search on a sample finds.

    It begins at the winner of the race of `fastem.fitting.starts.race`, or, if all are out of it, at k-means. The rows
    of a sample count once each, also those of one that stands for all rows: else cuts would fit its noise.
    """
    most = max(RACE_ROWS, ROWS_PER_COMPONENT * K)
    with handing_over(lambda _: None):  # a result of the search is that of a fit to a sample
        sample = distinct_sample(source, K, rng, RACE_ROWS)
        if source.n_present >= most:
            sample = ArraySource(sample.X, weights_of(sample) * (most / sample.sum_w))
        mine = search_on_sample(sample, K, model, rng, rounding_of(source))
    found = agreed(source, lambda: mine)
    return found._replace(stats=found.stats.scaled(source.sum_w / found.stats.sum_w))


def search_on_sample(
    sample: ArraySource, K: int, model: VariationalModel, rng: np.random.RandomState, eps: float
) -> Beginning:
    """Return the start that a race and a search on a sample find; `eps` is the relative rounding of the rows."""
    total = overall(sample, (1, sample.n_features, sample.n_features))
    covariance = COVARIANCES["full"].estimate(total, 0.0)[2][0]
    winner = run_race(sample, K, model.gaussian, rng, covariance, eps)
    if winner is None:
        stats = from_kmeans(sample, K, model.gaussian, rng).stats
    else:
        stats = e_step(sample, winner.params, model.gaussian)
    variance = np.diagonal(covariance)
    with suppress(SingularCovarianceError):  # under a prior that is singular, of which the first update tells
        return search(sample, stats, model, np.sqrt(np.where(variance > 0, variance, 1.0)))
    return Beginning(stats)


def search(sample: ArraySource, stats: Stats, model: VariationalModel, scale: Array) -> Beginning:
    """Merge and cut components from a start for as long as the bound rises.

    The moves that promise most are tried: the fit to the sample goes on from there. One that ends higher is taken.

    Parameters
    ----------
    sample : ArraySource
    stats : Stats of the start
    model : VariationalModel
    scale : (D,), the units of columns in which components have principal axes
    """
    cells = Cells.of(stats, model.update(stats), model)
    best, events, n_tried = settle(sample, cells.in_order(model), model), list[Event](), 0
    for _ in range(MOST_SWEEPS):
        best, taken, tried = sweep(sample, put_in_order(sample, best, model), model, scale)
        events, n_tried = [*events, *taken], n_tried + tried
        if not taken:
            break
    if n_tried:
        gain = sum(event.change for event in events)
        summary = f"{n_tried} moves tried, {len(events)} taken: {gain:+.3g} nats of the sample"
        events = [*events, Event(0, "searched", (), summary, gain)]
    cells = Cells.of(best.stats, best.params, model).in_order(model)
    return Beginning(cells.stats(model), tuple(events))


def put_in_order(sample: ArraySource, best: Result, model: VariationalModel) -> Result:
    """Return a fit whose sticks are in the order of their rows, unless that lowers the bound."""
    while model.prior.sticks and (np.diff(best.stats.s0) > IN_USE).any():
        other = settle(sample, Cells.of(best.stats, best.params, model).in_order(model), model)
        if other.history[-1] <= best.history[-1]:
            break
        best = other
    return best


def sweep(sample: ArraySource, best: Result, model: VariationalModel, scale: Array) -> tuple[Result, list[Event], int]:
    """Return the best fit after all moves that are promising now, the moves that were taken, how many were tried."""
    moves, failed, tried, taken = find_moves(sample, best, model, scale), 0, 0, list[Event]()
    while moves and failed < PATIENCE:
        move, *moves = moves
        trial, tried = follow(sample, best, move, model), tried + 1
        gain = trial.history[-1] - best.history[-1] if trial else -np.inf
        if trial and gain > LEAST_GAIN:
            best, failed = trial, 0
            taken.append(Event(0, "moved", (), f"{move}: {gain:+.3g} nats of the sample", gain))
            touched = {*move.pair, *move.split}
            if move.split and not move.pair:  # a component that was free, as those are that others count on
                moves = [other for other in moves if other.pair]
            moves = [other for other in moves if not touched & {*other.pair, *other.split}]
        else:
            failed += 1
    return best, taken, tried


def settle(sample: ArraySource, cells: Cells, model: VariationalModel, target: float = -np.inf) -> Result:
    """Return the fit that begins with these rows in each component; it is given up where it may not reach a target."""
    bounds = [-np.inf]

    def is_hopeless(iteration: int, bound: float, posterior: Params) -> bool:
        bounds.append(bound)
        return iteration > LEAST_PASSES and target - bound > LOOKAHEAD * (bound - bounds[-2])

    start, stop = model.update(cells.stats(model)), Stop("change", LEAST_GAIN / 2)
    return climb(sample, start, model, stop=stop, max_iter=MOST_PASSES, callback=is_hopeless)


def follow(sample: ArraySource, best: Result, move: Move, model: VariationalModel) -> Result | None:
    """Return the fit that a move from the best fit leads to; None if there is none."""
    try:
        cells = Cells.of(best.stats, best.params, model).after(move, model)
        trial = settle(sample, cells, model, best.history[-1])
    except SingularCovarianceError:
        return None
    return None if trial.status is Status.DEGENERATE else trial


def find_moves(sample: ArraySource, best: Result, model: VariationalModel, scale: Array) -> list[Move]:
    """Return the moves that may be tried, the most promising first. A cut needs a component that is free or merged."""
    used, members = np.flatnonzero(best.stats.s0 >= IN_USE), Members.of(sample, best.params)
    merges = find_merges(best, members, used, model)
    cuts = find_cuts(sample, best, members, used, model, scale)
    if len(used) == len(best.stats.s0):
        cuts = [
            Move(merge.promise + one.promise, merge.pair, one.split, one.halves)
            for one in cuts
            for merge in merges
            if one.split[0] not in merge.pair
        ]
    least = LEAST_PROMISE * best.stats.sum_w
    return sorted((move for move in [*merges, *cuts] if move.promise >= least), key=lambda move: -move.promise)


def find_merges(best: Result, members: Members, used: NDArray[np.intp], model: VariationalModel) -> list[Move]:
    """Return the cheapest merges of components in use, with what the bound gains by each at least."""
    cells, s0, K = Cells.of(best.stats, best.params, model), best.stats.s0, len(best.stats.s0)
    cost, entropy = merge_costs(best.params, members, model.family), overlaps(members, K)
    pairs = sorted(((int(i), int(j)) for i in used for j in used if j < i), key=lambda pair: cost[pair])
    found = []
    for one, other in pairs[:PATIENCE]:
        pair = (one, other) if s0[one] > s0[other] else (other, one)
        merged = model.update(cells.after(Move(0.0, pair), model).stats(model))
        bound = merged.lower_bound(best.stats.entropy - entropy[pair] * best.stats.sum_w)
        found.append(Move(bound - best.history[-1], pair))
    return found


def find_cuts(
    sample: ArraySource, best: Result, members: Members, used: NDArray[np.intp], model: VariationalModel, scale: Array
) -> list[Move]:
    """Return the cuts of components in use, with about what the bound gains by each.

    It gains what the likelihood does, less half the logarithm of the component's rows for each parameter.
    """
    n, D, found = best.stats.sum_w, len(scale), list[Move]()
    n_parameters = 1 + D + (0 if model.family.shared else model.family.n_parameters(1, D))
    assert isinstance(best.params, Posterior)
    for k in used.tolist():
        price = n_parameters / 2 * np.log(best.params.mean_precision[k])
        halves = cut(sample, best.params, members, k, model.gaussian, max(price / n + LEAST_PROMISE, 0.0), scale)
        if halves.params is not None:
            found.append(Move(float(n * halves.gain - price), (), (k,), halves.params))
    return found
