"""k-means: `fastem.KMeans` against scikit-learn's two algorithms, by turns on the same rows.

    python scripts/kmeans_speed.py [--rounds 9] [--quick]

Four tables; each ratio is that of the faster of scikit-learn's. From the same centres all make the same number of
Lloyd's iterations and end with the same inertia; the time of an early one is that of a fit of 43 iterations less that
of one of 3, divided by 40. The second is of fits from these centres until they converge, which is as many iterations
again. The third is of fits with their own k-means++ starts. Default tolerance in all. The fourth has the processor time
of an early iteration and of a late one, after 60, on one thread: it hardly depends on what else runs.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import _common
import numpy as np

SHAPES = [(1_000_000, 10, 10), (1_000_000, 3, 32), (100_000, 64, 64)]
QUICK = [(20_000, 10, 10)]
EARLY, LATE = (3, 43), (63, 103)
TABLES = {
    "iteration": "One early iteration",
    "same start": "Fits from the same start",
    "k-means++": "Fits with k-means++",
    "processor, early": "One early iteration, processor time on one thread",
    "processor, late": "One late iteration, processor time on one thread",
}


def timed(model: Any, X: np.ndarray, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a fit."""
    _common.rest()
    since = clock()
    model.fit(X)
    return clock() - since


def per_iteration(kind: Any, X: np.ndarray, K: int, counts: tuple[int, int], clock: Callable[[], float]) -> float:
    """Seconds of an iteration, from fits of two numbers of iterations."""
    less, more = (kind(K, init=X[:K], n_init=1, tol=0, max_iter=n) for n in counts)
    first = timed(less, X, clock)
    last = timed(more, X, clock)
    return (last - first) / (more.n_iter_ - less.n_iter_) if more.n_iter_ > less.n_iter_ else np.nan


def measure(kinds: dict[str, Any], X: np.ndarray, K: int, rounds: int) -> dict[str, Any]:
    """Seconds per iteration and per whole fit, by turns; and inertias."""
    import numba
    from threadpoolctl import threadpool_limits

    times: dict[str, dict[str, list[float]]] = {what: {name: [] for name in kinds} for what in TABLES}
    inertia: dict[str, list[float]] = {name: [] for name in kinds}
    end: dict[str, tuple[float, int]] = {}
    for seed in range(rounds):
        for name, kind in kinds.items():
            times["iteration"][name].append(per_iteration(kind, X, K, EARLY, time.perf_counter))
            until = kind(K, init=X[:K], n_init=1, max_iter=1000)
            times["same start"][name].append(timed(until, X))
            end[name] = until.inertia_, until.n_iter_
            whole = kind(K, n_init=1, random_state=seed)
            times["k-means++"][name].append(timed(whole, X))
            inertia[name].append(whole.inertia_)
            n_threads = numba.get_num_threads()
            numba.set_num_threads(1)
            with threadpool_limits(1):
                for what, counts in (("processor, early", EARLY), ("processor, late", LATE)):
                    times[what][name].append(per_iteration(kind, X, K, counts, time.process_time))
            numba.set_num_threads(n_threads)
    if not all(np.allclose(one, next(iter(end.values())), rtol=1e-9) for one in end.values()):
        raise SystemExit(f"inertias or iterations from the same start differ: {end}")
    return {"times": times, "inertia": inertia, "n_iter": next(iter(end.values()))[1]}


def summary(found: dict[str, Any], what: str) -> dict[str, Any]:
    """Medians, and the ratio of the faster of the others to the first."""
    medians = {name: _common.spread(values) for name, values in found["times"][what].items()}
    ours, *theirs = (one["median"] for one in medians.values())
    return medians | {"ratio": min(theirs) / ours}


def main() -> None:
    args = _common.parser(__doc__).parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    import sklearn.cluster

    import fastem

    warnings.simplefilter("ignore")
    kinds = {"fastem": fastem.KMeans} | {
        f"scikit-learn, {name}": partial(sklearn.cluster.KMeans, algorithm=name) for name in ("lloyd", "elkan")
    }
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
            np.mean(found["inertia"]["fastem"]) / np.mean(found["inertia"]["scikit-learn, lloyd"])
        )
        for what, lines in rows.items():
            one = results[name][what]
            lines.append([name, *(_common.seconds(one[kind]["median"]) for kind in kinds), f"{one['ratio']:.2f}"])
        rows["same start"][-1].append(str(found["n_iter"]))
        rows["k-means++"][-1].append(f"{results[name]['inertia']:.4f}")
    last = {"same start": ["iterations of each"], "k-means++": ["ratio of mean inertias"]}
    text = [
        f"{title}\n\n" + _common.table(["rows", *kinds, "ratio", *last.get(what, [])], rows[what])
        for what, title in TABLES.items()
    ]
    _common.write(args.output, "kmeans_speed", results, "\n\n".join([*text, _common.describe(results["machine"])]))


if __name__ == "__main__":
    main()
