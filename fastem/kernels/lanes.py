"""Explicit SIMD for the micro-kernels: a thin layer over LLVM's vectors.

A micro-kernel is an `@intrinsic` whose generator gets a `Lanes` and writes vector arithmetic with operators::

    with lanes.loop(0, n, lanes.width) as p:
        z = lanes.load(x, p) - mean
        total.add(z * z)

Each line emits LLVM instructions, so a Python loop over rows is unrolled code. A vector has `width` lanes and holds
points; accumulators live in registers. Nothing here is specific to a processor: LLVM splits vectors that are too
wide, and the sizes below are only what fits well.
"""

from contextlib import contextmanager
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils


def _wide() -> bool:
    """Whether kernels are compiled for AVX-512 (Numba can be told to compile for another processor than this)."""
    if numba.config.CPU_FEATURES is not None:
        return "+avx512f" in numba.config.CPU_FEATURES
    return numba.config.CPU_NAME is None and llvmlite.binding.get_host_cpu_features().get("avx512f", False)


_NEON = llvmlite.binding.get_default_triple().startswith(("aarch64", "arm64"))
# ROWS x VECTORS accumulators, VECTORS of points and a splat must fit 32 registers (AVX-512, NEON) or 16 (AVX2), and
# so must ROWS x COLUMNS accumulators with ROWS + COLUMNS operands.
BYTES, VECTORS, COLUMNS = (64, 4, 4) if _wide() else (16, 4, 4) if _NEON else (32, 2, 2)  # bytes per vector
STEP = BYTES * VECTORS  # bytes of a row of points that a micro-kernel works on at a time; divides every tile
_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


class Vector:
    """`width` numbers in a register."""

    __slots__ = ("lanes", "value")

    def __init__(self, lanes, value):
        self.lanes, self.value = lanes, value

    def __add__(self, other):
        return Vector(self.lanes, self.lanes.builder.fadd(self.value, other.value))

    def __sub__(self, other):
        return Vector(self.lanes, self.lanes.builder.fsub(self.value, other.value))

    def __mul__(self, other):
        return Vector(self.lanes, self.lanes.builder.fmul(self.value, other.value))

    def fma(self, factor, term):
        """self * factor + term, rounded once."""
        kind = ir.FunctionType(self.value.type, [self.value.type] * 3)
        name = f"llvm.fma.v{self.lanes.width}f{8 * self.lanes.size}"
        function = cgutils.get_or_insert_function(self.lanes.builder.module, kind, name)
        return Vector(self.lanes, self.lanes.builder.call(function, [self.value, factor.value, term.value]))

    def __gt__(self, other):
        return self.lanes.builder.fcmp_ordered(">", self.value, other.value)

    def __lt__(self, other):
        return self.lanes.builder.fcmp_ordered("<", self.value, other.value)

    def is_number(self):
        """False for NaN; like comparisons (which are false for NaN), a condition for `select`."""
        return self.lanes.builder.fcmp_ordered("ord", self.value, self.value)


class Accumulator:
    """A vector variable; LLVM keeps it in a register."""

    def __init__(self, lanes, start):
        self.lanes, self.place = lanes, cgutils.alloca_once(lanes.builder, lanes.vector)
        self.value = start

    @property
    def value(self):
        return Vector(self.lanes, self.lanes.builder.load(self.place))

    @value.setter
    def value(self, vector):
        self.lanes.builder.store(vector.value, self.place)

    def add(self, vector):
        self.value = self.value + vector

    def add_product(self, a, b):
        self.value = a.fma(b, self.value)


class Lanes:
    """Emits vector code into the function that Numba is building. Arrays are C-contiguous; the first sets the type."""

    def __init__(self, context, builder, signature, args):
        self.builder, self.args = builder, args
        dtype = signature.args[0].dtype
        self.double = dtype == types.float64
        self.size = 8 if self.double else 4
        self.width = BYTES // self.size
        self.vector = ir.VectorType(ir.DoubleType() if self.double else ir.FloatType(), self.width)
        self.bits = ir.VectorType(ir.IntType(8 * self.size), self.width)
        self.arrays = [
            context.make_array(kind)(context, builder, arg) if isinstance(kind, types.Array) else None
            for kind, arg in zip(signature.args, args, strict=True)
        ]

    # --- addresses: `row` and `at` make pointers to scalars ---

    def shape(self, n):
        """The shape of argument n."""
        return cgutils.unpack_tuple(self.builder, self.arrays[n].shape)

    def row(self, n, i=0):
        """A pointer to row i of argument n (its first element, if it is 1-D)."""
        shape = self.shape(n)
        return self.at(self.arrays[n].data, self.builder.mul(_index(i), shape[1]) if len(shape) > 1 else 0)

    def at(self, pointer, *offsets):
        for offset in offsets:
            pointer = self.builder.gep(pointer, [_index(offset)])
        return pointer

    # --- vectors ---

    def load(self, pointer, *offsets):
        place = self.builder.bitcast(self.at(pointer, *offsets), self.vector.as_pointer())
        return Vector(self, self.builder.load(place, align=self.size))

    def store(self, vector, pointer, *offsets):
        place = self.builder.bitcast(self.at(pointer, *offsets), self.vector.as_pointer())
        self.builder.store(vector.value, place, align=self.size)

    def splat(self, scalar):
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, _LANE(0))
        return Vector(self, self._shuffle(first, undefined, [0] * self.width))

    def spread(self, pointer, *offsets):
        """A vector with the same number, read from memory, in each lane."""
        return self.splat(self.builder.load(self.at(pointer, *offsets)))

    def constant(self, number):
        return Vector(self, ir.Constant(self.vector, [float(number)] * self.width))

    def accumulator(self, start=0.0):
        return Accumulator(self, start if isinstance(start, Vector) else self.constant(start))

    def select(self, condition, yes, no):
        """Lane by lane, yes where the condition holds, else no."""
        return Vector(self, self.builder.select(condition, yes.value, no.value))

    def power_of_two(self, biased):
        """2**n for a vector whose low bits are n + the bias of the exponent."""
        by = ir.Constant(self.bits, [52 if self.double else 23] * self.width)
        exponent = self.builder.shl(self.builder.bitcast(biased.value, self.bits), by)
        return Vector(self, self.builder.bitcast(exponent, self.vector))

    # --- control ---

    @contextmanager
    def loop(self, start, stop, step=1):
        with cgutils.for_range_slice(self.builder, _index(start), _index(stop), _index(step), _INDEX) as (index, _):
            yield index

    def cases(self, number, values):
        """For each value, code that runs if `number` equals it; use in a `for` whose body emits that code."""
        for value in values:
            with self.builder.if_then(self.builder.icmp_signed("==", number, _index(value))):
                yield value

    def is_many(self, length):
        """1 if length > 1, else 0: the stride along an axis that broadcasts."""
        return self.builder.zext(self.builder.icmp_signed(">", length, _INDEX(1)), _INDEX)

    # --- sums over lanes ---

    def add_sums(self, vectors, pointer):
        """pointer[i] += the sum of the lanes of vectors[i]; the memory is float64."""
        for first in range(0, len(vectors), self.width):
            group = vectors[first : first + self.width]
            count = len(group)
            sums = self._sums(group + [self.constant(0.0)] * (self.width - count))
            kind = ir.VectorType(ir.DoubleType(), count)
            term = self._shuffle(sums, sums, list(range(count)))
            term = term if self.double else self.builder.fpext(term, kind)
            place = self.builder.bitcast(self.at(pointer, first), kind.as_pointer())
            self.builder.store(self.builder.fadd(self.builder.load(place, align=8), term), place, align=8)

    def _sums(self, vectors):
        """A vector whose lane i is the sum of vectors[i], by log2(width) rounds of pairwise sums."""
        half = 1
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [self._merge(a.value, b.value, half) for a, b in pairs]
            half *= 2
        return vectors[0].value

    def _merge(self, a, b, half):
        """In each run of 2 half lanes: sums of the halves of a's run, then sums of the halves of b's run."""
        first = [i if i % (2 * half) < half else self.width + i - half for i in range(self.width)]
        low, high = (self._shuffle(a, b, [i + shift for i in first]) for shift in (0, half))
        return Vector(self, self.builder.fadd(low, high))

    def _shuffle(self, a, b, mask):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_LANE, len(mask)), mask))


def _index(number):
    return number if isinstance(number, ir.Value) else _INDEX(number)


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that start at a multiple of 64 bytes: a vector that crosses a cache line costs two accesses."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)
