"""How often fits of a BayesianGaussianMixture end at the best bound that is known, over random problems.

    python scripts/posterior_optimum.py [--problems 30] [--seeds 3] [--quick] [--docs]

The problems are of the make of scripts/optimum.py, of 500 to 3000 rows, 2 to 8 features and 2 to 8 components, to which
mixtures of three components more are fitted, under either type of prior in turn. A fit is compared by its exact bound
with the best of all fits here and of one from the rows' true components. Reached means within 1 nat of all rows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import _common
import numpy as np
from kmeans_starts import problems

NEAR, SPARE = 1.0, 3
PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")
ENDS = dict(tol=1e-3, max_iter=3000)


def methods() -> dict[str, Callable[..., Any]]:
    """What is compared."""
    import sklearn.mixture

    import fastem

    ours = fastem.BayesianGaussianMixture
    return {
        'fastem, `"auto"`': lambda **prior: ours(init_params="auto", solver="auto", **ENDS, **prior),
        'fastem, `"kmeans"`': lambda **prior: ours(solver="auto", **ENDS, **prior),
        "scikit-learn": lambda **prior: sklearn.mixture.BayesianGaussianMixture(**ENDS, **prior),
    }


def end_of(model: Any, X: np.ndarray, prior: dict[str, Any]) -> tuple[float, int]:
    """The exact bound of a fit, of either package, and how many components hold half a row or more."""
    import fastem

    own = fastem.BayesianGaussianMixture(**prior)
    for name, value in vars(model).items():
        if name.endswith("_") and not name.startswith("_"):
            setattr(own, name, value)
    return own.elbo(X), own.n_components_in_use_


def from_truth(X: np.ndarray, params: tuple[Any, ...], prior: dict[str, Any]) -> float:
    """The exact bound of the fit from the posterior of the true mixture's clusters, the largest first."""
    import fastem

    truth = fastem.make_params(*params)
    order = np.argsort(-truth.weights)
    resp = fastem.GaussianMixture.from_parameters(*params).predict_proba(X)[:, order]
    model = fastem.BayesianGaussianMixture(init_params="random", max_iter=0, **prior).fit(X)
    mass, D = np.pad(resp.sum(axis=0), (0, SPARE)), X.shape[1]
    means = np.vstack([truth.means[order], np.tile(X.mean(axis=0), (SPARE, 1))])
    model.means_, model.mean_precision_ = means, 1 + mass
    if prior["weight_concentration_prior_type"] == PRIOR_TYPES[0]:
        after = np.append(np.cumsum(mass[:0:-1])[::-1], 0)
        model.weight_concentration_ = (1 + mass, model.weight_concentration_prior_ + after)
    else:
        model.weight_concentration_ = model.weight_concentration_prior_ + mass
    covariances = np.concatenate([truth.covariances[order], np.tile(np.cov(X.T).reshape(1, D, D), (SPARE, 1, 1))])
    model.covariances_ = covariances
    model.precisions_ = np.linalg.inv(covariances)
    model.precisions_cholesky_ = np.linalg.cholesky(model.precisions_)
    model.degrees_of_freedom_ = D + mass
    model.converged_ = True
    model.set_params(warm_start=True, solver="auto", **ENDS)
    return float(model.fit(X).elbo(X))


def compare(n: int, seeds: int) -> dict[str, dict[str, float]]:
    """Fit every problem with every method, and say how far the bounds fall short of the best known."""
    makers = methods()
    short: dict[str, list[list[float]]] = {name: [] for name in makers}
    seconds: dict[str, float] = dict.fromkeys(makers, 0.0)
    used: dict[str, list[int]] = {name: [] for name in makers}
    for number, (_, X, *params) in enumerate(problems(n)):
        _common.progress(f"problem {number} of {n}")
        prior = dict(n_components=len(params[0]) + SPARE, weight_concentration_prior_type=PRIOR_TYPES[number % 2])
        bounds: dict[str, list[float]] = {name: [] for name in makers}
        for seed in range(seeds):
            for name, make in makers.items():
                begun = time.perf_counter()
                model = make(random_state=seed, **prior).fit(X)
                seconds[name] += time.perf_counter() - begun
                bound, in_use = end_of(model, X, prior)
                bounds[name].append(bound)
                used[name].append(in_use - len(params[0]))
        best = max(from_truth(X, tuple(params), prior), *(max(values) for values in bounds.values()))
        for name, values in bounds.items():
            short[name].append([best - value for value in values])
    return {
        name: {
            "reached": float(np.mean(np.array(short[name]) < NEAR)),
            "by best seed": float(np.mean(np.min(short[name], axis=1) < NEAR)),
            "mean gap": float(np.mean(short[name])),
            "worst gap": float(np.max(short[name])),
            "components more than true": float(np.mean(used[name])),
            "seconds": seconds[name],
        }
        for name in makers
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """The results as markdown."""
    titles = ["method", "reached", "by the best seed", "mean gap, nats", "worst gap", "components more", "seconds"]
    lines = [
        [
            *(name, f"{one['reached']:.0%}", f"{one['by best seed']:.0%}", f"{one['mean gap']:.3g}"),
            *(f"{one['worst gap']:.3g}", f"{one['components more than true']:+.1f}", f"{one['seconds']:.3g}"),
        ]
        for name, one in found.items()
    ]
    return _common.table(titles, lines, left=1)


def main() -> None:
    options = _common.parser(__doc__, rounds=False)
    options.add_argument("--problems", type=int, default=30)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--docs", action="store_true", help="rewrite the table of docs/bayesian.md")
    args = options.parse_args()
    _common.restart_in_clean_environment()
    if args.quick:
        args.problems, args.seeds = min(args.problems, 2), 1
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    found, machine = compare(args.problems, args.seeds), _common.machine()
    _common.progress()
    section = table(found) + "\n\n" + _common.describe(machine)
    _common.write(args.output, "posterior_optimum", {"machine": machine, "found": found}, section)
    if args.docs:
        _common.rewrite_section(_common.DOCS / "bayesian.md", "posterior-optimum", section)


if __name__ == "__main__":
    main()
