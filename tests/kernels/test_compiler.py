"""What is left out of the compiler's work: Numba's modules that it rests on are those of its present versions."""

import numba
import pytest
from numba.core import types

from fastem.kernels.compiler import HELPER, KERNEL

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@numba.njit(**HELPER)
def double(x):
    return 2.0 * x


@numba.njit(**HELPER)
def quadruple(x):
    return double(double(x))


@numba.njit(**KERNEL)
def kernel(x):
    return quadruple(x) + 1.0


def test_helpers_are_inlined_and_nothing_else():
    assert kernel(3.0) == 13.0
    names = [f.name for f in kernel.overloads[types.float64,].library.get_defined_functions()]
    assert not [name for name in names if "double" in name or "quadruple" in name]
    for helper in (double, quadruple):
        library = helper.overloads[types.float64,].library
        assert not library._codegen._engine.is_symbol_defined(helper.overloads[types.float64,].fndesc.llvm_func_name)
        with pytest.raises(ValueError, match="not in list"):
            helper(3.0)
