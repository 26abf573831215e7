"""Small fits with default settings: `fastem.GaussianMixture` against scikit-learn's, by turns on the same rows.

    python scripts/small_fits.py [--rounds 101] [--quick]

Each fit of fastem comes right after one of scikit-learn, whose BLAS leaves threads that spin: that is how fits meet in
a program that uses both. A second table has the same fits after a rest, when no other thread runs.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import _common
import numpy as np

SHAPES = [(1_000, 2, 3), (10_000, 5, 4), (3_000, 10, 5), (300, 4, 3)]
QUICK = [(1_000, 2, 3)]


def timed(model: Any, X: np.ndarray) -> float:
    """Seconds of a fit."""
    since = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - since


def measure(kinds: dict[str, Any], X: np.ndarray, rounds: int, awake: bool) -> dict[str, Any]:
    """Median times of fits by turns, and the median ratio of scikit-learn's to each, measured one after the other."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, kind in kinds.items():
            if not awake:
                _common.rest()
            elif name != "scikit-learn":
                X.T @ X  # wakes BLAS's threads
            times[name].append(timed(kind(), X))
    ratios = {name: [b / a for a, b in zip(times[name], times["scikit-learn"], strict=True)] for name in kinds}
    return {name: _common.spread(times[name]) | {"ratio": _common.spread(ratios[name])["median"]} for name in kinds}


def main() -> None:
    args = _common.parser(__doc__).parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    import sklearn.mixture

    import fastem

    warnings.simplefilter("ignore")
    results: dict[str, Any] = {"machine": _common.machine()}
    text = []
    for title, awake in (("Right after scikit-learn's fit", True), ("After a rest", False)):
        rows = []
        for N, D, K in QUICK if args.quick else SHAPES:
            X = _common.draw_mixture(N, D, K)[0]
            kinds = {
                "scikit-learn": lambda K=K: sklearn.mixture.GaussianMixture(K, random_state=0),
                "fastem": lambda K=K: fastem.GaussianMixture(K, random_state=0),
                'fastem, "auto"': lambda K=K: fastem.GaussianMixture(K, random_state=0, init_params="auto"),
            }
            for kind in kinds.values():
                kind().fit(X)  # compiles
            found = measure(kinds, X, args.rounds or (1 if args.quick else 31), awake)
            shape = f"{_common.count(N)} x {D}, K = {K}"
            results[f"{title}: {shape}"] = found
            cells = [f"{_common.seconds(one['median'])} ({one['ratio']:.2f})" for one in found.values()]
            rows.append([shape, *cells])
        text.append(f"{title}\n\n" + _common.table(["rows", *kinds], rows))
    _common.write(args.output, "small_fits", results, "\n\n".join([*text, _common.describe(results["machine"])]))


if __name__ == "__main__":
    main()
