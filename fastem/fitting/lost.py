"""Components that lost their rows or their rank: found, replaced or dropped, from statistics alone.

A component with fewer rows than its covariance needs, or whose rows lie in a subspace, is what the remedy makes of
it, and describes no part of the data. It is of more use where another component covers too much: half of that one,
cut by a plane through its mean at right angles to its principal axis. What comes of it is for the driver to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.model.families import rounding
from fastem.model.matrices import Array, variances
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.result import Event
from fastem.model.stats import Stats

TAILS = 1e-10  # of a component's variance in other directions, relative to all rows; squared: of all rows' variance
HALF = 2 / np.pi  # half of a normal: its mean is at sqrt(HALF) sd, its variance less by HALF variances


class Lost(NamedTuple):
    """Components that lost their rows or their rank.

    Attributes
    ----------
    components : (n,) int
    rows : (K,) weight of all components' rows, in units of a row
    needed : int, rows that a covariance of full rank needs
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


class Proposal(NamedTuple):
    """Parameters to go on from.

    Attributes
    ----------
    params : Params
    what, components, detail : of the event
    final : bool, whether they are to be kept even if the objective is less
    """

    params: Params
    what: str
    components: tuple[int, ...]
    detail: str
    final: bool

    def event(self, iteration: int) -> Event:
        """For the report."""
        return Event(iteration, self.what, self.components, self.detail)


def find_lost(model: GaussianModel, stats: Stats) -> Lost:
    """The components without enough rows, or (under a remedy) with rows in a subspace of what all rows span."""
    rank, needed = rows_needed(model, stats.s1.shape[1])
    row = min(1.0, stats.sum_w / max(stats.n_rows, 1))  # weights that sum to 1 are no counts
    lost = Lost(np.empty(0, dtype=np.intp), stats.s0 / row, needed)
    gone = lost.short
    if model.monotone and not model.family.shared and model.held.precisions is None and rank:
        gone |= are_flat(model, stats)
    return lost._replace(components=np.flatnonzero(gone))


def rows_needed(model: GaussianModel, D: int) -> tuple[int, int]:
    """The rank that covariances can have, and how many rows one of that rank needs."""
    family, given = model.family, model.held.precisions is not None
    rank = model.units.rank if model.monotone else D
    return rank, 1 if family.shared or given or rank == 0 else rank + 1 if family.matrices else 2


@np.errstate(all="ignore")
def are_flat(model: GaussianModel, stats: Stats) -> NDArray[np.bool_]:
    """Whether each component's rows have no spread in some direction but rounding and tails of other rows, (K,)."""
    spread = model.family.estimate(stats, 0.0)[2]
    variances(spread)[...] -= rounding(stats, model.units.eps, model.hard)
    relative = model.units.relative(spread)
    values = np.linalg.eigvalsh(relative) if model.units.matrices else relative[..., 0, :]
    least, most = values.min(axis=-1), values.max(axis=-1)
    return np.asarray((least <= TAILS * np.maximum(most, 0.0)) | (most <= TAILS**2))


def reseed_lost(model: GaussianModel, params: Params, lost: Lost, failed: int) -> Proposal | None:
    """Each lost component in place of half of another; the first `failed` choices of that have been tried.

    None if there is no other, or if the means are held.
    """
    if model.held.means is not None:
        return None
    axes = principal_axes(model, params)
    extent = lost.rows * (model.units.lengths(axes) ** 2)
    extent[lost.rows < 2 * lost.needed] = 0.0  # too light to be cut
    extent[lost.components] = 0.0
    donors = np.argsort(-extent, kind="stable")[: np.count_nonzero(extent)][failed:]
    pairs = list(zip(lost.components, donors, strict=False))
    if not pairs:
        return None
    for lost_one, donor in pairs:
        params = split_component(params, int(donor), int(lost_one), axes[donor])
    halves = ", ".join(str(donor) for _, donor in pairs)
    names = tuple(int(k) for k, _ in pairs)
    return Proposal(model.feasible(params), "reseeded", names, f"{lost}: now half of {halves}", False)


def principal_axes(model: GaussianModel, params: Params) -> Array:
    """Per component, one standard deviation along the axis on which it is widest, relative to all rows; (K, D).

    A spherical component has none: the line from the mean of all rows to its own, or the first feature's axis.
    """
    units, (K, D) = model.units, params.means.shape
    if not units.rank:
        return np.zeros((K, D))
    relative = units.relative(params.covariances)
    if model.family.matrices:
        values, vectors = np.linalg.eigh(relative)
        axes = np.sqrt(values[:, -1:]) * (vectors[..., -1] @ units.back.T)
        return np.asarray(np.broadcast_to(axes, (K, D)))
    if params.covariances.shape[-1] == D:
        axes, each = np.zeros((K, D)), np.arange(K)
        widest = np.flatnonzero(units.spread)[relative[:, 0].argmax(axis=-1)]
        axes[each, widest] = np.sqrt(np.broadcast_to(params.covariances, (K, 1, D))[each, 0, widest])
        return axes
    away = params.means - units.mean
    length = np.sqrt((away**2).sum(axis=1, keepdims=True))
    sd = np.sqrt(params.covariances[:, 0])
    near = length <= 1e-3 * sd
    return np.asarray(sd * np.where(near, np.eye(D)[0], away / np.where(near, 1.0, length)))


def split_component(params: Params, donor: int, other: int, axis: Array) -> Params:
    """Two halves of a component, cut at its mean across `axis` (D,), as the donor and in place of the other."""
    weights, means, covariances = params.weights.copy(), params.means.copy(), params.covariances.copy()
    step = np.sqrt(HALF) * axis
    means[other] = means[donor] + step
    means[donor] -= step
    weights[[donor, other]] = weights[donor] / 2
    if len(covariances) > 1:
        shape = covariances.shape[1:]
        less = np.outer(step, step) if shape[0] > 1 else step[None] ** 2 if shape[1] > 1 else np.mean(step**2)
        covariances[donor] -= less
        covariances[other] = covariances[donor]
    weights *= params.weights.sum() / weights.sum()
    return params._replace(weights=weights, means=means, covariances=covariances)


def drop_lost(model: GaussianModel, params: Params, lost: Lost, failed: int) -> Proposal | None:
    """The mixture without its lost components; if all are, without those that are short of rows, unless all are."""
    every = np.arange(len(lost.rows))
    gone = lost.components if len(lost.components) < len(every) else np.flatnonzero(lost.short)
    kept = np.setdiff1d(every, gone)
    if not len(gone) or not len(kept):
        return None
    matrices = (params.covariances, params.factor)
    covariances, factor = (matrix if len(matrix) == 1 else matrix[kept] for matrix in matrices)
    weights = params.weights[kept] * (params.weights.sum() / params.weights[kept].sum())
    params = Params(weights, params.means[kept], covariances, factor, params.noise)
    detail = f"{lost._replace(components=gone)}; {len(kept)} components go on, numbered from 0"
    return Proposal(model.feasible(params), "dropped", tuple(map(int, gone)), detail, True)


ON_COLLAPSE: dict[str, Callable[[GaussianModel, Params, Lost, int], Proposal | None]] = {
    "reseed": reseed_lost,
    "drop": drop_lost,
}
