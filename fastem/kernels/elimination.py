"""The micro-kernels of rows with errors: one factor for each row, made for a number of features.

Lanes run over rows, and all arithmetic of a row is unrolled. `fastem.kernels.errors` says what it is, and has the loops
around it.
"""

from functools import cache, partial
from typing import Any

import numba
import numpy as np

from fastem.kernels.lanes import BYTES
from fastem.kernels.shared import micro_kernel

WIDTH = BYTES // 8  # rows of a vector


def packed(i: int, j: int) -> int:
    """Return the place of entry (i, j), j <= i, of a lower triangle that is stored row by row."""
    return i * (i + 1) // 2 + j


def eliminate_plain(full, xt, st, mean, cov, root, n, out, q):
    """Factor T and eliminate x - mean, for a tile's rows.

    xt (P, B) rows; st (rows, B) errors, D variances or, if `full`, D * D covariances; mean (D); cov, root (D, D): root
    is lower triangular, with cov = root root'; out (D (D + 1) / 2 + D, B) OUT: L, with 1 / p on its diagonal, and y;
    q (B) OUT: sum y^2 / p. A pivot p is no less than root_ii^2, but for rounding.
    """
    D, E = mean.shape[0], packed(mean.shape[0], 0)
    for b in range(n):
        q[b] = 0.0
        for i in range(D):
            g, y, own = np.zeros(i + 1), xt[i, b] - mean[i], packed(i, 0)
            for j in range(i + 1):
                g[j] = cov[i, j]
                if full:
                    g[j] += st[i * D + j, b]
                elif i == j:
                    g[j] += st[i, b]
                for t in range(j):
                    g[j] -= g[t] * out[packed(j, t) if j < i else own + t, b]
                if j < i:
                    out[own + j, b] = g[j] * out[packed(j, j), b]
                    y -= out[own + j, b] * out[E + j, b]
            pivot = g[i] if g[i] > root[i, i] ** 2 else root[i, i] ** 2
            out[own + i, b], out[E + i, b] = 1.0 / pivot, y
            q[b] += y * y * out[own + i, b]


def add_moments_plain(factors, root, r, n, sums):
    """Add r a and r (a a' - M) of a tile's rows to sums (D + D (D + 1) / 2, WIDTH); factors are `eliminate`'s out."""
    D = root.shape[0]
    E = packed(D, 0)
    for b in range(n):
        lower, p = np.eye(D), np.empty(D)
        for i in range(D):
            p[i] = factors[packed(i, i), b]
            for j in range(i):
                lower[i, j] = factors[packed(i, j), b]
        V = np.linalg.solve(lower, root)
        a, M = V.T @ (p * factors[E:, b]), V.T @ (p[:, None] * V)
        sums[:D, b % WIDTH] += r[b] * a
        for i in range(D):
            for j in range(i + 1):
                sums[D + packed(i, j), b % WIDTH] += r[b] * (a[i] * a[j] - M[i, j])


@cache
def eliminate_for(D: int, full: bool) -> Any:
    """Return `eliminate` for D features, and errors that are matrices (full) or variances."""
    if numba.config.DISABLE_JIT:
        return partial(eliminate_plain, full)

    def eliminate(lanes, xt, st, mean, cov, root, n, out, q):
        E, one = packed(D, 0), lanes.constant(1.0)
        with lanes.loop(0, n, lanes.width) as b:

            def error(i, j):
                return lanes.load(st.row(i * D + j if full else i), b)

            L, y, inverse, total = {}, [], [], lanes.constant(0.0)
            for i in range(D):
                g, residual = [], lanes.load(xt.row(i), b) - lanes.spread(mean.row(), i)
                for j in range(i + 1):
                    entry = lanes.spread(cov.row(i), j)
                    if full or i == j:
                        entry = entry + error(i, j)
                    for t in range(j):
                        entry = entry - g[t] * L[max(i, j), t] if i == j else entry - g[t] * L[j, t]
                    g.append(entry)
                    if j < i:
                        L[i, j] = entry * inverse[j]
                        lanes.store(L[i, j], out.row(packed(i, j)), b)
                        residual = residual - L[i, j] * y[j]
                own = lanes.spread(root.row(i), i)
                least = own * own
                pivot = lanes.select(g[i] > least, g[i], least)
                inverse.append(one / pivot)
                y.append(residual)
                lanes.store(inverse[i], out.row(packed(i, i)), b)
                lanes.store(residual, out.row(E + i), b)
                total = (residual * inverse[i]).fma(residual, total)
            lanes.store(total, q.row(), b)

    return micro_kernel(eliminate, f"eliminate_{D}_{'full' if full else 'diag'}")


@cache
def add_moments_for(D: int) -> Any:
    """Return `add_moments` for D features."""
    if numba.config.DISABLE_JIT:
        return add_moments_plain

    def add_moments(lanes, factors, root, r, n, sums):
        E = packed(D, 0)
        with lanes.loop(0, n, lanes.width) as b:

            def factor(row):
                return lanes.load(factors.row(row), b)

            def add(vector, row):
                lanes.store(lanes.load(sums.row(row)) + vector, sums.row(row))

            w, V, scaled = lanes.load(r.row(), b), {}, {}
            for i in range(D):
                inverse, lower = factor(packed(i, i)), [factor(packed(i, j)) for j in range(i)]
                for c in range(i + 1):
                    value = lanes.spread(root.row(i), c)
                    for t in range(c, i):
                        value = value - lower[t] * V[t, c]
                    V[i, c], scaled[i, c] = value, value * inverse
            y, a, weighted = [factor(E + i) for i in range(D)], [], []
            for c in range(D):
                place = scaled[c, c] * y[c]
                for t in range(c + 1, D):
                    place = scaled[t, c].fma(y[t], place)
                a.append(place)
                weighted.append(w * place)
                add(weighted[c], c)
            for i in range(D):
                for j in range(i + 1):
                    M = scaled[i, i] * V[i, j]
                    for t in range(i + 1, D):
                        M = scaled[t, i].fma(V[t, j], M)
                    add(weighted[i] * a[j] - w * M, D + packed(i, j))

    return micro_kernel(add_moments, f"add_moments_{D}")
