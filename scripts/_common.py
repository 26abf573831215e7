"""What the scripts share: the machine's description, medians, tables and the look of figures. NumPy only."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

# Variables by which OpenBLAS takes this processor for another one: with them set, the rate of DGEMM and the times of
# whoever calls BLAS are not this machine's.
BLAS_DISGUISE = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_VERBOSE")
THREAD_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
INK, FAINT = "#222222", "#d9d9d9"
COLOURS = ("#d1495b", "#30638e", "#edae49", "#00798c", "#6a4c93", "#7f7f7f", "#8cb369")
MARKERS = "osD^vPX"


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment, less what disguises the processor to BLAS or limits threads."""
    return {k: v for k, v in os.environ.items() if k not in (*BLAS_DISGUISE, *THREAD_LIMITS)} | extra


def restart_in_clean_environment() -> None:
    """Start this script anew if BLAS would be disguised or threads limited: both are read when libraries load."""
    if any(name in os.environ for name in (*BLAS_DISGUISE, *THREAD_LIMITS)):
        os.execve(sys.executable, [sys.executable, *sys.argv], clean_environment())


def add_root_to_path() -> str:
    """Make the checkout's fastem importable; the folder to put on a child's PYTHONPATH."""
    sys.path.insert(0, str(ROOT))
    return str(ROOT)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Processor, cores, system, versions and BLAS: what a time is worth nothing without."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "numba", "llvmlite", "scikit-learn"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu_model(),
        "cores": n_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.date.today().isoformat(),
        "versions": versions,
        "blas": blas(),
    }


def blas() -> str:
    """NumPy's BLAS and the processor that it takes this one for, if threadpoolctl can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown (threadpoolctl is not installed)"
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    found = [info for info in found if "numpy" in info["filepath"]] or found  # SciPy has another one
    return ", ".join(f"{i['internal_api']} {i['version']} ({i.get('architecture', '?')})" for i in found) or "unknown"


def describe(machine: dict[str, Any]) -> str:
    """One line about a machine."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {versions}; {machine['blas']}"


def processor_seconds(function: Callable[[], Any]) -> float:
    """Seconds of the processor that a call takes."""
    since = time.process_time()
    function()
    return time.process_time() - since


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, smallest, largest and number of measurements."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """A markdown table; the first `left` columns are aligned to the left, the others to the right."""
    marks = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, marks, *rows))


def seconds(value: float) -> str:
    """A time with three digits: 12.3 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{float(f'{value / scale:.3g}'):g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def count(value: int) -> str:
    """A number of rows: 1e6, 2e5, 1500."""
    digits, zeros = str(value).rstrip("0"), len(str(value)) - len(str(value).rstrip("0"))
    return f"{digits}e{zeros}" if zeros >= 4 else str(value)


def new_figure(n_panels: int, width: float = 4.2, height: float = 3.7) -> tuple[Any, Any]:
    """A figure with a row of panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    look = {"font.size": 9, "axes.edgecolor": INK, "axes.spines.top": False, "axes.spines.right": False}
    pyplot.rcParams.update(look | {"axes.titlesize": 10, "axes.titleweight": "bold", "legend.frameon": False})
    figure, axes = pyplot.subplots(1, n_panels, figsize=(width * n_panels, height), layout="constrained")
    for panel in [axes] if n_panels == 1 else axes:
        panel.grid(True, which="major", color=FAINT, linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, axes


def plain_log_ticks(panel: Any) -> None:
    """1, 2, 5, 10 ... on logarithmic axes, not powers (x: 1, 10, 100)."""
    from matplotlib import ticker

    for axis, steps in ((panel.xaxis, (1,)), (panel.yaxis, (1, 2, 5))):
        axis.set_major_locator(ticker.LogLocator(subs=steps))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())


def parser(doc: str, rounds: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every script has; `rounds` for those that measure."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=Path("results"), help="folder for the results (default: results)")
    made.add_argument("--quick", action="store_true", help="small shapes, few rounds: to see that it works")
    if rounds:
        made.add_argument("--rounds", type=int, help="how often each thing is measured, in turns")
    return made


def begin_page(doc: str) -> argparse.Namespace:
    """The options of a script that can write a table of docs/performance.md; it goes on in a clean environment."""
    made = parser(doc)
    made.add_argument("--pages", action="store_true", help="also rewrite the table of docs/performance.md")
    options = made.parse_args()
    restart_in_clean_environment()
    add_root_to_path()
    return options


def draw_mixture(N: int, D: int, K: int, spacing: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (N, D) of K Gaussians of equal weight, their means (K, D) and covariances (K, D, D).

    The means are about `spacing` standard deviations apart in any dimension, so that neighbours overlap.
    """
    rng = np.random.default_rng([N, D, K])
    means = rng.normal(size=(K, D)) * spacing / np.sqrt(2 * D)
    axes, _ = np.linalg.qr(rng.normal(size=(K, D, D)))
    roots = axes * rng.uniform(0.6, 1.2, (K, 1, D))
    X, labels = rng.normal(size=(N, D)), rng.integers(K, size=N)
    for k in range(K):
        mine = np.flatnonzero(labels == k)
        X[mine] = X[mine] @ roots[k].T + means[k]
    return X, means, roots @ roots.swapaxes(1, 2)


def rest() -> None:
    """Let the threads of whoever ran before go to sleep: those of OpenBLAS still spin after 50 ms, not after 100.

    In a quick run, whose times mean nothing, it would only take most of the time: 40 s of roofline.py's 60.
    """
    if "--quick" not in sys.argv:
        time.sleep(0.15)


def progress(message: str = "") -> None:
    """Show what is being done on a line of the terminal, if there is one."""
    if sys.stderr.isatty():
        print(f"\r{message:<78}", end="" if message else "\r", file=sys.stderr, flush=True)


def rewrite_section(page: Path, name: str, section: str) -> None:
    """Put a section between the markers of this name on a page."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    text = page.read_text()
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        sys.exit(f"{page} must hold the lines {start} and {end}, in this order, once: the section goes between them")
    before, after = text.split(start)[0], text.split(end)[1]
    page.write_text(f"{before}{start}\n{section}\n{end}{after}")
    print(f"rewrote the {name} section of {page}")


def write(folder: Path, name: str, results: dict[str, Any], markdown: str) -> None:
    """Write results as JSON and as markdown, and print the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.md").write_text(markdown + "\n")
    print(markdown)
