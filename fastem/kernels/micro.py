"""Do all arithmetic of the hot loops, on one tile of points, with explicit SIMD: the micro-kernels.

This module is long because each micro-kernel stands beside its plain twin, and because it keeps what was measured and
tried.

As in BLIS, a micro-kernel contains arithmetic and nothing else; the loops over components, tiles and blocks around it
are plain Numba, in `mixture`. Its plain twin, ``<name>_plain``, says what it does. The twin runs with
NUMBA_DISABLE_JIT, and tests compare the two.

A tile is ``(P, B)``: features in rows, points in columns, so that SIMD lanes run over points. P is D rounded up to a
multiple of ROWS, B a multiple of STEP bytes. All of a tile is float64 or all of it float32; sums over points leave
the tile in float64. Micro-kernels work on whole vectors: points from n to the next multiple of STEP must be finite,
and have responsibility 0. The statistics of a component are rows of 4: for features i to i + 3 their first moments,
then their second moments, as `moments_rows` says.

What was measured (one core of an AVX-512 processor at 4 GHz, where DGEMM reaches 100 to 115 GFLOP/s and the peak is
128; useful GFLOP/s, that is D (D + 3) flops for the quadratic form and (D + 1) (D + 2) for the moments):

=========================  ====  ====  ====  ====  ====  ====  ====  ====
D                             2     3     4     8    10    16    32    64
=========================  ====  ====  ====  ====  ====  ====  ====  ====
log_joint_full, float64      81   103   116   122   121   128   130   131
moments_full, float64        94   120   126   123   106   111   106   113
log_joint_full, float32     153   194   229   240   233   247   258   263
moments_full, float32       156   191   216   201   185   202   214   220
auto-vectorised, 4 x 4             21          46    37    57    63    71
=========================  ====  ====  ====  ====  ====  ====  ====  ====

What made the difference, in this order: the accumulators of 4 rows x 4 vectors of points (4 x 4 entries of the
outer product) stay in registers; only the triangles are computed, and of the last rows only those that exist; the
subtraction of the mean happens where a row is first read, not in a pass of its own; rows start at cache lines
(`lanes.aligned`: 1.3 times); nothing is read back from memory that was just in a register (the quadratic form is
summed over rows in registers: 2 times at D = 10); sums over lanes are taken for `width` accumulators at a time.

Tried and dropped: features in the lanes (10 times slower in plain Numba; the points-in-lanes form above is at the
limit without its padding); one component's triangle padded to a multiple of 4 (1.5 times slower at D = 10); a
compile-time D for small D (what is unrolled here is as fast, for one compilation); the matrix-product form of the
E-step (at its own limit it has the same number of flops, and loses digits); skipping pairs of tile and component
whose largest responsibility is below 1e-18 (of rows in random order hardly any are: 0 of 7 mixtures, K up to 512).
Estrin's scheme for the polynomial of exp, and a minimax polynomial of one degree less, gained nothing measurable.
"""

from math import exp, factorial

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import register_jitable

from fastem.kernels.compiler import HELPER
from fastem.kernels.lanes import CACHE_LINE, COLUMNS, VECTORS, Index, Vector
from fastem.kernels.shared import micro_kernel

ROWS = 4  # features that are worked on together
# exp: r = x - n log 2 with log 2 in two parts (Cody & Waite), the Taylor series in r, |r| <= log(2) / 2, times 2**n.
# x / log 2 + magic, magic = 1.5 * 2**52 + 1023 (1.5 * 2**23 + 127 in float32), rounds to an integer whose low bits are
# n + bias. The series is cut at 1.7e-16 (5e-9), relatively. Below `least` the result would be subnormal.
LOG2E = 1.4426950408889634
EXP64 = (6755399441055744.0 + 1023, 0.693147180369123816490, 1.90821492927058770e-10, -708.0, 12)
EXP32 = (12582912.0 + 127, 0.693359375, -2.12194440e-4, -87.0, 7)


def padded(D: int) -> int:
    """Return the rows of a tile: D rounded up to ROWS."""
    return -(-D // ROWS) * ROWS


# --- E-step: log weight + log density ------------------------------------------------------------------------------


def log_joint_full_plain(xt, mean, W, c, n, z, out):
    """Set out[b] = c - |W (x_b - mean)|^2 / 2, -inf for NaN; W is lower triangular, z scratch (P, STEP bytes)."""
    D = mean.shape[0]
    for b in range(n):
        q = 0.0
        for i in range(D):
            y = 0.0
            for j in range(i + 1):
                y += W[i, j] * (xt[j, b] - mean[j])
            q += y * y
        q = c - 0.5 * q
        out[b] = q if q == q else -np.inf


def whiten_plain(xt, mean, W, n, z, out):
    """Set out[i, b] = (W (x_b - mean))_i; the other arguments are as in `log_joint_full`."""
    for b in range(n):
        for i in range(mean.shape[0]):
            y = 0.0
            for j in range(i + 1):
                y += W[i, j] * (xt[j, b] - mean[j])
            out[i, b] = y


def log_joint_diag_plain(xt, lognorm, means, factor, n, lp):
    """Set lp[k, b] = lognorm_k - sum_d (w_kd (x_bd - mean_kd))^2 / 2, -inf for NaN; w is factor (K|1, D|1)."""
    K, D = means.shape
    for k in range(K):
        w = factor[k if factor.shape[0] > 1 else 0]
        for b in range(n):
            q = 0.0
            for d in range(D):
                y = w[d if w.shape[0] > 1 else 0] * (xt[d, b] - means[k, d])
                q += y * y
            q = lognorm[k] - 0.5 * q
            lp[k, b] = q if q == q else -np.inf


def _triangular_product(lanes, xt, mean, W, b, z, use, n_rows=None):
    """Compute y = W (x - mean) for VECTORS of points from b, ROWS rows at a time; `use(i, r, v, y)` takes the results.

    A row is centred where it first meets W, in the triangle that ends a block of rows, and kept in the scratch memory
    z for the blocks that follow. If D is known to be `n_rows`, at most ROWS, that triangle is all.
    """
    V = range(VECTORS)

    def block(i, n_rows, last):
        sums = [[lanes.accumulator() for _ in V] for _ in range(n_rows)]
        factor = [W.row(i + r) for r in range(n_rows)]

        def add(j, points, rows):
            for r in rows:
                w = lanes.spread(factor[r], j)
                for v in V:
                    sums[r][v].add_product(w, points[v])

        with lanes.loop(0, i) as j:
            add(j, [lanes.load(z.row(j), v * lanes.width) for v in V], range(n_rows))
        for r in range(n_rows):
            j = i + r
            m = lanes.spread(mean.row(), j)
            centred = [lanes.load(xt.row(j), b, v * lanes.width) - m for v in V]
            if not last:
                for v in V:
                    lanes.store(centred[v], z.row(j), v * lanes.width)
            add(j, centred, range(r, n_rows))
        for r in range(n_rows):
            for v in V:
                use(i, r, v, sums[r][v].value)

    D = mean.shape[0]
    if n_rows is not None:
        block(D - n_rows, n_rows, last=True)
        return
    whole = (D - 1) & -ROWS  # rows before the last block, of 1 to ROWS
    with lanes.loop(0, whole, ROWS) as i:
        block(i, ROWS, last=False)
    for n_rows in lanes.cases(D - whole, range(1, ROWS + 1)):
        block(whole, n_rows, last=True)


def _store_log_joint(lanes, c, q, *place):
    """Store c - q / 2, with -inf for NaN."""
    value = q.fma(lanes.constant(-0.5), c)
    lanes.store(lanes.select(value.is_number(), value, lanes.constant(-np.inf)), *place)


@micro_kernel
def log_joint_full(lanes, xt, mean, W, c, n, z, out):
    D = mean.shape[0]

    def points(n_rows):
        with lanes.loop(0, n, lanes.step) as b:
            totals = [lanes.accumulator() for _ in range(VECTORS)]
            _triangular_product(lanes, xt, mean, W, b, z, lambda i, r, v, y: totals[v].add_product(y, y), n_rows)
            for v in range(VECTORS):
                _store_log_joint(lanes, c, totals[v].value, out.row(), b, v * lanes.width)

    for is_large in lanes.branches(D > ROWS):
        if is_large:
            points(None)
        else:  # the number of rows is decided outside of the loop: half the time at D = 2 to 4
            for n_rows in lanes.cases(D, range(1, ROWS + 1)):
                points(n_rows)


@micro_kernel
def whiten(lanes, xt, mean, W, n, z, out):
    with lanes.loop(0, n, lanes.step) as b:

        def store(i, r, v, y):
            lanes.store(y, out.row(i + r), b, v * lanes.width)

        _triangular_product(lanes, xt, mean, W, b, z, store)


@micro_kernel
def log_joint_diag(lanes, xt, lognorm, means, factor, n, lp):
    (K, D), (n_factors, n_w), V = means.shape, factor.shape, range(VECTORS)
    # The points are outside and stay in the first-level cache, for all components.
    with lanes.loop(0, n, lanes.step) as b, lanes.loop(0, K) as k:
        mean, weight = means.row(k), factor.row(n_factors.broadcast(k))
        totals = [lanes.accumulator() for _ in V]
        with lanes.loop(0, D) as d:
            m, w = lanes.spread(mean, d), lanes.spread(weight, n_w.broadcast(d))
            for v in V:
                y = (lanes.load(xt.row(d), b, v * lanes.width) - m) * w
                totals[v].add_product(y, y)
        for v in V:
            _store_log_joint(lanes, lanes.spread(lognorm.row(), k), totals[v].value, lp.row(k), b, v * lanes.width)


# --- the nearest mean -----------------------------------------------------------------------------------------------


def nearest_plain(xt, lognorm, means, n, top, label):
    """Set top[b] to the largest lognorm_k - |x_b - mean_k|^2 / 2, and label[b] to its k, the first of equals.

    These are the numbers that `log_joint_diag` computes with unit factors, but they are not stored and read again: this
    takes half the time.
    """
    for b in range(n):
        top[b] = -np.inf
        label[b] = 0
        for k in range(means.shape[0]):
            q = 0.0
            for d in range(means.shape[1]):
                y = xt[d, b] - means[k, d]
                q += y * y
            q = lognorm[k] - 0.5 * q
            if q > top[b]:
                top[b] = q
                label[b] = k


@micro_kernel
def nearest(lanes, xt, lognorm, means, n, top, label):
    (K, D), V = means.shape, range(VECTORS)
    with lanes.loop(0, n, lanes.step) as b:
        best = [lanes.accumulator(lanes.constant(-np.inf)) for _ in V]
        index, number = [lanes.accumulator() for _ in V], lanes.accumulator()
        with lanes.loop(0, K) as k:
            mean, totals = means.row(k), [lanes.accumulator() for _ in V]
            with lanes.loop(0, D) as d:
                m = lanes.spread(mean, d)
                for v in V:
                    y = lanes.load(xt.row(d), b, v * lanes.width) - m
                    totals[v].add_product(y, y)
            c = lanes.spread(lognorm.row(), k)
            for v in V:
                value = totals[v].value.fma(lanes.constant(-0.5), c)
                better, current = value > best[v].value, number.value
                best[v].value = lanes.select(better, value, best[v].value)
                index[v].value = lanes.select(better, current, index[v].value)
            number.add(lanes.constant(1.0))
        for v in V:
            lanes.store(best[v].value, top.row(), b, v * lanes.width)
            lanes.store(index[v].value, label.row(), b, v * lanes.width)


def best_plain(lp, n, top, label):
    """Set top[b] to the largest lp[:, b], and label[b] to its index, the first of equals."""
    for b in range(n):
        top[b] = lp[0, b]
        label[b] = 0
        for k in range(1, lp.shape[0]):
            if lp[k, b] > top[b]:
                top[b] = lp[k, b]
                label[b] = k


@micro_kernel
def best(lanes, lp, n, top, label):
    V = range(VECTORS)
    with lanes.loop(0, n, lanes.step) as b:

        def load(k):
            return [lanes.load(lp.row(k), b, v * lanes.width) for v in V]

        largest, index = [lanes.accumulator(x) for x in load(0)], [lanes.accumulator() for _ in V]
        number = lanes.accumulator()
        with lanes.loop(1, lp.shape[0]) as k:
            number.add(lanes.constant(1.0))
            for x, value, place in zip(load(k), largest, index, strict=True):
                better = x > value.value
                value.value = lanes.select(better, x, value.value)
                place.value = lanes.select(better, number.value, place.value)
        for v in V:
            lanes.store(largest[v].value, top.row(), b, v * lanes.width)
            lanes.store(index[v].value, label.row(), b, v * lanes.width)


def largest_products_plain(a, u, h, n, largest, second, label):
    """Set largest[b] and second[b] to the largest and the next of h_k + a_b' u_k, and label[b] to the k of the first.

    Among equals it is the first k; `second` then equals `largest`.
    """
    for b in range(n):
        largest[b] = second[b] = -np.inf
        label[b] = 0
        for k in range(u.shape[0]):
            value = h[k]
            for d in range(u.shape[1]):
                value += u[k, d] * a[d, b]
            if value > largest[b]:
                second[b], largest[b], label[b] = largest[b], value, k
            elif value > second[b]:
                second[b] = value


@micro_kernel
def largest_products(lanes, a, u, h, n, largest, second, label):
    (K, D), V = u.shape, range(VECTORS)
    whole = K & -ROWS
    with lanes.loop(0, n, lanes.step) as b:
        first, next_ = ([lanes.accumulator(lanes.constant(-np.inf)) for _ in V] for _ in range(2))
        index, number = [lanes.accumulator() for _ in V], lanes.accumulator()

        def compare(value, v, first=first, next_=next_, index=index, number=number):
            better, least, current = value > first[v].value, value > next_[v].value, number.value
            next_[v].value = lanes.select(better, first[v].value, lanes.select(least, value, next_[v].value))
            first[v].value = lanes.select(better, value, first[v].value)
            index[v].value = lanes.select(better, current, index[v].value)

        def some(k, count, b=b, number=number, compare=compare):
            sums = [[lanes.accumulator(lanes.spread(h.row(), k + c)) for _ in V] for c in range(count)]
            rows = [u.row(k + c) for c in range(count)]
            with lanes.loop(0, D) as d:
                points = [lanes.load(a.row(d), b, v * lanes.width) for v in V]
                for c in range(count):
                    factor = lanes.spread(rows[c], d)
                    for v in V:
                        sums[c][v].add_product(factor, points[v])
            for c in range(count):
                for v in V:
                    compare(sums[c][v].value, v)
                number.add(lanes.constant(1.0))

        with lanes.loop(0, whole, ROWS) as k:
            some(k, ROWS)
        for count in lanes.cases(K - whole, range(1, ROWS)):
            some(whole, count)
        for values, place in ((first, largest), (next_, second), (index, label)):
            for v in V:
                lanes.store(values[v].value, place.row(), b, v * lanes.width)


# --- responsibilities ----------------------------------------------------------------------------------------------


def exponentials_plain(lp, n, top, total, spread):
    """Replace lp by e = exp(lp - top), top[b] = max_k lp[k, b]; total, spread: sums over k of e and of e (lp - top).

    A point whose density underflows under every component (top = -inf) belongs to the first.
    """
    for b in range(n):
        top[b] = -np.inf
        for k in range(lp.shape[0]):
            top[b] = max(top[b], lp[k, b])
        total[b] = spread[b] = 0.0
        for k in range(lp.shape[0]):
            d = max(lp[k, b] - (top[b] if top[b] > -np.inf else 0.0), -745.0)
            lp[k, b] = exp(d) if d >= -708.0 else 0.0
            total[b] += lp[k, b]
            spread[b] += lp[k, b] * d
        if total[b] == 0.0:
            lp[0, b] = total[b] = 1.0


def _exp(lanes, x):
    """Return e**x for x <= 0, to 2 ulp; 0 below `least`, NaN for NaN.

    Takes a list of vectors and does each operation for all of them, so that their latencies overlap.
    """
    magic, high, low, least, degree = EXP64 if lanes.double else EXP32
    number = lanes.constant
    t = [v.fma(number(LOG2E), number(magic)) for v in x]
    n = [v.minus_exactly(number(magic)) for v in t]
    r = [a.fma(number(-high), v) for a, v in zip(n, x, strict=True)]
    r = [a.fma(number(-low), v) for a, v in zip(n, r, strict=True)]
    y = [number(1.0 / factorial(degree))] * len(x)
    for k in range(degree - 1, -1, -1):
        y = [p.fma(v, number(1.0 / factorial(k))) for p, v in zip(y, r, strict=True)]
    y = [p * lanes.power_of_two(v) for p, v in zip(y, t, strict=True)]
    return [lanes.select(a < number(least), number(0.0), p) for a, p in zip(x, y, strict=True)]


@micro_kernel
def exponentials(lanes, lp, n, top, total, spread):
    K, V = lp.shape[0], range(VECTORS)
    infinity, lowest, zero, one = (lanes.constant(x) for x in (-np.inf, -745.0, 0.0, 1.0))
    with lanes.loop(0, n, lanes.step) as b:

        def load(k):
            return [lanes.load(lp.row(k), b, v * lanes.width) for v in V]

        def store(vector, v, row):
            lanes.store(vector, row, b, v * lanes.width)

        best = [lanes.accumulator(infinity) for _ in V]
        with lanes.loop(0, K) as k:
            for v, x in enumerate(load(k)):
                best[v].value = lanes.select(x > best[v].value, x, best[v].value)
        base = [lanes.select(a.value > infinity, a.value, zero) for a in best]
        sums, products = ([lanes.accumulator() for _ in V] for _ in range(2))
        with lanes.loop(0, K) as k:
            d = [x - a for x, a in zip(load(k), base, strict=True)]
            d = [lanes.select(x > lowest, x, lowest) for x in d]  # so that 0 * d is 0
            for v, (x, e) in enumerate(zip(d, _exp(lanes, d), strict=True)):
                store(e, v, lp.row(k))
                sums[v].add(e)
                products[v].add_product(e, x)
        for v, first in enumerate(load(0)):
            s = sums[v].value
            store(lanes.select(s > zero, first, one), v, lp.row(0))
            store(lanes.select(s > zero, s, one), v, total.row())
            store(best[v].value, v, top.row())
            store(products[v].value, v, spread.row())


# --- M-step: sums over points, in rows of 4 ------------------------------------------------------------------------


FIRST, DIAG, FULL = range(3)  # first moments; also the second moment of each feature; also all second moments


@register_jitable(**HELPER)
def moments_rows(form: int, D: int) -> int:
    """Return how many rows of 4 a component's moments take, by form (FIRST, DIAG or FULL); for Python and kernels."""
    blocks = (D + ROWS - 1) // ROWS
    return blocks if form == FIRST else 2 * blocks if form == DIAG else blocks * (2 * blocks + 3)


def moments_diag_plain(xt, r, mean, i, second, n, sums):
    """Add a row of sum_b r z, z = x_b - mean, for features i to i + 3, and if `second` a row of sum_b r z^2."""
    for j in range(min(ROWS, mean.shape[0] - i)):
        for b in range(n):
            z = xt[i + j, b] - mean[i + j]
            sums[0, j] += r[b] * z
            if second:
                sums[1, j] += r[b] * z * z


def moments_full_plain(xt, r, mean, n, z, zr, sums):
    """Add sum_b r z and sum_b r z z', z = x_b - mean; z scratch (P, B), zr scratch (ROWS, B).

    Per 4 features: a row of first moments; the block of 4 x 4 on the diagonal; the blocks left of it. Of the block on
    the diagonal the lower triangle counts.
    """
    first = 0
    for d in range(mean.shape[0]):
        i, r_ = d // ROWS, d % ROWS
        first = i + 2 * i * (i + 1)
        for b in range(n):
            y = r[b] * (xt[d, b] - mean[d])
            sums[first, r_] += y
            for e in range(d + 1):
                block = 0 if e // ROWS == i else 1 + e // ROWS
                sums[first + 1 + ROWS * block + r_, e % ROWS] += y * (xt[e, b] - mean[e])


@micro_kernel
def moments_diag(lanes, xt, r, mean, i, second, n, sums):
    def block(n_rows, with_second):
        rows, unroll = range(n_rows), 1 if n_rows > 2 and with_second else 2  # to hide an FMA's latency
        first, square = ([[lanes.accumulator() for _ in rows] for _ in range(unroll)] for _ in range(2))
        x, m = [xt.row(i + j) for j in rows], [lanes.spread(mean.row(), i, j) for j in rows]
        with lanes.loop(0, n, unroll * lanes.width) as p:
            for u in range(unroll):
                w = lanes.load(r.row(), p, u * lanes.width)
                for j in rows:
                    z = lanes.load(x[j], p, u * lanes.width) - m[j]
                    if with_second:
                        y = w * z
                        first[u][j].add(y)
                        square[u][j].add_product(y, z)
                    else:
                        first[u][j].add_product(w, z)
        parts = (first, square) if with_second else (first,)
        totals = [total for part in parts for total in _totals(lanes, part)]
        lanes.add_sums(totals, sums.row(), halves=(1, 0) if with_second else (0, 1))  # the order decides the last bits

    for with_second in lanes.branches(second):
        for n_rows in lanes.cases((mean.shape[0] - i).at_most(ROWS), range(1, ROWS + 1)):
            block(n_rows, with_second)


def _totals(lanes, parts):
    """Return element-wise sums of lists of at most ROWS accumulators, as ROWS vectors."""
    totals = [a.value for a in parts[0]]
    for part in parts[1:]:
        totals = [t + a.value for t, a in zip(totals, part, strict=True)]
    return totals + [lanes.constant(0.0)] * (ROWS - len(totals))


def _block_on_diagonal(lanes, xt, r, mean, i, n, z, zr, target, n_rows, keep_z, keep_zr):
    """Add first moments of n_rows features from i, and their second moments with each other.

    z and r z are kept for the blocks below this one (z) and left of it (r z).
    """
    rows = range(n_rows)
    first = [lanes.accumulator() for _ in rows]
    square = [[lanes.accumulator() for _ in range(j + 1)] for j in rows]
    x, m = [xt.row(i + j) for j in rows], [lanes.spread(mean.row(), i, j) for j in rows]
    with lanes.loop(0, n, lanes.width) as p:
        w = lanes.load(r.row(), p)
        centred = [lanes.load(x[j], p) - m[j] for j in rows]
        for j in rows:
            y = w * centred[j]
            if keep_z:
                lanes.store(centred[j], z.row(i + j), p)
            if keep_zr:
                lanes.store(y, zr.row(j), p)
            first[j].add(y)
            for k in range(j + 1):
                square[j][k].add_product(y, centred[k])
    lanes.add_sums([total for row in (first, *square) for total in _totals(lanes, [row])], target)


def _block_beside(lanes, z, zr, j, n, target, n_rows):
    """Add second moments of the n_rows features of zr with the ROWS features of z from j, COLUMNS at a time."""
    rows, unroll = range(n_rows), 1 if n_rows > 2 else 2
    for first in range(0, ROWS, COLUMNS):
        columns = range(first, first + COLUMNS)
        sums = [[[lanes.accumulator() for _ in columns] for _ in rows] for _ in range(unroll)]
        with lanes.loop(0, n, unroll * lanes.width) as p:
            for u in range(unroll):
                right = [lanes.load(z.row(j + k), p, u * lanes.width) for k in columns]
                for row in rows:
                    y = lanes.load(zr.row(row), p, u * lanes.width)
                    for total, x in zip(sums[u][row], right, strict=True):
                        total.add_product(y, x)
        totals = [_totals(lanes, [part[row] for part in sums])[:COLUMNS] for row in rows]
        if COLUMNS == ROWS:
            lanes.add_sums([total for row in totals for total in row], target)
        else:
            for row in rows:
                lanes.add_sums(totals[row], lanes.at(target, row * ROWS + first))


@micro_kernel
def moments_full(lanes, xt, r, mean, n, z, zr, sums):
    D = mean.shape[0]
    whole = (D - 1) & -ROWS  # rows before the last block, of 1 to ROWS
    n = (n + (lanes.step - 1)) & -lanes.step  # the same points for all loops, whatever they are unrolled by

    def blocks(i, n_rows, last):
        quarter = i // ROWS
        target = sums.row(quarter + quarter * (quarter + 1) * 2)
        for is_first in lanes.branches(i == 0):
            _block_on_diagonal(lanes, xt, r, mean, i, n, z, zr, target, n_rows, not last, not is_first)
        with lanes.loop(0, i, ROWS) as j:
            _block_beside(lanes, z, zr, j, n, lanes.at(target, j * ROWS, ROWS + ROWS * ROWS), n_rows)

    with lanes.loop(0, whole, ROWS) as i:
        blocks(i, ROWS, last=False)
    for n_rows in lanes.cases(D - whole, range(1, ROWS + 1)):
        blocks(whole, n_rows, last=True)


# --- rows, features in the lanes: of X, whose rows are contiguous ----------------------------------------------------


def load_plain(xt, X, size, start, n, ahead):
    """Set xt[:D, :n] = X[start:start+n].T, in the precision of the tile.

    Of contiguous rows, zeros are set up to ROWS features. ahead is 1 or 0: with 1, ask for the n rows that follow, some
    with each of these. Asked for all at once, a pass over 1e6 x 5 rows, K = 5, took 1.1 times as long: the processor
    waits for each of them beyond the first tens.
    """
    for b in range(n):
        for d in range(X.shape[1]):
            xt[d, b] = X[start + b, d]


def load_about_plain(xt, X, size, start, n, centre, square):
    """Do as `load` with X - centre, which is taken in float64, and set square[:n] to the sums of its squares.

    n is a multiple of the number of lanes, and rows are contiguous.
    """
    for b in range(n):
        square[b] = 0.0
        for d in range(centre.size):
            xt[d, b] = X[start + b, d] - centre[d]
            square[b] += xt[d, b] * xt[d, b]


def add_rows_plain(sums, mass, X, size, start, n, w, label, means):
    """Add w_b (x_b - mean_k) to sums[k, :D] and w_b to mass[k], with k = label[b], for rows start to start + n of X.

    Ask for the n rows that follow, one with each row: where they were asked for all at once, a pass of k-means over
    1e6 x 10 rows took 1.5 times as long, as the processor waits for each of them beyond the first tens.
    """
    for b in range(n):
        k = int(label[b])
        mass[k] += w[b]
        for d in range(means.shape[1]):
            sums[k, d] += w[b] * (X[start + b, d] - means[k, d])


def add_rows_and_squares_plain(sums, mass, X, size, start, n, w, label, means, squares):
    """Do as `add_rows`, and add w_b |x_b - mean_k|^2 to squares[0]; rows of weight 0 may overflow there."""
    add_rows_plain(sums, mass, X, size, start, n, w, label, means)
    for b in range(n):
        if w[b] > 0.0:
            z = X[start + b, : means.shape[1]] - means[int(label[b])]
            squares[0] += w[b] * (z @ z)


def add_points_plain(xt, X, start, n, w, label, means, z, form, mass, sums):
    """Add z = x_b - mean_k and z z' (DIAG: z^2), w_b times, to sums[k], and w_b to mass[k], with k = label[b].

    The points are those of a tile; sums is (K, ROWS times `moments_rows`), as `moments_full` and `moments_diag` fill
    it; z (P) is scratch, 0 beyond the features. Ask for the n rows of X that follow `start`, as `add_rows` does.
    """
    D = means.shape[1]
    for b in range(n):
        k, row = int(label[b]), 0
        mass[k] += w[b]
        z[:D] = xt[:D, b] - means[k]
        total = sums[k].reshape(-1, ROWS)
        for i in range(0, padded(D), ROWS):
            own = z[i : i + ROWS]
            total[row] += w[b] * own
            row += 1
            if form == DIAG:
                total[row] += w[b] * own * own
                row += 1
            else:
                for j in (i, *range(0, i, ROWS)):  # the block on the diagonal comes first
                    total[row : row + ROWS] += np.outer(w[b] * own, z[j : j + ROWS])
                    row += ROWS


def _read(lanes, pointer, real, mask=None, n=ROWS):
    """Read n numbers as a vector of the type `real`; where a mask is false, nothing is read and the number is 0."""
    builder, kind = lanes.builder, ir.VectorType(pointer.type.pointee, n)
    place = builder.bitcast(pointer, kind.as_pointer())
    if mask is None:
        value = builder.load(place, align=1)
    else:
        name = f"llvm.masked.load.v{n}f{64 if isinstance(kind.element, ir.DoubleType) else 32}.p0"
        wanted = ir.FunctionType(kind, [place.type, ir.IntType(32), mask.type, kind])
        function = cgutils.get_or_insert_function(builder.module, wanted, name)
        value = builder.call(function, [place, ir.IntType(32)(1), mask, ir.Constant(kind, [0.0] * n)])
    if kind.element == real:
        return value
    return (builder.fpext if isinstance(real, ir.DoubleType) else builder.fptrunc)(value, ir.VectorType(real, n))


def _spread(lanes, value):
    """Return a vector of ROWS times the same number."""
    kind = ir.VectorType(value.type, ROWS)
    first = lanes.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    return lanes.shuffle(first, first, [0] * ROWS)


def _last_features(lanes, D):
    """Return the first of the last 1 to ROWS features, and a mask of ROWS that says which of them exist."""
    builder, whole = lanes.builder, (D - 1) & -ROWS
    count = _spread(lanes, (D - whole).value)
    return whole, builder.icmp_signed("<", ir.Constant(count.type, list(range(ROWS))), count)


def _transpose(lanes, xt, X, start, n, ahead=None, centre=None, square=None):
    """Emit `load` of contiguous rows; with `centre` and `square`, `load_about`, which asks for nothing."""
    width, real, builder = lanes.width, lanes.vector.element, lanes.builder

    def four(row, i, mask):
        if centre is None:
            return _read(lanes, lanes.at(X.place(row), i), real, mask)
        z = builder.fsub(*(_read(lanes, lanes.at(x, i), ir.DoubleType(), mask) for x in (X.place(row), centre.row())))
        return z if lanes.double else builder.fptrunc(z, ir.VectorType(real, ROWS))

    def block(b, i, mask, total):
        rows = [four(start + b + r, i, mask) for r in range(width)]
        quarters = []  # vector r has rows r, r + 4, r + 8, ..., one after the other
        for r in range(ROWS):
            part, size = rows[r::ROWS], ROWS
            while len(part) > 1:
                size *= 2
                part = [lanes.shuffle(x, y, list(range(size))) for x, y in zip(part[::2], part[1::2], strict=True)]
            quarters.append(part[0])
        groups = range(0, width, ROWS)
        for odd in range(2):
            # Features `odd` and `odd` + 2 of rows 0 and 1, and of rows 2 and 3; then each of these of all four rows.
            pairs = [place for g in groups for f in (odd, odd + 2) for place in (g + f, width + g + f)]
            low, high = (lanes.shuffle(*quarters[r : r + 2], pairs) for r in (0, 2))
            for second in range(2):
                places = [g + 2 * second + place for g in groups for place in (0, 1, width, width + 1)]
                column = Vector(lanes, lanes.shuffle(low, high, places))
                lanes.store(column, xt.row(i + (odd + 2 * second)), b)
                if total is not None:
                    total.add_product(column, column)

    whole, mask = _last_features(lanes, X.shape[1] if centre is None else centre.shape[0])
    if ahead is not None:
        data, size = builder.bitcast(X.data, ir.IntType(8).as_pointer()), X.strides[0] * width * ahead  # in bytes
    with lanes.loop(0, n, width) as b:
        if ahead is not None:  # of reversed rows, none are asked for
            with lanes.loop(0, size, CACHE_LINE) as at:
                lanes.prefetch(lanes.at(data, (start + n + b) * X.strides[0], at))
        total = None if centre is None else lanes.accumulator()
        with lanes.loop(0, whole, ROWS) as i:
            block(b, i, None, total)
        block(b, whole, mask, total)
        if total is not None:
            lanes.store(total.value, square.row(), b)


def _copy_columns(lanes, xt, X, start, n):
    """Emit `load` of contiguous columns."""
    real = lanes.vector.element
    with lanes.loop(0, X.shape[1]) as d:
        column = X.place(start, d)
        with lanes.loop(0, n, lanes.width) as b:
            lanes.store(Vector(lanes, _read(lanes, lanes.at(column, b), real, n=lanes.width)), xt.row(d), b)


def _copy(lanes, xt, X, start, begin, n):
    """Emit `load` of rows from begin on, number by number, whatever the strides are."""
    builder, real = lanes.builder, lanes.vector.element
    with lanes.loop(begin, n) as b, lanes.loop(0, X.shape[1]) as d:
        value = builder.load(X.place(start + b, d), align=1)
        if value.type != real:
            value = (builder.fpext if lanes.double else builder.fptrunc)(value, real)
        builder.store(value, lanes.at(xt.row(d), b))


@micro_kernel
def load(lanes, xt, X, size, start, n, ahead):
    for rows in lanes.types(X, size):
        begin = cgutils.alloca_once_value(lanes.builder, ir.IntType(64)(0))
        if lanes.width % ROWS == 0:  # of vectors of two, there is nothing to gain
            whole = n & -lanes.width
            with lanes.builder.if_then(lanes.builder.or_(*(stride == size for stride in X.strides))):
                lanes.builder.store(whole.value, begin)
                for is_contiguous in lanes.branches(X.strides[1] == size):
                    if is_contiguous:
                        _transpose(lanes, xt, rows, start, whole, ahead)
                    else:
                        _copy_columns(lanes, xt, rows, start, whole)
        _copy(lanes, xt, rows, start, Index(lanes.builder, lanes.builder.load(begin)), n)


@micro_kernel
def load_about(lanes, xt, X, size, start, n, centre, square):
    if lanes.width % ROWS == 0:
        for rows in lanes.types(X, size):
            _transpose(lanes, xt, rows, start, n, None, centre, square)


def _add_rows(lanes, sums, mass, X, start, n, w, label, means, squares=None):
    """Emit `add_rows`; with `squares`, `add_rows_and_squares`."""
    builder, real, D = lanes.builder, lanes.vector.element, means.shape[1]
    kind = ir.VectorType(real, ROWS)

    def number(array, b):
        value = builder.load(lanes.at(array.row(), b))
        return value if value.type == real else builder.fpext(value, real)

    none = ir.Constant(kind, [0.0] * ROWS)
    square, all_squares = (cgutils.alloca_once_value(builder, none) for _ in range(2))
    whole, mask = _last_features(lanes, D)
    with lanes.loop(0, n) as b:
        k = Index(builder, builder.fptosi(number(label, b), ir.IntType(64)))
        total, mean, x, ahead = sums.row(k), means.row(k), X.place(start + b), X.place(start + n + b)
        with lanes.loop(0, D, CACHE_LINE // X.itemsize) as i:
            lanes.prefetch(lanes.at(ahead, i))
        place, weight = lanes.at(mass.row(), k), number(w, b)
        builder.store(builder.fadd(builder.load(place), weight), place)
        weight = _spread(lanes, weight)

        def add(i, mask, total=total, mean=mean, x=x, weight=weight):
            z = builder.fsub(*(_read(lanes, lanes.at(place, i), real, mask) for place in (x, mean)))
            place = builder.bitcast(lanes.at(total, i), kind.as_pointer())
            after = builder.fadd(builder.load(place, align=8), builder.fmul(weight, z))
            builder.store(after, place, align=8)
            if squares is not None:
                builder.store(builder.fadd(builder.load(square), builder.fmul(z, z)), square)

        builder.store(none, square)
        with lanes.loop(0, whole, ROWS) as i:
            add(i, None)
        add(whole, mask)
        if squares is not None:  # each row's own sum first: rows do not wait for each other
            there = builder.select(builder.fcmp_ordered(">", weight, none), builder.load(square), none)
            builder.store(builder.fadd(builder.load(all_squares), builder.fmul(weight, there)), all_squares)
    if squares is not None:
        total = builder.load(squares.row())
        for r in range(ROWS):
            total = builder.fadd(total, builder.extract_element(builder.load(all_squares), ir.IntType(32)(r)))
        builder.store(total, squares.row())


@micro_kernel
def add_rows(lanes, sums, mass, X, size, start, n, w, label, means):
    for rows in lanes.types(X, size):
        _add_rows(lanes, sums, mass, rows, start, n, w, label, means)


@micro_kernel
def add_rows_and_squares(lanes, sums, mass, X, size, start, n, w, label, means, squares):
    for rows in lanes.types(X, size):
        _add_rows(lanes, sums, mass, rows, start, n, w, label, means, squares)


@micro_kernel
def add_points(lanes, xt, X, start, n, w, label, means, z, form, mass, sums):
    builder, D, element = lanes.builder, means.shape[1], lanes.vector.element
    double, four = ir.DoubleType(), ir.VectorType(element, ROWS)

    def number(*place):
        return builder.load(lanes.at(*place))

    def widened(value):
        if lanes.double:
            return value
        return builder.fpext(value, ir.VectorType(double, ROWS) if value.type == four else double)

    def points(i):
        return builder.load(builder.bitcast(lanes.at(z.row(), i), four.as_pointer()), align=lanes.size)

    def add(product, total, row):
        place = builder.bitcast(lanes.at(total, row * ROWS), ir.VectorType(double, ROWS).as_pointer())
        builder.store(builder.fadd(builder.load(place, align=8), widened(product)), place, align=8)

    with lanes.loop(0, n) as b:
        ahead = builder.bitcast(X.place(start + n + b), ir.IntType(8).as_pointer())
        with lanes.loop(0, X.strides[0], CACHE_LINE) as at:  # of reversed rows, none are asked for
            lanes.prefetch(lanes.at(ahead, at))
        weight = number(w.row(), b)
        k = Index(builder, builder.fptosi(number(label.row(), b), ir.IntType(64)))
        total, place = sums.row(k), lanes.at(mass.row(), k)
        builder.store(builder.fadd(builder.load(place), widened(weight)), place)
        with lanes.loop(0, D) as d:
            builder.store(builder.fsub(number(xt.row(d), b), number(means.row(k), d)), lanes.at(z.row(), d))
        with lanes.loop(0, D, ROWS) as i:
            quarter = i // ROWS
            for is_full in lanes.branches(form == FULL):
                row = quarter + quarter * (quarter + 1) * 2 if is_full else quarter * 2
                own = points(i)
                add(builder.fmul(_spread(lanes, weight), own), total, row)
                if not is_full:
                    add(builder.fmul(_spread(lanes, weight), builder.fmul(own, own)), total, row + 1)
                    continue
                factors = [_spread(lanes, builder.fmul(weight, number(z.row(), i + r))) for r in range(ROWS)]
                for r in range(ROWS):
                    add(builder.fmul(factors[r], own), total, row + (r + 1))
                with lanes.loop(0, quarter) as j:
                    for r in range(ROWS):
                        add(builder.fmul(factors[r], points(j * ROWS)), total, row + j * ROWS + (ROWS + 1 + r))


if numba.config.DISABLE_JIT:  # the interpreter has no lanes
    log_joint_full, whiten, log_joint_diag = log_joint_full_plain, whiten_plain, log_joint_diag_plain
    exponentials, moments_diag, moments_full = exponentials_plain, moments_diag_plain, moments_full_plain
    nearest, best, load, load_about = nearest_plain, best_plain, load_plain, load_about_plain
    add_rows, add_rows_and_squares, add_points = add_rows_plain, add_rows_and_squares_plain, add_points_plain
    largest_products = largest_products_plain
