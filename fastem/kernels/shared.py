"""Make micro-kernels: functions of machine code, each compiled once, for all kernels that call it.

Inlined, they were compiled anew in each of some thirty kernels. A call costs nothing that can be measured, as it does
the work of a whole tile, and gives the same bits. So the code of a micro-kernel is a library of its own, in memory and
on disk, which kernels call by its *symbol*: its name and the types of its arguments. What users compile gets a copy in
its own library, so that their caches need nothing else.
"""

import inspect
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import CodeLibraryCacheImpl, CompileResultCacheImpl
from numba.core.cpu_options import FastMathOptions
from numba.core.fastmathpass import rewrite_module
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from fastem.kernels.cache import Cache, Sealed, SealedFunction
from fastem.kernels.compiler import FAST, SHARED, InOneGo
from fastem.kernels.lanes import Array, Index, Lanes

Emitter = Callable[..., None]

_emitters: Final[dict[str, Emitter]] = {}  # by name
libraries: Final[dict[str, Any]] = {}  # the code of micro-kernels that is in memory, by symbol


def micro_kernel(emit: Emitter, name: str | None = None) -> Callable[..., None]:
    """Return a function for Numba code, whose instructions `emit(lanes, *arguments)` writes.

    Arrays are C-contiguous, and become `Array`; integers become `Index`; a float becomes a vector of it. The first
    argument's dtype is that of the arithmetic. `name` tells micro-kernels apart that are made for a number of features;
    None: it is that of `emit`.
    """
    name = name or emit.__name__
    _emitters[name] = emit

    def typed(context, *kinds):
        exact = [_exactly(kind, kinds[0].dtype) for kind in kinds]
        symbol = ".".join((SHARED, name, *map(_code_of, exact)))

        def generate(context, builder, signature, args):
            context.add_linking_libs([library(symbol)])
            function = cgutils.get_or_insert_function(builder.module, _function_type(exact), symbol)
            builder.call(
                function, [n for pair in zip(exact, args, strict=True) for n in _numbers(context, builder, *pair)]
            )
            return context.get_dummy_value()

        return types.void(*exact), generate

    typed.__name__, typed.__doc__, typed.__signature__ = emit.__name__, emit.__doc__, inspect.signature(emit)
    return intrinsic(typed)


def library(symbol: str) -> Any:
    """Return the code of a micro-kernel, which is in memory from now on."""
    if symbol not in libraries:
        context, emit = cpu_target.target_context, _emitters[symbol.split(".")[1]]
        kept = Cache(emit, None, _SealedCode)
        found = kept.load_overload(symbol, context)
        if found is None:
            found = _compile(symbol, emit, context.codegen())
            kept.save_overload(symbol, found)
        libraries[symbol] = found
    return libraries[symbol]


def _compile(symbol: str, emit: Emitter, codegen: Any) -> Any:
    made = InOneGo(codegen, symbol)
    made.enable_object_caching()
    module, kinds = made.create_ir_module(symbol), [_kind_of(code) for code in symbol.split(".")[2:]]
    function = ir.Function(module, _function_type(kinds), symbol)
    function.attributes.add("noinline")  # in what users compile: to optimise it again takes its time
    builder, numbers = ir.IRBuilder(function.append_basic_block()), iter(function.args)
    lanes = Lanes(builder, kinds[0].dtype)
    emit(lanes, *(_argument(lanes, kind, numbers) for kind in kinds))
    builder.ret_void()
    rewrite_module(module, FastMathOptions(FAST))
    made.add_ir_module(module)
    made.finalize()
    return made


# --- arguments: an array is passed as its address, shape and strides ------------------------------------------------


def _exactly(kind, real):
    """Return the type of an argument of the micro-kernel, given what it is called with."""
    if isinstance(kind, types.Array):
        return types.Array(kind.dtype, kind.ndim, "C")
    return types.intp if isinstance(kind, types.Integer) else real if isinstance(kind, types.Float) else kind


def _code_of(kind):
    """Return the name of a type in a symbol."""
    return f"{kind.dtype}x{kind.ndim}" if isinstance(kind, types.Array) else str(kind)


def _kind_of(code):
    """Return the type of that name."""
    dtype, _, ndim = code.partition("x")
    kind = numba.from_dtype(np.dtype(dtype))
    return types.Array(kind, int(ndim), "C") if ndim else kind


def _function_type(kinds):
    """Return LLVM's type of a micro-kernel with arguments of these types."""
    context, numbers = cpu_target.target_context, []
    for kind in kinds:
        if isinstance(kind, types.Array):
            size = context.get_value_type(types.intp)
            numbers += [context.get_data_type(kind.dtype).as_pointer(), *[size] * (2 * kind.ndim)]
        else:
            numbers.append(context.get_value_type(kind))
    return ir.FunctionType(ir.VoidType(), numbers)


def _numbers(context, builder, kind, value):
    """Return what is passed for an argument."""
    if not isinstance(kind, types.Array):
        return [value]
    array = context.make_array(kind)(context, builder, value)
    return [array.data, *cgutils.unpack_tuple(builder, array.shape), *cgutils.unpack_tuple(builder, array.strides)]


def _argument(lanes, kind, numbers):
    """Return an argument as the micro-kernel's author sees it, made of the next of the numbers that are passed."""
    first = next(numbers)
    if isinstance(kind, types.Array):
        return Array(lanes.builder, first, *(tuple(islice(numbers, kind.ndim)) for _ in ("shape", "strides")))
    return Index(lanes.builder, first) if kind == types.intp else first if kind == types.boolean else lanes.splat(first)


# --- on disk --------------------------------------------------------------------------------------------------------


class _Code(CodeLibraryCacheImpl):
    _filename_prefix = "micro"


class _SealedCode(Sealed, _Code):
    """A micro-kernel."""

    @staticmethod
    def is_for(found: Any, symbol: str) -> bool:
        return bool(found.name == symbol)


class _Calls(CompileResultCacheImpl):
    def reduce(self, cres: Any) -> Any:
        return cres.library.symbols, super().reduce(cres)  # type: ignore[no-untyped-call]

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        symbols, reduced = payload
        for symbol in symbols:
            library(symbol)
        return super().rebuild(target_context, reduced)  # type: ignore[no-untyped-call]


class SealedKernel(SealedFunction, _Calls):
    """A kernel: the micro-kernels that it calls come into memory with it."""
