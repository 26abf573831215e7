"""How often `fastem.fit_many` ends at the best known optimum: from k-means, from several seeds, by the search.

    python scripts/many_optima.py [--groups 300] [--quick]

Groups are drawn from mixtures of unequal weights and shapes. The best known optimum of a group is the best of all fits
here whose components each have as many rows as parameters. Times are those of all groups, relative to one fit.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import _common
import numpy as np

CASES = {  # features, components, rows of a group, spread of the means
    "2 x 3": (2, 3, 300, 2.5),
    "1 x 4": (1, 4, 300, 4.0),
    "5 x 4": (5, 4, 500, 2.0),
    "2 x 5": (2, 5, 500, 3.0),
    "3 x 8": (3, 8, 1000, 4.0),
}
SEEDS = 10
WAYS = "k-means", "3 seeds", f"{SEEDS} seeds", '`"auto"`'


def draw(G: int, D: int, K: int, n: int, spread: float) -> np.ndarray:
    """Rows (G n, D) of groups, one after the other."""
    rng = np.random.default_rng([G, D, K])
    means, shapes = spread * rng.normal(size=(G, K, D)), np.eye(D) + 0.5 * rng.normal(size=(G, K, D, D))
    labels = np.array([rng.choice(K, n, p=shares) for shares in rng.dirichlet(np.full(K, 5.0), size=G)])
    each = np.arange(G)[:, None]
    rows = np.einsum("gnij,gnj->gni", shapes[each, labels], rng.normal(size=(G, n, D))) + means[each, labels]
    return rows.reshape(-1, D)


def timed(X: np.ndarray, n: int, K: int, **options: Any) -> tuple[np.ndarray, float]:
    """Return the bound of each group, -inf where a component has too few rows to be one, and the seconds."""
    import fastem

    D = X.shape[1]
    since = time.perf_counter()
    fits = fastem.fit_many(X, sizes=np.full(len(X) // n, n), n_components=K, **options)
    seconds = time.perf_counter() - since
    thin = (fits.weights * n < 1 + D + D * (D + 1) // 2).any(axis=1)
    return np.where(thin, -np.inf, fits.lower_bound), seconds


def compare(name: str, G: int) -> dict[str, float]:
    """Return the shares of groups that end at the best known optimum, and the time of the search in fits."""
    D, K, n, spread = CASES[name]
    X = draw(G, D, K, n, spread)
    runs = [timed(X, n, K, random_state=seed) for seed in range(SEEDS)]
    found, seconds = timed(X, n, K, random_state=0, init_params="auto")
    bounds = np.maximum.accumulate([bound for bound, _ in runs])
    best = np.maximum(bounds[-1], found)
    shares = {
        way: float((best - bound < 1e-3).mean())
        for way, bound in zip(WAYS, (bounds[0], bounds[2], bounds[-1], found), strict=True)
    }
    return shares | {"its time, in fits": float(seconds / np.median([s for _, s in runs]))}


def main() -> None:
    parser = _common.parser(__doc__, rounds=False)
    parser.add_argument("--groups", type=int, default=300, help="groups of each case (default: 300)")
    options = parser.parse_args()
    _common.add_root_to_path()
    warnings.simplefilter("ignore")
    names, groups = (list(CASES)[:1], 20) if options.quick else (list(CASES), options.groups)
    results = {name: compare(name, groups) for name in names}
    lines = [
        [name, *(f"{one[way]:.0%}" for way in WAYS), f"{one['its time, in fits']:.0f}"] for name, one in results.items()
    ]
    header = ["features x components", *WAYS, "its time, in fits"]
    _common.write(options.output, "many_optima", results, _common.table(header, lines))


if __name__ == "__main__":
    main()
