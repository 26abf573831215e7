"""Choosing K by cross-validation: `fastem.select` against scikit-learn's GridSearchCV over its GaussianMixture.

    python scripts/select_speed.py [--rows 100000] [--features 5] [--largest 10] [--folds 5] [--types full] [--quick]

The same candidates, folds, tolerance and seed, in turns; GridSearchCV as it is by default, in one process, and with a
process on each core. What is found is compared by the mean log-likelihood of the rows held out. fastem's time includes
what GridSearchCV leaves out: a fit of every candidate to all rows, for BIC, AIC and ICL.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import _common
import numpy as np


def folds_of(N: int, n_folds: int) -> tuple[Any, np.ndarray]:
    """scikit-learn's splitter, and the fold of each row that it makes."""
    from sklearn.model_selection import KFold

    splitter, fold = KFold(n_folds, shuffle=True, random_state=0), np.empty(N, dtype=np.int64)
    for number, (_, test) in enumerate(splitter.split(np.empty((N, 1)))):
        fold[test] = number
    return splitter, fold


def grid_search(X: np.ndarray, sizes: list[int], types: list[str], splitter: Any, n_jobs: int | None) -> dict[str, Any]:
    """What scikit-learn finds."""
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import GridSearchCV

    grid = {"n_components": sizes, "covariance_type": types}
    search = GridSearchCV(GaussianMixture(random_state=0), grid, cv=splitter, n_jobs=n_jobs, return_train_score=True)
    search.fit(X)
    found = zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
    test = {(one["covariance_type"], one["n_components"]): float(score) for one, score in found}
    return {"best": dict(search.best_params_), "score": float(search.best_score_), "test": test}


def select(X: np.ndarray, sizes: list[int], types: list[str], fold: np.ndarray) -> dict[str, Any]:
    """What fastem finds."""
    import fastem

    found = fastem.select(X, sizes, types, criterion="cv", cv=fold, random_state=0)
    test = {(one.covariance_type, one.n_components): one.test for one in found.candidates}
    return {"best": found.best_params_, "score": found.ranked()[0].test, "test": test}


def in_turns(X: np.ndarray, sizes: list[int], types: list[str], n_folds: int, rounds: int) -> tuple[Any, Any]:
    """What each way finds, and its times, by name."""
    splitter, fold = folds_of(len(X), n_folds)
    ways = {
        "fastem.select": lambda rows: select(X[rows], sizes, types, fold[rows]),
        "GridSearchCV": lambda rows: grid_search(X[rows], sizes, types, splitter, None),
        "GridSearchCV(n_jobs=-1)": lambda rows: grid_search(X[rows], sizes, types, splitter, -1),
    }
    for way in ways.values():
        way(slice(2000))  # compiles, imports, starts processes
    found: dict[str, Any] = {}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            _common.rest()
            since = time.perf_counter()
            found[name] = way(slice(None))
            times[name].append(time.perf_counter() - since)
    return found, times


def main() -> None:
    options = _common.parser(__doc__)
    for name, default in (("rows", 100_000), ("features", 5), ("largest", 10), ("folds", 5), ("components", 6)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--types", default="full", help="covariance types, separated by commas (default: full)")
    args = options.parse_args()
    if args.quick:
        args.rows, args.largest, args.folds = min(args.rows, 2000), min(args.largest, 3), min(args.folds, 2)
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    X, _, _ = _common.draw_mixture(args.rows, args.features, args.components)
    found, times = in_turns(X, list(range(1, args.largest + 1)), args.types.split(","), args.folds, args.rounds or 3)
    ours = found["fastem.select"]["test"]
    results: dict[str, Any] = {"machine": _common.machine(), "arguments": vars(args) | {"output": str(args.output)}}
    rows = []
    for name, one in found.items():
        ratio = _common.spread(b / a for a, b in zip(times["fastem.select"], times[name], strict=True))
        lead = [ours[key] - one["test"][key] for key in ours]
        measured = {"seconds": _common.spread(times[name]), "ratio": ratio, "lead": [min(lead), max(lead)]}
        results[name] = measured | {"best": one["best"], "score": one["score"]}
        best = f"{one['best']['covariance_type']}, {one['best']['n_components']}"
        rows.append([name, _common.seconds(measured["seconds"]["median"]), f"{ratio['median']:.1f}", best])
        rows[-1] += [f"{one['score']:.5f}", f"{min(lead):+.5f} to {max(lead):+.5f}"]
    header = [
        "",
        "time",
        "times fastem's",
        "best",
        "its log-likelihood of rows held out",
        "fastem's lead, by candidate",
    ]
    title = f"{args.rows} x {args.features}, K = 1..{args.largest}, {args.types}, {args.folds} folds"
    text = f"{title}\n\n{_common.table(header, rows)}\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "select_speed", results, text)


if __name__ == "__main__":
    main()
