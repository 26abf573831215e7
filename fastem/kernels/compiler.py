"""Hold every option of the compiler, and what of its work is left out.

Numba makes machine code of each function, for Python and for compiled callers, before it inlines it anywhere. Helpers
of kernels are only called by kernels: for them all of that, three quarters of the time, is left out. Where Numba's
modules are used that may change between versions, tests say so (tests/kernels/test_compiler.py).
"""

from typing import Any, Final

from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class _Whole(JITCodeLibrary):
    """Code whose functions are not optimised one by one, before they are together."""

    def _optimize_functions(self, ll_module):  # type: ignore[no-untyped-def]
        ll_module.data_layout = self._codegen._data_layout


class _Part(_Whole):
    """The code of a helper, for the code of its callers alone: it is neither optimised nor made machine code.

    It links nothing either: a kernel gets it together with what it calls.
    """

    def finalize(self):  # type: ignore[no-untyped-def]
        self._raise_if_finalized()
        self._finalized = True


class _Helper(Compiler):
    """Compiles a helper. Called from Python, a helper raises a ValueError."""

    def define_pipelines(self):  # type: ignore[no-untyped-def]
        self.state.flags.no_compile = True
        self.state.library = _Part(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()

    def _compile_core(self):  # type: ignore[no-untyped-def]
        # Numba knows compiled functions by their entry, which must be a built-in function, and another for each.
        cres = super()._compile_core()._replace(entry_point=[].remove)
        libraries = [cres.library, *cres.library._linking_libraries]
        cres.target_context.insert_user_function(cres.entry_point, cres.fndesc, libraries)
        return cres


SHARED: Final = "fastem"  # how the symbols of micro-kernels begin


class InOneGo(_Whole):
    """The code of a kernel, optimised once. Numba does it twice, to drop counts of references; kernels have none.

    Micro-kernels are not part of it, but libraries of their own: `symbols` has those that it calls. Helpers are either
    inlined or functions that nothing outside can see, as LLVM decides. (To inline all was twice the work for whole fits
    inside a kernel, and made none of them faster.) So two kernels that call one helper do not share its code: the bits
    would depend on which came into memory first.
    """

    def finalize(self):  # type: ignore[no-untyped-def]
        names = dict.fromkeys(linked.name for linked in self._linking_libraries)
        self.symbols = [name for name in names if name.startswith(f"{SHARED}.")]
        self._linking_libraries = [linked for linked in self._linking_libraries if linked.name not in self.symbols]
        super().finalize()

    def _optimize_final_module(self):  # type: ignore[no-untyped-def]
        passes, builder = self._codegen._module_pass_manager()
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)
        for function in self._final_module.functions:
            if function.linkage == Linkage.linkonce_odr:
                function.linkage = "internal"


class _Builder(Compiler):
    """Compiles a kernel."""

    def define_pipelines(self):  # type: ignore[no-untyped-def]
        self.state.library = InOneGo(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


# Contraction and reassociation let LLVM use FMA and vector sums; NaN and infinity keep their meaning
# ('nnan' and 'ninf' are never set), because overflow and collapse are detected by them. Nothing allocates memory, so
# that no references are counted ('_nrt'): to do so was a quarter of the code before optimisation.
FAST: Final = {"contract", "reassoc", "nsz", "arcp"}
COMMON: Final[dict[str, Any]] = dict(_nrt=False, nogil=True, error_model="numpy", fastmath=FAST)
KERNEL: Final[dict[str, Any]] = COMMON | dict(pipeline_class=_Builder)
# Kernels, micro-kernels and the launcher are cached on disk; helpers are not, they are part of each kernel.
HELPER: Final[dict[str, Any]] = COMMON | dict(no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=_Helper)
# For helpers that take functions: a function that is passed, and not inlined, is an address, which no cache keeps.
INLINED: Final[dict[str, Any]] = HELPER | dict(forceinline=True)
# For helpers whose rounding tricks 'reassoc' would fold away ((x + M) - M); flags survive inlining.
EXACT: Final[dict[str, Any]] = HELPER | dict(fastmath={"contract"})
# What users call, from code of their own and from Python, for single points (kernels/points.py): the cache of their
# code then holds all of it.
POINT: Final[dict[str, Any]] = COMMON | dict(forceinline=True)
LAUNCHER: Final[dict[str, Any]] = COMMON | dict(parallel=True, no_cfunc_wrapper=True)
PACKER: Final[dict[str, Any]] = COMMON | dict(no_cfunc_wrapper=True)
