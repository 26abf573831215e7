"""Kernels to be called from a user's own compiled loop, on one point or one block of rows: see `fastem.embed`.

The functions for points are inlined into their callers, so that a caller's cache on disk holds all of them. They loop
over a runtime D: a compile-time one (``dims = (0,) * D``) would be another compilation for each. The one for a block
is a call, but Numba links what is called into the caller and optimises it there anew (about 3 s, cached or not): a
caller does well to be compiled with ``cache=True``. No kernel here allocates.
"""

import numpy as np
from numba import njit

from fastem.kernels.cache import cached
from fastem.kernels.jit import COMMON, HELPER
from fastem.kernels.lanes import CACHE_LINE
from fastem.kernels.micro import DIAG, FIRST, FULL, ROWS, moments_rows
from fastem.kernels.mixture import N_SCALARS, SOFT, accumulate_rows, add_point, n_values


@njit(**HELPER)
def log_joint(mixture, k, x):
    """log weight_k + log N(x; mean_k, cov_k); a quadratic form that overflows gives -inf, never NaN."""
    (_, R, C), f = mixture.factor.shape, k if mixture.factor.shape[0] > 1 else 0
    real = mixture.means.dtype.type
    q = real(0)
    for i in range(mixture.means.shape[1]):
        y = real(0)
        if R > 1:
            for j in range(i + 1):
                y += mixture.factor[f, i, j] * (x[j] - mixture.means[k, j])
        else:
            y += mixture.factor[f, 0, i if C > 1 else 0] * (x[i] - mixture.means[k, i])
        q += y * y
    q = mixture.log_norm[k] - real(0.5) * q
    return q if q == q else real(-np.inf)


@njit(**HELPER)
def log_density(mixture, x):
    """Log density of a mixture at a point.

    Parameters
    ----------
    mixture : Mixture, of `pack`
    x : (D,) array or tuple of D floats

    Returns
    -------
    float, in the mixture's precision or that of x, the higher; -inf where it underflows under every component
    """
    real = mixture.means.dtype.type
    top, total = log_joint(mixture, 0, x), real(1)
    for k in range(1, mixture.means.shape[0]):
        value = log_joint(mixture, k, x)
        if value > top:
            total = total * np.exp(top - value) + real(1)
            top = value
        elif top > real(-np.inf):
            total += np.exp(value - top)
    return top + np.log(total)


@njit(**HELPER)
def e_step(mixture, x, resp):
    """resp (K) OUT: responsibilities; returns the largest log joint, and log density and entropy above it."""
    real = mixture.means.dtype.type
    K, top = mixture.means.shape[0], real(-np.inf)
    for k in range(K):
        resp[k] = log_joint(mixture, k, x)
        top = max(top, resp[k])
    if top == real(-np.inf):  # the density underflows under every component: it belongs to the first that has a weight
        home = 0
        while home < K - 1 and mixture.log_norm[home] == real(-np.inf):
            home += 1
        for k in range(K):
            resp[k] = real(k == home)
        return top, real(0), real(0)
    total, spread = real(0), real(0)
    for k in range(K):
        step = max(resp[k] - top, real(-745))  # so that 0 * step is 0
        resp[k] = np.exp(step) if step >= real(-708) else real(0)
        total += resp[k]
        spread += resp[k] * step
    for k in range(K):
        resp[k] /= total
    more = np.log(total)
    return top, more, more - spread / total


@njit(**HELPER)
def responsibilities(mixture, x, resp):
    """Posterior probabilities of the components at a point.

    Parameters
    ----------
    mixture : Mixture, of `pack`
    x : (D,) array or tuple of D floats
    resp : (K,) array, filled; K + 1 with a noise component, which comes last

    Returns
    -------
    float, the log density
    """
    top, more, _ = e_step(mixture, x, resp)
    return top + more


@njit(**HELPER)
def point_size(scratch, P, K):
    """Numbers at the end of a scratch row that are for points: whole cache lines, responsibilities and z (P)."""
    line = CACHE_LINE // scratch.itemsize
    return (K + P + line - 1) // line * line


@njit(**HELPER)
def accumulate_point(mixture, x, weight, sums, scratch):
    """Add one weighted point to statistics.

    Parameters
    ----------
    mixture : Mixture, of `pack`
    x : (D,) array or tuple of D floats
    weight : float; a point of weight 0 is not there
    sums : (n,) float64, added to: one row of the first of `buffers`
    scratch : (m,) array, overwritten: one row of the second of `buffers`

    Returns
    -------
    float, the log density
    """
    K, D = mixture.means.shape
    form = FULL if mixture.factor.shape[1] > 1 else DIAG
    P, n_rows = moments_rows(FIRST, D) * ROWS, moments_rows(form, D)
    own = scratch[scratch.size - point_size(scratch, P, K) :]
    resp, z = own[:K], own[K : K + P]
    top, more, entropy = e_step(mixture, x, resp)
    if weight > 0.0:
        moments = sums[N_SCALARS + K : n_values(K, D, form)].reshape((K, n_rows, ROWS))
        sums[0] += weight * (top + more)
        sums[1] += weight * top
        sums[2] += weight * entropy
        for i in range(D, P):
            z[i] = 0.0
        for k in range(K):
            sums[N_SCALARS + k] += weight * resp[k]
            if resp[k] > 0.0:
                for i in range(D):
                    z[i] = x[i] - mixture.means[k, i]
                add_point(z, weight * resp[k], form, D, moments[k])
    return top + more


@cached(**COMMON)
def accumulate_block(mixture, X, weight, sums, scratch):
    """Add a block of rows to statistics, by the micro-kernels of a fit.

    Parameters
    ----------
    mixture : Mixture, of `pack`
    X : (n, D) array, any layout
    weight : (n,) float64, or (0,): every weight is 1
    sums : (n,) float64, added to: one row of the first of `buffers`
    scratch : (m,) array, overwritten: one row of the second of `buffers`
    """
    K, D = mixture.means.shape
    form, none = FULL if mixture.factor.shape[1] > 1 else DIAG, scratch[:0]
    n_numbers = scratch.size - point_size(scratch, moments_rows(FIRST, D) * ROWS, K)
    accumulate_rows(
        X,
        0,
        X.shape[0],
        weight,
        none,
        none.reshape((0, 0)),
        none.reshape((0, 0)),
        mixture.log_norm,
        mixture.means,
        mixture.factor,
        none,
        none.reshape((0, 0)),
        SOFT,
        form,
        sums[: n_values(K, D, form)],
        scratch[:n_numbers],
    )
