"""The micro-kernel: the one place with explicit SIMD, in LLVM IR; and its plain twin.

As in BLIS, arithmetic of the hottest loop lives here and nothing else does: loops over tiles and packing are plain
njit around it. LLVM vectorises those, but keeps the rows of y = W z in memory; here 4 rows by 4 vectors of points
stay in registers while one row of z after the other is read once. Measured on one core (AVX-512, tile of 256, useful
flops of the quadratic form), against the auto-vectorised 4 x 4 blocking, where DGEMM reaches about 100 GFLOP/s:

=========================  ====  ====  ====  ====  ====  ====
D                             3     8    10    16    32    64
=========================  ====  ====  ====  ====  ====  ====
micro-kernel, GFLOP/s        37    92    71   100   107    92
auto-vectorised, GFLOP/s     21    46    37    57    63    71
=========================  ====  ====  ====  ====  ====  ====

The M-step's outer products gain nothing from the same treatment (88 against 87 GFLOP/s at D = 16): their
accumulators are scalars to LLVM, which keeps them in registers by itself. They stay plain.
"""

import llvmlite.binding
import numba
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem._jit import HELPER

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
quad_tile = quad_tile_plain if numba.config.DISABLE_JIT else _quad_tile_simd
