"""Degenerate components: the notions of them that fits use, why these differ, and the functions that find them.

A component is degenerate if its parameters describe no part of the data. Each notion has a word of its own:

- A component has *collapsed* if its covariance is singular. There is then no next M-step, so the fit ends with
  `Status.DEGENERATE`. The M-step itself finds it and raises a `SingularCovarianceError`; `collapsed_result` makes the
  result.
- A component *shrinks* if an M-step would make a covariance of it that is singular but for rounding. L-BFGS makes no
  M-step, so that nothing is raised, but the likelihood goes to infinity: `find_shrinking` finds it, and the fit ends as
  if the component had collapsed.
- A component is *lost* if it has fewer rows than its covariance needs, or, under a remedy, rows in a subspace. The
  remedy keeps its covariance regular, so that the fit goes on. `find_lost` finds it when the fit has converged, and
  `fastem.fitting.lost` gives it another place or drops it.
- A component is *too narrow* if, under `reg_covar` alone, little but `reg_covar` bounds its likelihood. It is sound
  where a user asks for it, but must not win the race of starts, whose fits are compared by likelihood:
  `is_too_narrow`. Short fits are many, so that this looks at one mean distance, with a limit that errs towards sound.
- A component is *thin* if it has fewer rows than it takes to tell it from noise, or is a spike. The search for a better
  optimum makes none: `are_thin`.
- A component is a *spike* if, in one direction, its variance is little but `reg_covar` or the floor, where all rows
  vary much more. `fastem.select` compares numbers of components, where one spike decides, so that `are_spikes` looks
  at each direction, with a limit that errs towards spikes.

The first is a matter of arithmetic, the second foretells the first, the third counts rows, and the others say which
likelihoods may be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.steps import e_step
from fastem.model.families import Covariance
from fastem.model.matrices import EPS, Array, variances
from fastem.model.maximisation import GaussianModel, pooled
from fastem.model.params import Params
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.result import Event, Result, Status
from fastem.model.rounding import variances_of_rounding
from fastem.model.stats import Stats, are_empty
from fastem.sources.blocks import Source
from fastem.sources.parts import agreed

TAILS = 1e-10  # of a component's variance in other directions, relative to all rows; squared: of all rows' variance
NARROW = 0.01  # share of the variance of all rows at which a variance of `reg_covar` is a spike
MOST_DISTANCE = 1e6  # mean squared distance of the data under a component (in its standard deviations)


def collapsed_result(result: Result, components: Sequence[int], done: int = 0) -> Result:
    """Return the result of a fit that ends because some `components` have collapsed.

    Parameters
    ----------
    result : Result, of the last iteration whose parameters are sound
    components : sequence of int, those without a covariance
    done : int, passes before the first of this result
    """
    detail = "singular covariance: the parameters before are kept"
    event = Event(done + result.n_iter, "collapsed", tuple(components), detail)
    return result._replace(status=Status.DEGENERATE, events=[*result.events, event])


def find_shrinking(model: GaussianModel, params: Params, stats: Stats) -> list[int]:
    """Return the components that shrink: their rows do not vary in some direction, but for rounding."""
    _, _, covariances = model.estimate(stats)
    variances(covariances)[...] -= variances_of_rounding(stats, EPS, one_by_one=False)
    if model.family.matrices:
        relative = params.factor @ covariances @ params.factor.swapaxes(-1, -2)
        least = np.linalg.eigvalsh((relative + relative.swapaxes(-1, -2)) / 2)[:, 0]
    else:
        least = (covariances * params.factor**2).min(axis=(-2, -1))
    empty = False if model.family.shared else are_empty(stats)  # without rows a covariance stays as it is
    return np.flatnonzero((least <= 0) & ~np.asarray(empty)).tolist()


def find_shrinking_exactly(source: Source, result: Result, model: GaussianModel) -> list[int]:
    """Return the components that shrink; where sums in float32 say so, sums in float64 decide."""
    components = agreed(source, partial(find_shrinking, model, result.params, result.stats))
    if result.stats.eps == EPS or not components:
        return components
    stats = e_step(source, result.params, model, exact=True)
    return agreed(source, partial(find_shrinking, model, result.params, stats))


class Lost(NamedTuple):
    """Components that lost their rows or their rank.

    Attributes
    ----------
    components : (n,) int
    rows : (K,) float64, the weight of all components' rows, in units of a row
    needed : int, how many rows a covariance of full rank needs
    """

    components: NDArray[np.intp]
    rows: Array
    needed: int

    @property
    def short(self) -> NDArray[np.bool_]:
        """Which components have fewer rows than needed, (K,); the rows of others that are lost lie in a subspace."""
        return np.asarray(self.rows < self.needed - 0.5)  # responsibilities just below 1 are rows

    def __str__(self) -> str:
        return "; ".join(
            f"{k}: {self.rows[k]:.1f} of {self.needed} rows" if self.short[k] else f"{k}: rows in a subspace"
            for k in self.components
        )


def find_lost(model: GaussianModel, stats: Stats) -> Lost:
    """Return the components without enough rows or (under a remedy) with rows in a subspace of what all rows span."""
    rank, needed = rows_needed(model, stats.s1.shape[1])
    row = min(1.0, stats.sum_w / max(stats.n_rows, 1))  # weights that sum to 1 are no counts
    lost = Lost(np.empty(0, dtype=np.intp), stats.s0 / row, needed)
    gone = lost.short
    if model.monotone and model.family.own != "nothing" and model.held.precisions is None and rank:
        gone |= lie_in_subspace(model, stats)
    return lost._replace(components=np.flatnonzero(gone))


def find_lost_exactly(source: Source, result: Result, model: GaussianModel) -> Lost:
    """Return the components that lost their rows or rank; where sums in float32 say so, sums in float64 decide."""
    lost = agreed(source, partial(find_lost, model, result.stats))
    if result.stats.eps == EPS or not len(lost.components):
        return lost
    return agreed(source, partial(find_lost, model, e_step(source, result.params, model, exact=True)))


def rows_needed(model: GaussianModel, D: int) -> tuple[int, int]:
    """Return the rank that covariances can have, and how many rows one of that rank needs."""
    rank = model.units.rank if model.monotone else D
    if model.held.precisions is not None or rank == 0:
        return rank, 1
    return rank, {"nothing": 1, "volume": 2, "variances": 2, "matrix": rank + 1}[model.family.own]


@np.errstate(all="ignore")
def lie_in_subspace(model: GaussianModel, stats: Stats) -> NDArray[np.bool_]:
    """Return for which components rows do not vary in some direction, but for rounding and other rows' tails; (K,).

    A component that has only its volume for itself may lie in a subspace: its rows must vary in some direction.
    """
    covariances = model.family.estimate(stats, 0.0)[2]
    variances(covariances)[...] -= variances_of_rounding(stats, model.units.eps, model.hard)
    relative = model.units.relative(covariances)
    values = np.linalg.eigvalsh(relative) if model.units.matrices else relative[..., 0, :]
    least, most = values.min(axis=-1), values.max(axis=-1)
    flat = most <= TAILS**2
    return np.asarray(flat if model.family.own == "volume" else flat | (least <= TAILS * np.maximum(most, 0.0)))


def is_too_narrow(result: Result, covariance: Array) -> bool:
    """Return whether a component of a fit is too narrow for its likelihood to mean anything.

    One with a covariance matrix of its own has D rows or fewer (fewer than 2 otherwise), so that only `reg_covar`
    bounds its density; or the data, whose `covariance` (D, D) is given, lie 1000 standard deviations from a component.
    That is in the mean, trace(covariance of the data times inverse of the component's): it depends on no units.
    """
    factor, stats = result.params.factor, result.stats
    shared, D = factor.shape[0] == 1, factor.shape[-1]
    rows = stats.s0 * (stats.n_rows / stats.sum_w)
    if not shared and rows.min() < (D + 1 if factor.shape[-2] > 1 else 2):
        return True
    if factor.shape[-2] == 1:
        distance = (factor[:, 0] ** 2 * np.diagonal(covariance)).sum(axis=-1)
    else:
        distance = (np.einsum("kij,jl->kil", factor, covariance) * factor).sum(axis=(-2, -1))
    return bool(distance.max() > MOST_DISTANCE)


def are_thin(model: GaussianModel, result: Result) -> NDArray[np.bool_]:
    """Return which components of a fit are thin, (K,).

    Under a remedy one needs twice the rows of a covariance of full rank. Under reg_covar alone, where the likelihood
    has no bound, it needs as many rows as it has parameters, and is thin as a spike too.
    """
    stats, D = result.stats, result.stats.s1.shape[1]
    row = min(1.0, stats.sum_w / max(stats.n_rows, 1))  # as in `find_lost`
    if model.monotone:
        return np.asarray(stats.s0 < 2 * row * rows_needed(model, D)[1])
    needed = 1 + D + (0 if model.family.shared else model.family.n_parameters(1, D))
    assert isinstance(model.remedy, RegCovar)
    return np.asarray(stats.s0 < needed * row) | are_spikes(result.params, model.family, stats, model.remedy.reg_covar)


@np.errstate(all="ignore")
def are_spikes(params: Params, family: Covariance, stats: Stats, reg_covar: float) -> NDArray[np.bool_]:
    """Return which covariances (K|1,) have a variance of little but `reg_covar` where all rows vary much more."""
    covariances, whole = params.covariances, family.estimate(pooled(stats), 0.0)[2][0]
    values, overall = covariances[:, 0], whole[0]
    if family.matrices:
        values, vectors = np.linalg.eigh(covariances)
        overall = np.einsum("kij,il,klj->kj", vectors, whole, vectors)
    return np.asarray(((values <= 2 * reg_covar) & (values <= NARROW * overall)).any(axis=-1))
