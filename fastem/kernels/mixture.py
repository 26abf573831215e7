"""Run the fused pass over blocks of rows, and the scoring pass.

This module is long because all that its two workers inline stands in it: Numba's cache on disk notices a change in the
file of a worker, but not in the files of what the worker calls.

Work is done on tiles of B points, transposed to ``xt (P, B)`` so that SIMD lanes run over points. For a tile

1. E-step, per component k: ``lp[k] = lognorm_k - |W_k (x - mean_k)|^2 / 2``;
2. log-sum-exp over k turns ``lp (K, B)`` into responsibilities in place;
3. M-step, per component k: ``s0 += sum r``, ``s1 += sum r z``, ``s2 += sum r z z'`` with ``z = x - mean_k``.

Subtracting mean_k itself (2 D of about 2 D^2 operations per point and component) keeps 16 digits at an offset of 1e8
and for clusters that are far apart: the statistics are about the current means, and only a small term cancels in the
M-step. Nothing of size N x K exists outside of a tile. The arithmetic of these steps is in the
micro-kernels of `micro`.

The precision factor's shape selects the arithmetic: ``(F, D, D)`` lower triangular, ``(F, 1, D)`` diagonal,
``(F, 1, 1)`` spherical, F = 1 (shared) or K. `form` selects the second moments: FULL, DIAG or none (FIRST).

With a `white (D, D)` factor, rows are first turned into ``white (x - centre)``, and the means are given in the same
way. A shared full covariance is then the identity, the E-step costs D instead of D^2 per component, and the second
moments are taken once, for all rows about the centre, instead of K times.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from fastem.kernels.jit import EXACT, HELPER, Kernel
from fastem.kernels.lanes import BYTES, STEP
from fastem.kernels.micro import (
    DIAG,
    FIRST,
    FULL,
    ROWS,
    add_rows,
    exponentials,
    log_joint_diag,
    log_joint_full,
    moments_diag,
    moments_full,
    moments_rows,
    nearest,
    padded,
    prefetch,
    transpose,
    whiten,
)

SOFT, HARD, LABELS, RESP = range(4)  # where a row's responsibilities come from
N_SCALARS = 3  # loglik, class_loglik, entropy: the head of a block's output
LEAST_WEIGHT, MOST_WEIGHT = 2.0**-16, 2.0**16  # largest of a block's, in float32: products with squares are in range
N_ROWS = 5  # per-point values of a tile: weight, top, label, total, spread


class Rows(NamedTuple):
    """The rows of a pass and what is known of each; arguments of `accumulate_worker`, which describes them."""

    X: Any
    weight: Any
    labels: Any
    allowed: Any
    resp: Any


class Mixture(NamedTuple):
    """A mixture in a kernel: arguments of `accumulate_worker`, which describes them."""

    lognorm: Any
    means: Any
    factor: Any
    centre: Any
    white: Any


class Outputs(NamedTuple):
    """What scoring fills: arguments of `score_worker`, which describes them."""

    density: Any
    labels: Any
    resp: Any
    joint: Any
    top_index: Any
    top_resp: Any


@njit(**EXACT)
def log(x):
    """Return the natural logarithm of a finite x >= 1 (a sum of exponentials, the largest of which is 1), to 1 ulp.

    The method of fdlibm's e_log.c: x = 2**e * m, m in [sqrt(1/2), sqrt(2)), and an odd series in
    (m - 1) / (m + 1). Vectorises, as np.log does not.
    """
    bits = np.float64(x).view(np.int64)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = np.int64(bits - (e << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 1.479819860511658591e-01
    p = p * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = p * z + 6.666666666666735130e-01
    h = 0.5 * f * f
    return e * 6.93147180369123816490e-01 - ((h - (s * (h + z * p) + e * 1.90821492927058770e-10)) - f)


@njit(**HELPER)
def load(X, start, n, xt):
    """Set xt[:D, :n] = X[start:start+n].T, in the precision of the tile."""
    width, whole = BYTES // xt.itemsize, 0
    if width % ROWS == 0 and X.strides[1] == X.itemsize:
        whole = n // width * width
        transpose(xt, X, start, whole)
    for b in range(whole, n):
        for d in range(X.shape[1]):
            xt[d, b] = X[start + b, d]


@njit(**HELPER)
def store(tile, start, n, rows):
    """Set rows[start:start+n] = tile[:, :n].T, by loops: Numba compiles a slice assignment in 2.5 s."""
    for b in range(n):
        for k in range(tile.shape[0]):
            rows[start + b, k] = tile[k, b]


@njit(**HELPER)
def fill(row, value):
    """Set all of a row to a value."""
    for i in range(row.size):
        row[i] = value


@njit(**HELPER)
def unit_of(weight, start, stop, tile):
    """Return what a block's weights are divided by in a tile: 1, or a power of two near the largest of them.

    float32 holds no weights of 1e-50, and no squares times 1e38. A power of two does not change the bits of sums.
    """
    if tile.itemsize == 8 or weight.size == 0:
        return 1.0
    bits = weight.view(np.int64)  # in the order of the numbers, as these are not negative
    a = b = c = d = np.int64(0)  # four at a time: a quarter of the time
    for i in range(start, stop - 3, 4):
        a, b, c, d = max(a, bits[i]), max(b, bits[i + 1]), max(c, bits[i + 2]), max(d, bits[i + 3])
    for i in range(stop - (stop - start) % 4, stop):
        a = max(a, bits[i])
    largest = max(max(a, b), max(c, d))
    unit = np.int64(largest >> 52 << 52).view(np.float64)
    return 1.0 if unit == 0.0 or LEAST_WEIGHT <= unit <= MOST_WEIGHT else unit


@njit(**HELPER)
def fetch(X, start, n, centre, white, z, buffer, xt):
    """Load a tile, and whiten it if there is a `white` factor; ask for the next tile's rows."""
    together = white.size > 0
    load(X, start, n, buffer if together else xt)
    if together:
        whiten(buffer, centre, white, n, z, xt)
    prefetch(X, start + n, min(start + 2 * n, X.shape[0]))


@njit(**HELPER)
def weigh(weight, first, n, inverse, place, w, xt):
    """Set w[:n] = weight[first:first+n] * inverse, and put rows of weight 0 at `place` (D), where none overflows."""
    for b in range(n):
        w[b] = weight[first + b] * inverse
        if weight[first + b] == 0.0:
            for d in range(place.size):
                xt[d, b] = place[d]


@njit(**HELPER)
def joint(xt, lognorm, means, factor, n, z, lp):
    """Set lp[k, :n] = log(weight_k density_k(x)): -inf, never NaN, where the quadratic form overflows."""
    if factor.shape[1] > 1:
        for k in range(means.shape[0]):
            log_joint_full(xt, means[k], factor[k if factor.shape[0] > 1 else 0], lognorm[k], n, z, lp[k])
    else:
        log_joint_diag(xt, lognorm, means, factor.reshape((factor.shape[0], factor.shape[2])), n, lp)


@njit(**HELPER)
def best(lp, n, top, label):
    """Find the largest lp[:, b] and its index, the first of equals; top and label (n) OUT."""
    for b in range(n):
        top[b] = lp[0, b]
        label[b] = 0
    for k in range(1, lp.shape[0]):
        for b in range(n):
            better = lp[k, b] > top[b]
            top[b] = lp[k, b] if better else top[b]
            label[b] = k if better else label[b]


@njit(**HELPER)
def may_be(labels, allowed, row, k):
    """Tell whether a row may belong to component k, by its label (-1 is unknown) or by `allowed` (N, K), if given."""
    if labels.size > 0:
        return labels[row] < 0 or labels[row] == k
    return allowed.size == 0 or bool(allowed[row, k])


@njit(**HELPER)
def restrict(labels, allowed, first, n, own, lp):
    """Set lp[k, b] = -inf where row first + b may not belong to component k; own (n) scratch: lanes are points."""
    nothing = lp.dtype.type(-np.inf)
    if labels.size > 0:
        for b in range(n):
            own[b] = labels[first + b]
        for k in range(lp.shape[0]):
            one = lp.dtype.type(k)
            for b in range(n):
                lp[k, b] = lp[k, b] if (own[b] < 0.0) | (own[b] == one) else nothing
    else:
        for b in range(n):
            for k in range(lp.shape[0]):
                if not allowed[first + b, k]:
                    lp[k, b] = nothing


@njit(**HELPER)
def first_of(labels, allowed, row, lognorm):
    """Return the first component that a row may belong to: it goes there if its density underflows under all of them.

    It has weight 0 only if there is no other.
    """
    found = -1
    for k in range(lognorm.shape[0]):
        if may_be(labels, allowed, row, k):
            if lognorm[k] > -np.inf:
                return k
            if found < 0:
                found = k
    return max(found, 0)


@njit(**HELPER)
def is_unit_sphere(factor):
    """Tell whether all components are spheres of variance 1, so that `nearest` finds the most probable."""
    return factor.size == 1 and factor[0, 0, 0] == 1.0


@njit(**HELPER)
def log_sum_exp(lp, n, top, total, spread, inverse):
    """Replace lp by exp(lp - top); `inverse` OUT is the reciprocal of its sum.

    total[b] = log density; spread[b] = entropy of the responsibilities; top[b] = largest lp[:, b]. A row whose density
    underflows under every component (top = -inf) belongs to the first of them, with log density -inf.
    """
    exponentials(lp, n, top, total, spread)
    for b in range(n):
        inverse[b] = 1.0 / total[b]
        lse = log(total[b])
        spread[b] = lse - spread[b] * inverse[b]
        total[b] = lse + top[b]


@njit(**HELPER)
def multiply(values, by):
    """Multiply all values by a number."""
    for i in range(values.size):
        values[i] *= by


@njit(**HELPER)
def scale(lp, n, by):
    """Multiply lp[:, b] by by[b]."""
    for k in range(lp.shape[0]):
        for b in range(n):
            lp[k, b] *= by[b]


@njit(**HELPER)
def largest(tile, start, n, least, indices, values):
    """Find the largest tile[:, b] in descending order, the first of equals first, and their indices, by insertion.

    least[b] is the smallest of the entries kept so far; most entries are below it.
    """
    last = values.shape[1] - 1
    for b in range(n):
        least[b] = -1.0
        for j in range(last + 1):
            values[start + b, j] = -1.0
    for k in range(tile.shape[0]):
        for b in range(n):
            if tile[k, b] > least[b]:
                j = last
                while j > 0 and values[start + b, j - 1] < tile[k, b]:
                    values[start + b, j] = values[start + b, j - 1]
                    indices[start + b, j] = indices[start + b, j - 1]
                    j -= 1
                values[start + b, j] = tile[k, b]
                indices[start + b, j] = k
                least[b] = values[start + b, last]


@njit(**HELPER)
def add_soft(xt, lp, w, means, zero, form, together, n, z, zr, mass, s0, moments):
    """Add a tile's rows, weighted by lp (K, B), to the statistics about the means.

    If all components are `together`, add their first moments alone, and the second moments of all rows, weighted by
    w (B), about `zero`.
    """
    K, D = means.shape
    for k in range(K):
        total = mass.dtype.type(0)
        for b in range(n):
            total += lp[k, b]
        mass[k] = total
        s0[k] += total
    n_rows = moments_rows(FIRST if together else form, D)
    sums = moments[: K * n_rows].reshape((K, n_rows, ROWS))
    if form == FULL:
        for k in range(1 if together else K):  # one call: each place compiles the micro-kernel anew
            r, mean, target = (w, zero, moments[K * n_rows :]) if together else (lp[k], means[k], sums[k])
            if together or mass[k] > 0.0:
                moments_full(xt, r, mean, n, z, zr, target)
    if form != FULL or together:
        step = 2 if form == DIAG else 1
        for i in range(0, D, ROWS):  # outside: four features stay in the first-level cache, for all components
            for k in range(K):
                if mass[k] > 0.0:
                    moments_diag(xt, lp[k], means[k], i, form == DIAG, n, sums[k, i // ROWS * step :])


@njit(**HELPER)
def add_hard(X, start, xt, label, w, means, form, n, z, buffer, s0, sums):
    """Add each row of a tile, whole, to the statistics of its label: the work of one component, not of K."""
    K, D = means.shape
    if form == FIRST:  # without z, whose way through memory costs more than the sums
        first = sums.reshape((K, sums.shape[1] * ROWS))
        for b in range(n):
            s0[np.intp(label[b])] += w[b]
        if X.strides[1] == X.itemsize:
            add_rows(first, X, start, n, w, label, means)
        else:
            rows = buffer.reshape((buffer.shape[1], buffer.shape[0]))
            store(xt[:D], 0, n, rows)
            add_rows(first, rows, 0, n, w, label, means)
        return
    fill(z, 0.0)  # features beyond D
    for b in range(n):
        k = np.intp(label[b])
        s0[k] += w[b]
        for d in range(D):
            z[d] = xt[d, b] - means[k, d]
        add_point(z, w[b], form, D, sums[k])


@njit(**HELPER)
def add_point(z, w, form, D, sums):
    """Add a point of weight w at z (P) from the mean, zeros beyond D, to a component's moments (rows, 4)."""
    row = 0
    for i in range(moments_rows(FIRST, D)):
        add_row(sums[row], w, z, i)
        row += 1
        if form == DIAG:
            for c in range(ROWS):
                sums[row, c] += w * z[ROWS * i + c] * z[ROWS * i + c]
            row += 1
        elif form == FULL:
            for j in range(i + 1):  # the block on the diagonal comes first
                other = i if j == 0 else j - 1
                for r in range(ROWS):
                    add_row(sums[row], w * z[ROWS * i + r], z, other)
                    row += 1


@njit(**HELPER)
def add_row(row, factor, z, block):
    """Add factor times four features of z to a row."""
    for c in range(ROWS):
        row[c] += factor * z[ROWS * block + c]


@register_jitable(**HELPER)
def n_values(K: int, D: int, form: int, together: bool = False) -> int:
    """Return how many values the statistics of a block are, which a pass adds to; for Python and for kernels.

    They are N_SCALARS scalars, K sums of responsibilities, and rows of 4 with the moments of `form` of each component;
    if all components are `together`, first moments of each, and the second moments of all rows.
    """
    rows = K * moments_rows(FIRST, D) + moments_rows(FULL, D) if together else K * moments_rows(form, D)
    return N_SCALARS + K + ROWS * rows


@cache
def scratch_size(D: int, K: int, tile: int, itemsize: int) -> int:
    """Return how many numbers the scratch memory of a worker has, which `carve` cuts up."""
    P, step = padded(D), STEP // itemsize
    return P * step + -(-K // step) * step + (2 * P + ROWS + K + N_ROWS) * tile


@njit(**HELPER)
def carve(scratch, D, K):
    """Cut a worker's scratch memory into its arrays, whose rows start at multiples of 64 bytes.

    z (P, STEP bytes), mass (K), xt and buffer (P, B), zr (ROWS, B), lp (K, B) and rows (N_ROWS, B).
    """
    P, step = moments_rows(FIRST, D) * ROWS, STEP // scratch.itemsize
    head = P * step + (K + step - 1) // step * step
    z, mass, rest = scratch[: P * step].reshape((P, step)), scratch[P * step : head], scratch[head:]
    rest = rest.reshape((2 * P + ROWS + K + N_ROWS, rest.size // (2 * P + ROWS + K + N_ROWS)))
    xt, buffer, zr = rest[:P], rest[P : 2 * P], rest[2 * P : 2 * P + ROWS]
    return z, mass, xt, buffer, zr, rest[2 * P + ROWS : 2 * P + ROWS + K], rest[2 * P + ROWS + K :]


@njit(**HELPER)
def accumulate_rows(given, start, stop, mixture, mode, form, out, scratch):
    """Pass over rows start to stop of `given` (Rows), under `mixture` (Mixture), and add their statistics to out.

    out (`n_values`) IN OUT; scratch (`scratch_size`); mode and form as in the worker. Rows of weight 0 at the end are
    left out: the order of sums over a tile depends on how many rows it has.
    """
    X, weight, labels, allowed, resp = given
    lognorm, means, factor, centre, white = mixture
    K, D = means.shape
    while weight.size > 0 and stop > start and weight[stop - 1] == 0.0:
        stop -= 1
    z, mass, xt, buffer, zr, lp, rows = carve(scratch, D, K)
    w, top, label, total, spread = rows[0], rows[1], rows[2], rows[3], rows[4]
    together = white.size > 0
    restricted = labels.size > 0 or allowed.size > 0
    others = restricted or lognorm[0] == -np.inf  # not every row whose density underflows belongs to component 0
    near = mode == HARD and not restricted and is_unit_sphere(factor)
    fill(w, 1.0)
    unit = unit_of(weight, start, stop, xt)
    inverse = 1.0 / unit
    if unit != 1.0:
        multiply(out, inverse)
    s0 = out[N_SCALARS : N_SCALARS + K]
    moments = out[N_SCALARS + K :].reshape((-1, ROWS))
    for first in range(start, stop, xt.shape[1]):
        n = min(xt.shape[1], stop - first)
        fetch(X, first, n, centre, white, z, buffer, xt)
        if weight.size > 0:
            weigh(weight, first, n, inverse, means[0], w, xt)
        fill(w[n:], 0.0)
        if mode in (SOFT, HARD) and not near:  # once: each place compiles the micro-kernels anew
            joint(xt, lognorm, means, factor, n, z, lp)
            if restricted:
                restrict(labels, allowed, first, n, label, lp)
        if mode == SOFT:
            log_sum_exp(lp, n, top, total, spread, label)
            for b in range(n if others else 0):
                if top[b] == -np.inf:
                    lp[0, b] = 0.0
                    lp[first_of(labels, allowed, first + b, lognorm), b] = 1.0
            for b in range(n):
                label[b] *= w[b]
            fill(label[n:], 0.0)
            scale(lp, xt.shape[1], label)
            out[0] += weighted_sum(w, total, n)
            out[1] += weighted_sum(w, top, n)
            out[2] += weighted_sum(w, spread, n)
        elif mode == HARD:
            if near:
                nearest(xt, lognorm, means, n, top, label)
            else:
                best(lp, n, top, label)
            for b in range(n if others else 0):
                if top[b] == -np.inf:
                    label[b] = first_of(labels, allowed, first + b, lognorm)
            out[1] += weighted_sum(w, top, n)
        elif mode == LABELS:
            for b in range(n):
                label[b] = labels[first + b]
        else:
            for b in range(xt.shape[1]):
                for k in range(K):
                    lp[k, b] = w[b] * resp[first + b, k] if b < n else 0.0
        if mode in (SOFT, RESP):
            zero = z.reshape(z.size)[:D]
            fill(zero, 0.0)
            add_soft(xt, lp, w, means, zero, form, together, n, buffer, zr, mass, s0, moments)
        else:
            sums = moments.reshape((K, moments.shape[0] // K, ROWS))
            add_hard(X, first, xt, label, w, means, form, n, z.reshape(z.size), buffer, s0, sums)
    if unit != 1.0:
        multiply(out, unit)


def accumulate_worker(
    task,
    n_tasks,
    X,
    weight,
    labels,
    allowed,
    resp,
    lognorm,
    means,
    factor,
    centre,
    white,
    mode,
    form,
    block,
    out,
    scratch,
):
    """Do blocks task, task + n_tasks, ... of the fused pass.

    X (N, D) IN; weight (N) IN, or (0): all are 1;
    labels (N) IN: the rows' components, -1 where unknown (for SOFT and HARD), or (0): all are unknown;
    allowed (N, K) bool IN: the components that rows may belong to (for SOFT and HARD without labels), or (0, 0): all;
    resp (N, K) IN: responsibilities, for RESP, else (0, 0);
    lognorm (K), means (K, D), factor IN: the mixture (for LABELS and RESP the means alone count, as origin);
    centre (D), white (D, D) IN: whiten rows first (for SOFT and FULL alone), or (0, 0): do not;
    block: rows per block; out (n_blocks, `n_values`) OUT: a block's statistics. The moments
    are K times those of `form`, of which with `white` there are K of FIRST and one of FULL, of all rows;
    scratch (n_tasks, `scratch_size`): finite, and zero in the rows of features beyond D.
    """
    given = Rows(X, weight, labels, allowed, resp)
    mixture = Mixture(lognorm, means, factor, centre, white)
    for i in range(task, out.shape[0], n_tasks):
        start, stop = i * block, min((i + 1) * block, X.shape[0])
        fill(out[i], 0.0)
        accumulate_rows(given, start, stop, mixture, mode, form, out[i], scratch[task])


@njit(**HELPER)
def weighted_sum(w, values, n):
    """Return sum w v, in which a row of weight 0 is absent even if its v is -inf."""
    total = 0.0
    for b in range(n):
        total += w[b] * values[b] if w[b] > 0.0 else 0.0
    return total


@njit(**HELPER)
def score_rows(X, start, stop, mixture, outputs, scratch):
    """Score rows start to stop of X under `mixture` (Mixture) into `outputs` (Outputs); scratch (`scratch_size`)."""
    lognorm, means, factor, centre, white = mixture
    density, label_out, resp, joint_out, top_index, top_resp = outputs
    K, D = means.shape
    z, _, xt, buffer, _, lp, rows = carve(scratch, D, K)
    inverse, top, label, total, spread = rows[0], rows[1], rows[2], rows[3], rows[4]
    densities = density.size > 0 or resp.size > 0 or joint_out.size > 0 or top_resp.size > 0
    near = not densities and is_unit_sphere(factor)
    home = 0  # of rows whose density underflows under all components: the first that has a weight
    while home < K - 1 and lognorm[home] == -np.inf:
        home += 1
    for first in range(start, stop, xt.shape[1]):
        n = min(xt.shape[1], stop - first)
        fetch(X, first, n, centre, white, z, buffer, xt)
        if near:
            nearest(xt, lognorm, means, n, top, label)
        else:
            joint(xt, lognorm, means, factor, n, z, lp)
        if joint_out.size > 0:
            store(lp, first, n, joint_out)
        if label_out.size > 0:
            if not near:
                best(lp, n, top, label)
            for b in range(n):
                label_out[first + b] = np.intp(label[b])
            for b in range(n if home > 0 else 0):
                if top[b] == -np.inf:
                    label_out[first + b] = home
        if density.size > 0 or resp.size > 0 or top_resp.size > 0:
            log_sum_exp(lp, n, top, total, spread, inverse)
        for b in range(n if density.size > 0 else 0):
            density[first + b] = total[b]
        if resp.size > 0 or top_resp.size > 0:
            scale(lp, n, inverse)
            for b in range(n if home > 0 else 0):
                if top[b] == -np.inf:
                    lp[0, b], lp[home, b] = 0.0, 1.0
        if resp.size > 0:
            store(lp, first, n, resp)
        if top_resp.size > 0:
            largest(lp, first, n, top, top_index, top_resp)


def score_worker(
    task,
    n_tasks,
    X,
    lognorm,
    means,
    factor,
    centre,
    white,
    block,
    density,
    label_out,
    resp,
    joint_out,
    top_index,
    top_resp,
    scratch,
):
    """Do blocks task, task + n_tasks, ... of scoring, and fill each output that has a size.

    density (N) OUT: log density; label_out (N) OUT: most probable component; resp (N, K) OUT;
    joint_out (N, K) OUT: log weight + log density of each component; top_index, top_resp (N, M) OUT: the largest
    responsibilities. Other arguments as in `accumulate_worker`.
    """
    mixture = Mixture(lognorm, means, factor, centre, white)
    outputs = Outputs(density, label_out, resp, joint_out, top_index, top_resp)
    for i in range(task, (X.shape[0] + block - 1) // block, n_tasks):
        start, stop = i * block, min((i + 1) * block, X.shape[0])
        score_rows(X, start, stop, mixture, outputs, scratch[task])


def read_only(dtype, ndim, layout="C"):
    """Return the type of an input array; writable and aligned arrays convert to it, so that only it is compiled."""
    return types.Array(dtype, ndim, layout, readonly=True)


def _mixture(real):
    """Return the types of lognorm, means, factor, centre and white."""
    return read_only(real, 1), read_only(real, 2), read_only(real, 3), read_only(real, 1), read_only(real, 2)


def _accumulate_types(real):
    rows = read_only(types.float64, 1, "A"), read_only(types.int64, 1, "A")
    given = *rows, read_only(types.boolean, 2, "A"), read_only(types.float64, 2, "A")
    return *given, *_mixture(real), types.intp, types.intp, types.intp, types.float64[:, ::1], real[:, ::1]


def _score_types(real):
    rows, indices = types.float64[:, ::1], types.int64[:, ::1]
    outputs = types.float64[::1], types.int64[::1], rows, rows, indices, rows
    return *_mixture(real), types.intp, *outputs, real[:, ::1]


accumulate = Kernel(accumulate_worker, _accumulate_types)
score = Kernel(score_worker, _score_types)
