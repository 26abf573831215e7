"""Write explicit SIMD for the micro-kernels: a thin layer over LLVM's vectors.

A micro-kernel is a function of a `Lanes` and of its arguments that writes vector arithmetic with operators::

    @micro_kernel
    def add_squares(lanes, x, n, total):
        square = lanes.accumulator()
        with lanes.loop(0, n, lanes.width) as p:
            z = lanes.load(x.row(), p)
            square.add_product(z, z)
        lanes.add_sums([square.value], total.row())

It runs while Numba compiles: each line emits LLVM instructions, a Python loop over rows is unrolled code, a `with
lanes.loop` is a loop of the machine. A vector has `width` lanes and holds points; accumulators live in registers.
Nothing here is specific to a processor: LLVM splits vectors that are too wide, and the sizes below are what fits well.
"""

import math
from contextlib import contextmanager
from copy import copy
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils


def _wide() -> bool:
    """Tell whether kernels are compiled for AVX-512 (Numba can be told to compile for another processor)."""
    if numba.config.CPU_FEATURES is not None:
        return "+avx512f" in numba.config.CPU_FEATURES
    return numba.config.CPU_NAME is None and llvmlite.binding.get_host_cpu_features().get("avx512f", False)


_NEON = llvmlite.binding.get_default_triple().startswith(("aarch64", "arm64"))
# ROWS x VECTORS accumulators, VECTORS of points and a splat must fit 32 registers (AVX-512, NEON) or 16 (AVX2), and
# so must ROWS x COLUMNS accumulators with ROWS + COLUMNS operands.
BYTES, VECTORS, COLUMNS = (64, 4, 4) if _wide() else (16, 4, 4) if _NEON else (32, 2, 2)  # bytes per vector
STEP = BYTES * VECTORS  # bytes of a row of points that a micro-kernel works on at a time; divides every tile
CACHE_LINE = 64  # bytes
_AS_WRITTEN = ("contract", "nsz", "arcp")
_INDEX, _INT = ir.IntType(64), ir.IntType(32)


class Index:
    """An integer of the machine; operators emit instructions."""

    __slots__ = ("builder", "value")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __add__(self, other):
        return Index(self.builder, self.builder.add(self.value, _ir(other)))

    def __sub__(self, other):
        return Index(self.builder, self.builder.sub(self.value, _ir(other)))

    def __mul__(self, other):
        return Index(self.builder, self.builder.mul(self.value, _ir(other)))

    def __and__(self, other):
        return Index(self.builder, self.builder.and_(self.value, _ir(other)))

    def __floordiv__(self, power_of_two):
        return Index(self.builder, self.builder.lshr(self.value, _INDEX(power_of_two.bit_length() - 1)))

    def __gt__(self, other):
        return self.builder.icmp_signed(">", self.value, _ir(other))

    def __eq__(self, other):
        return self.builder.icmp_signed("==", self.value, _ir(other))

    __hash__ = None

    def at_most(self, most):
        """Return the smaller of self and `most`."""
        return Index(self.builder, self.builder.select(self > most, _ir(most), self.value))

    def broadcast(self, k):
        """Return the place of entry k along an axis of length `self` that broadcasts: k, or 0 if the length is 1."""
        return Index(self.builder, self.builder.select(self > 1, _ir(k), _INDEX(0)))


def _ir(number):
    return number.value if isinstance(number, Index) else _INDEX(number)


class Array:
    """An argument that is an array, for addresses in it."""

    def __init__(self, builder, data, shape, strides):
        self.builder, self.data = builder, data
        self.shape = [Index(builder, n) for n in shape]
        self.strides = [Index(builder, n) for n in strides]

    @property
    def itemsize(self):
        """The bytes of an element."""
        return 8 if isinstance(self.data.type.pointee, ir.DoubleType) else 4

    def row(self, i=0):
        """Return a pointer to row i (to the first element, if there is one axis)."""
        return self.builder.gep(self.data, [_ir(self.shape[1] * i if len(self.shape) > 1 else 0)])

    def place(self, i, j=0):
        """Return a pointer to entry j of row i, whatever the strides are."""
        data = self.builder.bitcast(self.data, ir.IntType(8).as_pointer())
        for number, stride in zip((i, j), self.strides, strict=False):
            data = self.builder.gep(data, [_ir(stride * number)]) if isinstance(number, Index) or number else data
        return self.builder.bitcast(data, self.data.type)

    def of(self, kind):
        """Return the same memory as an array of numbers of another type."""
        other = copy(self)
        other.data = self.builder.bitcast(self.data, kind.as_pointer())
        return other


class Vector:
    """`width` numbers in a register; operators emit instructions. Comparisons are false for NaN."""

    __slots__ = ("lanes", "value")

    def __init__(self, lanes, value):
        self.lanes, self.value = lanes, value

    def __add__(self, other):
        return Vector(self.lanes, self.lanes.builder.fadd(self.value, other.value, flags=_AS_WRITTEN))

    def __sub__(self, other):
        return Vector(self.lanes, self.lanes.builder.fsub(self.value, other.value, flags=_AS_WRITTEN))

    def __mul__(self, other):
        return Vector(self.lanes, self.lanes.builder.fmul(self.value, other.value, flags=_AS_WRITTEN))

    def __truediv__(self, other):
        return Vector(self.lanes, self.lanes.builder.fdiv(self.value, other.value, flags=_AS_WRITTEN))

    def __gt__(self, other):
        return self.lanes.builder.fcmp_ordered(">", self.value, other.value)

    def __lt__(self, other):
        return self.lanes.builder.fcmp_ordered("<", self.value, other.value)

    def is_number(self):
        """Return a condition, as comparisons do: false for NaN."""
        return self.lanes.builder.fcmp_ordered("ord", self.value, self.value)

    def minus_exactly(self, other):
        """Return self - other, not merged with the sum that self is, as in (x + M) - M.

        Numba allows LLVM to merge them, for each instruction that has no flags of its own.
        """
        return Vector(self.lanes, self.lanes.builder.fsub(self.value, other.value, flags=["contract"]))

    def fma(self, factor, term):
        """Return self * factor + term, rounded once where the processor has an instruction for that, else twice.

        `llvm.fma` would be rounded once everywhere, by a function call for each lane where there is no instruction
        (x86-64-v2: before 2013, and virtual machines that hide it): passes took 6 to 16 times as long.
        """
        kind = ir.FunctionType(self.value.type, [self.value.type] * 3)
        name = f"llvm.fmuladd.v{self.lanes.width}f{8 * self.lanes.size}"
        function = cgutils.get_or_insert_function(self.lanes.builder.module, kind, name)
        return Vector(self.lanes, self.lanes.builder.call(function, [self.value, factor.value, term.value]))


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
    """Emits vector code into the function that Numba is building."""

    def __init__(self, builder, dtype):
        self.builder = builder
        self.double = dtype == types.float64
        self.size = 8 if self.double else 4
        self.width = BYTES // self.size
        self.step = STEP // self.size
        self.vector = ir.VectorType(ir.DoubleType() if self.double else ir.FloatType(), self.width)
        self.bits = ir.VectorType(ir.IntType(8 * self.size), self.width)

    # --- vectors; an address is a pointer and offsets ---

    def at(self, pointer, *offsets):
        for offset in offsets:
            pointer = self.builder.gep(pointer, [_ir(offset)])
        return pointer

    def load(self, pointer, *offsets):
        place = self.builder.bitcast(self.at(pointer, *offsets), self.vector.as_pointer())
        return Vector(self, self.builder.load(place, align=self.size))

    def store(self, vector, pointer, *offsets):
        place = self.builder.bitcast(self.at(pointer, *offsets), self.vector.as_pointer())
        self.builder.store(vector.value, place, align=self.size)

    def spread(self, pointer, *offsets):
        """Return a vector with the same number, read from memory, in each lane."""
        return self.splat(self.builder.load(self.at(pointer, *offsets)))

    def splat(self, scalar):
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, _INT(0))
        return Vector(self, self.shuffle(first, undefined, [0] * self.width))

    def constant(self, number):
        return Vector(self, ir.Constant(self.vector, [float(number)] * self.width))

    def accumulator(self, start=None):
        return Accumulator(self, self.constant(0.0) if start is None else start)

    def select(self, condition, yes, no):
        """Return, lane by lane, `yes` where the condition holds, else `no`."""
        return Vector(self, self.builder.select(condition, yes.value, no.value))

    def power_of_two(self, biased):
        """Return 2**n for a vector whose low bits are n + the bias of the exponent."""
        by = ir.Constant(self.bits, [52 if self.double else 23] * self.width)
        exponent = self.builder.shl(self.builder.bitcast(biased.value, self.bits), by)
        return Vector(self, self.builder.bitcast(exponent, self.vector))

    # --- control ---

    @contextmanager
    def loop(self, start, stop, step=1):
        with cgutils.for_range_slice(self.builder, _ir(start), _ir(stop), _ir(step), _INDEX) as (index, _):
            yield Index(self.builder, index)

    def cases(self, number, values):
        """Give each value, for a `for` whose body emits the code that runs if `number` equals it."""
        for value in values:
            with self.builder.if_then(number == value):
                yield value

    def branches(self, condition):
        """Give True, then False, for a `for` whose body emits the code that runs if the condition holds, or if not."""
        with self.builder.if_else(condition) as sides:
            for value, side in zip((True, False), sides, strict=True):
                with side:
                    yield value

    def types(self, X, size):
        """Give X as float64, then as float32, for a `for` whose body emits the code that runs if `size` says so.

        `size` is that of an item of X in bytes, 4 or 8: the type of rows in a kernel does not tell.
        """
        for is_double in self.branches(size == 8):
            yield X.of(ir.DoubleType() if is_double else ir.FloatType())

    def prefetch(self, address):
        """Ask for the cache line at an address."""
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte] + [_INT] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        to_read, near, is_data = _INT(0), _INT(2), _INT(1)
        self.builder.call(function, [self.builder.bitcast(address, byte), to_read, near, is_data])

    # --- sums over lanes ---

    def add_sums(self, vectors, pointer, halves=None):
        """Add the sum of the lanes of vectors[i] to pointer[i]; the memory is float64.

        `halves` (0, 1) or (1, 0): add the sums of half of the lanes one after the other, in this order. None: add
        their sum.
        """
        for first in range(0, len(vectors), self.width):
            group = vectors[first : first + self.width]
            count = len(group)
            parts = self._half_sums(group + [self.constant(0.0)] * (self.width - count))
            parts = [parts[i] for i in halves] if halves and self.double else [parts[0] + parts[1]]
            kind = ir.VectorType(ir.DoubleType(), count)
            place = self.builder.bitcast(self.at(pointer, first), kind.as_pointer())
            total = self.builder.load(place, align=8)
            for part in parts:
                term = self.shuffle(part.value, part.value, list(range(count)))
                term = term if self.double else self.builder.fpext(term, kind)
                total = self.builder.fadd(total, term, flags=_AS_WRITTEN)
            self.builder.store(total, place, align=8)

    def _half_sums(self, vectors):
        """Return two vectors; lane i of their sum is the sum of vectors[i], by log2(width) rounds of pairwise sums."""
        half = 1
        while len(vectors) > 2:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [low + high for low, high in (self._halves(a.value, b.value, half) for a, b in pairs)]
            half *= 2
        return self._halves(vectors[0].value, vectors[1].value, half)

    def _halves(self, a, b, half):
        """Return the first and the second halves of each run of 2 half lanes: of a's runs, then of b's."""
        first = [i if i % (2 * half) < half else self.width + i - half for i in range(self.width)]
        return [Vector(self, self.shuffle(a, b, [i + shift for i in first])) for shift in (0, half)]

    def shuffle(self, a, b, mask):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, len(mask)), mask))


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros that start at a cache line: a vector that crosses a line costs two accesses."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + CACHE_LINE, dtype=np.uint8)
    start = -raw.__array_interface__["data"][0] % CACHE_LINE  # quicker than raw.ctypes.data
    return raw[start : start + size].view(dtype).reshape(shape)
