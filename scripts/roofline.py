"""How close the kernels come to what this machine can do.

    python scripts/roofline.py [--quick] [--output FOLDER]

In turns with the kernels, in the same process, the script measures the machine's two limits: the rate of NumPy's
matrix product (DGEMM, for float32 rows SGEMM) and the rate at which memory is streamed (STREAM's add, 24 bytes per
element). Each is taken with one thread and with all of them.

Variables that limit threads or make OpenBLAS take this processor for another (OPENBLAS_CORETYPE) are not obeyed.

    flops of a pass, per point   K (D (D + 3) + (D + 1) (D + 2))     quadratic forms + sums s0, s1, s2
    floor of a pass, per point   (those flops + 40 K for exp) / DGEMM rate, or 8 D bytes / bandwidth if that is more
    quadratic forms alone        K D (D + 3) flops per point, on a tile that stays in the cache (float64)

A fraction is floor / measured, the rate being the better of the matrix products just before and just after; tables
give the median over the rounds (and the range in the JSON). Outputs: roofline.json, roofline.md, roofline.png.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import _common as common
import numpy as np

DIMENSIONS = (2, 3, 4, 8, 10, 12, 16, 32, 64)
EXP_FLOPS = 40
BUSY = 1.5  # largest ratio between matrix products that follow each other on a machine at rest
DISTINCT = 256  # rows that the data repeat, so that the reference can check a pass quickly
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


class Task(NamedTuple):
    """What is measured at one point of the sweep: a pass and, for float64, the quadratic forms."""

    D: int
    K: int
    dtype: str
    threads: int

    @property
    def quadratic_flops(self) -> float:
        """Per point."""
        return self.K * self.D * (self.D + 3)

    @property
    def flops(self) -> float:
        """Of a pass, per point, without exp."""
        return self.quadratic_flops + self.K * (self.D + 1) * (self.D + 2)

    @property
    def row_bytes(self) -> int:
        """Read per point."""
        return self.D * np.dtype(self.dtype).itemsize


# ---- the machine's limits ----------------------------------------------------------------------------


class Machine:
    """Measures matrix products and streaming with a given number of threads."""

    def __init__(self, size: int, megabytes: int) -> None:
        rng = np.random.default_rng(0)
        self.square = {name: [rng.random((size, size)).astype(name) for _ in range(3)] for name in TOLERANCE}
        self.stream = [np.full(megabytes << 17, value) for value in (0.0, 1.0, 2.0)]
        self.pool = ThreadPoolExecutor(common.n_cores())

    def gemm(self, dtype: str, threads: int) -> float:
        """flops per second of one matrix product (after a smaller one that wakes BLAS's threads)."""
        from threadpoolctl import threadpool_limits

        a, b, c = self.square[dtype]
        with threadpool_limits(threads, user_api="blas"):
            np.matmul(a[:256], b, out=c[:256])
            return 2 * len(a) ** 3 / timed(lambda: np.matmul(a, b, out=c))

    def bandwidth(self, threads: int) -> float:
        """Bytes per second of a = b + c, in as many pieces as threads; best of three."""
        a, b, c = self.stream
        cuts = np.linspace(0, len(a), threads + 1).astype(int)

        def add(i: int) -> None:
            part = slice(cuts[i], cuts[i + 1])
            np.add(b[part], c[part], out=a[part])

        return 24 * len(a) / min(timed(lambda: list(self.pool.map(add, range(threads)))) for _ in range(3))


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# ---- the kernels -------------------------------------------------------------------------------------


def make_mixture(task: Task) -> tuple[np.ndarray, Any]:
    """DISTINCT rows of K overlapping Gaussians, and the mixture."""
    import fastem

    rows, means, covariances = common.draw_mixture(DISTINCT, task.D, task.K)
    return rows, fastem.make_params(np.full(task.K, 1 / task.K), means, covariances)


def em_pass(task: Task, seconds: float, rate: float) -> tuple[Callable[[], Any], int]:
    """A checked pass over as many rows as take about `seconds` at half the rate; and their number."""
    from fastem.model import reference
    from fastem.passes.statistics import evaluate
    from fastem.sources.blocks import ArraySource

    rows, params = make_mixture(task)
    rows = rows.astype(task.dtype)
    wanted = seconds * 0.5 * rate / (task.flops + EXP_FLOPS * task.K)
    times = int(np.clip(wanted, 2**14, 2**21)) // DISTINCT
    source = ArraySource(np.tile(rows, (times, 1)))
    stats = evaluate(source, params)
    want = reference.accumulate(rows.astype(np.float64), params, np.ones(DISTINCT))
    for name in ("loglik", "s0", "s1", "s2"):
        got, tolerance = np.asarray(getattr(stats, name)) / (times * DISTINCT), TOLERANCE[task.dtype]
        if not np.allclose(got, getattr(want, name) / DISTINCT, rtol=tolerance, atol=tolerance):
            raise AssertionError(f"{task}: {name} is wrong")
    return lambda: evaluate(source, params), times * DISTINCT


def repeat_quadratic_forms() -> Callable[..., None]:
    """`joint`, the E-step before exp, over and over on one tile: f(times, *its arguments)."""
    from numba import njit

    from fastem.kernels.compiler import COMMON
    from fastem.kernels.mixture import joint

    @njit(**COMMON)
    def repeat(times, *args):  # type: ignore[no-untyped-def]
        for _ in range(times):
            joint(*args)

    return repeat


def quadratic_forms(
    task: Task, repeat: Callable[..., None], pool: ThreadPoolExecutor, seconds: float, rate: float
) -> tuple[Callable[[], Any], int]:
    """The checked quadratic forms, on a tile of its own per thread; and the number of points."""
    from fastem.kernels.lanes import aligned
    from fastem.kernels.micro import padded
    from fastem.kernels.mixture import joint
    from fastem.model import reference
    from fastem.passes.sizes import tile_rows
    from fastem.passes.sums import Accumulator

    rows, params = make_mixture(task)
    layout, n = Accumulator(params).layout(rows.dtype), tile_rows(task.K, task.D)
    rows, P = np.resize(rows, (n, task.D)), padded(task.D)
    names = list(inspect.signature(joint.py_func).parameters)

    def arguments() -> list[Any]:
        xt = aligned((P, n), np.float64)
        xt[: task.D] = rows.T
        arrays = dict(xt=xt, lognorm=layout.log_norm, means=layout.means, factor=layout.factor, n=n)
        arrays |= dict(z=aligned((P, n), np.float64), lp=aligned((task.K, n), np.float64))
        return [arrays[name] for name in names]

    sets = [arguments() for _ in range(task.threads)]
    repeat(1, *sets[0])
    if not np.allclose(sets[0][names.index("lp")].T, reference.joint_log_density(rows, params), rtol=1e-9, atol=1e-9):
        raise AssertionError(f"{task}: the quadratic forms are wrong")
    times = max(10, int(seconds * 0.5 * rate / task.threads / task.quadratic_flops / n))

    def run() -> None:
        list(pool.map(lambda args: repeat(times, *args), sets))

    return run, n * times * task.threads


# ---- measuring ---------------------------------------------------------------------------------------


def measure(task: Task, machine: Machine, repeat: Callable[..., None], rounds: int, seconds: float) -> dict[str, Any]:
    """Rounds of pass, quadratic forms and matrix product, in turn."""
    from numba import set_num_threads

    set_num_threads(task.threads)
    rate = machine.gemm(task.dtype, task.threads)
    run, points = em_pass(task, seconds, rate)
    jobs = {"pass": (run, points, task.flops, task.flops + EXP_FLOPS * task.K)}
    if task.dtype == "float64":
        flops = task.quadratic_flops
        jobs["quadratic forms"] = (*quadratic_forms(task, repeat, machine.pool, seconds, rate), flops, flops)
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    products = [machine.gemm(task.dtype, task.threads)]
    for _ in range(rounds):
        for name, (function, *_) in jobs.items():
            common.rest()
            taken[name].append(timed(function))
        common.rest()
        products.append(machine.gemm(task.dtype, task.threads))
    rates = [max(pair) for pair in itertools.pairwise(products)]
    results = {
        name: summary(taken[name], rates, points, flops, floor, task.K)
        for name, (_, points, flops, floor) in jobs.items()
    }
    return task._asdict() | {"gemm_gflops": scaled(products, 1e-9)} | results


def summary(taken: list[float], rates: list[float], points: int, flops: float, floor: float, K: int) -> dict[str, Any]:
    """Time, rate and fraction of one kernel: `flops` and `floor` (in flops) per point."""
    return {
        "points": points,
        "ns_per_point_and_component": scaled(taken, 1e9 / (points * K)),
        "gflops": scaled([flops * points / t / 1e9 for t in taken]),
        "fraction": scaled([floor * points / rate / t for t, rate in zip(taken, rates, strict=True)]),
    }


def scaled(values: list[float], factor: float = 1.0) -> dict[str, float]:
    """The spread of values, rounded to four digits."""
    return {k: float(f"{v:.4g}") for k, v in common.spread([factor * v for v in values]).items()}


def add_memory_floor(record: dict[str, Any], bandwidth: dict[str, float]) -> None:
    """Note how much of a pass streaming its rows from memory would take."""
    nanoseconds = record["D"] * np.dtype(record["dtype"]).itemsize / bandwidth["median"]  # GB/s = bytes/ns
    measured = record["pass"]["ns_per_point_and_component"]["median"] * record["K"]
    record["memory_fraction"] = float(f"{nanoseconds / measured:.4g}")


# ---- output ------------------------------------------------------------------------------------------


def to_markdown(results: dict[str, Any]) -> str:
    """The limits, then a table per type of rows and number of threads."""
    parts = [f"# Roofline\n\n{common.describe(results['machine'])}"]
    parts.append(limits_table(results))
    if (unrest := max(r["gemm_gflops"]["max"] / r["gemm_gflops"]["min"] for r in results["kernels"])) > BUSY:
        parts.append(
            f"**The machine was busy**: of neighbouring matrix products the slowest took {unrest:.1f} times as long "
            "as the fastest. Measure again when nothing else runs."
        )
    for dtype in TOLERANCE:
        for threads in results["threads"]:
            records = select(results, dtype, threads)
            parts.append(f"## {dtype} rows, {plural(threads)}\n\n{kernel_table(records)}")
    parts.append(
        f"Covariance 'full', K = {results['kernels'][0]['K']}. Percentages are floor / measured: for a pass "
        "(flops + 40 K for exp) / matrix product's rate, for the quadratic forms flops / that rate; 'memory' is the "
        "share of a pass that streaming the rows would take."
    )
    return "\n\n".join(parts)


def plural(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread" + "s" * (threads > 1)


def limits_table(results: dict[str, Any]) -> str:
    """Matrix products (over the whole run) and streaming."""
    rows = []
    for threads in results["threads"]:
        limits = results["limits"][str(threads)]
        rows.append(
            [plural(threads)]
            + [f"{limits[n]['median']:.0f} ({limits[n]['min']:.0f} to {limits[n]['max']:.0f})" for n in TOLERANCE]
            + [f"{limits['bandwidth']['median']:.1f}"]
        )
    return common.table(["", "DGEMM, GFLOP/s", "SGEMM, GFLOP/s", "streaming, GB/s"], rows)


def kernel_table(records: list[dict[str, Any]]) -> str:
    """A row per dimension."""
    header = ["D", "pass: ns per point and component", "GFLOP/s", "of the floor", "memory"]
    quadratic = "quadratic forms" in records[0]
    header += ["quadratic forms: GFLOP/s", "of the limit"] * quadratic
    rows = []
    for r in records:
        names = ["pass", "quadratic forms"] if quadratic else ["pass"]
        cells = [f"{r['pass']['ns_per_point_and_component']['median']:.3g}"]
        for name in names:
            cells += [f"{r[name]['gflops']['median']:.1f}", f"{r[name]['fraction']['median']:.0%}"]
            cells += [f"{r['memory_fraction']:.0%}"] * (name == "pass")
        rows.append([r["D"], *cells])
    return common.table(header, rows)


def draw(results: dict[str, Any], path: Path) -> None:
    """Rates against arithmetic intensity, under the roofs; then fractions of the limit against D, by threads."""
    figure, (left, *panels) = common.new_figure(1 + len(results["threads"]), width=4.4, height=4.2)
    for colour, threads in zip(common.COLOURS, results["threads"], strict=False):
        draw_roof(left, select(results, "float64", threads), results["limits"][str(threads)], plural(threads), colour)
    left.set(xscale="log", yscale="log", xlabel="flops per byte of the rows", ylabel="GFLOP/s")
    left.set_title("EM pass, float64, under the roofs")
    left.legend(loc="lower left", bbox_to_anchor=(0.25, 0))
    common.plain_log_ticks(left)
    for panel, threads in zip(panels, results["threads"], strict=True):
        draw_fractions(panel, results, threads)
    panels[0].set_ylabel("limit / measured time")
    panels[0].legend(loc="upper left")
    figure.suptitle(f"{results['machine']['cpu']}, full covariances, K = {results['kernels'][0]['K']}", fontsize=9)
    figure.savefig(path, dpi=160)


def select(results: dict[str, Any], dtype: str, threads: int) -> list[dict[str, Any]]:
    """The records of a type of rows and a number of threads, by D."""
    return [r for r in results["kernels"] if (r["dtype"], r["threads"]) == (dtype, threads)]


def draw_roof(panel: Any, records: list[dict[str, Any]], limits: dict[str, Any], label: str, colour: str) -> None:
    """One roof, and the passes under it by D."""
    peak, bandwidth = limits["float64"]["median"], limits["bandwidth"]["median"]
    x = np.array([Task(r["D"], r["K"], "float64", 1).flops / (8 * r["D"]) for r in records])
    y = [r["pass"]["gflops"]["median"] for r in records]
    ridge, right = peak / bandwidth, x.max() * 1.6
    low = min(y) / 2
    panel.plot([low / bandwidth, ridge, right], [low, peak, peak], color=colour, linewidth=1.2, alpha=0.7)
    panel.annotate(
        f"DGEMM, {label}: {peak:.0f}", (right, peak), (0, 3), textcoords="offset points", ha="right", color=colour
    )
    panel.plot(x, y, "o-", color=colour, markersize=4, linewidth=0.8, label=label)
    if label == plural(1):
        for r, where in zip(records, zip(x, y, strict=True), strict=True):
            name = f"D = {r['D']}" if r is records[0] else str(r["D"])
            panel.annotate(name, where, (5, -8), textcoords="offset points", fontsize=7, color=colour)


def draw_fractions(panel: Any, results: dict[str, Any], threads: int) -> None:
    """A line per kernel and type of rows."""
    lines = {
        "quadratic forms, float64": ("quadratic forms", "float64"),
        "pass, float64": ("pass", "float64"),
        "pass, float32 (of SGEMM)": ("pass", "float32"),
    }
    panel.axhline(1, color=common.INK, linewidth=0.8)
    for (label, (name, dtype)), colour, marker in zip(
        lines.items(), common.COLOURS[2:], common.MARKERS[2:], strict=False
    ):
        records = select(results, dtype, threads)
        median, low, high = (np.array([r[name]["fraction"][key] for r in records]) for key in ("median", "min", "max"))
        x = [r["D"] for r in records]
        panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.plot(x, median, marker=marker, markersize=4, linewidth=1.3, color=colour, label=label)
    panel.set(xscale="log", ylim=(0, 1.35), xlabel="features D", title=f"Fraction of the limit, {plural(threads)}")
    panel.set_xticks(DIMENSIONS, [str(D) for D in DIMENSIONS])
    panel.xaxis.minorticks_off()


# ---- the whole ---------------------------------------------------------------------------------------


def measure_all(K: int, rounds: int, seconds: float, quick: bool) -> dict[str, Any]:
    """Every dimension, type and number of threads; bandwidth before and after."""
    threads = sorted({1, common.n_cores()})
    machine = Machine(1024 if quick else 1536, 64 if quick else 256)
    repeat = repeat_quadratic_forms()
    streams: dict[int, list[float]] = {n: [machine.bandwidth(n)] for n in threads}
    tasks = [Task(D, K, dtype, n) for dtype in TOLERANCE for n in threads for D in DIMENSIONS]
    kernels = []
    for i, task in enumerate(tasks):
        common.progress(f"{i + 1} of {len(tasks)}: D = {task.D}, {task.dtype}, {plural(task.threads)}")
        kernels.append(measure(task, machine, repeat, rounds, seconds))
    common.progress()
    limits: dict[str, Any] = {}
    for n in threads:
        streams[n].append(machine.bandwidth(n))
        limits[str(n)] = {"bandwidth": scaled(streams[n], 1e-9)}
        for dtype in TOLERANCE:
            mine = [r["gemm_gflops"] for r in kernels if (r["dtype"], r["threads"]) == (dtype, n)]
            limits[str(n)][dtype] = scaled([r["median"] for r in mine]) | {
                "min": min(r["min"] for r in mine),
                "max": max(r["max"] for r in mine),
            }
    for record in kernels:
        add_memory_floor(record, limits[str(record["threads"])]["bandwidth"])
    return {"machine": common.machine(), "threads": threads, "limits": limits, "kernels": kernels}


def main() -> None:
    """Measure, write, draw."""
    common.restart_in_clean_environment()
    parser = common.parser(__doc__ or "")
    parser.add_argument("--components", type=int, default=10, help="K (default: 10)")
    args = parser.parse_args()
    try:
        import threadpoolctl  # noqa: F401
    except ImportError:
        sys.exit('roofline.py needs threadpoolctl, to count BLAS threads: pip install "fastem[bench]"')
    common.add_root_to_path()
    rounds, seconds = (3, 0.02) if args.quick else (9, 0.1)
    results = measure_all(args.components, args.rounds or rounds, seconds, args.quick)
    common.write(args.output, "roofline", results, to_markdown(results))
    draw(results, args.output / "roofline.png")
    print(f"\nwrote {args.output}/roofline.json, .md and .png")


if __name__ == "__main__":
    main()
