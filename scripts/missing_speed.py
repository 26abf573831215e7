"""What missing values cost: a pass over rows with gaps against one over complete rows, by turns.

    python scripts/missing_speed.py [--rounds 15] [--quick]

Rows of 10 features under 10 components with full covariances, in which values are missing in a few patterns, in all
1,023, or at random; and rows of 20 features in which almost each row has a pattern of its own. A pass is an E-step with
the sums for the M-step. Times are those of the passes after the first, which finds the patterns.
"""

from __future__ import annotations

import time
from typing import Any

import _common
import numpy as np

N, D, K = 1_000_000, 10, 10
SHARE = 0.1  # of the cells that are missing
N_PATTERNS = 20


def gaps(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Which values are missing (n, D), by what the table says of them."""
    every = np.arange(1, 2**D)[:, None] >> np.arange(D) & 1 == 0
    few = every[np.argsort(every.sum(axis=1), kind="stable")[:N_PATTERNS]]  # none, one, and some of two missing
    weights = np.where(few.any(axis=1), 1.0, 0.0)
    weights *= SHARE / few[1:].mean() / weights.sum()
    weights[0] = 1 - weights.sum()
    return {
        "no value missing": np.zeros((1, D), dtype=bool),
        f"{len(few)} patterns": few[rng.choice(len(few), n, p=weights)],
        f"all {len(every):,} patterns": every[rng.integers(0, len(every), n)],
        "at random": rng.random((n, D)) < SHARE,
    }


def problems(n: int) -> list[tuple[str, np.ndarray, Any]]:
    """What the table says of some rows, the rows, and a mixture."""
    rng = np.random.default_rng(0)
    X, params = draw(n, D)
    found = [(what, np.where(missing, np.nan, X), params) for what, missing in gaps(rng, n).items()]
    wide, others = draw(max(n // 50, 1000), 2 * D)
    return [*found, ("20 features at random", np.where(rng.random(wide.shape) < SHARE, np.nan, wide), others)]


def draw(n: int, width: int) -> tuple[np.ndarray, Any]:
    """Rows, and the mixture that they are of."""
    import fastem

    X, means, covariances = _common.draw_mixture(n, width, K)
    return X, fastem.make_params(np.full(K, 1 / K), means, covariances)


def measure(problems: list[tuple[str, np.ndarray, Any]], rounds: int) -> list[dict[str, Any]]:
    """Seconds of a pass over the rows of each problem, by turns, and of one over as many complete rows."""
    import fastem
    from fastem.passes.patterns import Patterns
    from fastem.passes.statistics import evaluate

    runs = []
    for what, X, params in problems:
        plain, source = fastem.as_source(np.nan_to_num(X)), fastem.as_source(X, missing=True)
        patterns = len(Patterns.of(X).observed)
        runs.append((what, (plain, source), params, patterns, float(np.isnan(X).mean()), ([], [])))
    for number in range(rounds + 1):  # the first compiles, and finds the patterns
        for _, sources, params, _, _, times in runs:
            for source, found in zip(sources, times, strict=True):
                since = time.perf_counter()
                evaluate(source, params)
                if number:
                    found.append(time.perf_counter() - since)
    return [
        {
            "rows": what,
            "n": plain.n_rows,
            "missing": share,
            "patterns": patterns,
            "plain": _common.spread(times[0]),
            "gaps": _common.spread(times[1]),
            "ratio": float(np.median(np.array(times[1]) / np.array(times[0]))),
        }
        for what, (plain, _), _, patterns, share, times in runs
    ]


def report(found: list[dict[str, Any]]) -> str:
    """The table."""
    rows = [
        (
            one["rows"],
            _common.count(one["n"]),
            f"{100 * one['missing']:.0f} %",
            _common.count(one["patterns"]),
            _common.seconds(one["plain"]["median"]),
            _common.seconds(one["gaps"]["median"]),
            f"{one['ratio']:.1f}",
        )
        for one in found
    ]
    header = ["values missing", "rows", "of cells", "patterns", "complete rows", "rows with gaps", "ratio"]
    return _common.table(header, rows)


def main() -> None:
    args = _common.parser(__doc__ or "").parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    n, rounds = (20_000, 2) if args.quick else (N, args.rounds or 15)
    found = measure(problems(n), rounds)
    results = {"machine": _common.machine(), "quick": args.quick, "cases": found}
    markdown = f"{report(found)}\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "missing_speed", results, markdown)


if __name__ == "__main__":
    main()
