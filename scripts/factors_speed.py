"""Mixtures of factor analysers at the size of MNIST: time of an iteration and memory, beside full covariances.

    python scripts/factors_speed.py [--rows 60000] [--features 784] [--components 10] [--factors 10] [--quick]

An iteration is a pass over all rows and the M-step; scikit-learn's is the same with full covariances. They take turns.
On few rows of so many features a full covariance has no sense; here it says what the work would be. Rows are drawn,
for time does not depend on them. Memory is the peak of what fastem allocates above the rows in a whole fit of a few
iterations, with its start.
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import _common
import numpy as np


def draw(N: int, D: int, K: int, q: int) -> np.ndarray:
    """Rows (N, D) of K factor analysers."""
    rng = np.random.default_rng([N, D, K, q])
    means, loadings, X = rng.normal(size=(K, D)), rng.normal(size=(K, D, q)) / 2, rng.normal(size=(N, D))
    X += means[np.arange(N) % K]
    for k in range(K):
        X[k::K] += rng.normal(size=(len(X[k::K]), q)) @ loadings[k].T
    return X


def one_iteration(X: np.ndarray, K: int, q: int) -> Callable[[], Any]:
    """A function that makes an iteration of fastem's, from where two iterations lead."""
    import fastem
    from fastem.fitting.models import model_for
    from fastem.model.factor_model import FLOOR, NOISE, FactorModel
    from fastem.model.remedies.table import find_remedy
    from fastem.passes.statistics import evaluate
    from fastem.sources.blocks import ArraySource

    begun = fastem.FactorMixture(K, q, max_iter=2, solver="em", init_params="random_from_data", random_state=0)
    params, source = begun.fit(X[:5000]).params_, ArraySource(X)
    gaussian = model_for(ArraySource(X[:5000]), NOISE["each"], find_remedy("ridge"))
    model = FactorModel(gaussian, q, FLOOR * X[:5000].var(axis=0))
    return lambda: model.update(evaluate(source, params), params)


def one_of_scikit_learn(X: np.ndarray, K: int) -> Callable[[], Any]:
    """A function that makes an iteration of scikit-learn's GaussianMixture, from a given start."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(K, means_init=X[:K], precisions_init=np.tile(np.eye(X.shape[1]), (K, 1, 1)))
    model._initialize(X, np.full((len(X), K), 1 / K))

    def iterate() -> None:
        _, log_resp = model._e_step(X)
        model._m_step(X, log_resp)

    return iterate


def peak(X: np.ndarray, K: int, q: int, iterations: int) -> float:
    """Megabytes that a fit allocates above the rows, at its peak."""
    import fastem

    tracemalloc.start()
    fastem.FactorMixture(K, q, max_iter=iterations, random_state=0).fit(X)
    found = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found


def main() -> None:
    options = _common.parser(__doc__)
    for name, default in (("rows", 60_000), ("features", 784), ("components", 10), ("factors", 10)):
        options.add_argument(f"--{name}", type=int, default=default)
    args = options.parse_args()
    if args.quick:
        args.rows, args.features = min(args.rows, 2000), min(args.features, 60)
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    K, q = args.components, args.factors
    X = draw(args.rows, args.features, K, q)
    ways = {"fastem, factors": one_iteration(X, K, q), "scikit-learn, full": one_of_scikit_learn(X, K)}
    A, B = X[:8000], np.ones((args.features, K * (q + 1)))
    flops = {"fastem, factors": 4 * X.size * K * (q + 2)}
    times: dict[str, list[float]] = {name: [] for name in (*ways, "product")}
    for _ in range(args.rounds or 3):
        for name, way in (*ways.items(), ("product", lambda: A @ B)):
            since = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - since)
    rate = 2 * A.size * B.shape[1] / min(times["product"])
    megabytes = peak(X, K, q, 5)
    results: dict[str, Any] = {"machine": _common.machine(), "arguments": vars(args) | {"output": str(args.output)}}
    results |= {"seconds": {name: _common.spread(found) for name, found in times.items()}, "megabytes": megabytes}
    results["share_of_products"] = flops["fastem, factors"] / rate / min(times["fastem, factors"])
    rows = [[name, _common.seconds(min(times[name])), _common.seconds(float(np.median(times[name])))] for name in ways]
    title = f"{args.rows} x {args.features}, K = {K}, q = {q}: an iteration"
    text = f"{title}\n\n{_common.table(['', 'least', 'median'], rows)}\n\n"
    text += f"{results['share_of_products']:.0%} of the rate of products of matrices, {rate / 1e9:.0f} Gflop/s; "
    text += f"a fit allocates {megabytes:.0f} MB above the rows.\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "factors_speed", results, text)


if __name__ == "__main__":
    main()
