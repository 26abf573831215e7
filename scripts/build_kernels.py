"""Build fastem-kernels: a wheel with all kernels as machine code, so that no first call waits for a compiler.

    python scripts/build_kernels.py [--output dist] [--calls fit,predict] [--dtypes float64]

It compiles the kernels of this checkout for each level of processors of this machine's kind
(`fastem.kernels.prebuilt.LEVELS`), links one shared library for each level with the C compiler `cc`, and packs them.
The wheel works with every version of Python and Numba, and with this state of the kernels alone. Kernels are compiled
for a level by Numba, with NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, and become position-independent code by llvmlite.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import _common

KINDS = {"x86_64": ("x86-64-v4", "x86-64-v3"), "AMD64": ("x86-64-v4", "x86-64-v3")}  # of others "generic"
SETUP = """
[metadata]
name = fastem-kernels
version = {version}
description = Kernels of fastem {version}, compiled
license = MIT
[options]
packages = fastem_kernels
[options.package_data]
fastem_kernels = *.so
[bdist_wheel]
python_tag = py3
plat_name = {platform}
"""


def features_of(level: str) -> str:
    """Return the features of a level for LLVM, without vectors of half the width, which cost 17 % at D = 2."""
    from fastem.kernels.prebuilt import LEVELS

    tuning = ["-prefer-256-bit"] if level.startswith("x86") else []  # no feature of others
    return ",".join([*(f"+{each}" for each in LEVELS[level].features), *tuning])


def compile_kernel(kernel: Any, real: Any, level: str) -> bytes:
    """Return the object code of a kernel, of whose functions only one can be seen: ``entry`` under its symbol."""
    import numba
    from numba import njit, types

    from fastem.kernels.compiler import HELPER, KERNEL
    from fastem.kernels.memory import ROWS_OF_EITHER, getter
    from fastem.kernels.prebuilt import symbol

    arguments = types.Tuple((ROWS_OF_EITHER, *kernel.args(numba.from_dtype(real))))
    worker, read, name = njit(**HELPER)(kernel.worker), getter(arguments), symbol(kernel.name, real)

    def entry(task, n_tasks, frame):  # type: ignore[no-untyped-def]
        worker(task, n_tasks, *read(frame))

    entry.__name__ = entry.__qualname__ = name
    signature = types.void(types.intp, types.intp, types.CPointer(types.int64))
    compiled = njit(**KERNEL | dict(no_cpython_wrapper=True, no_cfunc_wrapper=True))(entry)
    compiled.compile(signature)

    return object_code(next(iter(compiled.inspect_llvm().values())), name, level)


def object_code(text: str, name: str, level: str) -> bytes:
    """Return position-independent object code for LLVM's code, in which only the function of this name can be seen."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    for function in module.functions:
        if function.is_declaration:
            continue
        if name in function.name:
            function.name = name
        else:
            function.linkage = "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    target = llvm.Target.from_triple(llvm.get_process_triple())
    features = features_of(level)
    machine = target.create_target_machine(cpu=level, features=features, opt=3, reloc="pic", codemodel="default")
    return bytes(machine.emit_object(module))


def build_level(level: str, output: Path, calls: list[str], dtypes: list[str]) -> None:
    """Compile kernels for a level, in the process that has been told so, and link them."""
    import numpy as np

    from fastem.kernels import shared
    from fastem.kernels.ahead import find_needed

    with tempfile.TemporaryDirectory() as scratch:
        objects = []
        for kernel, real in dict.fromkeys((kernel, real) for kernel, _, real in find_needed(dtypes, calls)):
            objects.append(Path(scratch) / f"{kernel.name}_{real}.o")
            objects[-1].write_bytes(compile_kernel(kernel, np.dtype(real), level))
            print(f"{level}: {objects[-1].stem}, {objects[-1].stat().st_size / 1e3:.0f} kB", flush=True)
        for symbol, library in shared.libraries.items():
            objects.append(Path(scratch) / f"{symbol}.o")
            objects[-1].write_bytes(object_code(library.get_llvm_str(), symbol, level))
        # -z defs: a symbol that is missing is an error now, and not in the user's process.
        only_ours = [] if sys.platform == "darwin" else ["-Wl,-z,defs", "-Wl,--gc-sections", "-Wl,-Bsymbolic"]
        subprocess.run(["cc", "-shared", "-o", output, *only_ours, *objects, "-lm"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("dist"), help="folder for the wheel")
    parser.add_argument("--level", help=argparse.SUPPRESS)  # a child: build this one
    parser.add_argument("--calls", default="all", help="what will be called: see fastem.warmup")
    parser.add_argument("--dtypes", default="float64,float32", help="dtypes of the rows that will come")
    options = parser.parse_args()
    _common.add_root_to_path()

    from fastem._version import __version__
    from fastem.kernels.ahead import CALLS, check_calls
    from fastem.kernels.cache import stamp
    from fastem.kernels.jit import check_dtypes
    from fastem.kernels.prebuilt import PACKAGE

    calls = list(CALLS) if options.calls == "all" else check_calls(options.calls.split(","))
    dtypes = check_dtypes(options.dtypes.split(","))
    if options.level:
        build_level(options.level, options.output, calls, dtypes)
        return

    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / PACKAGE
        package.mkdir()
        hashes = {}
        for level in KINDS.get(platform.machine(), ("generic",)):
            env = os.environ | {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": features_of(level)}
            env["NUMBA_CACHE_DIR"] = scratch
            build = ["--level", level, "--output", str(package / f"{level}.so")]
            chosen = ["--calls", ",".join(calls), "--dtypes", ",".join(dtypes)]
            subprocess.run([sys.executable, __file__, *build, *chosen], check=True, env=env)
            hashes[level] = hashlib.sha256(package.joinpath(f"{level}.so").read_bytes()).hexdigest()
        constants = f'STAMP = "{stamp().hex()}"\nHASHES = {hashes!r}\n'
        package.joinpath("__init__.py").write_text(f'"""Kernels of fastem, compiled."""\n\n{constants}')
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        Path(scratch, "setup.cfg").write_text(SETUP.format(version=__version__, platform=tag))
        Path(scratch, "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools>=77"]\n')
        shutil.rmtree(Path(scratch) / "__pycache__", ignore_errors=True)
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(options.output), scratch]
        subprocess.run(command, check=True)
    print(*options.output.glob("fastem_kernels-*.whl"), sep="\n")


if __name__ == "__main__":
    main()
