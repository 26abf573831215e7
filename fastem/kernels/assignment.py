"""Assign rows to the nearest of many centres, by matrix products: a pass of k-means, and the two nearest of each row.

With a = x - c and u_k = mean_k - c, for a point c in the middle of the centres,
``-|x - mean_k|^2 / 2 = -|a|^2 / 2 + a' u_k - |u_k|^2 / 2``: one multiply-add for each feature and centre, where
`micro.nearest` has a subtraction too. It loses digits that `nearest` keeps. The pass, which takes products in float32,
so twice as many at a time, therefore leaves rows whose nearest centre is not certain to `nearest`: labels are always
its own, and ties go to the first.

Each has a kernel of its own, which compiles where it is first used: the pass where `pays` says so.
"""

from functools import cache

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from fastem.kernels.compiler import HELPER
from fastem.kernels.jit import Kernel
from fastem.kernels.lanes import BYTES, STEP
from fastem.kernels.memory import as_float32, as_float64, part, part_in_float32
from fastem.kernels.micro import (
    ROWS,
    add_rows_and_squares,
    largest_products,
    load,
    load_about,
    nearest,
    padded,
)
from fastem.kernels.mixture import N_SCALARS, fill, read_only

LEAST_CENTRES, LEAST_PRODUCTS = 16, 2048  # a pass then takes at most 0.6 of the time with `nearest`
MOST_IN_VAIN = 3  # tiles of a block of which few rows are certain, before products are given up in it
N_ROWS = 6  # per-point values of a tile
ROUNDING, SMALLEST = float(np.finfo(np.float32).eps), np.float32(1e-36)


def pays(K: int, D: int) -> bool:
    """Tell whether products are faster than `micro.nearest`."""
    return K >= LEAST_CENTRES and K * D >= LEAST_PRODUCTS


@register_jitable(**HELPER)
def centres_size(D: int, K: int, itemsize: int) -> int:
    """Return how many numbers what belongs to the centres takes, to the end of a cache line."""
    step = STEP // itemsize
    return (K * D + 2 * K + D + step - 1) // step * step


@cache
def scratch_size(D: int, K: int, tile: int, itemsize: int) -> int:
    """Return how many numbers the scratch memory of a worker has, which `carve` cuts up."""
    return (2 * padded(D) + N_ROWS) * tile + centres_size(D, K, itemsize)


@njit(**HELPER)
def carve(scratch, D, K):
    """Cut a worker's scratch memory into its arrays.

    xt (P, B), buffer (B, P) and rows (N_ROWS, B) start at cache lines; then come u (K, D), h (K), zero (K) and c (D).
    """
    P = (D + ROWS - 1) // ROWS * ROWS
    tile = (scratch.size - centres_size(D, K, scratch.itemsize)) // (2 * P + N_ROWS)
    xt, buffer, at = part(scratch, 0, (P, tile)), part(scratch, P * tile, (tile, P)), (2 * P + N_ROWS) * tile
    rows, u, h = part(scratch, 2 * P * tile, (N_ROWS, tile)), part(scratch, at, (K, D)), part(scratch, at + K * D, (K,))
    zero, c = part(scratch, at + K * D + K, (K,)), part(scratch, at + K * D + 2 * K, (D,))
    return xt, buffer, rows, u, h, zero, c


@njit(**HELPER)
def centre_on(means, u, h, c):
    """Set c to the mean of the centres, u_k = mean_k - c and h_k = -|u_k|^2 / 2; return the largest |u_k|^2."""
    K, D = means.shape
    for d in range(D):
        total = 0.0
        for k in range(K):
            total += means[k, d]
        c[d] = total / K
    most = 0.0
    for k in range(K):
        square = 0.0
        for d in range(D):
            z = means[k, d] - c[d]
            u[k, d] = z
            square += z * z
        h[k] = -0.5 * square
        most = max(most, square)
    return most


@njit(**HELPER)
def shift(xt, c, square):
    """Subtract c from all points of a tile, and set square[b] = |x_b - c|^2."""
    fill(square, 0.0)
    for d in range(c.size):
        for b in range(xt.shape[1]):
            xt[d, b] -= c[d]
            square[b] += xt[d, b] * xt[d, b]


@njit(**HELPER)
def number(X, i, d):
    """Return a number of rows of either type."""
    return np.float64(as_float32(X)[i, d]) if X.itemsize == 4 else as_float64(X)[i, d]


@njit(**HELPER)
def assign_rows(X, weight, start, stop, means, scratch, u, h, most, out):
    """Assign rows start to stop, and add them to the statistics out (`n_values`).

    u (K, D), h (K) float32: the centres, as `centre_on` leaves them, which returned `most`; scratch (`scratch_size`).
    Rows beyond whole vectors are for `nearest`.
    """
    K, D = means.shape
    xt, buffer, rows, _, _, zero, c = carve(scratch, D, K)
    w, top, found, uncertain, B = rows[0], rows[1], rows[2], rows[3], xt.shape[1]
    a, values = part_in_float32(xt, 0, xt.shape), part_in_float32(rows, 4 * B, (4, B))
    largest, second, label, square = values[0], values[1], values[2], values[3]
    s0, sums = out[N_SCALARS : N_SCALARS + K], part(out, N_SCALARS + K, (K, xt.shape[0]))
    fill(w, 1.0)
    # Two products together err by less than (D + 3) eps (|a|^2 + most), and by what underflows.
    slack, most, in_vain = np.float32(ROUNDING * (D + 8)), np.float32(most), 0
    lanes, contiguous = BYTES // a.itemsize, X.strides[1] == X.itemsize
    for first in range(start, stop, B):
        n = min(B, stop - first)
        whole = n // lanes * lanes if in_vain < MOST_IN_VAIN else 0
        for b in range(n if weight.size > 0 else 0):
            w[b] = weight[first + b]
        for b in range(0 if contiguous else n):
            for d in range(D):
                buffer[b, d] = number(X, first + b, d)
        if contiguous:
            load_about(a, X, X.itemsize, first, whole, c, square)
        else:
            load_about(a, buffer, buffer.itemsize, 0, whole, c, square)
        largest_products(a, u, h, whole, largest, second, label)
        m = 0
        for b in range(n):
            certain = b < whole and largest[b] - second[b] > slack * (square[b] + most) + SMALLEST
            if not certain:
                for d in range(D):
                    xt[d, m] = number(X, first + b, d)
                uncertain[m] = b
                m += 1
        nearest(xt, zero, means, m, top, found)
        for i in range(m):
            label[np.intp(uncertain[i])] = found[i]
        in_vain += 2 * m > n
        if contiguous:
            add_rows_and_squares(sums, s0, X, X.itemsize, first, n, w, label, means, out[1:2])
        else:
            add_rows_and_squares(sums, s0, buffer, buffer.itemsize, 0, n, w, label, means, out[1:2])
    out[1] *= -0.5


def assign_worker(task, n_tasks, X, weight, means, block, out, scratch):
    """Do blocks task, task + n_tasks, ... of the pass.

    X (N, D), weight (N) or (0) for 1, means (K, D) IN; block: rows per block; out (n_blocks, `n_values`) OUT: a
    block's statistics, as `mixture.accumulator` has them for HARD, FIRST and unit spheres of log norm 0;
    scratch (n_tasks, `scratch_size`): zeros.
    """
    K, D = means.shape
    _, _, _, u, h, _, c = carve(scratch[task], D, K)
    u, h = part_in_float32(u, 0, u.shape), part_in_float32(h, 0, h.shape)
    most = centre_on(means, u, h, c)
    for i in range(task, out.shape[0], n_tasks):
        start, stop = i * block, min((i + 1) * block, X.shape[0])
        fill(out[i], 0.0)
        assign_rows(X, weight, start, stop, means, scratch[task], u, h, most, out[i])


def two_nearest_worker(task, n_tasks, X, means, block, label, first, second, scratch):
    """Do blocks task, task + n_tasks, ... of the search for the two nearest centres of each row.

    label (N) OUT: the nearest of means (K, D), by products alone, which err in near ties; first, second (N) OUT: the
    squared distances to it and to the next. The others are as in `assign_worker`.
    """
    K, D = means.shape
    xt, _, rows, u, h, _, c = carve(scratch[task], D, K)
    largest, next_, index, square = rows[0], rows[1], rows[2], rows[3]
    centre_on(means, u, h, c)
    for start in range(task * block, X.shape[0], n_tasks * block):
        stop = min(start + block, X.shape[0])
        for begin in range(start, stop, xt.shape[1]):
            n = min(xt.shape[1], stop - begin)
            load(xt, X, X.itemsize, begin, n, 1)
            shift(xt, c, square)
            largest_products(xt, u, h, n, largest, next_, index)
            for b in range(n):
                label[begin + b] = np.intp(index[b])
                first[begin + b] = max(square[b] - 2.0 * largest[b], 0.0)
                second[begin + b] = max(square[b] - 2.0 * next_[b], 0.0)


def _types(real):
    return read_only(types.float64, 1, "A"), read_only(real, 2), types.intp, types.float64[:, ::1], real[:, ::1]


def _two_types(real):
    return read_only(real, 2), types.intp, types.int64[::1], types.float64[::1], types.float64[::1], real[:, ::1]


assign = Kernel(assign_worker, _types, "assign")
two_nearest = Kernel(two_nearest_worker, _two_types, "two_nearest")
