"""Run the fused pass and the scoring pass over rows that have errors of measurement, each row its own.

A row is x = v + e, with v a draw of the mixture and e of N(0, S), where S is known: Bovy, Hogg & Roweis (2011),
Ann. Appl. Stat. 5, 1657-1677. The row's density under component k is N(mean, T), T = C + S, and no two rows share T.
Lanes run over rows. With C = F F' (F lower triangular) the work per row and component is

1. T = L diag(p) L', and y = L^-1 (x - mean), eliminated together; log density = -(sum y^2 / p + log det T + ...) / 2;
2. V = L^-1 F, lower triangular as well; the true place is mean + F u, where u has the moments
   a = V' diag(1/p) y and I - M, M = V' diag(1/p) V (their eqs. 16 and 17);
3. sums of r, r a and r (a a' - M). The covariance is F (s0 I + sum r (a a' - M)) F', formed once per pass.

Each step takes D (D^2 - 1) / 3 flops, and together about 6 D^2 of lower order; `row_flops` counts them. In the
coordinates of u all is of size one, so that a direction in which a component is narrow keeps its digits. An infinite
variance makes 1/p zero: that feature of that row then counts for nothing, as if it were missing, without a branch.

A kernel is made for each D, up to `MOST_FEATURES`, and its arithmetic is unrolled: L, V and M of a few rows fit the
registers and the first-level cache. All is float64.
"""

from functools import cache
from math import pi
from typing import Any

import numpy as np
from numba import njit, types

from fastem.kernels.compiler import EXACT, HELPER
from fastem.kernels.elimination import WIDTH, add_moments_for, eliminate_for, packed
from fastem.kernels.jit import Kernel
from fastem.kernels.memory import ROWS_OF_EITHER, part, to_float, to_integer
from fastem.kernels.micro import best, load, padded
from fastem.kernels.mixture import (
    N_SCALARS,
    fill,
    first_of,
    log,
    log_sum_exp,
    read_only,
    restrict,
    scale,
    store,
    weigh,
    weighted_sum,
)

MOST_FEATURES = 24  # for which a kernel is made: its code grows as D^3, and takes 1 to 2 s to compile, 5 s at the most
TILE = 64  # rows: a multiple of what the micro-kernels step by, everywhere
LOG_2PI, LOG_2 = float(np.log(2 * pi)), float(np.log(2))
ROUNDING = 1e-13  # of an error's variance: a pivot below it has lost all but two digits, as C + S is rounded
N_ROWS = 8  # per-row values of a tile: weight, top, label, total, spread, constant, mantissa, exponent


def row_flops(K: int, D: int) -> int:
    """Return the work per row in flops."""
    return K * (D * (D * D - 1) + 6 * D * D + 60)


def n_values(columns: int, K: int, D: int) -> int:
    """Return how many values the statistics of a block are: scalars, `columns` sums, and K times a and a a' - M."""
    return N_SCALARS + columns + K * (D + packed(D, 0))


def error_rows(D: int, full: bool) -> int:
    """Return the rows of a tile of errors."""
    return padded(D * D if full else D)


def scratch_size(D: int, full: bool, K: int, columns: int) -> int:
    """Return how many numbers the scratch memory of a worker has."""
    E = packed(D, 0)
    return (padded(D) + error_rows(D, full) + columns + K * (E + D) + N_ROWS) * TILE + K * (D + E) * WIDTH


@njit(**HELPER)
def fetch(X, errors, first, n, xt, st, constant):
    """Load a tile and its errors; NaN in a row is of infinite variance, and becomes 0.

    Set constant to -log(2 pi) / 2 for each feature that is measured.
    """
    D = X.shape[1]
    load(xt, X, X.itemsize, first, n, 1)
    load(st, errors, errors.itemsize, first, n, 1)
    fill(constant, 0.0)
    for d in range(D):
        variance = st[d if errors.shape[1] == D else d * (D + 1)]
        for b in range(n):
            measured = (variance[b] < np.inf) & (xt[d, b] == xt[d, b])
            variance[b] = variance[b] if measured else np.inf
            xt[d, b] = xt[d, b] if measured else 0.0
            constant[b] -= 0.5 * LOG_2PI if measured else 0.0


@njit(**EXACT)
def add_log_density(factors, D, c, constant, st, step, n, mantissa, exponent, q):
    """Replace q by the log joint density c + constant - (q + log det T) / 2, -inf for NaN.

    It is inf where a pivot is lost to `ROUNDING` beside the variance of its feature's error, row i * step of st.
    The product of all 1 / p, as a mantissa and an exponent, takes one logarithm, and neither overflows nor vanishes.
    """
    fill(mantissa, 1.0)
    fill(exponent, 0.0)
    for i in range(D):
        inverse, variance = factors[i * (i + 1) // 2 + i], st[i * step]
        for b in range(n):
            bits = to_integer(mantissa[b] * (inverse[b] if inverse[b] > 0.0 else 1.0))
            power = (bits >> 52) - 1023
            lost = inverse[b] > 0.0 and variance[b] * inverse[b] > 1.0 / ROUNDING
            exponent[b] += np.inf if lost else power
            mantissa[b] = to_float(bits - (power << 52))
    for b in range(n):
        value = c + constant[b] - 0.5 * q[b] + 0.5 * (log(mantissa[b]) + LOG_2 * exponent[b])
        q[b] = value if value == value else -np.inf


@njit(**HELPER)
def add_noise(c, widths, st, step, n, lp):
    """Set lp to the log joint density of noise, uniform over the box's sides (log `widths`) that are measured."""
    for b in range(n):
        lp[b] = c
    for d in range(widths.shape[0]):
        for b in range(n):
            lp[b] -= widths[d] if st[d * step, b] < np.inf else 0.0


@njit(**HELPER)
def share_softly(lp, labels, allowed, first, n, lognorm, w, top, label, total, spread, out):
    """Turn log joint densities into responsibilities times weights, and add the rows' log densities and entropies."""
    log_sum_exp(lp, n, top, total, spread, label)
    for b in range(n):
        if top[b] == -np.inf:
            lp[0, b] = 0.0
            lp[first_of(labels, allowed, first + b, lognorm), b] = 1.0
    for b in range(n):
        label[b] *= w[b]
    fill(label[n:], 0.0)
    scale(lp, lp.shape[1], label)
    out[0] += weighted_sum(w, total, n)
    out[1] += weighted_sum(w, top, n)
    out[2] += weighted_sum(w, spread, n)


@njit(**HELPER)
def share_whole(lp, labels, allowed, first, n, lognorm, w, top, label, out):
    """Give each row, with its weight, to its most probable component."""
    best(lp, n, top, label)
    out[1] += weighted_sum(w, top, n)
    for b in range(n):
        if top[b] == -np.inf:
            label[b] = first_of(labels, allowed, first + b, lognorm)
    for k in range(lp.shape[0]):
        for b in range(lp.shape[1]):
            lp[k, b] = w[b] if b < n and label[b] == k else 0.0


def joint_for(D: int, full: bool) -> Any:
    """Return the function that fills lp (columns, B) for a tile, and keeps what `add_moments` needs."""
    eliminate = eliminate_for(D, full)

    @njit(**HELPER)
    def joint(lognorm, means, cov, root, widths, st, constant, n, mantissa, exponent, factors, xt, lp):
        step = D + 1 if full else 1
        for k in range(means.shape[0]):
            eliminate(xt, st, means[k], cov[k], root[k], n, factors[k], lp[k])
            add_log_density(factors[k], D, lognorm[k], constant, st, step, n, mantissa, exponent, lp[k])
        if lp.shape[0] > means.shape[0]:
            add_noise(lognorm[means.shape[0]], widths, st, step, n, lp[means.shape[0]])

    return joint


def accumulator(D: int, full: bool) -> Any:
    """Return the worker of the fused pass."""
    joint, add_moments = joint_for(D, full), add_moments_for(D)
    P, Q, E = padded(D), error_rows(D, full), packed(D, 0)
    A = D + E

    def worker(
        task,
        n_tasks,
        X,
        errors,
        weight,
        labels,
        allowed,
        lognorm,
        means,
        cov,
        root,
        widths,
        hard,
        block,
        out,
        scratch,
    ):
        """Do blocks task, task + n_tasks, ... of the fused pass.

        X (N, D) IN; errors (N, D) or (N, D * D) IN, infinite, or X is NaN, where a feature was not measured;
        weight (N), labels (N), allowed (N, K) IN, or of size 0, as in `fastem.kernels.mixture.accumulator`;
        lognorm (columns) IN: log weights, of noise last; means (K, D), cov, root (K, D, D) IN: root root' = cov;
        widths (D) IN: logarithms of the sides of noise; hard: whether a row is given whole to one component;
        block: rows per block; out (n_blocks, `n_values`) OUT; scratch (n_tasks, `scratch_size`).
        """
        K, columns = means.shape[0], lognorm.shape[0]
        memory = scratch[task]
        xt, st = part(memory, 0, (P, TILE)), part(memory, P * TILE, (Q, TILE))
        at = (P + Q) * TILE
        lp = part(memory, at, (columns, TILE))
        at += columns * TILE
        factors = part(memory, at, (K, A, TILE))
        at += K * A * TILE
        rows = part(memory, at, (N_ROWS, TILE))
        w, top, label, total, spread = rows[0], rows[1], rows[2], rows[3], rows[4]
        constant, mantissa, exponent = rows[5], rows[6], rows[7]
        at += N_ROWS * TILE
        flat = part(memory, at, (K * A * WIDTH,))
        sums = part(memory, at, (K, A, WIDTH))
        for i in range(task, out.shape[0], n_tasks):
            start, stop = i * block, min((i + 1) * block, X.shape[0])
            while weight.size > 0 and stop > start and weight[stop - 1] == 0.0:
                stop -= 1
            fill(out[i], 0.0)
            fill(flat, 0.0)
            fill(w, 1.0)
            for first in range(start, stop, TILE):
                n = min(TILE, stop - first)
                fetch(X, errors, first, n, xt, st, constant)
                if weight.size > 0:
                    weigh(weight, first, n, 1.0, means[0], w, xt)
                fill(w[n:], 0.0)
                joint(lognorm, means, cov, root, widths, st, constant, n, mantissa, exponent, factors, xt, lp)
                if labels.size > 0 or allowed.size > 0:
                    restrict(labels, allowed, first, n, label, lp)
                if hard:
                    share_whole(lp, labels, allowed, first, n, lognorm, w, top, label, out[i])
                else:
                    share_softly(lp, labels, allowed, first, n, lognorm, w, top, label, total, spread, out[i])
                for k in range(columns):
                    mass = 0.0
                    for b in range(n):
                        mass += lp[k, b]
                    out[i, N_SCALARS + k] += mass
                for k in range(K):
                    add_moments(factors[k], root[k], lp[k], n, sums[k])
            for j in range(K * A):
                value = 0.0
                for lane in range(WIDTH):
                    value += flat[j * WIDTH + lane]
                out[i, N_SCALARS + columns + j] = value

    return worker


def scorer(D: int, full: bool) -> Any:
    """Return the worker of the scoring pass."""
    joint = joint_for(D, full)
    P, Q, E = padded(D), error_rows(D, full), packed(D, 0)

    def worker(task, n_tasks, X, errors, lognorm, means, cov, root, widths, block, out, scratch):
        """Do blocks task, task + n_tasks, ...; out (N, columns) OUT: log joint densities; the others as above."""
        K, columns = means.shape[0], lognorm.shape[0]
        memory = scratch[task]
        xt, st = part(memory, 0, (P, TILE)), part(memory, P * TILE, (Q, TILE))
        lp = part(memory, (P + Q) * TILE, (columns, TILE))
        factors = part(memory, (P + Q + columns) * TILE, (K, E + D, TILE))
        rows = part(memory, (P + Q + columns + K * (E + D)) * TILE, (N_ROWS, TILE))
        for i in range(task, (X.shape[0] + block - 1) // block, n_tasks):
            for first in range(i * block, min((i + 1) * block, X.shape[0]), TILE):
                n = min(TILE, min((i + 1) * block, X.shape[0]) - first)
                fetch(X, errors, first, n, xt, st, rows[0])
                joint(lognorm, means, cov, root, widths, st, rows[0], n, rows[1], rows[2], factors, xt, lp)
                store(lp, first, n, out)

    return worker


def _mixture_types():
    real = types.float64
    mixture = read_only(real, 1), read_only(real, 2), read_only(real, 3), read_only(real, 3), read_only(real, 1)
    return ROWS_OF_EITHER, mixture


def _accumulate_types(_):
    errors, mixture = _mixture_types()
    given = read_only(types.float64, 1, "A"), read_only(types.int64, 1, "A"), read_only(types.boolean, 2, "A")
    rest = types.boolean, types.intp, types.float64[:, ::1], types.float64[:, ::1]
    return errors, *given, *mixture, *rest


def _score_types(_):
    errors, mixture = _mixture_types()
    return errors, *mixture, types.intp, types.float64[:, ::1], types.float64[:, ::1]


@cache
def accumulate(D: int, full: bool) -> Kernel:
    """Return the kernel of the fused pass; its arguments are those of the worker of `accumulator`."""
    return Kernel(accumulator(D, full), _accumulate_types, f"accumulate_errors_{D}_{full}")


@cache
def score(D: int, full: bool) -> Kernel:
    """Return the kernel of the scoring pass; its arguments are those of the worker of `scorer`."""
    return Kernel(scorer(D, full), _score_types, f"score_errors_{D}_{full}")
