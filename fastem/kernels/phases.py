"""Run the fused pass in two phases, where the statistics of all components do not stay in the cache.

The kernels of `mixture` add each tile of rows to the statistics of one component after the other: all of these, K D^2
numbers, come and go with each tile, and each block has its own. Here a first kernel computes the responsibilities of a
chunk of rows, by tiles of rows, and keeps them. A second goes through the components, a few of them at a time, whose
statistics stay in the cache while all tiles of the chunk are added to them. Its tasks are components, so that there is
one array of statistics, whatever the number of threads; each component's sums are over the tiles in their order, so
that the bits do not depend on it either.
"""

from functools import cache

import numpy as np
from numba import njit, types

from fastem.kernels.compiler import HELPER
from fastem.kernels.jit import Kernel
from fastem.kernels.memory import part
from fastem.kernels.micro import FULL, ROWS, moments_full, moments_rows
from fastem.kernels.mixture import (
    N_SCALARS,
    Mixture,
    Rows,
    Tile,
    carve,
    fetch,
    fill,
    multiply,
    read_only,
    respond_within,
    scratch_size,
    unit_of,
    weigh,
)

N_HEADS = N_SCALARS + 1  # what is kept of a tile beside its rows: the scalars, and how many rows it has


@cache
def phase_size(D: int, K: int, tile: int, itemsize: int) -> int:
    """Return how many numbers the scratch memory of a worker of either phase has: nothing in it is for components."""
    return scratch_size(D, 0, tile, itemsize)


@njit(**HELPER)
def tile_in(scratch, points, resp, i, K, D):
    """Return tile i of a chunk: its points and responsibilities lie in the chunk, all else in the scratch memory."""
    own = carve(scratch, D, 0)
    P, B = own.xt.shape
    xt, lp = part(points, i * P * B, (P, B)), part(resp, i * K * B, (K, B))
    return Tile(own.z, own.mass, xt, own.buffer, own.zr, lp, own.w, own.top, own.label, own.total, own.spread)


@njit(**HELPER)
def last_present(weight, n):
    """Return how many of n rows there are before those of weight 0 at the end."""
    while weight.size > 0 and n > 0 and weight[n - 1] == 0.0:
        n -= 1
    return n


def respond_worker(task, n_tasks, X, weight, labels, allowed, lognorm, means, factor, points, resp, heads, scratch):
    """Do tiles task, task + n_tasks, ... of a chunk: the first phase.

    points (n_tiles, P B) OUT: the rows of each tile, (P, B); resp (n_tiles, K B) OUT: their responsibilities, weighted,
    (K, B); both zeros before. heads (n_tiles, N_HEADS) OUT: a tile's sums of log densities, and how many rows it has.
    scratch (n_tasks, `phase_size`): zeros before. The others are as in `mixture.accumulator`.
    """
    none, (K, D) = scratch[0, :0], means.shape
    no_matrix = part(none, 0, (0, 0))
    given, mixture = Rows(X, weight, labels, allowed, no_matrix), Mixture(lognorm, means, factor, none, no_matrix)
    stop = last_present(weight, X.shape[0])
    inverse = 1.0 / unit_of(weight, 0, stop, points)
    for i in range(task, heads.shape[0], n_tasks):
        tile = tile_in(scratch[task], points, resp, i, K, D)
        B, w = tile.w.size, tile.w
        first, head = i * B, heads[i]
        n = max(0, min(B, stop - first))
        fill(head, 0.0)
        head[N_SCALARS] = n
        if n > 0:
            fetch(X, first, n, mixture, tile)
            fill(w, 1.0)
            if weight.size > 0:
                weigh(weight, first, n, inverse, means[0], w, tile.xt)
            fill(w[n:], 0.0)
            respond_within(given, first, n, mixture, tile, head)


def gather_worker(task, n_tasks, heads, points, resp, weight, means, step, out, scratch):
    """Do components task step to (task + 1) step, then those n_tasks step further on, ...: the second phase.

    heads, points, resp IN: as `respond_worker` has left them; weight: the same as there; step: components that are done
    together; out (`n_values`) IN OUT: zeros; task 0 adds the scalars too.
    """
    K, D = means.shape
    s0, sums = part(out, N_SCALARS, (K,)), part(out, N_SCALARS + K, (K, moments_rows(FULL, D), ROWS))
    unit = unit_of(weight, 0, last_present(weight, weight.size), points)
    for first in range(task * step, K, n_tasks * step):
        last = min(first + step, K)
        for i in range(heads.shape[0]):
            tile, n = tile_in(scratch[task], points, resp, i, K, D), np.intp(heads[i, N_SCALARS])
            for k in range(first, last if n > 0 else first):
                total = tile.w.dtype.type(0)
                for b in range(n):
                    total += tile.lp[k, b]
                s0[k] += total
                if total > 0.0:
                    moments_full(tile.xt, tile.lp[k], means[k], n, tile.buffer, tile.zr, sums[k])
        if unit != 1.0:
            multiply(s0[first:last], unit)
            multiply(part(out, N_SCALARS + K + first * sums[0].size, ((last - first) * sums[0].size,)), unit)
    if task == 0:
        for i in range(heads.shape[0]):
            for j in range(N_SCALARS):
                out[j] += heads[i, j] * unit


def _respond_types(real):
    rows = read_only(types.float64, 1, "A"), read_only(types.int64, 1, "A"), read_only(types.boolean, 2, "A")
    mixture = read_only(real, 1), read_only(real, 2), read_only(real, 3)
    return *rows, *mixture, real[:, ::1], real[:, ::1], types.float64[:, ::1], real[:, ::1]


def _gather_types(real):
    kept = read_only(real, 2), read_only(real, 2), read_only(types.float64, 1, "A")
    return *kept, read_only(real, 2), types.intp, types.float64[::1], real[:, ::1]


respond = Kernel(respond_worker, _respond_types, "respond")
gather = Kernel(gather_worker, _gather_types, "gather")
