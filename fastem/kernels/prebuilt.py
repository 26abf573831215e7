"""Kernels compiled ahead of time, which the optional package fastem-kernels brings: nothing is left to compile.

`scripts/build_kernels.py` makes that package. It holds shared libraries of plain machine code, one for each level of
processors, which call nothing and know neither Python nor Numba: one package serves all versions of both, for one state
of the kernels' source. Where that differs, or the processor has less than each level needs, or Numba has been told how
to compile, kernels are compiled as without it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import logging
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np
from numba import types

from fastem.kernels.cache import stamp
from fastem.kernels.lanes import BYTES

PACKAGE = "fastem_kernels"


class Level(NamedTuple):
    """A level of processors.

    Attributes
    ----------
    vector : int
        Bytes of a vector in the micro-kernels. Scratch memory is cut up by it, in the library and outside of it.
    features : tuple of str
        What a processor must have, by LLVM's names.
    """

    vector: int
    features: tuple[str, ...]


_AVX2 = "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"
_AVX512 = "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"
# By LLVM's names of processors; the first that fits is taken. "generic" is arm64.
LEVELS = {"x86-64-v4": Level(64, _AVX2 + _AVX512), "x86-64-v3": Level(32, _AVX2), "generic": Level(16, ("neon",))}

log = logging.getLogger("fastem")
Function = Callable[..., Any]


def symbol(name: str, real: Any) -> str:
    """Return the name of a kernel in the libraries, for a dtype of the arithmetic."""
    return f"fastem_{name}_{np.dtype(real)}"


def find(name: str, real: Any) -> Function | None:
    """Return ``entry(task, n_tasks, frame)`` of a kernel; None if it must be compiled."""
    function = getattr(_library(), symbol(name, real), None)  # of no library, too
    if function is None:
        return None
    function.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t, ctypes.c_void_p
    function.restype = ctypes.c_int
    unused = ctypes.create_string_buffer(16)  # for a result and an exception: a kernel has neither

    def entry(task: int, n_tasks: int, frame: array[int]) -> None:
        function(unused, unused, task, n_tasks, frame.buffer_info()[0])

    return entry


def packer(kinds: Sequence[types.Type]) -> Function:
    """Return a function that makes frames as `fastem.kernels.memory.put` does, without a compiler."""
    arrays = [isinstance(kind, types.Array) for kind in kinds]

    def pack(*arguments: Any) -> array[int]:
        numbers: list[int] = []
        for is_array, value in zip(arrays, arguments, strict=True):
            if is_array:
                address = value.__array_interface__["data"][0]
                numbers += (0, 0, value.size, value.itemsize, address, *value.shape, *value.strides)
            elif isinstance(value, float):
                numbers.append(int(np.float64(value).view(np.int64)))
            else:
                numbers.append(value)
        return array("q", numbers)  # 5 us less than an array of NumPy

    return pack


@cache
def _library() -> ctypes.CDLL | None:
    """Return the library for this processor; None, with a line in the log, if there is none that may be used."""
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError:
        return None
    except Exception as error:  # whatever it is, kernels can be compiled
        log.warning("%s is not used: %s: %s", PACKAGE, type(error).__name__, error)
        return None
    told = numba.config.CPU_NAME, numba.config.CPU_FEATURES, numba.config.BOUNDSCHECK  # type: ignore[attr-defined]
    if any(told):
        log.info("%s is not used: Numba has been told how to compile", PACKAGE)
        return None
    if stamp().hex() != getattr(package, "STAMP", None):
        log.warning("%s is not used: it was built from other kernels than those of this fastem", PACKAGE)
        return None
    level = find_level(llvmlite.binding.get_host_cpu_features())
    path = Path(str(package.__file__)).parent / f"{level}.so"
    try:
        whole = hashlib.sha256(path.read_bytes()).hexdigest()
        if whole != getattr(package, "HASHES", {}).get(level):  # half a library would end the process
            raise OSError(f"{path} is damaged")
        return ctypes.CDLL(str(path))
    except OSError as error:
        log.info("%s is not used: %s", PACKAGE, error)
        return None


def find_level(has: dict[str, bool], vector: int = BYTES) -> str | None:
    """Return the first level that a processor can run which has these features, and for which we use such vectors."""
    able = (name for name, level in LEVELS.items() if all(has.get(each) for each in level.features))
    return next((name for name in able if LEVELS[name].vector == vector), None)
