"""CPU seconds that a new user waits for the compiler: per call, per stage of the compiler, and per micro-kernel.

    python scripts/compile_times.py                      calls in processes with an empty cache, and with a full one
    python scripts/compile_times.py --against CHECKOUT   the same in turns with another checkout of fastem
    python scripts/compile_times.py --stages             where the seconds go: type inference, lowering, LLVM
    python scripts/compile_times.py --micro              lines of LLVM's code that each micro-kernel makes

Times are CPU seconds (user and system) of the process, in which other programs that run count little.
"""

from __future__ import annotations

import argparse
import collections
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import ROOT, table

# Each child prints the CPU seconds of each step, the first of which is the import.
START = """
import time
marks = [time.process_time()]
import warnings
import numpy as np, fastem
warnings.simplefilter("ignore")
marks.append(time.process_time())
X = np.random.default_rng(0).normal(size=(30_000, 3))
X[:9_000] += 4.0
model = fastem.GaussianMixture(3, random_state=0)
def step(call):
    call(), marks.append(time.process_time())
"""
END = "\nprint(*np.diff(marks))\n"
FIT = "step(lambda: model.fit(X))\n"
CHILDREN = {
    ("import", "first fit, float64", "`predict` after it", 'init_params="auto" after it', "float32 after it"): FIT
    + "step(lambda: model.predict(X))\n"
    + "step(lambda: fastem.GaussianMixture(3, init_params='auto', random_state=0).fit(X))\n"
    + "step(lambda: model.fit(X.astype(np.float32)))\n",
    ("", "first fit of `KMeans`"): "step(lambda: fastem.KMeans(3, random_state=0).fit(X))\n",
    ("", "`fit_many`"): "step(lambda: fastem.fit_many(X[:3000], np.arange(3000) % 9, 2, random_state=0))\n",
    ("", "`fastem warmup` of all"): "step(fastem.warmup)\n",
}


def measure(checkout: Path, cache: str) -> dict[str, float]:
    """Return the seconds of each step, in processes that share a cache if `cache` is not empty."""
    found: dict[str, float] = {}
    for names, code in CHILDREN.items():
        with tempfile.TemporaryDirectory() as empty:
            env = os.environ | {"PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": cache or empty}
            command = [sys.executable, "-c", START + code + END]
            out = subprocess.run(command, env=env, cwd=checkout, capture_output=True, text=True, check=True).stdout
        found |= {name: float(seconds) for name, seconds in zip(names, out.split(), strict=True) if name}
    return found


def calls(checkouts: list[Path], rounds: int) -> str:
    """Return a table of the seconds of calls, cold and warm, in each of the checkouts in turns."""
    cold, warm = ([[] for _ in checkouts] for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for checkout, times in zip(checkouts, cold, strict=True):
                times.append(measure(checkout, ""))
        for number, (checkout, times) in enumerate(zip(checkouts, warm, strict=True)):
            cache = str(Path(folder) / str(number))
            measure(checkout, cache)
            times.append(measure(checkout, cache))
    which = ("",) if len(checkouts) == 1 else (", before", "")
    heads = [f"{kind}{name}" for name in which for kind in ("cold", "warm")]
    pairs = [times for both in zip(cold, warm, strict=True) for times in both]
    rows = [[name] + [f"{statistics.median(t[name] for t in times):.2f}" for times in pairs] for name in cold[0][0]]
    return table(["CPU seconds", *heads], rows)


class Stages:
    """CPU seconds of each stage of Numba's compiler, without those of stages inside it, by compiled function."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = collections.defaultdict(float)
        self.open: list[list[Any]] = []
        self.functions = [""]

    def timed(self, name: Callable[..., str], old: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does what `old` does, as a stage."""

        def run(*args: Any, **options: Any) -> Any:
            self.open.append([0.0])
            since = time.process_time()
            try:
                return old(*args, **options)
            finally:
                spent = time.process_time() - since
                self.seconds[self.functions[-1], name(*args)] += spent - self.open.pop()[0]
                if self.open:
                    self.open[-1][0] += spent

        return run

    def install(self) -> None:
        """Put the clock around the stages."""
        from numba.core import codegen, compiler, compiler_machinery

        library, manager = codegen.CPUCodeLibrary, compiler_machinery.PassManager
        for attribute, stage in {
            "_optimize_functions": "LLVM, functions",
            "finalize": "LLVM, module",
            "_finalize_final_module": "LLVM, machine code",
            "add_ir_module": "LLVM, reading",
        }.items():
            setattr(library, attribute, self.timed(lambda *_, stage=stage: stage, getattr(library, attribute)))
        manager._runPass = self.timed(lambda _, index, one, state: one.name(), manager._runPass)
        core = compiler.CompilerBase._compile_core

        def compile_core(pipeline: Any) -> Any:
            self.functions.append(pipeline.state.func_id.func_qualname)
            try:
                return core(pipeline)
            finally:
                self.functions.pop()

        compiler.CompilerBase._compile_core = compile_core

    def report(self) -> str:
        """Return a table of functions by stages; those below 0.1 s together."""
        names = {"nopython_type_inference": "types"}
        names |= dict.fromkeys(("native_lowering", "native_parfor_lowering"), "lowering")
        stages = [
            "types",
            "lowering",
            *(f"LLVM, {s}" for s in ("reading", "functions", "module", "machine code")),
            "other",
        ]
        rows: dict[str, dict[str, float]] = collections.defaultdict(lambda: dict.fromkeys(stages, 0.0))
        totals: dict[str, float] = collections.defaultdict(float)
        for (function, _), seconds in self.seconds.items():
            totals[function] += seconds
        for (function, stage), seconds in self.seconds.items():
            name = names.get(stage, stage if stage in stages else "other")
            for row in (function if totals[function] >= 0.1 else "others", "all"):
                rows[row][name] += seconds
        order = sorted(rows, key=lambda name: -sum(rows[name].values()))
        body = [[n, *(f"{v:.2f}" for v in (*rows[n].values(), sum(rows[n].values())))] for n in order]
        return table(["CPU seconds", *stages, "all"], body)


def stages() -> str:
    """Return where the seconds of a first fit go."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache
        clock = Stages()
        clock.install()
        exec(START + FIT, {})
        return clock.report()


def micro_kernels() -> str:
    """Return the lines of LLVM's code of each micro-kernel that first fits call, for float64 and float32."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache
        exec(START + FIT + "step(lambda: model.fit(X.astype(np.float32)))\n", {})
        from fastem.kernels import shared

        found: dict[str, dict[str, str]] = {}
        for symbol, library in shared.libraries.items():
            _, name, first, *_ = symbol.split(".")
            found.setdefault(name, {}).setdefault(first.partition("x")[0], str(library.get_llvm_str().count("\n")))
    rows = [[name, *(lines.get(real, "") for real in ("float64", "float32"))] for name, lines in found.items()]
    return table(["lines of LLVM's code", "float64", "float32"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, whose columns come first")
    parser.add_argument("--rounds", type=int, default=1, help="how often each cold call is made (default: 1)")
    parser.add_argument("--stages", action="store_true", help="print where the seconds of a first fit go")
    parser.add_argument("--micro", action="store_true", help="print how much code micro-kernels make")
    options = parser.parse_args()
    if options.stages or options.micro:
        print((stages if options.stages else micro_kernels)())
    else:
        print(calls([*([options.against.resolve()] if options.against else []), ROOT], options.rounds))


if __name__ == "__main__":
    main()
