"""Pass over rows and score them under a mixture of t distributions: `mixture` with a heavier tail.

The joint log density of a row and component k is ``lognorm_k - (dof_k + D) / 2 log(1 + q / dof_k)``, with the squared
distance q = |W_k (x - mean_k)|^2. The micro-kernels of the Gaussian, with a log norm of 0, leave -q / 2 in the tile;
one loop over the tile makes of it that density, the weight u = (dof_k + D) / (dof_k + q) by which the moments count a
row, and t = u - 1 - log u, of whose mean the degrees of freedom are made.
"""

from functools import cache

import numpy as np
from numba import njit, types

from fastem.kernels.compiler import EXACT, HELPER
from fastem.kernels.jit import Kernel
from fastem.kernels.lanes import STEP
from fastem.kernels.memory import part
from fastem.kernels.micro import FIRST, ROWS, moments_rows
from fastem.kernels.mixture import (
    N_ROWS,
    Mixture,
    Outputs,
    Rows,
    add_soft,
    carve,
    fetch,
    fill,
    fill_from_joint,
    first_of,
    joint,
    log,
    log_sum_exp,
    n_values,
    read_only,
    restrict,
    scale,
    scratch_size,
    weigh,
    weighted_sum,
)

FARTHEST = 1e300  # squared distance: one that overflows counts as this


@njit(**EXACT)
def log1p(x, inverse):
    """Return log(1 + x) for 0 <= x < infinity and inverse = 1 / (1 + x); what is lost in 1 + x is made up for."""
    y = 1.0 + x
    return log(y) + (x - (y - 1.0)) * inverse


@njit(**HELPER)
def thicken(lp, c, nu, D, n, u, tail):
    """Turn lp[:n], minus half a squared distance, into the log joint density of a component; u and tail (B) OUT."""
    half, most, shift, inverse = 0.5 * (nu + D), nu + D, log1p(D / nu, nu / (nu + D)), 1.0 / nu
    for b in range(n):
        q = min(-2.0 * lp[b], FARTHEST)
        left = 1.0 / (nu + q)
        longer = log1p(q * inverse, nu * left)
        u[b] = most * left
        tail[b] = (D - q) * left - shift + longer
        lp[b] = c - half * longer


@njit(**HELPER)
def find_joint(lognorm, means, factor, dof, n, tile, u, tail):
    """Set lp of a tile to the joint log density of its rows; u and tail (K, B) OUT."""
    fill(tile.mass, 0.0)
    joint(tile.xt, tile.mass, means, factor, n, tile.z, tile.lp)
    for k in range(means.shape[0]):
        thicken(tile.lp[k], lognorm[k], dof[k], means.shape[1], n, u[k], tail[k])


@njit(**HELPER)
def add_weighted(n, mixture, form, tile, u, tail, out):
    """Add a tile's rows: lp are responsibilities; out ends with their sums and those of r t, for each component."""
    lp, K = tile.lp, tile.lp.shape[0]
    sums = part(out, out.size - 2 * K, (2, K))
    for k in range(K):
        total = thick = 0.0
        for b in range(n):
            total += lp[k, b]
            thick += lp[k, b] * tail[k, b]
            lp[k, b] *= u[k, b]
        sums[0, k] += total
        sums[1, k] += thick
    add_soft(n, mixture, form, tile, out[: out.size - 2 * K])


@njit(**HELPER)
def accumulate_rows(given, start, stop, mixture, dof, form, out, scratch):
    """Pass over rows start to stop of `given` (Rows), and add their statistics to out, as `mixture.accumulate_rows`."""
    X, weight, (K, D) = given.X, given.weight, mixture.means.shape
    while weight.size > 0 and stop > start and weight[stop - 1] == 0.0:
        stop -= 1
    tile, u, tail = carve_tails(scratch, D, K)
    xt, w, lp, top, inverse = tile.xt, tile.w, tile.lp, tile.top, tile.label
    within = given.labels.size > 0 or given.allowed.size > 0
    fill(w, 1.0)
    for first in range(start, stop, xt.shape[1]):
        n = min(xt.shape[1], stop - first)
        fetch(X, first, n, mixture, tile)
        if weight.size > 0:
            weigh(weight, first, n, 1.0, mixture.means[0], w, xt)
        fill(w[n:], 0.0)
        find_joint(mixture.lognorm, mixture.means, mixture.factor, dof, n, tile, u, tail)
        if within:
            restrict(given.labels, given.allowed, first, n, inverse, lp)
        log_sum_exp(lp, n, top, tile.total, tile.spread, inverse)
        for b in range(n if within else 0):  # else no density underflows
            if top[b] == -np.inf:
                lp[0, b] = 0.0
                lp[first_of(given.labels, given.allowed, first + b, mixture.lognorm), b] = 1.0
        for b in range(n):
            inverse[b] *= w[b]
        fill(inverse[n:], 0.0)
        scale(lp, lp.shape[1], inverse)
        out[0] += weighted_sum(w, tile.total, n)
        out[1] += weighted_sum(w, top, n)
        out[2] += weighted_sum(w, tile.spread, n)
        add_weighted(n, mixture, form, tile, u, tail, out)


def n_sums(K: int, D: int, form: int) -> int:
    """Return how many values the statistics of a block are: those of a Gaussian mixture, and 2 K."""
    return n_values(K, D, form) + 2 * K


@cache
def tails_size(D: int, K: int, tile: int, itemsize: int) -> int:
    """Return how many numbers the scratch memory of a worker has, which `carve_tails` cuts up."""
    return scratch_size(D, K, tile, itemsize) + 2 * K * tile


@njit(**HELPER)
def carve_tails(scratch, D, K):
    """Cut a worker's scratch memory into a Tile, and u and tail (K, B)."""
    P, step = moments_rows(FIRST, D) * ROWS, STEP // scratch.itemsize
    head = P * step + (K + step - 1) // step * step
    rest = (scratch.size - head) // (2 * P + ROWS + 3 * K + N_ROWS) * K
    first = scratch.size - 2 * rest
    u, tail = part(scratch, first, (K, rest // K)), part(scratch, first + rest, (K, rest // K))
    return carve(scratch[:first], D, K), u, tail


def accumulate_worker(
    task, n_tasks, X, weight, labels, allowed, lognorm, means, factor, dof, form, block, out, scratch
):
    """Do blocks task, task + n_tasks, ... of the pass.

    dof (K) IN: degrees of freedom; lognorm (K) IN: log weight + log normalising constant of the t density; out
    (n_blocks, `n_sums`) OUT: s0 and the moments of r u, then the sums of r and of r (u - 1 - log u); scratch (n_tasks,
    `tails_size`). The others are as in `mixture.accumulator`.
    """
    none = scratch[0, :0]
    no_matrix = part(none, 0, (0, 0))
    given, mixture = Rows(X, weight, labels, allowed, no_matrix), Mixture(lognorm, means, factor, none, no_matrix)
    for i in range(task, out.shape[0], n_tasks):
        start, stop = i * block, min((i + 1) * block, X.shape[0])
        fill(out[i], 0.0)
        accumulate_rows(given, start, stop, mixture, dof, form, out[i], scratch[task])


def score_worker(
    task,
    n_tasks,
    X,
    lognorm,
    means,
    factor,
    dof,
    block,
    density,
    label,
    resp,
    joint,
    top_index,
    top_resp,
    scratch,
):
    """Do blocks task, task + n_tasks, ... of scoring; the arguments are as above, and as in `mixture.scorer`."""
    none, (K, D) = scratch[0, :0], means.shape
    mixture = Mixture(lognorm, means, factor, none, part(none, 0, (0, 0)))
    outputs = Outputs(density, label, resp, joint, top_index, top_resp)
    tile, u, tail = carve_tails(scratch[task], D, K)
    for i in range(task, (X.shape[0] + block - 1) // block, n_tasks):
        stop = min((i + 1) * block, X.shape[0])
        for first in range(i * block, stop, tile.xt.shape[1]):
            n = min(tile.xt.shape[1], stop - first)
            fetch(X, first, n, mixture, tile)
            find_joint(lognorm, means, factor, dof, n, tile, u, tail)
            fill_from_joint(first, n, mixture, tile, outputs)


def _mixture(real):
    """Return the types of lognorm, means, factor and dof."""
    return read_only(real, 1), read_only(real, 2), read_only(real, 3), read_only(real, 1)


def _accumulate_types(real):
    rows = read_only(types.float64, 1, "A"), read_only(types.int64, 1, "A"), read_only(types.boolean, 2, "A")
    return *rows, *_mixture(real), types.intp, types.intp, real[:, ::1], real[:, ::1]


def _score_types(real):
    rows, indices = types.float64[:, ::1], types.int64[:, ::1]
    outputs = types.float64[::1], types.int64[::1], rows, rows, indices, rows
    return *_mixture(real), types.intp, *outputs, real[:, ::1]


accumulate = Kernel(accumulate_worker, _accumulate_types, "accumulate_student")
score = Kernel(score_worker, _score_types, "score_student")
