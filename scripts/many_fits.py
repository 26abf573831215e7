"""One mixture for each of many groups of rows: `fastem.fit_many` against a loop over scikit-learn's GaussianMixture.

    python scripts/many_fits.py [--groups 10000] [--rows 200] [--features 2] [--components 2] [--loop 300] [--quick]

Both start every group from the same weights, means and precisions and stop by the same rule. The loop is timed on the
first `--loop` groups only, and its time multiplied; on these groups the mixtures are compared. It runs without threads,
which only cost time on so few rows. A second line lets each find its own starts by k-means.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import _common
import numpy as np


def draw_groups(G: int, n: int, D: int, K: int, spacing: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (G n, D) of G groups in random order, each of K components of its own, and their groups."""
    rng = np.random.default_rng([G, n, D, K])
    ends = spacing * np.linspace(-0.5, 0.5, K)[:, None] * np.ones(D) if K > 1 else np.zeros((1, D))
    means = ends + rng.normal(scale=0.3, size=(G, K, D))
    groups = rng.permutation(np.repeat(np.arange(G), n))
    labels = rng.integers(K, size=G * n)
    return means[groups, labels] + rng.normal(size=(G * n, D)) * rng.uniform(0.6, 1.2, (G, 1))[groups], groups


def start_of(D: int, K: int, spacing: float = 3.0) -> dict[str, Any]:
    """One start for all groups."""
    ends = spacing * np.linspace(-0.5, 0.5, K)[:, None] * np.ones(D) if K > 1 else np.zeros((1, D))
    return dict(weights_init=np.full(K, 1 / K), means_init=ends, precisions_init=np.tile(np.eye(D), (K, 1, 1)))


def timed(call: Any) -> tuple[Any, float]:
    """What the call returns, and its time."""
    _common.rest()
    since = time.perf_counter()
    result = call()
    return result, time.perf_counter() - since


def loop(X: np.ndarray, groups: np.ndarray, n_groups: int, K: int, options: dict[str, Any]) -> list[Any]:
    """scikit-learn's mixtures of the first groups; the rows are sorted by group beforehand, as a user would."""
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    order = np.argsort(groups, kind="stable")
    parts = np.split(X[order], np.cumsum(np.bincount(groups))[:-1])[:n_groups]
    with threadpool_limits(1):
        return [GaussianMixture(K, **options).fit(part) for part in parts]


def compare(fits: Any, models: list[Any]) -> dict[str, float]:
    """Largest differences of means (in the unit of the data) and bounds, and in how many groups n_iter differs."""
    n = len(models)
    means, bounds = np.array([m.means_ for m in models]), np.array([m.lower_bound_ for m in models])
    return {
        "means": float(np.abs(fits.means[:n] - means).max()),
        "bounds": float(np.abs(fits.lower_bound[:n] - bounds).max()),
        "other_n_iter": int((fits.n_iter[:n] != [m.n_iter_ for m in models]).sum()),
        "mean_bound_lead": float((fits.lower_bound[:n] - bounds).mean()),
    }


def main() -> None:
    options = _common.parser(__doc__)
    for name, default in (("groups", 10_000), ("rows", 200), ("features", 2), ("components", 2), ("loop", 200)):
        options.add_argument(f"--{name}", type=int, default=default)
    args = options.parse_args()
    if args.quick:
        args.groups, args.loop = min(args.groups, 300), min(args.loop, 20)
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    import fastem

    warnings.simplefilter("ignore")
    rounds, K, D = args.rounds or 5, args.components, args.features
    X, groups = draw_groups(args.groups, args.rows, D, K)
    results: dict[str, Any] = {"machine": _common.machine(), "arguments": vars(args) | {"output": str(args.output)}}
    lines = []
    for name, given in (("the same start", start_of(D, K)), ("k-means, each its own", dict(random_state=0))):
        fastem.fit_many(X, groups, K, reg_covar=1e-6, **given)  # compiles
        loop(X, groups, 5, K, given)  # imports
        ours, theirs = [], []
        for _ in range(rounds):  # in turns, so that whatever else the machine does is shared
            fits, seconds = timed(lambda given=given: fastem.fit_many(X, groups, K, reg_covar=1e-6, **given))
            ours.append(seconds)
            models, seconds = timed(lambda given=given: loop(X, groups, args.loop, K, given))
            theirs.append(seconds * args.groups / args.loop)
        found, ratio = compare(fits, models), _common.spread(b / a for a, b in zip(ours, theirs, strict=True))
        if "same" in name and not found["bounds"] < 1e-8:
            raise SystemExit(f"the mixtures differ: {found}")
        times = dict(fastem=_common.spread(ours), loop=_common.spread(theirs))
        results[name] = times | found | dict(ratio=ratio, n_iter=float(fits.n_iter.mean()))
        lines.append([name, *(_common.seconds(one["median"]) for one in times.values()), f"{ratio['median']:.0f}"])
        lines[-1] += [f"{fits.n_iter.mean():.1f}", f"{found['means']:.0e}" if "same" in name else ""]
        lines[-1] += [f"{found['mean_bound_lead']:+.0e}"]
    header = ["start", "fit_many", "loop", "ratio", "passes per group", "largest difference of means", "lead in bound"]
    title = f"{args.groups} groups of {args.rows} x {D}, K = {K} (the loop was timed on {args.loop} groups)"
    text = f"{title}\n\n{_common.table(header, lines)}\n\n{_common.describe(results['machine'])}"
    _common.write(args.output, "many_fits", results, text)


if __name__ == "__main__":
    main()
