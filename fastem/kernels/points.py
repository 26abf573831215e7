"""Kernels that a user's own compiled loop calls, on one point or on one block of rows: see `fastem.embed`.

The functions for points are inlined into their callers, so that a caller's cache on disk holds all of them. They loop
over a D that is known at run time: one known at compile time (``dims = (0,) * D``) would need a compilation for each.
The function for a block is called, but Numba links it into the caller and optimises it there anew (about 3 s, cached or
not): a caller should be compiled with ``cache=True``. No kernel here allocates memory.
"""

import numpy as np
from numba import njit

from fastem.kernels.cache import cached
from fastem.kernels.compiler import COMMON, POINT
from fastem.kernels.lanes import CACHE_LINE
from fastem.kernels.memory import part
from fastem.kernels.micro import DIAG, FIRST, FULL, ROWS, moments_rows
from fastem.kernels.mixture import N_SCALARS, Mixture, Rows, accumulate_rows, add_point, add_softly, fetch, n_values


@njit(**POINT)
def log_joint(mixture, k, x):
    """Return log weight_k + log N(x; mean_k, cov_k): -inf, never NaN, where the quadratic form overflows."""
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


@njit(**POINT)
def log_density(mixture, x):
    """Return the log density of a mixture at a point.

    Parameters
    ----------
    mixture : Mixture
        What `pack` has returned.
    x : (D,) array of float64 or float32, or tuple of D floats
        The point. It must be finite: nothing is checked.

    Returns
    -------
    float
        In the precision of the mixture or of x, whichever is higher; -inf where the density underflows under every
        component.

    See Also
    --------
    responsibilities : the same, and posterior probabilities of the components
    fastem.log_density : the log density of all rows of an array, a file or another source

    Examples
    --------
    >>> import numpy as np, fastem
    >>> from fastem import embed
    >>> mixture = embed.pack(fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]]))
    >>> round(embed.log_density(mixture, (0.0,)), 3)
    -1.601
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


@njit(**POINT)
def e_step(mixture, x, resp):
    """Fill resp (K) with responsibilities.

    Returns the largest log joint, what the log density is above it, and the entropy of the responsibilities.
    """
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


@njit(**POINT)
def responsibilities(mixture, x, resp):
    """Fill an array with the posterior probabilities of the components at a point.

    Parameters
    ----------
    mixture : Mixture
        What `pack` has returned.
    x : (D,) array of float64 or float32, or tuple of D floats
        The point. It must be finite: nothing is checked.
    resp : (K,) array of float64 or float32
        It is filled. With a noise component it has K + 1 entries, and noise is the last.

    Returns
    -------
    float
        The log density.

    See Also
    --------
    log_density : the log density alone
    fastem.GaussianMixture.predict_proba : posterior probabilities of all rows

    Examples
    --------
    >>> import numpy as np, fastem
    >>> from fastem import embed
    >>> mixture = embed.pack(fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]]))
    >>> resp = np.empty(2)
    >>> log_density = embed.responsibilities(mixture, (0.0,), resp)
    >>> resp.round(3)
    array([0.989, 0.011])
    """
    top, more, _ = e_step(mixture, x, resp)
    return top + more


@njit(**POINT)
def point_size(scratch, P, K):
    """Return how many numbers at the end of a scratch row are for points: resp (K) and z (P), in whole cache lines."""
    line = CACHE_LINE // scratch.itemsize
    return (K + P + line - 1) // line * line


@njit(**POINT)
def accumulate_point(mixture, x, weight, sums, scratch):
    """Add one weighted point to statistics.

    Parameters
    ----------
    mixture : Mixture
        What `pack` has returned.
    x : (D,) array of float64 or float32, or tuple of D floats
        The point. It must be finite: nothing is checked.
    weight : float
        Not negative; a point of weight 0 adds nothing.
    sums : (m,) float64
        One row of the first array of `buffers`. It is added to.
    scratch : (l,) float64 or float32, as the mixture
        One row of the second array of `buffers`. It is overwritten.

    Returns
    -------
    float
        The log density.

    See Also
    --------
    accumulate_block : the same for many rows, several times faster per row
    to_stats : statistics for `fastem.m_step`, from the sums

    Examples
    --------
    >>> import numpy as np, fastem
    >>> from fastem import embed
    >>> mixture = embed.pack(fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]]))
    >>> sums, scratch = embed.buffers(mixture, 1)
    >>> round(embed.accumulate_point(mixture, (0.0,), 1.0, sums[0], scratch[0]), 3)
    -1.601
    """
    K, D = mixture.means.shape
    form = FULL if mixture.factor.shape[1] > 1 else DIAG
    P, n_rows = moments_rows(FIRST, D) * ROWS, moments_rows(form, D)
    own = scratch[scratch.size - point_size(scratch, P, K) :]
    resp, z = own[:K], own[K : K + P]
    top, more, entropy = e_step(mixture, x, resp)
    if weight > 0.0:
        moments = part(sums, N_SCALARS + K, (K, n_rows, ROWS))
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
    """Add a block of rows to statistics, at the speed of a fit.

    Parameters
    ----------
    mixture : Mixture
        What `pack` has returned.
    X : (n, D) array of float64 or float32, any layout
        The rows. They must be finite: nothing is checked.
    weight : (n,) float64, or (0,)
        Not negative. Without entries: every weight is 1.
    sums : (m,) float64
        One row of the first array of `buffers`. It is added to.
    scratch : (l,) float64 or float32, as the mixture
        One row of the second array of `buffers`. It is overwritten.

    See Also
    --------
    accumulate_point : the same for one point; it returns the log density
    to_stats : statistics for `fastem.m_step`, from the sums
    fastem.accumulate : the same for all rows of an array, a file or another source, on all threads

    Examples
    --------
    >>> import numpy as np, fastem
    >>> from fastem import embed
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> mixture = embed.pack(params)
    >>> sums, scratch = embed.buffers(mixture, 1)
    >>> embed.accumulate_block(mixture, np.array([[0.0], [3.0]]), np.empty(0), sums[0], scratch[0])
    >>> embed.to_stats(params, mixture, sums.sum(axis=0), n_rows=2).s0
    array([1., 1.])
    """
    K, D = mixture.means.shape
    form, none = FULL if mixture.factor.shape[1] > 1 else DIAG, scratch[:0]
    n_numbers = scratch.size - point_size(scratch, moments_rows(FIRST, D) * ROWS, K)
    rows = Rows(X, weight, none, part(none, 0, (0, 0)), part(none, 0, (0, 0)))
    terms = Mixture(mixture.log_norm, mixture.means, mixture.factor, none, part(none, 0, (0, 0)))
    out = sums[: n_values(K, D, form)]
    accumulate_rows(fetch, add_softly, rows, 0, X.shape[0], terms, form, out, scratch[:n_numbers])
