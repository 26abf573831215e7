"""EM passes over D up to 1024 and K up to 4096: whether the time per row and flop stays flat as K D^2 grows.

    python scripts/large_sweep.py [--rounds 3] [--quick] [--pages]

Full covariances, float64, K D^2 at most 2e7: the statistics and the factors of all components are from 16 kB to 160 MB.
Each shape takes turns with the first one and with a matrix product. Times are processor time of one thread, which other
programs disturb less than the clock's. Flops are those of the quadratic forms and the moments, with 40 for an
exponential. --pages rewrites the table of docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import _common
import numpy as np

FIRST = (16, 8)
SHAPES = [
    FIRST, (16, 64), (16, 512), (16, 4096), (32, 32), (32, 256), (32, 2048), (64, 8), (64, 64), (64, 1024), (64, 4096),
    (128, 64), (128, 1024), (256, 8), (256, 64), (256, 300), (512, 8), (512, 64), (1024, 2), (1024, 4), (1024, 19),
]  # fmt: skip
SMALL = [FIRST, (32, 32), (128, 64)]
DISTINCT = 2048  # rows that the data repeat
FLOPS = 2e10  # of a pass, about; at least DISTINCT rows


def make_pass(D: int, K: int, flops: float) -> tuple[Callable[[], Any], float]:
    """A pass over rows of K Gaussians of D features, and how many flops it has."""
    from fastem import Params
    from fastem.passes.sizes import row_flops
    from fastem.passes.statistics import evaluate
    from fastem.sources.blocks import ArraySource

    rng = np.random.default_rng([D, K])
    means = 3 * rng.normal(size=(K, D)) / np.sqrt(D)
    factor = np.repeat((np.tril(0.1 * rng.normal(size=(D, D)) / np.sqrt(D)) + np.eye(D))[None], K, axis=0)
    params = Params(np.full(K, 1 / K), means, np.repeat(np.eye(D)[None], K, axis=0), factor)
    times = int(np.clip(flops / row_flops(K, D) / DISTINCT, 1, 2**8))
    source = ArraySource(np.tile(rng.normal(size=(DISTINCT, D)) + means[rng.integers(K, size=DISTINCT)], (times, 1)))
    return lambda: evaluate(source, params), float(row_flops(K, D)) * source.n_rows


def measure(shapes: list[tuple[int, int]], rounds: int, flops: float) -> list[dict[str, Any]]:
    """Picoseconds per flop of each shape, of the first shape and of the product in the same turns, medians."""
    first, A, found = make_pass(*FIRST, flops), np.ones((1024, 1024)), []
    for D, K in shapes:
        _common.progress(f"D = {D}, K = {K}")
        runs = {"pass": make_pass(D, K, flops), "first": first, "product": (lambda: A @ A, 2.0 * 1024**3)}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for function, _ in runs.values():
            function()
        for _ in range(rounds):
            for name, (function, n) in runs.items():
                times[name].append(1e12 * _common.processor_seconds(function) / n)
        record = {name: _common.spread(values) for name, values in times.items()}
        found.append({"D": D, "K": K, **record})
    _common.progress()
    return found


def table(found: list[dict[str, Any]]) -> str:
    """A row per shape."""
    rows = []
    for record in found:
        own, first, product = (record[name]["median"] for name in ("pass", "first", "product"))
        D, K = record["D"], record["K"]
        rows.append([D, K, f"{K * D * D:.1e}", f"{own:.1f}", f"{own / first:.2f}", f"{product / own:.0%}"])
    header = ["D", "K", "K D^2", "ps per row and flop", "times that of the first", "of a matrix product's rate"]
    return _common.table(header, rows, left=0)


def main() -> None:
    args = _common.begin_page(__doc__)
    from numba import set_num_threads
    from threadpoolctl import threadpool_limits

    set_num_threads(1)
    with threadpool_limits(1):
        found = measure(SMALL if args.quick else SHAPES, args.rounds or 3, 1e8 if args.quick else FLOPS)
    machine = _common.machine()
    text = f"{table(found)}\n\nOne thread of {machine['cpu']}, {machine['date']}; medians of {args.rounds or 3}."
    _common.write(args.output, "large_sweep", {"machine": machine, "shapes": found}, text)
    if args.pages:
        _common.rewrite_section(_common.DOCS / "performance.md", "large", text)


if __name__ == "__main__":
    main()
