"""Samples of known mixtures, on which fits and remedies are compared: easy and hard ones of several kinds."""

from __future__ import annotations

from typing import NamedTuple

import _common
import numpy as np

SEPARATION = {"apart": 4.0, "touching": 1.5, "overlap": 0.8, "uneven": 2.5, "scales": 2.5, "needles": 2.0}
KINDS = ("apart", "touching", "uneven", "scales", "needles")  # of the thirty problems, with SHAPES
FIRST_SEED = 501  # of the first of SHAPES; the others follow
SHAPES = (20_000, 2, 6), (20_000, 3, 10), (20_000, 6, 7), (40_000, 4, 16), (40_000, 8, 12), (40_000, 16, 5)


class Problem(NamedTuple):
    """Rows, and the mixture that they are drawn from."""

    kind: str
    X: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def name(self) -> str:
        """The kind and the size."""
        N, D = self.X.shape
        return f"{self.kind} {_common.count(N)} x {D}, K = {len(self.weights)}"


def draw_problem(kind: str, N: int, D: int, K: int, seed: int) -> Problem:
    """Draw a mixture of a kind, and rows of it."""
    rng = np.random.default_rng([int.from_bytes(kind.encode(), "little") % 2**31, N, D, K, seed])
    means = rng.normal(size=(K, D)) * SEPARATION[kind]
    roots = np.eye(D) + 0.35 * rng.normal(size=(K, D, D))
    weights = rng.dirichlet(np.full(K, 8.0))
    if kind == "uneven":
        weights = np.maximum(rng.dirichlet(np.full(K, 0.7)), 0.004)
        weights /= weights.sum()
    if kind == "scales":
        roots *= np.exp(rng.uniform(-2, 2, size=(1, D, 1)))
        means *= np.exp(rng.uniform(-2, 2, size=D))
    if kind == "needles":
        for k in range(K):
            axes, _ = np.linalg.qr(rng.normal(size=(D, D)))
            roots[k] = axes * np.exp(rng.uniform(-2.5, 1.0, size=D))
    component, X = rng.choice(K, p=weights, size=N), np.empty((N, D))
    for k in range(K):
        mine = np.flatnonzero(component == k)
        X[mine] = means[k] + rng.normal(size=(len(mine), D)) @ roots[k].T
    return Problem(kind, X, weights, means, roots @ roots.swapaxes(1, 2))
