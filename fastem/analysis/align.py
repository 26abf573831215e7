"""Find orders of components that do not depend on the course of a fit: by a rule, or by another mixture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array
from fastem.model.params import Params


def divergences(params: Params, other: Params) -> Array:
    """Return the divergence of each component of a mixture from each of another, (K, K').

    It is the symmetric Kullback-Leibler divergence (Jeffreys 1946).

    With W'W = inv(C): 2 J = tr(inv(A) B) + tr(inv(B) A) - 2 D + (a - b)' (inv(A) + inv(B)) (a - b). It is 0 for equal
    components and the same in all coordinates that are linear in each other: no unit matters.
    """
    (A, P), (B, Q) = _matrices(params), _matrices(other)
    step = params.means[:, None] - other.means
    twice = np.einsum("aij,bij->ab", P, B) + np.einsum("aij,bij->ab", A, Q) - 2 * params.means.shape[1]
    twice += np.einsum("abi,aij,abj->ab", step, P, step, optimize=True)
    twice += np.einsum("abi,bij,abj->ab", step, Q, step, optimize=True)
    return np.asarray(np.maximum(twice, 0.0) / 2)


def _matrices(params: Params) -> tuple[Array, Array]:
    """Return covariances and their inverses as (K, D, D)."""
    K, D = params.means.shape
    if params.factor.shape[-2] == 1:
        covariances, inverses = (part.swapaxes(-1, -2) * np.eye(D) for part in (params.covariances, params.factor**2))
    else:
        covariances, inverses = params.covariances, params.factor.swapaxes(-1, -2) @ params.factor
    return np.broadcast_to(covariances, (K, D, D)), np.broadcast_to(inverses, (K, D, D))


def match_components(params: Params, reference: Params) -> NDArray[np.intp]:
    """Return the order in which the components of `params` are most like those of `reference`, (K,).

    In this order the sum of log(1 + divergence) is least (a linear assignment). The logarithm makes a component that
    is like no other cost about the same wherever it goes, so that it does not displace the others.
    """
    from scipy.optimize import linear_sum_assignment  # 16 MB and 0.2 s, which most programs need not pay

    _, order = linear_sum_assignment(np.log1p(divergences(reference, params)))
    return np.asarray(order)


def order_by_weight(params: Params) -> NDArray[np.intp]:
    """Return the order of components by weight, the heaviest first; equal weights by their means."""
    return np.lexsort((*params.means.T[::-1], -params.weights))


def order_by_means(params: Params) -> NDArray[np.intp]:
    """Return the order of components by the first coordinate of their means, then the second, ..."""
    return np.lexsort(params.means.T[::-1])


ORDERS = {"means": order_by_means, "weight": order_by_weight}
