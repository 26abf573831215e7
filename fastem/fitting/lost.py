"""What becomes of lost components when a fit has converged: each takes half of another, or is dropped.

A component is lost if it has fewer rows than its covariance needs, or rows in a subspace (see
`fastem.fitting.degenerate`): it is what the remedy makes of it, and describes no part of the data. It is of more use
where another component covers too much: there it takes half of that one, cut by a plane through its mean at right
angles to its principal axis. `fastem.fitting.reseeding` goes on from there and compares what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastem.fitting.degenerate import Lost
from fastem.model.matrices import Array
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.result import Event

HALF = 2 / np.pi  # half of a normal: its mean is at sqrt(HALF) sd, its variance less by HALF variances


class Proposal(NamedTuple):
    """Parameters from which a fit goes on after it has converged with lost components.

    Attributes
    ----------
    params : Params
    what, components, detail : as in the `Event` that reports the proposal
    final : bool, whether the fit from there is kept even if its objective is less
    """

    params: Params
    what: str
    components: tuple[int, ...]
    detail: str
    final: bool

    def event(self, iteration: int) -> Event:
        """Return the event that reports this proposal, at a given iteration."""
        return Event(iteration, self.what, self.components, self.detail)


def reseed_lost(model: GaussianModel, params: Params, lost: Lost, failed: int) -> Proposal | None:
    """Propose that each lost component takes half of another component.

    Parameters
    ----------
    model : GaussianModel
    params : Params, of the fit that has converged
    lost : Lost, its lost components
    failed : int, how many choices of the other component have been tried before, in order of their extent

    Returns
    -------
    Proposal or None
        None if there is no other component that can be cut, or if the means are held
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
    """Return for each component one standard deviation along the axis on which it is widest, relative to all rows.

    A spherical component has no such axis. It takes the line from the mean of all rows to its own, or the first
    feature's axis where these means are near each other.

    Returns
    -------
    (K, D) float64
    """
    units, (K, D) = model.units, params.means.shape
    if not units.rank:
        return np.zeros((K, D))
    relative = units.relative(params.covariances)
    if model.family.matrices:
        values, vectors = np.linalg.eigh(relative)
        axes = np.sqrt(values[:, -1:]) * (vectors[..., -1] @ units.unwhitening.T)
        return np.asarray(np.broadcast_to(axes, (K, D)))
    if params.covariances.shape[-1] == D:
        axes, each = np.zeros((K, D)), np.arange(K)
        widest = np.flatnonzero(units.varying)[relative[:, 0].argmax(axis=-1)]
        axes[each, widest] = np.sqrt(np.broadcast_to(params.covariances, (K, 1, D))[each, 0, widest])
        return axes
    away = params.means - units.mean
    length = np.sqrt((away**2).sum(axis=1, keepdims=True))
    sd = np.sqrt(params.covariances[:, 0])
    near = length <= 1e-3 * sd
    return np.asarray(sd * np.where(near, np.eye(D)[0], away / np.where(near, 1.0, length)))


def split_component(params: Params, donor: int, other: int, axis: Array) -> Params:
    """Return the mixture in which `donor` is cut at its mean across `axis` (D,), and `other` is one of the halves."""
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
    """Propose the mixture without its lost components; if all are lost, without those that have too few rows.

    The arguments are those of `reseed_lost`. Return None if no component would go, or none would stay.
    """
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
