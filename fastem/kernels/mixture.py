"""Run the fused pass over blocks of rows, and the scoring pass.

This module is long because both passes share the tile, its E-step and the arguments that describe rows and mixtures,
and because a kernel for each need stands beside the others, which differ in a few lines.

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

from fastem.kernels.compiler import EXACT, HELPER, INLINED
from fastem.kernels.jit import Kernel
from fastem.kernels.lanes import STEP
from fastem.kernels.memory import part, to_float, to_integer
from fastem.kernels.micro import (
    DIAG,
    FIRST,
    FULL,
    ROWS,
    add_points,
    add_rows,
    best,
    exponentials,
    load,
    log_joint_diag,
    log_joint_full,
    moments_diag,
    moments_full,
    moments_rows,
    nearest,
    padded,
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


class Tile(NamedTuple):
    """The memory that a tile of B rows is worked on in; all rows of all arrays start at cache lines.

    Attributes
    ----------
    z : (P, STEP bytes), scratch
    mass : (K,), scratch
    xt : (P, B), the rows, features beyond D are 0
    buffer : (P, B), scratch
    zr : (ROWS, B), scratch
    lp : (K, B), log weight + log density of each component, or responsibilities
    w, top, label, total, spread : (B,), weights of the rows; what the pass has found for each row, or scratch
    """

    z: Any
    mass: Any
    xt: Any
    buffer: Any
    zr: Any
    lp: Any
    w: Any
    top: Any
    label: Any
    total: Any
    spread: Any


class Outputs(NamedTuple):
    """What scoring fills; the worker of `scorer` describes them."""

    density: Any
    label: Any
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
    bits = to_integer(x)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52
    f = to_float(bits - (e << 52)) - 1.0
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
    a = b = c = d = np.int64(0)  # four at a time: a quarter of the time
    for i in range(start, stop - 3, 4):  # bits are in the order of the numbers, as these are not negative
        a, b = max(a, to_integer(weight[i])), max(b, to_integer(weight[i + 1]))
        c, d = max(c, to_integer(weight[i + 2])), max(d, to_integer(weight[i + 3]))
    for i in range(stop - (stop - start) % 4, stop):
        a = max(a, to_integer(weight[i]))
    largest = max(max(a, b), max(c, d))
    unit = to_float(largest >> 52 << 52)
    return 1.0 if unit == 0.0 or LEAST_WEIGHT <= unit <= MOST_WEIGHT else unit


@njit(**HELPER)
def fetch(X, first, n, mixture, tile):
    """Load a tile, and ask for the next one."""
    load(tile.xt, X, X.itemsize, first, n, 1)


@njit(**HELPER)
def fetch_alone(X, first, n, mixture, tile):
    """Load a tile, for `add_hard`, which asks for the next tile's rows."""
    load(tile.xt, X, X.itemsize, first, n, 0)


@njit(**HELPER)
def fetch_white(X, first, n, mixture, tile):
    """Do what `fetch` does, and whiten the tile if there is a `white` factor."""
    together = mixture.white.size > 0
    load(tile.buffer if together else tile.xt, X, X.itemsize, first, n, 1)
    if together:
        whiten(tile.buffer, mixture.centre, mixture.white, n, tile.z, tile.xt)


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
        log_joint_diag(xt, lognorm, means, part(factor, 0, (factor.shape[0], factor.shape[2])), n, lp)


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
def add_soft(n, mixture, form, tile, out):
    """Add a tile's rows, weighted by lp (K, B), to the statistics about the means.

    If all components share a whitened covariance, add their first moments alone, and the second moments of all rows,
    weighted by w (B), about 0.
    """
    z, mass, xt, buffer, zr, lp, w = tile[:7]
    means, together = mixture.means, mixture.white.size > 0
    K, D = means.shape
    zero, s0, head = part(z, 0, (D,)), part(out, N_SCALARS, (K,)), N_SCALARS + K
    fill(zero, 0.0)
    for k in range(K):
        total = mass.dtype.type(0)
        for b in range(n):
            total += lp[k, b]
        mass[k] = total
        s0[k] += total
    n_rows = moments_rows(FIRST if together else form, D)
    sums, rows = part(out, head, (K, n_rows, ROWS)), moments_rows(FULL, D)
    if form == FULL:
        for k in range(1 if together else K):  # one call: each place compiles the micro-kernel anew
            shared = part(out, head + sums.size, (rows, ROWS) if together else (0, ROWS))
            r, mean, target = (w, zero, shared) if together else (lp[k], means[k], sums[k])
            if together or mass[k] > 0.0:
                moments_full(xt, r, mean, n, buffer, zr, target)
    if form != FULL or together:
        step = 2 if form == DIAG else 1
        for i in range(0, D, ROWS):  # outside: four features stay in the first-level cache, for all components
            for k in range(K):
                if mass[k] > 0.0:
                    moments_diag(xt, lp[k], means[k], i, form == DIAG, n, sums[k, i // ROWS * step :])


@njit(**HELPER)
def add_hard(X, start, n, mixture, form, tile, out):
    """Add each row of a tile, whole, to the statistics of its label: the work of one component, not of K."""
    means, xt, w, label, buffer = mixture.means, tile.xt, tile.w, tile.label, tile.buffer
    (K, D), s0 = means.shape, part(out, N_SCALARS, (mixture.means.shape[0],))
    sums = part(out, N_SCALARS + K, (K, moments_rows(form, D) * ROWS))
    if form != FIRST:
        z = part(tile.z, 0, (tile.z.size,))
        fill(z, 0.0)  # features beyond D
        add_points(xt, X, start, n, w, label, means, z, form, s0, sums)
    elif X.strides[1] == X.itemsize:  # without z, whose way through memory costs more than the sums
        add_rows(sums, s0, X, X.itemsize, start, n, w, label, means)
    else:
        rows = part(buffer, 0, (buffer.shape[1], buffer.shape[0]))
        store(xt[:D], 0, n, rows)
        add_rows(sums, s0, rows, rows.itemsize, 0, n, w, label, means)


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
    """Cut a worker's scratch memory into a Tile."""
    P, step = moments_rows(FIRST, D) * ROWS, STEP // scratch.itemsize
    head, n_rows = P * step + (K + step - 1) // step * step, 2 * P + ROWS + K + N_ROWS
    B = (scratch.size - head) // n_rows
    z, mass = part(scratch, 0, (P, step)), part(scratch, P * step, (K,))
    xt, buffer = part(scratch, head, (P, B)), part(scratch, head + P * B, (P, B))
    zr, lp = part(scratch, head + 2 * P * B, (ROWS, B)), part(scratch, head + (2 * P + ROWS) * B, (K, B))
    rows = part(scratch, head + (n_rows - N_ROWS) * B, (N_ROWS, B))
    return Tile(z, mass, xt, buffer, zr, lp, rows[0], rows[1], rows[2], rows[3], rows[4])


@njit(**HELPER)
def weighted_sum(w, values, n):
    """Return sum w v, in which a row of weight 0 is absent even if its v is -inf."""
    total = 0.0
    for b in range(n):
        total += w[b] * values[b] if w[b] > 0.0 else 0.0
    return total


@njit(**HELPER)
def first_with_weight(lognorm):
    """Return the first component that has a weight: rows go there if their density underflows under all of them."""
    home = 0
    while home < lognorm.size - 1 and lognorm[home] == -np.inf:
        home += 1
    return home


@njit(**HELPER)
def find_joint(given, first, n, mixture, tile):
    """Set lp to the log joint of a tile's rows, -inf where a row may not belong to a component."""
    joint(tile.xt, mixture.lognorm, mixture.means, mixture.factor, n, tile.z, tile.lp)
    if given.labels.size > 0 or given.allowed.size > 0:
        restrict(given.labels, given.allowed, first, n, tile.label, tile.lp)


@njit(**HELPER)
def add_softly(given, first, n, mixture, form, tile, out):
    """Add a tile's rows, weighted by their responsibilities."""
    lp, top = tile.lp, tile.top
    joint(tile.xt, mixture.lognorm, mixture.means, mixture.factor, n, tile.z, lp)
    log_sum_exp(lp, n, top, tile.total, tile.spread, tile.label)
    home = first_with_weight(mixture.lognorm)
    for b in range(n if home > 0 else 0):
        if top[b] == -np.inf:
            lp[0, b], lp[home, b] = 0.0, 1.0
    weigh_responsibilities(n, tile, out)
    add_soft(n, mixture, form, tile, out)


@njit(**HELPER)
def add_softly_within(given, first, n, mixture, form, tile, out):
    """Do what `add_softly` does, where labels restrict the components of rows."""
    respond_within(given, first, n, mixture, tile, out)
    add_soft(n, mixture, form, tile, out)


@njit(**HELPER)
def respond_within(given, first, n, mixture, tile, out):
    """Set lp to the responsibilities of a tile's rows, weighted, 0 where labels exclude a component; add to out."""
    lp, top = tile.lp, tile.top
    find_joint(given, first, n, mixture, tile)
    log_sum_exp(lp, n, top, tile.total, tile.spread, tile.label)
    for b in range(n):
        if top[b] == -np.inf:
            lp[0, b] = 0.0
            lp[first_of(given.labels, given.allowed, first + b, mixture.lognorm), b] = 1.0
    weigh_responsibilities(n, tile, out)


@njit(**HELPER)
def weigh_responsibilities(n, tile, out):
    """Weight what `log_sum_exp` has left in lp; add the rows' sums of log densities and entropies to out."""
    w, inverse = tile.w, tile.label
    for b in range(n):
        inverse[b] *= w[b]
    fill(inverse[n:], 0.0)
    scale(tile.lp, tile.lp.shape[1], inverse)
    out[0] += weighted_sum(w, tile.total, n)
    out[1] += weighted_sum(w, tile.top, n)
    out[2] += weighted_sum(w, tile.spread, n)


@njit(**HELPER)
def add_given(given, first, n, mixture, form, tile, out):
    """Add a tile's rows, weighted by the responsibilities that are given."""
    lp, w = tile.lp, tile.w
    for b in range(lp.shape[1]):
        for k in range(lp.shape[0]):
            lp[k, b] = w[b] * given.resp[first + b, k] if b < n else 0.0
    add_soft(n, mixture, form, tile, out)


@njit(**HELPER)
def add_best(given, first, n, mixture, form, tile, out):
    """Add each of a tile's rows to its most probable component."""
    top, label = tile.top, tile.label
    find_joint(given, first, n, mixture, tile)
    best(tile.lp, n, top, label)
    for b in range(n):
        if top[b] == -np.inf:
            label[b] = first_of(given.labels, given.allowed, first + b, mixture.lognorm)
    out[1] += weighted_sum(tile.w, top, n)
    add_hard(given.X, first, n, mixture, form, tile, out)


@njit(**HELPER)
def add_labelled(given, first, n, mixture, form, tile, out):
    """Add each of a tile's rows to the component of its label; without labels, to the nearest of unit spheres."""
    top, label = tile.top, tile.label
    if given.labels.size > 0:
        for b in range(n):
            label[b] = given.labels[first + b]
    else:
        nearest(tile.xt, mixture.lognorm, mixture.means, n, top, label)
        out[1] += weighted_sum(tile.w, top, n)
    add_hard(given.X, first, n, mixture, form, tile, out)


@njit(**INLINED)
def accumulate_rows(fetch, add, given, start, stop, mixture, form, out, scratch):
    """Pass over rows start to stop of `given` (Rows), under `mixture` (Mixture), and add their statistics to out.

    fetch: what loads a tile, `fetch` or `fetch_white`; add: what adds it, `add_softly` or another of those above;
    form as in `accumulator`; out (`n_values`) IN OUT; scratch (`scratch_size`). Rows of weight 0 at the end are left
    out: the order of sums over a tile depends on how many rows it has.
    """
    X, weight, K, D = given.X, given.weight, mixture.means.shape[0], mixture.means.shape[1]
    while weight.size > 0 and stop > start and weight[stop - 1] == 0.0:
        stop -= 1
    tile = carve(scratch, D, K)
    xt, w = tile.xt, tile.w
    fill(w, 1.0)
    unit = unit_of(weight, start, stop, xt)
    inverse = 1.0 / unit
    if unit != 1.0:
        multiply(out, inverse)
    for first in range(start, stop, xt.shape[1]):
        n = min(xt.shape[1], stop - first)
        fetch(X, first, n, mixture, tile)
        if weight.size > 0:
            weigh(weight, first, n, inverse, mixture.means[0], w, xt)
        fill(w[n:], 0.0)
        add(given, first, n, mixture, form, tile, out)
    if unit != 1.0:
        multiply(out, unit)


def accumulator(fetch, add):
    """Return the worker that adds tiles with `add`."""

    def worker(
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
        form,
        block,
        out,
        scratch,
    ):
        """Do blocks task, task + n_tasks, ... of the fused pass.

        X (N, D) IN; weight (N) IN, or (0): all are 1;
        labels (N) IN: the rows' components, -1 where unknown (but for `add_labelled`), or (0): all are unknown;
        allowed (N, K) bool IN: the components that rows without labels may belong to, or (0, 0): all;
        resp (N, K) IN: responsibilities, for `add_given`, else (0, 0);
        lognorm (K), means (K, D), factor IN: the mixture (if what is added depends on labels or responsibilities that
        are given, the means alone count, as origin);
        centre (D), white (D, D) IN: whiten rows first (for `add_softly` and FULL alone), or (0, 0): do not;
        block: rows per block; out (n_blocks, `n_values`) OUT: a block's statistics. The moments
        are K times those of `form`, of which with `white` there are K of FIRST and one of FULL, of all rows;
        scratch (n_tasks, `scratch_size`): finite, and zero in the rows of features beyond D.
        """
        given = Rows(X, weight, labels, allowed, resp)
        mixture = Mixture(lognorm, means, factor, centre, white)
        for i in range(task, out.shape[0], n_tasks):
            start, stop = i * block, min((i + 1) * block, X.shape[0])
            fill(out[i], 0.0)
            accumulate_rows(fetch, add, given, start, stop, mixture, form, out[i], scratch[task])

    return worker


@njit(**HELPER)
def fill_scores(first, n, mixture, tile, outputs):
    """Fill the outputs that have a size for a tile's rows."""
    joint(tile.xt, mixture.lognorm, mixture.means, mixture.factor, n, tile.z, tile.lp)
    fill_from_joint(first, n, mixture, tile, outputs)


@njit(**HELPER)
def fill_from_joint(first, n, mixture, tile, outputs):
    """Do what `fill_scores` does, from the log joint in the tile."""
    _, _, _, _, _, lp, inverse, top, label, total, spread = tile
    density, label_out, resp, joint_out, top_index, top_resp = outputs
    home = first_with_weight(mixture.lognorm)
    if joint_out.size > 0:
        store(lp, first, n, joint_out)
    if label_out.size > 0:
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


@njit(**HELPER)
def fill_distances(first, n, mixture, tile, outputs):
    """Do what `fill_scores` does, for `label` and `joint` under unit spheres alone."""
    lognorm, means = mixture.lognorm, mixture.means
    if outputs.joint.size > 0:
        log_joint_diag(tile.xt, lognorm, means, part(mixture.factor, 0, (1, 1)), n, tile.lp)
        store(tile.lp, first, n, outputs.joint)
    if outputs.label.size > 0:
        nearest(tile.xt, lognorm, means, n, tile.top, tile.label)
        for b in range(n):
            outputs.label[first + b] = np.intp(tile.label[b])


@njit(**INLINED)
def score_rows(fetch, fill, X, start, stop, mixture, outputs, scratch):
    """Score rows start to stop of X under `mixture` (Mixture) into `outputs` (Outputs); scratch (`scratch_size`).

    fetch: what loads a tile, `fetch` or `fetch_white`; fill: what scores it, `fill_scores` or `fill_distances`.
    """
    K, D = mixture.means.shape
    tile = carve(scratch, D, K)
    for first in range(start, stop, tile.xt.shape[1]):
        n = min(tile.xt.shape[1], stop - first)
        fetch(X, first, n, mixture, tile)
        fill(first, n, mixture, tile, outputs)


def scorer(fetch, fill):
    """Return the worker that scores tiles with `fill`."""

    def worker(
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
        label,
        resp,
        joint,
        top_index,
        top_resp,
        scratch,
    ):
        """Do blocks task, task + n_tasks, ... of scoring, and fill each output that has a size.

        density (N) OUT: log density; label (N) OUT: most probable component; resp (N, K) OUT;
        joint (N, K) OUT: log weight + log density of each component; top_index, top_resp (N, M) OUT: the largest
        responsibilities. Other arguments as in `accumulator`.
        """
        mixture = Mixture(lognorm, means, factor, centre, white)
        outputs = Outputs(density, label, resp, joint, top_index, top_resp)
        for i in range(task, (X.shape[0] + block - 1) // block, n_tasks):
            start, stop = i * block, min((i + 1) * block, X.shape[0])
            score_rows(fetch, fill, X, start, stop, mixture, outputs, scratch[task])

    return worker


def read_only(dtype, ndim, layout="C"):
    """Return the type of an input array; writable and aligned arrays convert to it, so that only it is compiled."""
    return types.Array(dtype, ndim, layout, readonly=True)


def _mixture(real):
    """Return the types of lognorm, means, factor, centre and white."""
    return read_only(real, 1), read_only(real, 2), read_only(real, 3), read_only(real, 1), read_only(real, 2)


def _accumulate_types(real):
    rows = read_only(types.float64, 1, "A"), read_only(types.int64, 1, "A")
    given = *rows, read_only(types.boolean, 2, "A"), read_only(types.float64, 2, "A")
    return *given, *_mixture(real), types.intp, types.intp, types.float64[:, ::1], real[:, ::1]


def _score_types(real):
    rows, indices = types.float64[:, ::1], types.int64[:, ::1]
    outputs = types.float64[::1], types.int64[::1], rows, rows, indices, rows
    return *_mixture(real), types.intp, *outputs, real[:, ::1]


def _accumulate(fetch, add, name):
    return Kernel(accumulator(fetch, add), _accumulate_types, f"accumulate_{name}")


def _score(fetch, fill, name):
    return Kernel(scorer(fetch, fill), _score_types, f"score_{name}")


# Each is compiled when it is first needed: none has what another one needs.
accumulate_soft = _accumulate(fetch_white, add_softly, "soft")
accumulate_within = _accumulate(fetch_white, add_softly_within, "within")
accumulate_given = _accumulate(fetch, add_given, "given")
accumulate_hard = _accumulate(fetch_alone, add_best, "hard")
accumulate_labelled = _accumulate(fetch_alone, add_labelled, "labelled")
score_all = _score(fetch_white, fill_scores, "all")
score_spheres = _score(fetch, fill_distances, "spheres")
score_white_spheres = _score(fetch_white, fill_distances, "white_spheres")


def accumulate(
    mode: int,
    X: Any,
    weight: Any,
    labels: Any,
    allowed: Any,
    resp: Any,
    lognorm: Any,
    means: Any,
    factor: Any,
    *others: Any,
) -> None:
    """Run the fused pass in one of the modes; the arguments are those of the worker of `accumulator`."""
    free = not labels.size and not allowed.size
    if mode == SOFT:
        kernel = accumulate_soft if free else accumulate_within
    elif mode == HARD:
        kernel = accumulate_labelled if free and are_unit_spheres(lognorm, factor) else accumulate_hard
    else:
        kernel = accumulate_labelled if mode == LABELS else accumulate_given
    kernel(X, weight, labels, allowed, resp, lognorm, means, factor, *others)


def score(
    X: Any,
    lognorm: Any,
    means: Any,
    factor: Any,
    centre: Any,
    white: Any,
    block: Any,
    density: Any,
    label: Any,
    resp: Any,
    *others: Any,
) -> None:
    """Run the scoring pass; the arguments are those of the worker of `scorer`."""
    kernel, top_resp = score_all, others[2]
    if are_unit_spheres(lognorm, factor) and not (density.size or resp.size or top_resp.size):
        kernel = score_white_spheres if white.size else score_spheres
    kernel(X, lognorm, means, factor, centre, white, block, density, label, resp, *others)


def are_unit_spheres(lognorm: Any, factor: Any) -> bool:
    """Tell whether all components are spheres of variance 1, so that the nearest is the most probable.

    If the first has no weight, rows that are too far from all of them do not belong to it: then the answer is no.
    """
    return bool(factor.size == 1 and factor[0, 0, 0] == 1.0 and lognorm[0] > -np.inf)
