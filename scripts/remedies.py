"""What remedies cost sound components, and what they leave to spurious ones: the table of docs/covariances.md.

    python scripts/remedies.py [--quick] [--docs]

Cost: log-likelihood per row that EM loses where it goes on under a remedy from the optimum without one, which EM
reaches from the generating parameters; the largest over thirty problems of five kinds, where 2 to 16 features and 5 to
16 components overlap, differ in size or in scale, or are needles. Once with 20,000 to 40,000 rows, once with 1,500,
where problems with a component of fewer than 5 D rows are left out.

Gain: log-likelihood that a component on up to D + 3 rows adds to one Gaussian of 500 rows in D = 5 dimensions; once
for neighbours, the best of sixty sets for each number of rows, once for rows that are all the same. BIC asks for 65.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import _common
import numpy as np
from _problems import FIRST_SEED, KINDS, SHAPES, Problem, draw_problem

FEW, ROWS, D = 1500, 500, 5


def compared() -> dict[str, dict[str, Any]]:
    """The remedies of the table, as arguments of `fastem.em`, by name."""
    from fastem import EigenvalueFloor, GeometricRidge, InverseWishart, Ridge

    remedies = [Ridge(), Ridge(1e-5), InverseWishart(), EigenvalueFloor(), EigenvalueFloor(1e-10), GeometricRidge()]
    return {repr(remedy): {"regularization": remedy} for remedy in remedies}


def costs(problem: Problem, remedies: dict[str, Any], max_iter: int) -> dict[str, float]:
    """What each remedy costs on a problem, in nats per row. Nothing where a component has fewer than 5 D rows."""
    import fastem

    _, X, *parameters = problem
    N, D = X.shape
    settings = {"tol": 1e-8, "max_iter": max_iter}
    free = fastem.em(X, fastem.make_params(*parameters), **settings)
    if free.status is fastem.Status.DEGENERATE or free.params.weights.min() * N < 5 * D:
        return {}
    ends = {name: fastem.em(X, free.params, **settings, **remedy).params for name, remedy in remedies.items()}
    return {name: (free.loglik - fastem.accumulate(X, params).loglik) / N for name, params in ends.items()}


def gain(X: np.ndarray, rows: np.ndarray, remedy: dict[str, Any]) -> float:
    """What a component that starts on these rows adds to the log-likelihood of one Gaussian; 0 if it does not stay."""
    import fastem

    labels = np.zeros(len(X), dtype=int)
    one = fastem.moments(X, labels=labels)
    labels[rows] = 1
    total = fastem.accumulate(X, fastem.m_step(one, **remedy)).loglik
    start = fastem.m_step(fastem.moments(X, labels=labels), **remedy)
    found = fastem.em(X, start, tol=1e-8, max_iter=100, **remedy)
    stays = found.params.weights[1] * len(X) < 1.5 * len(rows) + 1
    return max(fastem.accumulate(X, found.params).loglik - total, 0.0) if stays else 0.0


def gains(remedy: dict[str, Any]) -> tuple[float, float]:
    """The largest gains on up to D + 3 neighbours and on as many equal rows."""
    X = np.random.default_rng(0).normal(size=(ROWS, D))
    order = [((X - row) ** 2).sum(axis=1).argsort() for row in X[:60]]
    near, equal = 0.0, 0.0
    for m in range(1, D + 4):
        best = sorted(order, key=lambda rows, m=m: X[rows[:m]].var(axis=0).sum())[:6]
        near = max(near, *(gain(X, rows[:m], remedy) for rows in best))
        same = X.copy()
        same[:m] = X[0]
        equal = max(equal, gain(same, np.arange(m), remedy))
    return near, equal


def main() -> None:
    options = _common.parser(__doc__, rounds=False)
    options.add_argument("--docs", action="store_true", help="put the table into docs/covariances.md")
    args = options.parse_args()
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    made = compared()
    shapes, max_iter = (SHAPES[:1], 20) if args.quick else (SHAPES, 200)
    found: dict[str, list[dict[str, float]]] = {"many": [], "few": []}
    for kind, (number, (N, features, K)) in itertools.product(KINDS, enumerate(shapes)):
        _common.progress(f"{kind}, {N} x {features}, K = {K}")
        for size, rows in (("many", N), ("few", FEW)):
            problem = draw_problem(kind, rows, features, K, FIRST_SEED + number)
            found[size].append(costs(problem, made, max_iter))
    results: dict[str, dict[str, float]] = {}
    lines = []
    for name, remedy in made.items():
        worst = [max(one[name] for one in found[size] if one) for size in found]
        near, equal = gains(remedy)
        results[name] = {"cost": worst[0], "cost_few": worst[1], "near": near, "equal": equal}
        lines.append([f"`{name}`", f"{worst[0]:.0e}", f"{worst[1]:.0e}", f"{near:.0f}", f"{equal:.0f}"])
    header = ["remedy", "cost, 20,000 rows and more", "cost, 1,500 rows", "gain, neighbours", "gain, equal rows"]
    text = _common.table(header, lines)
    _common.write(args.output, "remedies", results, text)
    if args.docs:
        _common.rewrite_section(_common.DOCS / "covariances.md", "remedies", text)


if __name__ == "__main__":
    main()
