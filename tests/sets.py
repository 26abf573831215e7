"""Nine labelled sets on which starts are compared: four real ones that scikit-learn carries, five made for a fault."""

from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA


class Labelled(NamedTuple):
    X: np.ndarray  # (N, D)
    labels: np.ndarray  # (N,)

    @property
    def K(self):
        return len(np.unique(self.labels))


def _bundled(load):
    return Labelled(*load(return_X_y=True))


def digits():
    """Ten digits in their ten principal components, 1797 rows."""
    X, labels = datasets.load_digits(return_X_y=True)
    return Labelled(PCA(10, svd_solver="full").fit_transform(X), labels)


def one_axis(D, n=1500, seed=0):
    """Three components that differ along the first of D axes alone, whose variance is the largest."""
    rng = np.random.default_rng([seed, D])
    labels = rng.integers(0, 3, n)
    X = rng.normal(size=(n, D))
    X[:, 0] += 5.0 * labels
    return Labelled(X, labels)


def loud_noise(n=1500, seed=0):
    """Three components in a plane and an axis of noise 100 times as wide."""
    rng = np.random.default_rng([seed, 2])
    labels = rng.integers(0, 3, n)
    X = rng.normal(size=(n, 3))
    X[:, :2] += np.array([[0.0, 0.0], [6.0, 0.0], [3.0, 6.0]])[labels]
    X[:, 2] *= 100.0
    return Labelled(X, labels)


def cigars(n=1500, seed=0):
    """Three blobs, the axis that separates them compressed, the other stretched: after scikit-learn's #34845."""
    rng = np.random.default_rng([seed, 3])
    labels = rng.integers(0, 3, n)
    X = rng.normal(size=(n, 2))
    X[:, 0] += 5.0 * labels
    return Labelled(X @ np.array([[0.3, 0.15], [-4.0, 8.0]]), labels)


def uneven(seed=0):
    """Four components of 2000, 400, 80 and 40 rows, of several widths."""
    rng = np.random.default_rng([seed, 4])
    labels = np.repeat(np.arange(4), [2000, 400, 80, 40])
    means = np.array([[0.0, 0.0], [7.0, 0.0], [0.0, 7.0], [8.0, 8.0]])
    X = means[labels] + np.array([1.5, 1.0, 0.6, 0.6])[labels, None] * rng.normal(size=(len(labels), 2))
    return Labelled(X, labels)


SETS = {
    "iris": lambda: _bundled(datasets.load_iris),
    "wine": lambda: _bundled(datasets.load_wine),
    "breast cancer": lambda: _bundled(datasets.load_breast_cancer),
    "digits": digits,
    "1 of 10 axes": lambda: one_axis(10),
    "1 of 30 axes": lambda: one_axis(30),
    "loud noise": loud_noise,
    "cigars": cigars,
    "uneven": uneven,
}
