"""Rows with errors of measurement of all kinds, for tests."""

import numpy as np
from helpers import natural

import fastem

KINDS = ("variances", "variances with gaps", "matrices", "matrices with gaps", "one matrix", "one diagonal")


def draw_errors(N, D, kind, seed=3):
    """Errors of N rows: (N, D), (N, D, D) or (D, D). Matrices are singular; gaps are infinite variances."""
    rng = np.random.default_rng(seed)
    gaps = rng.uniform(size=(N, D)) < 0.3
    gaps[:2] = False
    if kind == "one diagonal":
        return np.diag(rng.gamma(1.0, size=D))
    if kind == "one matrix":
        half = rng.normal(size=(D, D))
        return half @ half.T
    if kind.startswith("variances"):
        return np.where(gaps & kind.endswith("gaps"), np.inf, rng.gamma(1.0, size=(N, D)))
    half = rng.normal(size=(N, D, max(1, D - 1)))
    errors = half @ half.swapaxes(1, 2)
    if kind.endswith("gaps"):
        errors[gaps[:, :, None] & np.eye(D, dtype=bool)] = np.inf
    return errors


def as_matrices(errors, N, D):
    """The same errors as (N, D, D)."""
    if errors.shape == (D, D):
        return np.broadcast_to(errors, (N, D, D))
    return errors if errors.ndim == 3 else np.where(np.eye(D, dtype=bool), errors[:, None], 0.0)


def mixture_and_rows(N, D, K, covariance, noise=False, seed=0):
    """A mixture, rows near it, and weights with some zeros."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(K, D, D)) / np.sqrt(D) + 0.5 * np.eye(D)
    C = half @ half.swapaxes(1, 2)
    weights, X = rng.dirichlet(np.ones(K) * 5), 2 * rng.normal(size=(N, D))
    weights *= (0.9 if noise else 1.0) / weights.sum()
    box = (0.1, [X.min(axis=0), X.max(axis=0)]) if noise else None
    first = C[:1] if covariance.startswith("tied") else C
    params = fastem.make_params(weights, 2 * rng.normal(size=(K, D)), natural(first, covariance), covariance, box)
    weight = rng.uniform(0, 2, size=N)
    weight[::7] = 0.0
    return params, X, weight
