"""Views of memory and of bits, in a few instructions; frames, which hold the arguments of a kernel.

NumPy's `reshape` and `view` are functions that Numba compiles, each for itself: a tenth of the time of a kernel.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array


def _parts_of(dtype):
    """Return an intrinsic that gives a part of an array, as numbers of this type; None: of its own."""

    @intrinsic
    def part_of(typingctx, memory, start, shape):
        kind = types.Array(dtype or memory.dtype, len(shape), "C")

        def generate(context, builder, signature, values):
            source, first, size = values
            data = builder.gep(context.make_array(signature.args[0])(context, builder, source).data, [first])
            sizes = cgutils.unpack_tuple(builder, size)
            itemsize = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
            strides = [itemsize]
            for n in sizes[:0:-1]:
                strides.insert(0, builder.mul(strides[0], n))
            array = context.make_array(kind)(context, builder)
            data = builder.bitcast(data, array.data.type)
            populate_array(array, data=data, shape=sizes, strides=strides, itemsize=itemsize, meminfo=None)
            return array._getvalue()

        return kind(memory, types.intp, types.UniTuple(types.intp, len(shape))), generate

    return part_of


# part(memory, start, shape): an array of this shape, a tuple, that begins at number `start` of a contiguous array.
part, part_in_float32 = _parts_of(None), _parts_of(types.float32)


def part_plain(memory, start, shape):
    """Do what `part` does."""
    return memory.reshape(memory.size)[start : start + int(np.prod(shape))].reshape(shape)


def part_in_float32_plain(memory, start, shape):
    """Do what `part_in_float32` does."""
    return part_plain(memory.reshape(memory.size)[start:].view(np.float32), 0, shape)


def _same_bits(source, target, number):
    """Return an intrinsic that gives the bits of a `source` another type."""

    def typed(typingctx, value):
        def generate(context, builder, signature, values):
            return builder.bitcast(values[0], number)

        return target(source), generate

    return typed


to_integer = intrinsic(_same_bits(types.float64, types.int64, ir.IntType(64)))  # of the bits of a float64
to_float = intrinsic(_same_bits(types.int64, types.float64, ir.DoubleType()))  # of the bits of an int64


def to_integer_plain(value):
    """Do what `to_integer` does."""
    return np.float64(value).view(np.int64)


def to_float_plain(value):
    """Do what `to_float` does."""
    return np.int64(value).view(np.float64)


# --- rows -----------------------------------------------------------------------------------------------------------

# The type of rows in kernels: any layout, read-only, unaligned, and float64 or float32, as the size of an item tells.
ROWS_OF_EITHER = types.Array(types.float64, 2, "A", readonly=True, aligned=False)


def _as_rows_of(dtype):
    """Return an intrinsic that gives an array, as it lies in memory, numbers of another type."""

    @intrinsic
    def rows_of(typingctx, X):
        def generate(context, builder, signature, values):
            given = context.make_array(X)(context, builder, values[0])
            view = context.make_array(signature.return_type)(context, builder)
            data = builder.bitcast(given.data, view.data.type)
            populate_array(
                view, data=data, shape=given.shape, strides=given.strides, itemsize=given.itemsize, meminfo=None
            )
            return view._getvalue()

        return X.copy(dtype=dtype)(X), generate

    return rows_of


as_float64, as_float32 = _as_rows_of(types.float64), _as_rows_of(types.float32)


# --- frames ---------------------------------------------------------------------------------------------------------

FRAME = types.Array(types.int64, 1, "C")


@intrinsic
def put(typingctx, frame, arguments):
    """Write arguments, as the machine code has them, to the memory of a frame; arrays without their owners."""

    def generate(context, builder, signature, values):
        place, struct = values
        for i, kind in enumerate(signature.args[1]):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, builder.extract_value(struct, i))
                array.meminfo, array.parent = (cgutils.get_null_value(p.type) for p in (array.meminfo, array.parent))
                struct = builder.insert_value(struct, array._getvalue(), i)
        data = context.make_array(signature.args[0])(context, builder, place).data
        builder.store(struct, builder.bitcast(data, struct.type.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(frame, arguments), generate


def getter(kinds):
    """Return a function for compiled code, which reads from a frame the arguments, of these types, that `put` wrote.

    The frame is an array or, in code that is compiled ahead of time, a pointer to its first number.
    """

    @intrinsic
    def get(typingctx, frame):
        def generate(context, builder, signature, values):
            data = values[0]
            if isinstance(frame, types.Array):
                data = context.make_array(frame)(context, builder, data).data
            struct = context.get_value_type(signature.return_type)
            return builder.load(builder.bitcast(data, struct.as_pointer()), align=8)

        return kinds(frame), generate

    return get


def frame_size(kinds):
    """Return how many numbers of 8 bytes arguments of these types take in a frame, at most."""
    return sum(5 + 2 * kind.ndim if isinstance(kind, types.Array) else 1 for kind in kinds)


if numba.config.DISABLE_JIT:  # the interpreter has no instructions
    part, to_integer, to_float = part_plain, to_integer_plain, to_float_plain
    part_in_float32 = part_in_float32_plain
    as_float64 = as_float32 = lambda X: X
