"""Standard errors, the bootstrap and the bootstrap test: whether they are right, and how long they take.

    python scripts/uncertainty.py [--sets 400] [--replicates 99] [--quick] [--docs]

- 999 replicates of Old Faithful, K = 2, against a loop that fits scikit-learn's GaussianMixture to resampled rows from
  the same start, to the same tolerance (timed on 20 replicates).
- Standard errors of 1e5 rows of a true model: the empirical information against the Hessian, by differences of the
  gradient, and against a parametric bootstrap.
- The bootstrap test of Old Faithful, and its level: how many of `--sets` simulated sets are rejected at 5 %, for one
  component in one and three columns, and for two components that overlap. With --docs this table goes to
  docs/uncertainty.md.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import _common
import numpy as np

KINDS = ("nonparametric", "parametric", "weighted")
Truth = tuple[str, int, int, float]  # a name, how many rows and columns, how far apart two components are (0: one)
TRUTHS: tuple[Truth, ...] = (
    ("one component, 100 x 1", 100, 1, 0.0),
    ("one component, 100 x 3", 100, 3, 0.0),
    ("two components 3 sd apart, 200 x 2", 200, 2, 3.0),
)


def seconds_of(call: Any) -> tuple[Any, float]:
    """What a call returns, and its time."""
    _common.rest()
    begun = time.perf_counter()
    return call(), time.perf_counter() - begun


def loop(X: np.ndarray, model: Any, n: int) -> None:
    """Fit scikit-learn's mixture to n sets of resampled rows, from a fitted one."""
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    start = dict(weights_init=model.weights_, means_init=model.means_, precisions_init=model.precisions_)
    with threadpool_limits(1):
        for _ in range(n):
            rows = X[rng.integers(len(X), size=len(X))]
            GaussianMixture(len(model.weights_), tol=1e-5 / len(X), max_iter=1000, **start).fit(rows)


def times_of_replicates(n: int, rounds: int) -> dict[str, Any]:
    """Median seconds of n replicates of Old Faithful by kind, and of the loop."""
    import fastem

    X, _ = fastem.load_faithful()
    model = fastem.GaussianMixture(2, tol=1e-6, random_state=0).fit(X)
    model.bootstrap(X, 10)
    loop(X, model, 2)
    found: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "loop")}
    for _ in range(rounds):
        for kind in KINDS:
            found[kind].append(seconds_of(lambda kind=kind: model.bootstrap(X, n, kind, random_state=0))[1])
        found["loop"].append(seconds_of(lambda: loop(X, model, 20))[1] * n / 20)
    return {kind: _common.spread(values) for kind, values in found.items()}


def errors_of_a_true_model(n: int, replicates: int) -> dict[str, float]:
    """The largest relative difference of standard errors from those of the Hessian, and of a parametric bootstrap."""
    import fastem

    rng, means = np.random.default_rng(0), np.array([[0.0, 0.0], [2.5, 1.0]])
    X = means[(rng.uniform(size=n) < 0.4).astype(int)] + rng.normal(size=(n, 2))
    model = fastem.fit(X, 2, random_state=0, tol=1e-9, solver="auto")
    errors, seconds = seconds_of(lambda: model.standard_errors(X))
    space = fastem.Parametrization.of(model.params_)
    theta, step = space.pack(model.params_), 1e-5

    def differences(function: Any) -> np.ndarray:
        ends = [(function(theta + step * e), function(theta - step * e)) for e in np.eye(len(theta))]
        return np.stack([(high - low) / (2 * step) for high, low in ends], axis=-1)

    def vector(at: np.ndarray) -> np.ndarray:
        params = space.unpack(at)
        return errors.numbers.join(params.weights, params.means, params.covariances)

    hessian = -differences(lambda at: fastem.log_likelihood_and_gradient(X, space.unpack(at))[1])
    jacobian = differences(vector)
    wanted = np.sqrt(np.diagonal(jacobian @ np.linalg.pinv(hessian, rcond=1e-9) @ jacobian.T))
    drawn = model.bootstrap(X, replicates, "parametric", random_state=0).standard_errors.vector
    return {
        "hessian": float(np.abs(errors.vector / wanted - 1).max()),
        "bootstrap": float(np.abs(errors.vector / drawn - 1).max()),
        "bootstrap_own_error": float(1 / np.sqrt(2 * replicates)),
        "seconds": seconds,
    }


def level_of(truth: Truth, n_sets: int, replicates: int) -> dict[str, float]:
    """How many sets that are drawn from a mixture of K have a p-value of at most 5 %."""
    from scipy import stats

    import fastem

    name, n, D, apart = truth
    K, p_values, rng = 2 if apart else 1, [], np.random.default_rng(0)
    begun = time.perf_counter()
    for number in range(n_sets):
        _common.progress(f"{name}: set {number} of {n_sets}")
        X = rng.normal(size=(n, D))
        X[:, 0] += apart * (rng.uniform(size=n) < 0.5)
        test = fastem.bootstrap_test(X, K, n_samples=replicates, random_state=number)
        p_values.append(test.steps[0].p_value)
    _common.progress()
    rejected = int(np.count_nonzero(np.array(p_values) <= 0.05))
    return {
        "rejected": rejected,
        "share": rejected / n_sets,
        "binomial_p": float(stats.binomtest(rejected, n_sets, 0.05).pvalue),
        "uniform_p": float(stats.kstest(np.array(p_values) - 0.5 / (replicates + 1), "uniform").pvalue),
        "seconds": time.perf_counter() - begun,
    }


def main() -> None:
    options = _common.parser(__doc__)
    options.add_argument("--sets", type=int, default=400)
    options.add_argument("--replicates", type=int, default=99)
    options.add_argument("--docs", action="store_true", help="rewrite the table of docs/uncertainty.md")
    args = options.parse_args()
    rounds, n, rows, truths = args.rounds or 5, 999, 100_000, TRUTHS
    if args.quick:
        rounds, n, rows, args.sets, args.replicates, truths = 1, 99, 5000, 4, 19, TRUTHS[:1]
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    import fastem

    warnings.simplefilter("ignore")
    X, _ = fastem.load_faithful()
    results: dict[str, Any] = {"machine": _common.machine(), "arguments": vars(args) | {"output": str(args.output)}}
    results["replicates"] = times_of_replicates(n, rounds)
    results["errors"] = errors_of_a_true_model(rows, 40 if args.quick else 200)
    tests, seconds = seconds_of(lambda: fastem.bootstrap_test(X, max_components=5, n_samples=n, random_state=0))
    results["old_faithful"] = {"seconds": seconds, "steps": [step[:3] for step in tests.steps]}
    results["level"] = {truth[0]: level_of(truth, args.sets, args.replicates) for truth in truths}
    ours = results["replicates"]
    times = [[kind, _common.seconds(ours[kind]["median"])] for kind in (*KINDS, "loop")]
    times = [[*row, f"{ours['loop']['median'] / ours[row[0]]['median']:.0f}"] for row in times]
    levels = [
        [name, one["rejected"], f"{100 * one['share']:.1f} %", f"{one['binomial_p']:.2f}", f"{one['uniform_p']:.2f}"]
        for name, one in results["level"].items()
    ]
    levels_table = _common.table(["rows", "rejected", "share", "p of the number", "p of uniformity"], levels)
    errors = results["errors"]
    text = "\n\n".join(
        [
            f"{n} replicates of Old Faithful, K = 2, full",
            _common.table(["replicates", "time", "loop / time"], times),
            f"Standard errors of {rows} rows of a true model: within {100 * errors['hessian']:.1f} % of the Hessian's "
            f"and {100 * errors['bootstrap']:.1f} % of a parametric bootstrap's, whose own standard error is "
            f"{100 * errors['bootstrap_own_error']:.1f} %.",
            f"Old Faithful, full, {n} replicates a test, {seconds:.1f} s:",
            f"```\n{tests}\n```",
            f"Rejected at 5 %, of {args.sets} sets of a true model, by {args.replicates} replicates each; the "
            "probability of as many or as few, and of such p-values:",
            levels_table,
            _common.describe(results["machine"]),
        ]
    )
    _common.write(args.output, "uncertainty", results, text)
    if args.docs:
        _common.rewrite_section(_common.DOCS / "uncertainty.md", "uncertainty", levels_table)


if __name__ == "__main__":
    main()
