"""How good k-means starts are: fastem's default fits and k-means against scikit-learn's, over random problems.

    python scripts/kmeans_starts.py [--problems 200] [--seeds 3] [--quick]

The problems are of the make of scripts/optimum.py, of 500 to 3000 rows, 2 to 8 features and 2 to 8 components, with
the same data, seeds and defaults for both. A fit is compared with the best known: EM from the generating parameters,
and all fits here. Reached means within 1e-3 nats per row, and for k-means within 0.1 % of the least inertia.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import _common
import numpy as np
from _problems import KINDS, Problem, draw_problem

NEAR = 1e-3


def problems(n: int) -> Iterator[Problem]:
    """Random mixtures, and rows of them."""
    for number in range(n):
        rng = np.random.default_rng(number)
        N, D, K = int(rng.integers(500, 3000)), int(rng.integers(2, 9)), int(rng.integers(2, 9))
        yield draw_problem(KINDS[number % len(KINDS)], N, D, K, number)


def timed(model: Any, X: np.ndarray) -> tuple[Any, float]:
    """The model fitted to rows, and the seconds that it took."""
    begun = time.perf_counter()
    return model.fit(X), time.perf_counter() - begun


def compare(
    makers: dict[str, Callable[[int, int], Any]],
    n: int,
    seeds: int,
    loss: Callable[[Any, np.ndarray], float],
    known: Callable[..., float],
) -> dict[str, dict[str, float]]:
    """Fit every problem with every method, and say how far the losses are above the least known."""
    gaps: dict[str, list[float]] = {name: [] for name in makers}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for number, (_, X, *parameters) in enumerate(problems(n)):
        _common.progress(f"problem {number} of {n}")
        losses: dict[str, list[float]] = {name: [] for name in makers}
        for seed in range(seeds):
            for name, make in makers.items():
                model, took = timed(make(len(parameters[0]), seed), X)
                losses[name].append(loss(model, X))
                seconds[name].append(took)
        least = min(known(X, *parameters), *(min(values) for values in losses.values()))
        for name, values in losses.items():
            gaps[name] += [value - least for value in values]
    return {
        name: {
            "reached": float(np.mean(np.array(gaps[name]) < NEAR)),
            "gap": float(np.mean(gaps[name])),
            "seconds": float(np.sum(seconds[name])),
        }
        for name in makers
    }


def from_generating_parameters(X: np.ndarray, *parameters: np.ndarray) -> float:
    """Minus the log-likelihood per row at which EM ends."""
    import fastem

    try:
        found = fastem.em(X, fastem.make_params(*parameters), reg_covar=1e-6, tol=1e-6, max_iter=300)
    except fastem.SingularCovarianceError:
        return np.inf
    return -found.loglik / len(X)


def main() -> None:
    options = _common.parser(__doc__, rounds=False)
    options.add_argument("--problems", type=int, default=200)
    options.add_argument("--seeds", type=int, default=3)
    args = options.parse_args()
    if args.quick:
        args.problems, args.seeds = min(args.problems, 5), 1
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    import sklearn.cluster
    import sklearn.mixture

    import fastem

    results, lines = {}, []

    mixtures = {"fastem": fastem.GaussianMixture, "scikit-learn": sklearn.mixture.GaussianMixture}
    clusterings = {"fastem": fastem.KMeans, "scikit-learn": sklearn.cluster.KMeans}
    mixture = compare(
        {name: lambda K, seed, kind=kind: kind(K, random_state=seed) for name, kind in mixtures.items()},
        args.problems,
        args.seeds,
        lambda model, X: -float(np.mean(model.score_samples(X))),
        from_generating_parameters,
    )
    kmeans = compare(
        {name: lambda K, seed, kind=kind: kind(K, n_init=1, random_state=seed) for name, kind in clusterings.items()},
        args.problems,
        args.seeds,
        lambda model, X: float(np.log(model.inertia_)),
        lambda *_: np.inf,
    )
    for what, found in (("GaussianMixture", mixture), ("KMeans, n_init=1", kmeans)):
        results[what] = found
        for name, one in found.items():
            lines.append([what, name, f"{one['reached']:.1%}", f"{one['gap']:.4f}", f"{one['seconds']:.1f}"])
    text = _common.table(["", "", "reached", "mean gap", "seconds"], lines, left=2)
    _common.write(args.output, "kmeans_starts", results, text)


if __name__ == "__main__":
    main()
