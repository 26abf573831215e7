"""How often fits end at the best optimum that is known, and what that costs.

    python scripts/optimum.py [--large] [--seeds 3] [--quick] [--docs]

Problems are samples of known mixtures: clusters that lie apart or touch, of unequal weight, in columns of unlike scale,
and thin as needles. The best known log-likelihood of a problem is the largest of all fits here and of EM from the
generating parameters. A fit has reached it if it ends within 1e-3 nats per row.

Without --large: 30 problems of 20,000 and 40,000 rows, for `fastem.fit`, the drop-in `fastem.GaussianMixture` and
scikit-learn's, each with its own defaults. With --large: eight problems of 4e5 to 1e6 rows, for `fastem.fit`; rows read
are counted by a source that is a function, starts and checks included, and times are those of rows in memory, against
one `fastem.accumulate`. --docs rewrites the tables of docs/convergence.md.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import _common
import numpy as np
from _problems import FIRST_SEED, KINDS, SHAPES, Problem, draw_problem

GAP = 1e-3  # nats per row within which a fit has reached the best
LARGE = (
    ("touching", 1_000_000, 10, 10),
    ("uneven", 1_000_000, 5, 8),
    ("needles", 1_000_000, 10, 10),
    ("scales", 400_000, 20, 6),
    ("overlap", 1_000_000, 10, 10),
    ("scales", 1_000_000, 5, 8),
    ("uneven", 400_000, 10, 10),
    ("apart", 500_000, 4, 15),
)


def small_problems(quick: bool) -> Iterator[Problem]:
    """Yield the problems without --large."""
    for kind in KINDS:
        for number, shape in enumerate(SHAPES[:1] if quick else SHAPES):
            yield draw_problem(kind, *shape, FIRST_SEED + number)


def best_of_truth(problem: Problem, max_iter: int) -> float:
    """Return the log-likelihood per row that EM reaches from the generating parameters."""
    import fastem

    start = fastem.make_params(problem.weights, problem.means, problem.covariances)
    return fastem.em(problem.X, start, tol=1e-9, max_iter=max_iter).loglik / len(problem.X)


# --- many small problems: how often, and how long -----------------------------------------------------------------


def methods() -> dict[str, Callable[[np.ndarray, int, int], Any]]:
    """Return the fits that are compared, as functions of the rows, K and a seed."""
    import sklearn.mixture

    import fastem

    return {
        "`fastem.fit`": lambda X, K, seed: fastem.fit(X, K, random_state=seed),
        "`fastem.GaussianMixture`": lambda X, K, seed: fastem.GaussianMixture(K, random_state=seed).fit(X),
        "scikit-learn": lambda X, K, seed: sklearn.mixture.GaussianMixture(K, random_state=seed).fit(X),
    }


def compare(problems: Iterator[Problem], seeds: int) -> dict[str, Any]:
    """Fit all problems by all methods, in turns; return gaps per row and seconds of each."""
    gaps: dict[str, list[list[float]]] = {name: [] for name in methods()}
    times: dict[str, list[float]] = {name: [] for name in methods()}
    for problem in problems:
        ends: dict[str, list[float]] = {name: [] for name in gaps}
        for seed in range(seeds):
            for name, method in methods().items():
                _common.progress(f"{problem.name}, seed {seed}: {name}")
                _common.rest()
                since = time.perf_counter()
                model = method(problem.X, len(problem.weights), seed)
                times[name].append(time.perf_counter() - since)
                ends[name].append(float(model.score(problem.X)))
        best = max(best_of_truth(problem, 2000), *(max(one) for one in ends.values()))
        for name, reached in ends.items():
            gaps[name].append([best - bound for bound in reached])
    return {"gaps": gaps, "seconds": times}


def small_table(found: dict[str, Any]) -> str:
    """Return the table of many small problems."""
    header = ("method", "reached", "problems reached by the best seed", "mean gap", "worst gap", "seconds, all fits")
    rows = []
    for name, gaps in found["gaps"].items():
        gap = np.array(gaps)
        share, by_best = np.mean(gap < GAP), np.mean(gap.min(axis=1) < GAP)
        seconds = sum(found["seconds"][name])
        rows.append((name, f"{share:.0%}", f"{by_best:.0%}", f"{gap.mean():.2g}", f"{gap.max():.2g}", f"{seconds:.3g}"))
    return _common.table(header, rows)


# --- few large problems: nats, passes and time --------------------------------------------------------------------


class CountedRows:
    """Rows as a function that yields blocks, and counts the rows that were read."""

    def __init__(self, X: np.ndarray) -> None:
        self.X, self.n_read = X, 0

    def __call__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.X), 65_536):
            block = self.X[start : start + 65_536]
            self.n_read += len(block)
            yield block


def examine(problem: Problem, seed: int) -> dict[str, float]:
    """Return what a fit reaches, reads and takes, and what EM gains from its parameters."""
    import fastem

    X, K = problem.X, len(problem.weights)
    since = time.perf_counter()
    model = fastem.fit(X, K, random_state=seed)
    seconds = time.perf_counter() - since
    params = fastem.make_params(model.weights_, model.means_, model.covariances_)
    passes = []
    for _ in range(3):
        since = time.perf_counter()
        loglik = fastem.accumulate(X, params).loglik
        passes.append(time.perf_counter() - since)
    rows = CountedRows(X)
    fastem.fit(rows, K, random_state=seed)
    more = fastem.em(X, params, regularization=model.regularization, tol=0.0, max_iter=500)
    return {
        "loglik": loglik,
        "read": rows.n_read / len(X),
        "times": seconds / statistics.median(passes),
        "seconds": seconds,
        "gained": len(X) * (more.history[-1] - more.history[0]),
    }


def large_table(found: dict[str, Any]) -> str:
    """Return the table of few large problems: medians over the seeds, and the worst gap."""
    header = ("problem", "nats short, by seed", "rows read / N", "time / one pass", "seconds", "EM gains in 500 passes")
    rows = []
    for name, one in found.items():
        runs = one["runs"]
        short = ", ".join(f"{one['best'] - run['loglik']:.2g}" for run in runs)
        middle = [f"{statistics.median(run[key] for run in runs):.3g}" for key in ("read", "times", "seconds")]
        rows.append((name, short, *middle, f"{max(run['gained'] for run in runs):.2g}"))
    return _common.table(header, rows)


def examine_large(quick: bool, seeds: int) -> dict[str, Any]:
    """Return the runs on each large problem, by its name, and the best log-likelihood that is known."""
    found: dict[str, Any] = {}
    for kind, N, D, K in LARGE[:1] if quick else LARGE:
        problem = draw_problem(kind, N // 50 if quick else N, D, K, 0)
        _common.progress(f"{problem.name}: EM from the generating parameters")
        truth = best_of_truth(problem, 500) * len(problem.X)
        runs = []
        for seed in range(seeds):
            _common.progress(f"{problem.name}, seed {seed}")
            _common.rest()
            runs.append(examine(problem, seed))
        best = max(truth, *(run["loglik"] + run["gained"] for run in runs))
        found[problem.name] = {"best": best, "truth": truth, "runs": runs}
        print(large_table({problem.name: found[problem.name]}).splitlines()[-1], flush=True)
    return found


def main() -> None:
    options = _common.parser(__doc__, rounds=False)
    options.add_argument("--large", action="store_true", help="eight problems of up to 1e6 rows")
    options.add_argument("--seeds", type=int, default=3, help="seeds per problem (default: 3)")
    options.add_argument("--docs", action="store_true", help="rewrite the table of docs/convergence.md")
    args = options.parse_args()
    _common.restart_in_clean_environment()
    warnings.filterwarnings("ignore")  # fits that end at max_iter are counted, not announced
    seeds = 1 if args.quick else args.seeds
    compiled = draw_problem("apart", 2000, 2, 3, 0)
    for method in methods().values():
        method(compiled.X, 3, 0)
    name = "optimum-large" if args.large else "optimum"
    found = examine_large(args.quick, seeds) if args.large else compare(small_problems(args.quick), seeds)
    _common.progress()
    machine = _common.machine()
    section = (large_table if args.large else small_table)(found) + "\n\n" + _common.describe(machine)
    _common.write(args.output, name, {"machine": machine, "found": found}, section)
    if args.docs:
        _common.rewrite_section(_common.DOCS / "convergence.md", name, section)


if __name__ == "__main__":
    main()
