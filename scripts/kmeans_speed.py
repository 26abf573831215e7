"""k-means: `fastem.KMeans` against scikit-learn's, by turns on the same rows.

    python scripts/kmeans_speed.py [--rounds 9] [--quick]

Three tables. From the same centres both make the same number of Lloyd's iterations and end with the same inertia; the
time of an early one is that of a fit of 43 iterations less that of one of 3, divided by 40. The second is of fits from
these centres until they converge, which is as many iterations again. The third is of fits with their own k-means++
starts. Default tolerance in both. scikit-learn has two algorithms, and the ratio is that of the faster of them. A
fourth table has the processor time of an early and of a late iteration on one thread, which hardly depends on what else
runs; late ones are the 40 after the 80th, where bounds save the more distances.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import _common
import numpy as np

SHAPES = [(1_000_000, 10, 10), (1_000_000, 3, 32), (100_000, 64, 64)]
QUICK = [(20_000, 3, 16)]
ITERATIONS = (3, 43)
TABLES = ("iteration", "same start", "k-means++")


def timed(model: Any, X: np.ndarray) -> float:
    """Seconds of a fit."""
    _common.rest()
    since = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - since


def measure(kinds: dict[str, Any], X: np.ndarray, K: int, rounds: int) -> dict[str, Any]:
    """Seconds per iteration and per whole fit, by turns; and inertias."""
    times: dict[str, dict[str, list[float]]] = {what: {name: [] for name in kinds} for what in TABLES}
    inertia: dict[str, list[float]] = {name: [] for name in kinds}
    end: dict[str, tuple[float, float, int]] = {}
    for seed in range(rounds):
        for name, kind in kinds.items():
            few, many = (
                kind(K, init=X[:K], n_init=1, tol=0, max_iter=n) for n in ITERATIONS
            )  # from overlapping clusters they do not converge so soon
            less, more = timed(few, X), timed(many, X)
            if many.n_iter_ != ITERATIONS[1]:
                raise SystemExit(f"{name} converged after {many.n_iter_} iterations: too soon")
            times["iteration"][name].append((more - less) / (ITERATIONS[1] - ITERATIONS[0]))
            until = kind(K, init=X[:K], n_init=1, max_iter=1000)
            times["same start"][name].append(timed(until, X))
            end[name] = many.inertia_, until.inertia_, until.n_iter_
            whole = kind(K, n_init=1, random_state=seed)
            times["k-means++"][name].append(timed(whole, X))
            inertia[name].append(whole.inertia_)
    if not np.allclose(*end.values(), rtol=1e-9):
        raise SystemExit(f"inertias or iterations from the same start differ: {end}")
    return {"times": times, "inertia": inertia, "n_iter": next(iter(end.values()))[2]}


def summary(found: dict[str, Any], what: str) -> dict[str, Any]:
    """Medians, and the ratio of times measured one after the other."""
    times = found["times"][what]
    ratio = _common.spread(theirs / ours for ours, theirs in zip(*times.values(), strict=True))
    return {name: _common.spread(values) for name, values in times.items()} | {"ratio": ratio}


def main() -> None:
    args = _common.parser(__doc__).parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    import sklearn.cluster

    import fastem

    warnings.simplefilter("ignore")
    kinds = {"fastem": fastem.KMeans, "scikit-learn": sklearn.cluster.KMeans}
    results: dict[str, Any] = {"machine": _common.machine()}
    rows: dict[str, list[list[str]]] = {what: [] for what in TABLES}
    for N, D, K in QUICK if args.quick else SHAPES:
        X = _common.draw_mixture(N, D, K, spacing=2.0)[0]
        for kind in kinds.values():
            kind(K, init=X[:K], n_init=1, max_iter=2).fit(X)  # compiles, and starts threads
        found = measure(kinds, X, K, args.rounds or (1 if args.quick else 9))
        name = f"{_common.count(N)} x {D}, K = {K}"
        results[name] = {what: summary(found, what) for what in rows}
        results[name]["inertia"] = float(
            np.mean(found["inertia"]["fastem"]) / np.mean(found["inertia"]["scikit-learn"])
        )
        for what, lines in rows.items():
            one = results[name][what]
            medians = [_common.seconds(one[kind]["median"]) for kind in kinds]
            lines.append([name, *medians, f"{one['ratio']['median']:.2f}"])
        rows["same start"][-1].append(str(found["n_iter"]))
        rows["k-means++"][-1].append(f"{results[name]['inertia']:.4f}")
    header = ["rows", *kinds, "ratio"]
    text = "One early iteration\n\n" + _common.table(header, rows["iteration"])
    text += "\n\nFits from the same start\n\n" + _common.table([*header, "iterations of both"], rows["same start"])
    text += "\n\nFits with k-means++\n\n" + _common.table([*header, "ratio of mean inertias"], rows["k-means++"])
    _common.write(args.output, "kmeans_speed", results, f"{text}\n\n{_common.describe(results['machine'])}")


if __name__ == "__main__":
    main()
