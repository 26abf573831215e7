"""The fused pass over a block of rows, and the scoring pass: one call graph, therefore one file.

(Numba's on-disk cache notices a change in a function's own file only, so callees live beside their callers.)

Work is done on tiles of B points, transposed to ``xt (D, B)`` so that SIMD lanes run over points. For a tile

1. E-step, per component k: ``z = x - mean_k``, ``q = |W_k z|^2``, ``lp[k] = lognorm_k - q / 2``;
2. log-sum-exp over k turns ``lp (K, B)`` into responsibilities in place;
3. M-step, per component k: ``s0 += sum r``, ``s1 += sum r z``, ``s2 += sum r z z'``.

Subtracting mean_k itself (2 D of about 2 D^2 operations per point and component) is what keeps 16 digits at an
offset of 1e8 and for clusters that are far apart: the statistics are about the current means, and only a small
term cancels in the M-step. Nothing of size N x K exists outside of a tile.

The precision factor's shape selects the arithmetic: ``(F, P, P)`` lower triangular with P = D rounded up to a
multiple of 4 (padded with zeros), ``(F, 1, D)`` diagonal, ``(F, 1, 1)`` spherical, F = 1 (shared) or K. ``s2`` has
one of the same shapes, or size 0 for "not wanted". Full forms are blocked 4 x 4 over features with the points in the
SIMD lanes. Of the E-step, that is done in a micro-kernel, the one place with explicit SIMD, in LLVM IR: as in BLIS,
it contains the arithmetic of the hottest loop and nothing else, and has a plain twin. LLVM vectorises the twin too,
but keeps the rows of y = W z in memory; the micro-kernel keeps 4 rows by 4 vectors of points in registers while it
reads one row of z after the other. Measured on one core (AVX-512, tile of 256, useful GFLOP/s of the quadratic form,
where DGEMM reaches about 100):

=========================  ====  ====  ====  ====  ====  ====
D                             3     8    10    16    32    64
=========================  ====  ====  ====  ====  ====  ====
micro-kernel                 37    92    71   100   107    92
auto-vectorised 4 x 4        21    46    37    57    63    71
=========================  ====  ====  ====  ====  ====  ====

The M-step's outer products gain nothing from the same treatment (88 against 87 GFLOP/s at D = 16): their
accumulators are scalars to LLVM, which keeps them in registers by itself. They stay plain.

Measured and dropped, ns per point and component on one core at D = 10: one row of W at a time (5.2 where blocking
gives 3.5 and the micro-kernel 1.8); rank-1 updates with the features in the lanes (18 where blocking gives 1.9);
centring four features in one loop (1.5 where one at a time gives 0.6: LLVM then does not vectorise).
"""

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem._jit import EXACT, HELPER, Kernel

SOFT, HARD, LABELS, RESP = range(4)  # where a row's responsibilities come from
N_SCALARS = 3  # loglik, class_loglik, entropy: the head of a block's output
N_ROWS = 5  # per-point values of a tile: weight, top, label, total, spread


# --- the micro-kernel ----------------------------------------------------------------------------------------------

ROWS = 4  # of W per tile
_AVX512 = llvmlite.binding.get_host_cpu_features().get("avx512f", False)
_NEON = llvmlite.binding.get_default_triple().startswith(("aarch64", "arm64"))
# ROWS x VECTORS accumulators, VECTORS of z and a splat must fit 32 registers (AVX-512, NEON) or 16 (AVX2).
LANES, VECTORS = (8, 4) if _AVX512 else (2, 4) if _NEON else (4, 2)
POINTS = LANES * VECTORS  # per call; divides every tile

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(64)


def _quad_tile_plain(W, i, z, b, q):
    """q[b + p] += sum over rows i..i+3 of (W z)[row, b + p]^2 for p < POINTS; W lower triangular."""
    for p in range(b, b + POINTS):
        for row in range(i, i + ROWS):
            y = 0.0
            for j in range(i + ROWS):
                y += W[row, j] * z[j, p]
            q[p] += y * y


@intrinsic
def _quad_tile_simd(typing_context, W, i, z, b, q):
    def generate(context, builder, signature, args):
        matrix, tile, out = (context.make_array(signature.args[n])(context, builder, args[n]) for n in (0, 2, 4))
        i, b = args[1], args[3]
        n_columns = cgutils.unpack_tuple(builder, matrix.shape)[1]
        stride = cgutils.unpack_tuple(builder, tile.shape)[1]
        sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(VECTORS)] for _ in range(ROWS)]
        for r in range(ROWS):
            for v in range(VECTORS):
                builder.store(ir.Constant(_VECTOR, [0.0] * LANES), sums[r][v])
        rows = [_at(builder, matrix.data, builder.mul(builder.add(i, _INDEX(r)), n_columns)) for r in range(ROWS)]
        points = _at(builder, tile.data, b)
        with cgutils.for_range(builder, builder.add(i, _INDEX(ROWS)), intp=_INDEX) as loop:
            z_row = _at(builder, points, builder.mul(loop.index, stride))
            vectors = [_load(builder, _at(builder, z_row, _INDEX(v * LANES))) for v in range(VECTORS)]
            for r in range(ROWS):
                w = _splat(builder, builder.load(_at(builder, rows[r], loop.index)))
                for v in range(VECTORS):
                    builder.store(_fma(builder, w, vectors[v], builder.load(sums[r][v])), sums[r][v])
        for v in range(VECTORS):
            place = _at(builder, out.data, builder.add(b, _INDEX(v * LANES)))
            total = _load(builder, place)
            for r in range(ROWS):
                y = builder.load(sums[r][v])
                total = _fma(builder, y, y, total)
            builder.store(total, builder.bitcast(place, _VECTOR.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(W, types.intp, z, types.intp, q), generate


def _at(builder, pointer, offset):
    return builder.gep(pointer, [offset])


def _load(builder, pointer):
    return builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()), align=8)


def _splat(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _fma(builder, a, b, c):
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f64"), [a, b, c])


quad_tile_plain = njit(**HELPER)(_quad_tile_plain)
quad_tile = quad_tile_plain if numba.config.DISABLE_JIT else _quad_tile_simd  # the interpreter has no lanes


# --- elementary functions ------------------------------------------------------------------------------------------


@njit(**EXACT)
def exp(x):
    """e**x for x <= 0 to 2 ulp: Cody-Waite reduction, Taylor degree 13, exponent through the bits.

    Exactly 0 below -708 (where the result would be subnormal) and for -inf; NaN stays NaN.
    Vectorises (np.exp is a scalar call, 7.5 ns against 1).
    """
    t = max(-708.0, x) * 1.4426950408889634 + 6755399441055744.0  # round to nearest: add 1.5 * 2**52
    n = t - 6755399441055744.0
    r = (max(-708.0, x) - n * 0.693147180369123816490) - n * 1.90821492927058770e-10
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    scale = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    y = p * scale if x >= -708.0 else 0.0
    return x if x != x else y


@njit(**EXACT)
def log(x):
    """Natural logarithm of a finite x >= 1 (a sum of exponentials, the largest of which is 1), to 1 ulp.

    The method of fdlibm's e_log.c: x = 2**e * m, m in [sqrt(1/2), sqrt(2)), and an odd series in
    (m - 1) / (m + 1). Vectorises, as `exp` does.
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
    """xt[:D, :n] = X[start:start+n].T, in float64."""
    for b in range(n):
        for d in range(X.shape[1]):
            xt[d, b] = X[start + b, d]


@njit(**HELPER)
def store(tile, start, n, rows):
    """rows[start:start+n] = tile[:, :n].T, by loops: Numba compiles a slice assignment in 2.5 s."""
    for b in range(n):
        for k in range(tile.shape[0]):
            rows[start + b, k] = tile[k, b]


@njit(**HELPER)
def fill(row, value):
    for i in range(row.size):
        row[i] = value


@njit(**HELPER)
def centre(xt, mean, n, z):
    for d in range(mean.shape[0]):
        m = mean[d]
        for b in range(n):
            z[d, b] = xt[d, b] - m


@njit(**HELPER)
def quad_full(z, W, n, q):
    """q[b] = |W z[:, b]|^2, W lower triangular (P, P), P a multiple of 4; z and q are filled to whole POINTS."""
    for b in range(0, n, POINTS):
        for p in range(b, b + POINTS):
            q[p] = 0.0
        for i in range(0, W.shape[0], ROWS):
            quad_tile(W, i, z, b, q)


@njit(**HELPER)
def quad_diag(xt, mean, w, n, q):
    """q[b] = sum_d (w[d] (xt[d, b] - mean[d]))^2, four features at a time; a spherical factor has one w for all d."""
    D, step = mean.shape[0], 1 if w.shape[0] > 1 else 0
    for b in range(n):
        q[b] = 0.0
    for d in range(0, D - 3, 4):
        m0, m1, m2, m3 = mean[d], mean[d + 1], mean[d + 2], mean[d + 3]
        a0, a1, a2, a3 = w[d * step], w[(d + 1) * step], w[(d + 2) * step], w[(d + 3) * step]
        for b in range(n):
            y0, y1 = a0 * (xt[d, b] - m0), a1 * (xt[d + 1, b] - m1)
            y2, y3 = a2 * (xt[d + 2, b] - m2), a3 * (xt[d + 3, b] - m3)
            q[b] += (y0 * y0 + y1 * y1) + (y2 * y2 + y3 * y3)
    for d in range(D // 4 * 4, D):
        m, a = mean[d], w[d * step]
        for b in range(n):
            y = a * (xt[d, b] - m)
            q[b] += y * y


@njit(**HELPER)
def joint(xt, lognorm, means, factor, n, z, lp):
    """lp[k, :n] = log(weight_k density_k(x)); a quadratic form that overflows gives -inf, never NaN."""
    for k in range(means.shape[0]):
        f = k if factor.shape[0] > 1 else 0
        q = lp[k]
        if factor.shape[1] > 1:
            centre(xt, means[k], n, z)
            quad_full(z, factor[f], n, q)
        else:
            quad_diag(xt, means[k], factor[f, 0], n, q)
        c = lognorm[k]
        for b in range(n):
            v = c - 0.5 * q[b]
            lp[k, b] = v if v == v else -np.inf


@njit(**HELPER)
def best(lp, n, top, label):
    """The largest lp[:, b] and its index, the first of equals."""
    for b in range(n):
        top[b] = lp[0, b]
        label[b] = 0
    for k in range(1, lp.shape[0]):
        for b in range(n):
            better = lp[k, b] > top[b]
            top[b] = lp[k, b] if better else top[b]
            label[b] = k if better else label[b]


@njit(**HELPER)
def normalise(lp, w, n, top, label, total, spread):
    """lp -> w * responsibilities, in place; total[b] = log density; spread[b] = entropy of the responsibilities.

    top and label are those of `best`. A row whose density underflows under every component (top = -inf) belongs
    to the first of them, with log density -inf.
    """
    K = lp.shape[0]
    for b in range(n):
        total[b] = spread[b] = 0.0
    for k in range(K):
        for b in range(n):
            d = max(lp[k, b] - (top[b] if top[b] > -np.inf else 0.0), -745.0)
            e = exp(d)
            lp[k, b] = e
            total[b] += e
            spread[b] += e * d
    for b in range(n):
        if top[b] == -np.inf:
            lp[np.intp(label[b]), b] = total[b] = 1.0
    for b in range(n):
        inverse = 1.0 / total[b]
        lse = log(total[b])
        spread[b] = lse - spread[b] * inverse
        total[b] = lse + top[b]
        label[b] = w[b] * inverse  # label has served; it carries the scale of this row from here
    for k in range(K):
        for b in range(n):
            lp[k, b] *= label[b]


@njit(**HELPER)
def add_full(zr, z, n, s2):
    """s2 += zr z' = sum_b r[b] z[:, b] z[:, b]', the lower triangle by 4 x 4 blocks."""
    for i in range(0, s2.shape[0], 4):
        for j in range(0, i + 4, 4):
            a00 = a01 = a02 = a03 = a10 = a11 = a12 = a13 = 0.0
            a20 = a21 = a22 = a23 = a30 = a31 = a32 = a33 = 0.0
            for b in range(n):
                x0, x1, x2, x3 = zr[i, b], zr[i + 1, b], zr[i + 2, b], zr[i + 3, b]
                z0, z1, z2, z3 = z[j, b], z[j + 1, b], z[j + 2, b], z[j + 3, b]
                a00 += x0 * z0
                a01 += x0 * z1
                a02 += x0 * z2
                a03 += x0 * z3
                a10 += x1 * z0
                a11 += x1 * z1
                a12 += x1 * z2
                a13 += x1 * z3
                a20 += x2 * z0
                a21 += x2 * z1
                a22 += x2 * z2
                a23 += x2 * z3
                a30 += x3 * z0
                a31 += x3 * z1
                a32 += x3 * z2
                a33 += x3 * z3
            add_row(s2[i], j, a00, a01, a02, a03)
            add_row(s2[i + 1], j, a10, a11, a12, a13)
            add_row(s2[i + 2], j, a20, a21, a22, a23)
            add_row(s2[i + 3], j, a30, a31, a32, a33)


@njit(**HELPER)
def add_row(row, j, a0, a1, a2, a3):
    row[j] += a0
    row[j + 1] += a1
    row[j + 2] += a2
    row[j + 3] += a3


@njit(**HELPER)
def add_first(xt, r, mean, n, z, zr, s1):
    """z = xt - mean, zr = r z, s1 += sum_b zr[:, b]."""
    for d in range(mean.shape[0]):
        m = mean[d]
        first = 0.0
        for b in range(n):
            zd = xt[d, b] - m
            z[d, b] = zd
            zr[d, b] = r[b] * zd
            first += r[b] * zd
        s1[d] += first


@njit(**HELPER)
def add_diag(xt, r, mean, n, s1, s2, k):
    """s1 += sum_b r z and s2[k] += sum_b r z^2, per feature or (spherical) in all; s2 may have size 0."""
    for d in range(mean.shape[0]):
        m = mean[d]
        first = second = 0.0
        for b in range(n):
            z = xt[d, b] - m
            first += r[b] * z
            second += r[b] * z * z
        s1[d] += first
        if s2.size > 0:
            s2[k, 0, d % s2.shape[2]] += second


@njit(**HELPER)
def add_soft(xt, resp, means, n, z, zr, s0, s1, s2):
    """Add a tile's rows, weighted by resp (K, B), to the statistics about the means."""
    for k in range(means.shape[0]):
        r = resp[k]
        mass = 0.0
        for b in range(n):
            mass += r[b]
        if mass == 0.0:
            continue
        s0[k] += mass
        if s2.shape[1] > 1:
            add_first(xt, r, means[k], n, z, zr, s1[k])
            add_full(zr, z, n, s2[k if s2.shape[0] > 1 else 0])
        else:
            add_diag(xt, r, means[k], n, s1[k], s2, k if s2.shape[0] > 1 else 0)


@njit(**HELPER)
def add_hard(xt, label, w, means, n, z, s0, s1, s2):
    """Add each row of a tile, whole, to the statistics of its label: one component's work, not K's."""
    D = means.shape[1]
    z0 = z.reshape(z.size)[:D]  # contiguous, so that the inner loops vectorise
    for b in range(n):
        k = np.intp(label[b])
        s0[k] += w[b]
        for d in range(D):
            z0[d] = xt[d, b] - means[k, d]
            s1[k, d] += w[b] * z0[d]
        if s2.size == 0:
            continue
        scatter = s2[k if s2.shape[0] > 1 else 0]
        if s2.shape[1] > 1:
            for i in range(D):
                wz = w[b] * z0[i]
                for j in range(i + 1):
                    scatter[i, j] += wz * z0[j]
        else:
            for d in range(D):
                scatter[0, d % s2.shape[2]] += w[b] * z0[d] * z0[d]


def padded(D: int) -> int:
    """The rows of a tile: D rounded up to the 4 x 4 blocking."""
    return -(-D // ROWS) * ROWS


def scratch_shape(n_tasks: int, D: int, K: int, tile: int) -> tuple[int, int, int]:
    """The shape of the workers' scratch memory, which `carve` cuts up."""
    return n_tasks, 3 * padded(D) + K + N_ROWS, tile


@njit(**HELPER)
def carve(scratch, K):
    """A worker's scratch memory as its arrays: xt, z, zr (P, B), lp (K, B) and rows (N_ROWS, B)."""
    P = (scratch.shape[0] - K - N_ROWS) // 3
    return scratch[:P], scratch[P : 2 * P], scratch[2 * P : 3 * P], scratch[3 * P : 3 * P + K], scratch[3 * P + K :]


def accumulate_worker(task, n_tasks, X, weight, labels, resp, lognorm, means, factor, mode, shape, block, out, scratch):
    """Blocks task, task + n_tasks, ... of the fused pass.

    X (N, D) IN; weight (N) or (0) IN: none means 1; labels (N) IN for LABELS; resp (N, K) IN for RESP;
    lognorm (K), means (K, D), factor IN: the mixture (LABELS, RESP: means alone, as origin);
    shape: of s2; block: rows per block; out (n_blocks, N_SCALARS + K + K D + s2.size) OUT: a block's statistics;
    scratch (of `scratch_shape`): finite, and zero in the rows of features beyond D.
    """
    K, D = means.shape
    xt, z, zr, lp, rows = carve(scratch[task], K)
    w, top, label, total, spread = rows[0], rows[1], rows[2], rows[3], rows[4]
    fill(w, 1.0)
    for i in range(task, out.shape[0], n_tasks):
        fill(out[i], 0.0)
        s0 = out[i, N_SCALARS : N_SCALARS + K]
        s1 = out[i, N_SCALARS + K : N_SCALARS + K + K * D].reshape((K, D))
        s2 = out[i, N_SCALARS + K + K * D :].reshape(shape)
        stop = min((i + 1) * block, X.shape[0])
        for start in range(i * block, stop, xt.shape[1]):
            n = min(xt.shape[1], stop - start)
            load(X, start, n, xt)
            if weight.size > 0:
                for b in range(n):
                    w[b] = weight[start + b]
            if mode in (SOFT, HARD):
                joint(xt, lognorm, means, factor, n, z, lp)
                best(lp, n, top, label)
                out[i, 1] += weighted_sum(w, top, n)
            if mode == SOFT:
                normalise(lp, w, n, top, label, total, spread)
                out[i, 0] += weighted_sum(w, total, n)
                out[i, 2] += weighted_sum(w, spread, n)
            elif mode == LABELS:
                for b in range(n):
                    label[b] = labels[start + b]
            elif mode == RESP:
                for b in range(n):
                    for k in range(K):
                        lp[k, b] = w[b] * resp[start + b, k]
            if mode in (SOFT, RESP):
                add_soft(xt, lp, means, n, z, zr, s0, s1, s2)
            else:
                add_hard(xt, label, w, means, n, z, s0, s1, s2)


@njit(**HELPER)
def weighted_sum(w, values, n):
    """sum w v, where a row of weight 0 is absent even if its v is -inf."""
    total = 0.0
    for b in range(n):
        total += w[b] * values[b] if w[b] > 0.0 else 0.0
    return total


def score_worker(task, n_tasks, X, lognorm, means, factor, block, density, label_out, resp, joint_out, scratch):
    """Blocks task, task + n_tasks, ... of scoring; each output that has a size is filled.

    density (N) OUT: log density; label_out (N) OUT: most probable component; resp (N, K) OUT;
    joint_out (N, K) OUT: log weight + log density of each component. Other arguments as in `accumulate_worker`.
    """
    K = means.shape[0]
    xt, z, _, lp, rows = carve(scratch[task], K)
    w, top, label, total, spread = rows[0], rows[1], rows[2], rows[3], rows[4]
    fill(w, 1.0)
    for i in range(task, (X.shape[0] + block - 1) // block, n_tasks):
        stop = min((i + 1) * block, X.shape[0])
        for start in range(i * block, stop, xt.shape[1]):
            n = min(xt.shape[1], stop - start)
            load(X, start, n, xt)
            joint(xt, lognorm, means, factor, n, z, lp)
            if joint_out.size > 0:
                store(lp, start, n, joint_out)
            best(lp, n, top, label)
            for b in range(n if label_out.size > 0 else 0):
                label_out[start + b] = np.intp(label[b])
            if density.size > 0 or resp.size > 0:
                normalise(lp, w, n, top, label, total, spread)
            for b in range(n if density.size > 0 else 0):
                density[start + b] = total[b]
            if resp.size > 0:
                store(lp, start, n, resp)


def accumulate_launcher(
    worker, n_tasks, X, weight, labels, resp, lognorm, means, factor, mode, shape, block, out, scratch
):
    for task in prange(n_tasks):
        worker(
            np.intp(task), n_tasks, X, weight, labels, resp, lognorm, means, factor, mode, shape, block, out, scratch
        )


def score_launcher(worker, n_tasks, X, lognorm, means, factor, block, density, label_out, resp, joint_out, scratch):
    for task in prange(n_tasks):
        worker(np.intp(task), n_tasks, X, lognorm, means, factor, block, density, label_out, resp, joint_out, scratch)


def _in(dtype, ndim, layout="C"):
    """The type of an input array; writable and aligned arrays convert to it, so it is the only one compiled."""
    return types.Array(dtype, ndim, layout, readonly=True)


_out1, _out2, _scratch = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_mixture = (_in(types.float64, 1), _in(types.float64, 2), _in(types.float64, 3))  # log_norm, means, factor
accumulate = Kernel(
    accumulate_worker,
    accumulate_launcher,
    (
        _in(types.float64, 1, "A"),
        _in(types.int64, 1, "A"),
        _in(types.float64, 2, "A"),
        *_mixture,
        types.intp,
        types.UniTuple(types.intp, 3),
        types.intp,
        _out2,
        _scratch,
    ),
)
score = Kernel(
    score_worker,
    score_launcher,
    (*_mixture, types.intp, _out1, types.int64[::1], _out2, _out2, _scratch),
)
