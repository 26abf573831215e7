"""Small fits with default settings: `fastem.GaussianMixture` and `fastem.fit` against scikit-learn's, by turns.

    python scripts/small_fits.py [--rounds 31] [--quick]

Three tables. In the first each fit comes right after a matrix product, whose threads then spin for 0.1 s: that is how
fits meet in a program that also calls BLAS, as scikit-learn does. In the second each comes after a rest. The third is
processor time with all on one thread, which says least about a program, but hardly depends on what else runs. Clusters
lie well apart in the first rows of each; further rows are means over the kinds of problems of `scripts/optimum.py`,
most of which ask more of EM.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import _common
import numpy as np
from _problems import KINDS, draw_problem
from threadpoolctl import threadpool_limits

SHAPES = [(1_000, 2, 3), (10_000, 5, 4)]
QUICK = [(300, 2, 3)]
SQUARE = np.ones((400, 400))


def wake() -> None:
    """Let BLAS start its threads, which then wait for more in a loop."""
    SQUARE @ SQUARE


TABLES: dict[str, tuple[Callable[[], Any], Callable[[], float], int | None]] = {
    "Right after a matrix product": (wake, time.perf_counter, None),
    "After a rest": (_common.rest, time.perf_counter, None),
    "Processor time, one thread": (lambda: None, time.process_time, 1),
}


def measure(kinds: dict[str, Callable[[np.ndarray], Any]], X: np.ndarray, rounds: int, what: str) -> dict[str, Any]:
    """Times of fits by turns."""
    before, clock, _ = TABLES[what]
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, fit in kinds.items():
            before()
            since = clock()
            fit(X)
            times[name].append(clock() - since)
    return {name: _common.spread(mine) for name, mine in times.items()}


def kinds_of_fits(K: int) -> dict[str, Callable[[np.ndarray], Any]]:
    """Functions that fit rows, by name; scikit-learn's comes first."""
    import sklearn.mixture

    import fastem

    return {
        "scikit-learn": lambda X: sklearn.mixture.GaussianMixture(K, random_state=0).fit(X),
        "fastem": lambda X: fastem.GaussianMixture(K, random_state=0).fit(X),
        'fastem, "auto"': lambda X: fastem.GaussianMixture(K, random_state=0, init_params="auto").fit(X),
        "`fastem.fit`": lambda X: fastem.fit(X, K, random_state=0),
    }


def main() -> None:
    args = _common.parser(__doc__).parse_args()
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {"machine": _common.machine()}
    text = []
    for what, (_, _, n_threads) in TABLES.items():
        rows = []
        for N, D, K in QUICK if args.quick else SHAPES:
            kinds, shape = kinds_of_fits(K), f"{_common.count(N)} x {D}, K = {K}"
            drawn = {shape: [_common.draw_mixture(N, D, K)[0]]}
            drawn[f"{shape}, all kinds"] = [draw_problem(kind, N, D, K, 0).X for kind in KINDS]
            for name, problems in drawn.items():
                with nullcontext() if n_threads is None else threadpool_limits(n_threads):
                    for fit in kinds.values():
                        fit(problems[0])  # compiles
                    rounds = args.rounds or (1 if args.quick else 31)
                    found = [measure(kinds, X, rounds, what) for X in problems]
                results[f"{what}: {name}"] = found
                times = [float(np.mean([one[kind]["median"] for one in found])) for kind in kinds]
                rows.append([name, *(f"{_common.seconds(time)} ({times[0] / time:.2f})" for time in times)])
        text.append(f"{what}\n\n" + _common.table(["rows", *kinds], rows))
    _common.write(args.output, "small_fits", results, "\n\n".join([*text, _common.describe(results["machine"])]))


if __name__ == "__main__":
    main()
