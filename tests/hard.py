"""Hard problems, by name: data on which maximum likelihood collapses, and starts for them."""

import numpy as np


def duplicates(rng, n, d):
    X = rng.normal(size=(n, d))
    X[: n // 3] = X[0]
    return X


def rounded(rng, n, d):
    return np.round(1.5 * rng.standard_t(4, size=(n, d)))


def constant_column(rng, n, d):
    X = rng.normal(size=(n, d))
    X[:, -1] = rng.choice([0.0, 3.7, -1e8])
    return X


def dependent_columns(rng, n, d):
    X = rng.normal(size=(n, d))
    X[:, -1] = X[:, 0] - 2 * X[:, d // 2]
    return X


def nearly_collinear(rng, n, d):
    X = rng.normal(size=(n, d))
    X[:, -1] = X[:, :-1].sum(axis=1) + 10.0 ** -rng.uniform(2, 6) * X[:, -1]
    return X


def few_rows(rng, n, d):
    """Fewer rows per component than dimensions."""
    return rng.normal(size=(max(d + 1, 6), d))


def too_many(rng, n, d):
    """One tight cloud and a few rows apart, for any number of components."""
    X = 1e-3 * rng.normal(size=(n, d))
    X[:3] = rng.normal(size=(3, d))
    return X


def heavy_tails(rng, n, d):
    return rng.standard_t(1, size=(n, d))


def mixed_scales(rng, n, d):
    return rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-8, 8, d) + rng.integers(0, 3, n)[:, None]


def far_away(rng, n, d):
    return 1e6 + rng.normal(size=(n, d)) * np.where(rng.uniform(size=(n, 1)) < 0.5, 1.0, 0.01)


CLASSES = {
    maker.__name__: maker
    for maker in (
        *(duplicates, rounded, constant_column, dependent_columns, nearly_collinear),
        *(few_rows, too_many, heavy_tails, mixed_scales, far_away),
    )
}


def problem(name, seed):
    """Rows and labels of a class: a random problem whose start has no empty component."""
    rng = np.random.default_rng([seed, list(CLASSES).index(name)])
    n, d, k = int(rng.integers(30, 120)), int(rng.integers(2, 7)), int(rng.integers(2, 6))
    X = CLASSES[name](rng, n, d)
    near = X[rng.choice(len(X), k, replace=False)]
    scale = X.std(axis=0) + 1e-300
    labels = (((X[:, None] - near) / scale) ** 2).sum(axis=2).argmin(axis=1)
    labels[:k] = np.arange(k)
    return X, labels
