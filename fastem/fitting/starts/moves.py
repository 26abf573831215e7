"""Moves of a component to another place: what merging two costs, which rows are whose, and the mixture after a move.

A fit that has found a wrong optimum mostly has two clusters in one component, and another cluster cut in two. EM does
not leave such an optimum, as each small step loses. A move does: it merges the halves of the one cluster, and cuts the
component that holds two (`fastem.fitting.starts.cuts`).

References
----------
Ueda, Nakano, Ghahramani & Hinton (2000), SMEM algorithm for mixture models, Neural Comput. 12, 2109-2128.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.fitting.seeds import weights_of
from fastem.model.families import Covariance
from fastem.model.matrices import TINY, Array, factorise
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.stats import outer
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource

TOP = 3  # components per row whose responsibilities count: the others have 0.02 of a row in the mean, at most


class Move(NamedTuple):
    """A component that goes to another place: `freed` is merged into another, and takes half of a third.

    Attributes
    ----------
    freed, into, split : int, the components
    """

    freed: int
    into: int
    split: int


class Members(NamedTuple):
    """Which components the rows of a sample belong to, most of all.

    Attributes
    ----------
    component : (N, M) int, the components with the largest responsibilities
    mass : (N, M) float64, these responsibilities, times the weights of the rows
    total : float, the weight of all rows
    """

    component: NDArray[np.int64]
    mass: Array
    total: float

    @classmethod
    def of(cls, sample: ArraySource, params: Params) -> Members:
        """Find them by a pass over a sample."""
        scores, weight = score(sample, params, top=min(TOP, len(params.means))), weights_of(sample)
        return cls(scores.top_index, weight[:, None] * scores.top_resp, float(weight.sum()))


def merge_costs(params: Params, members: Members, family: Covariance) -> Array:
    """Return what it costs to merge each component with each other, in nats per row, (K, K); infinity for itself.

    The cost is that of the parameters alone, as if the rows of the two did not overlap, less what their overlap says.
    """
    K = len(params.means)
    cost = np.full((K, K), np.inf)
    for i in range(1, K):  # the covariances of all pairs would be as many numbers as K^2 D^2
        pairs = np.stack([np.full(i, i), np.arange(i)])
        cost[i, :i] = cost[:i, i] = separate_merge_costs(params, pairs, family)
    return cost + overlaps(members, K)


def separate_merge_costs(params: Params, pairs: NDArray[np.intp], family: Covariance) -> Array:
    """Return what merging pairs (2, P) of components costs if their rows do not overlap, in nats per row, (..., P).

    The merged component has the weight, the mean and the covariance of both together. With W = w_i + w_j and its
    covariance C the cost is (W log|C| - w_i log|C_i| - w_j log|C_j|) / 2 - W H(w_i / W), where H is the entropy of a
    choice between two. A covariance that all share has the weight 1 in place of W, w_i and w_j. The arrays of `params`
    may have leading axes, of many mixtures.
    """
    D, share = params.means.shape[-1], params.weights / params.weights.sum(axis=-1, keepdims=True)
    w = share[..., pairs]
    both = np.maximum(w.sum(axis=-2), TINY)
    before, after = log_dets(params.covariances, D), log_dets(merged_covariances(params, pairs, family), D)
    change = after - before if family.shared else both * after - (w * before[..., pairs]).sum(axis=-2)
    return np.asarray(change / 2 + (w * np.log(np.maximum(w, TINY) / both[..., None, :])).sum(axis=-2))


def merged_covariances(params: Params, pairs: NDArray[np.intp], family: Covariance) -> Array:
    """Return the covariances of pairs (2, P) of components together, or the one that all share if a pair is merged.

    The arrays of `params` may have leading axes, of many mixtures.
    """
    D, share = params.means.shape[-1], params.weights / params.weights.sum(axis=-1, keepdims=True)
    w = share[..., pairs, None, None]
    both = np.maximum(w.sum(axis=-4), TINY)
    apart = params.means[..., pairs[0], :] - params.means[..., pairs[1], :]
    spread = outer(apart, apart, (pairs.shape[1], *params.covariances.shape[-2:]))
    between = w[..., 0, :, :, :] * w[..., 1, :, :, :] / both * spread / (D // spread.shape[-1])
    if family.shared:
        return np.asarray(params.covariances + between)
    return np.asarray(((w * params.covariances[..., pairs, :, :]).sum(axis=-4) + between) / both)


def log_dets(covariances: Array, D: int) -> Array:
    """Return the log determinants of covariances (..., D|1, D|1) in D dimensions, (...,)."""
    if covariances.shape[-2] > 1:
        return np.asarray(np.linalg.slogdet(covariances)[1])
    return np.asarray(np.log(covariances[..., 0, :]).sum(axis=-1) * (D // covariances.shape[-1]))


def overlaps(members: Members, K: int) -> Array:
    """Return how uncertain it is which of two components rows belong to: an entropy in nats per row, (K, K)."""
    entropy = np.zeros(K * K)
    for a, b in itertools.combinations(range(members.component.shape[1]), 2):
        mass = np.maximum(members.mass[:, [a, b]], TINY)
        terms = (mass * (np.log(mass.sum(axis=1, keepdims=True)) - np.log(mass))).sum(axis=1)
        entropy += np.bincount(members.component[:, a] * K + members.component[:, b], terms, K * K)
    one_way = entropy.reshape(K, K)
    return np.asarray((one_way + one_way.T) / members.total)


def moved(params: Params, move: Move, halves: Params, model: GaussianModel) -> Params:
    """Return the mixture after a move; `halves` is the component that is split, as a mixture of two.

    Raises
    ------
    SingularCovarianceError
        if a covariance is not positive definite
    """
    weights, means, covariances = params.weights.copy(), params.means.copy(), params.covariances.copy()
    pair, places = [move.freed, move.into], [move.split, move.freed]
    if not model.family.shared:
        covariances[move.into] = merged_covariances(params, np.array(pair)[:, None], model.family)[0]
        covariances[places] = halves.covariances
    w = np.maximum(params.weights[pair], TINY)
    weights[move.into], means[move.into] = w.sum(), (w[:, None] * params.means[pair]).sum(axis=0) / w.sum()
    weights[places], means[places] = params.weights[move.split] * halves.weights, halves.means
    return model.feasible(Params(weights, means, covariances, factorise(covariances)))
