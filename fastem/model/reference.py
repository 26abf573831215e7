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


def matrices(covariances: Array, K: int, D: int) -> Array:
    """Return covariances in canonical shape as matrices, (K, D, D)."""
    if covariances.shape[-2] == 1:
        covariances = np.eye(D) * np.broadcast_to(covariances, (len(covariances), 1, D))
    return np.asarray(np.broadcast_to(covariances, (K, D, D)))


def true_places(X: Array, errors: Array, params: Params) -> tuple[Array, Array, Array]:
    """Return log joint densities (N, K), and the moments of each row's true place under each component.

    The row is x = v + e with e of N(0, errors), which is (N, D, D): Bovy, Hogg & Roweis (2011), eqs. 14 to 17. A
    feature of infinite variance is not measured. The moments are means about `params.means` (N, K, D), and covariances
    (N, K, D, D).
    """
    (N, D), K = X.shape, len(params.means)
    joint, mean, covariance = np.empty((N, params.n_columns)), np.empty((N, K, D)), np.empty((N, K, D, D))
    for n in range(N):
        seen = np.flatnonzero(np.isfinite(np.diagonal(errors[n])))
        S, x = errors[n][np.ix_(seen, seen)], X[n, seen]
        for k, C in enumerate(matrices(params.covariances, K, D)):
            T, z = C[np.ix_(seen, seen)] + S, x - params.means[k, seen]
            gain = np.linalg.solve(T, C[seen]).T
            mean[n, k], covariance[n, k] = gain @ z, C - gain @ C[seen]
            log_det = np.linalg.slogdet(2 * np.pi * T)[1]
            joint[n, k] = np.log(params.weights[k]) - 0.5 * (log_det + z @ np.linalg.solve(T, z))
        if params.noise:
            low, high = params.noise.box[:, seen]
            joint[n, K] = np.log(params.noise.weight) - np.log(high - low).sum()
    return joint, mean, covariance


def accumulate_with_errors(
    X: Array, errors: Array, params: Params, weight: Array, allowed: NDArray[np.bool_] | None = None
) -> Stats:
    """Return what the pass over rows with errors (N, D, D) computes: the moments of their true places."""
    joint, mean, covariance = true_places(X, errors, params)
    if allowed is not None:
        joint = np.where(allowed, joint, -np.inf)
    total, K, shape = log_sum_exp(joint), len(params.means), params.covariances.shape
    log_resp = joint - total[:, None]
    resp = np.exp(log_resp)
    r = weight[:, None] * resp[:, :K]
    s2 = (r[..., None, None] * (covariance + mean[..., :, None] * mean[..., None, :])).sum(axis=0)
    return Stats(
        float(weight @ total),
        float(weight @ joint.max(axis=1)),
        float(-(weight @ (resp * np.where(resp > 0, log_resp, 0.0)).sum(axis=1))),
        r.sum(axis=0),
        (r[..., None] * mean).sum(axis=0),
        in_shape(s2, shape),
        params.means,
        int(np.count_nonzero(weight)),
        params.noise and params.noise._replace(weight=float(weight @ resp[:, K])),
    )


def in_shape(matrices: Array, shape: tuple[int, ...]) -> Array:
    """Return second moments (K, D, D) in a canonical shape."""
    reduced = matrices
    if shape[-2] == 1:
        reduced = np.diagonal(matrices, axis1=-2, axis2=-1)[:, None, :]
    if shape[-1] == 1 and reduced.shape[-1] > 1:
        reduced = reduced.sum(axis=-1, keepdims=True)
    return reduced.sum(axis=0, keepdims=True) if shape[0] == 1 else reduced
