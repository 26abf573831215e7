"""CTGAN's columns: a Bayesian mixture in one dimension for each column of a frame, then the probabilities of its modes.

    python scripts/ctgan_columns.py [--columns 100] [--rows 100000] [--loop 5] [--quick]

CTGAN's mode-specific normalisation fits scikit-learn's BayesianGaussianMixture to each column (10 components, Dirichlet
process, concentration 1e-3, 100 iterations) and calls predict_proba. `fastem.fit_many(X, columns=True, prior=...)` fits
all columns in one call. The loop over scikit-learn is timed on the first `--loop` columns, on all cores, and its time
multiplied; a loop over fastem's BayesianGaussianMixture is timed on the same columns. The bounds of the fits, and
the modes of their densities (local maxima of at least 1 % of the largest), are compared on these columns.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import _common
import numpy as np

K = 10
PRIOR = {"weight_concentration_prior_type": "dirichlet_process", "weight_concentration_prior": 0.001}


def draw_columns(n_rows: int, n_columns: int) -> np.ndarray:
    """Columns of 1 to 5 clusters at least 5 standard deviations apart, in units from 1e-2 to 1e3."""
    rng = np.random.default_rng([n_rows, n_columns])
    columns = []
    for _ in range(n_columns):
        M = int(rng.integers(1, 6))
        sd = rng.uniform(0.5, 1.0, M)
        means = np.cumsum(rng.uniform(5.0, 9.0, M))
        labels = rng.choice(M, n_rows, p=rng.dirichlet(np.full(M, 5.0)))
        columns.append(10 ** rng.uniform(-2, 3) * (means[labels] + sd[labels] * rng.normal(size=n_rows)))
    return np.column_stack(columns)


def seconds_of(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its time."""
    _common.rest()
    begun = time.perf_counter()
    return call(), time.perf_counter() - begun


def one_by_one(kind: Any, X: np.ndarray) -> list[Any]:
    """The mixtures of columns by a loop over a class, with the probabilities of their rows."""
    found = []
    for c in range(X.shape[1]):
        model = kind(n_components=K, n_init=1, random_state=0, **PRIOR).fit(X[:, [c]])
        model.predict_proba(X[:, [c]])
        found.append(model)
    return found


def modes(weights: np.ndarray, means: np.ndarray, variances: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where the density of a mixture in one dimension has local maxima of at least 1 % of the largest."""
    z = (x[:, None] - means) / np.sqrt(variances)
    density = (weights / np.sqrt(variances) * np.exp(-0.5 * z**2)).sum(axis=1)
    inner = density[1:-1]
    top = (inner > density[:-2]) & (inner >= density[2:]) & (inner >= 0.01 * density.max())
    return x[1:-1][top]


def compare(fits: Any, models: list[Any], X: np.ndarray) -> dict[str, Any]:
    """How many modes columns have by both, how far apart they are in sd of the column, and the lead in the bound."""
    counts, apart, lead = [], 0.0, []
    for c, model in enumerate(models):
        values = X[:, c]
        x = np.linspace(values.min(), values.max(), 4001)
        mine = modes(fits.weights[c], fits.means[c, :, 0], fits.covariances[c, :, 0, 0], x)
        theirs = modes(model.weights_, model.means_[:, 0], model.covariances_[:, 0, 0], x)
        counts.append((len(mine), len(theirs)))
        if len(mine) == len(theirs):
            apart = max(apart, float(np.abs(mine - theirs).max() / values.std()))
        lead.append(float(fits.lower_bound[c] - model.lower_bound_) / len(values))
    return {"modes": counts, "apart": apart, "lead_per_row": lead}


def main() -> None:
    options = _common.parser(__doc__)
    for name, default in (("columns", 100), ("rows", 100_000), ("loop", 5)):
        options.add_argument(f"--{name}", type=int, default=default)
    args = options.parse_args()
    if args.quick:
        args.columns, args.rows, args.loop = 6, 2000, 2
    _common.restart_in_clean_environment()
    _common.add_root_to_path()
    from sklearn.mixture import BayesianGaussianMixture as Theirs

    import fastem

    warnings.simplefilter("ignore")
    X = draw_columns(args.rows, args.columns)
    few, scale = X[:, : args.loop], args.columns / args.loop

    def at_once() -> Any:
        fits = fastem.fit_many(X, n_components=K, columns=True, prior=PRIOR, random_state=0)
        for c in range(args.columns):  # one by one, as the probabilities of all would be 8 GB for 1e6 rows
            fits.model(c).predict_proba(X[:, [c]])
        return fits

    fastem.fit_many(X[:2000], n_components=K, columns=True, prior=PRIOR).model(0).predict_proba(X[:9, :1])  # compiles
    one_by_one(fastem.BayesianGaussianMixture, X[:2000, :1])
    fits, ours = seconds_of(at_once)
    _, by_class = seconds_of(lambda: one_by_one(fastem.BayesianGaussianMixture, few))
    models, theirs = seconds_of(lambda: one_by_one(Theirs, few))
    found = compare(fits, models, few)
    times = {"fit_many": ours, "BayesianGaussianMixture": by_class * scale, "scikit-learn": theirs * scale}
    results = {"machine": _common.machine(), "seconds": times, "compared": found, "n_iter": fits.n_iter.tolist()}
    lines = [[name, _common.seconds(value), f"{value / ours:.1f}"] for name, value in times.items()]
    counts = ", ".join(f"{mine} and {other}" for mine, other in found["modes"])
    lead = found["lead_per_row"]
    text = "\n\n".join(
        [
            f"{args.columns} columns of {args.rows} rows, K = {K}, fit and predict_proba (loops timed on {args.loop})",
            _common.table(["by", "time", "times as long"], lines),
            f"Modes by fit_many and scikit-learn: {counts}; at most {found['apart']:.2g} sd of the column apart. "
            f"Bounds per row: {min(lead):+.1e} to {max(lead):+.1e} above scikit-learn's.",
            _common.describe(results["machine"]),
        ]
    )
    _common.write(args.output, "ctgan_columns", results, text)


if __name__ == "__main__":
    main()
