"""The same computations as the kernels', in slow and readable NumPy: for tests, and to explain the kernels.

It stores arrays of (N, K, D) and more, and takes parameters in canonical shapes (see `fastem.model.params`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array
from fastem.model.params import Params, log_norm
from fastem.model.stats import Stats, outer


def joint_log_density(X: Array, params: Params) -> Array:
    """Return log weight_k + log N(x_n; mean_k, cov_k), (N, K): McLachlan & Peel (2000), eq. 3.1; noise comes last."""
    z = X[:, None, :] - params.means  # (N, K, D)
    if params.factor.shape[-2] > 1:
        y = np.einsum("nkj,...kij->nki", z, np.broadcast_to(params.factor, (z.shape[1], *params.factor.shape[1:])))
    else:
        y = z * params.factor[:, 0]
    joint = log_norm(params) - 0.5 * (y**2).sum(axis=-1)
    if params.noise:
        constant = np.log(params.noise.weight) + params.noise.log_density
        joint = np.column_stack([joint, np.full(len(X), constant)])
    return np.asarray(joint)


def log_density(X: Array, params: Params) -> Array:
    """Return log p(x_n), (N,)."""
    return log_sum_exp(joint_log_density(X, params))


def log_sum_exp(joint: Array) -> Array:
    """Return log sum_k exp(joint_nk), (N,)."""
    top = joint.max(axis=1)
    return np.asarray(top + np.log(np.exp(joint - top[:, None]).sum(axis=1)))


def responsibilities(X: Array, params: Params) -> Array:
    """Return the posterior probability of each component, (N, K): the E-step."""
    return np.asarray(np.exp(joint_log_density(X, params) - log_density(X, params)[:, None]))


def assignment(X: Array, params: Params) -> Array:
    """Return 1 for each row's most probable component, the first of equals, and else 0, (N, K): classification EM."""
    joint = joint_log_density(X, params)
    return np.asarray(np.eye(joint.shape[1])[joint.argmax(axis=1)])


def moments(X: Array, resp: Array, weight: Array, origin: Array, shape: tuple[int, ...]) -> Stats:
    """Return sufficient statistics about `origin` of rows with given responsibilities; their log-likelihood is NaN."""
    r = weight[:, None] * resp
    z = X[:, None, :] - origin
    s2 = sum(outer(r[n][:, None] * z[n], z[n], shape) for n in range(len(X)))
    s0, s1, n_present = r.sum(axis=0), (r[:, :, None] * z).sum(axis=0), int(np.count_nonzero(weight))
    return Stats(np.nan, np.nan, np.nan, s0, s1, np.asarray(s2), origin, n_present)


def accumulate(X: Array, params: Params, weight: Array, allowed: NDArray[np.bool_] | None = None) -> Stats:
    """Return what the fused pass computes: the sufficient statistics after an E-step.

    `allowed` (N, K) says which components each row may belong to; None if all.
    """
    joint = joint_log_density(X, params)
    if allowed is not None:
        joint = np.where(allowed, joint, -np.inf)
    total = log_sum_exp(joint)
    log_resp = joint - total[:, None]
    resp = np.exp(log_resp)
    K = len(params.means)
    given = moments(X, resp[:, :K], weight, params.means, params.covariances.shape)
    return Stats(
        float(weight @ total),
        float(weight @ joint.max(axis=1)),
        float(-(weight @ (resp * np.where(resp > 0, log_resp, 0.0)).sum(axis=1))),
        given.s0,
        given.s1,
        given.s2,
        given.origin,
        given.n_rows,
        params.noise and params.noise._replace(weight=float(weight @ resp[:, K])),
    )
