"""Choosing K by cross-validation: `fastem.select` against scikit-learn's GridSearchCV over its GaussianMixture.

    python scripts/select_speed.py [--rows 100000] [--features 5] [--largest 10] [--folds 5] [--types full] [--quick]

The same candidates, folds, tolerance and seed for both, in turns; scikit-learn's fits run on all cores, one process
each. What each finds is compared by the mean log-likelihood of the rows held out. fastem's time includes what
GridSearchCV leaves out: a fit of every candidate to all rows, for BIC, AIC and ICL.
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


def grid_search(X: np.ndarray, sizes: list[int], types: list[str], splitter: Any) -> dict[str, Any]:
    """What scikit-learn finds."""
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import GridSearchCV

    grid = {"n_components": sizes, "covariance_type": types}
    search = GridSearchCV(GaussianMixture(random_state=0), grid, cv=splitter, n_jobs=-1, return_train_score=True)
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


def timed(call: Any) -> tuple[dict[str, Any], float]:
    """What the call returns, and its time."""
    _common.rest()
    since = time.perf_counter()
    result = call()
    return result, time.perf_counter() - since


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
    sizes, types = list(range(1, args.largest + 1)), args.types.split(",")
    splitter, fold = folds_of(args.rows, args.folds)
    select(X[:2000], sizes[:2], types, fold[:2000])  # compiles
    grid_search(X[:2000], sizes[:2], types, splitter)  # starts joblib's processes
    ours, theirs = [], []
    for _ in range(args.rounds or 3):
        mine, seconds = timed(lambda: select(X, sizes, types, fold))
        ours.append(seconds)
        peer, seconds = timed(lambda: grid_search(X, sizes, types, splitter))
        theirs.append(seconds)
    ratio = _common.spread(b / a for a, b in zip(ours, theirs, strict=True))
    lead = [mine["test"][key] - peer["test"][key] for key in peer["test"]]
    both = {"fastem": (ours, mine), "scikit-learn": (theirs, peer)}
    rows = [
        [name, _common.seconds(_common.spread(times)["median"]), str(one["best"]["n_components"])]
        + [one["best"]["covariance_type"], f"{one['score']:.5f}"]
        for name, (times, one) in both.items()
    ]
    times = f"{ratio['median']:.1f} times as fast ({ratio['min']:.1f} to {ratio['max']:.1f} in {ratio['n']} rounds)"
    title = f"{args.rows} x {args.features}, K = 1..{args.largest}, {args.types}, {args.folds} folds: {times}"
    header = ["", "time", "best K", "covariance", "mean log-likelihood of rows held out"]
    lead_line = f"Candidate by candidate fastem's is higher by {min(lead):+.5f} to {max(lead):+.5f}"
    results = {
        name: _common.spread(times) | one["best"] | {"score": one["score"]} for name, (times, one) in both.items()
    }
    results |= {"machine": _common.machine(), "arguments": vars(args) | {"output": str(args.output)}, "ratio": ratio}
    results |= {"lead": {"min": min(lead), "max": max(lead)}}
    text = f"{title}\n\n{_common.table(header, rows)}\n\n{lead_line}\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "select_speed", results, text)


if __name__ == "__main__":
    main()
