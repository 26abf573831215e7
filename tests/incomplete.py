"""EM for rows with gaps, row by row in NumPy: written from the papers, to test the kernels against.

Ghahramani & Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6, section 3; Little &
Rubin (2019), Statistical Analysis with Missing Data, sections 11.2 and 11.3. Covariances are full (K, D, D) whatever
the family: `reduced` makes those of a family of them.
"""

from typing import NamedTuple

import numpy as np


class Slow(NamedTuple):
    """A mixture; noise is (weight, box (2, D)) or None."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray  # (K, D, D)
    noise: tuple | None = None


def slow(params, family):
    """Return a mixture of fastem for `em_step`."""
    (K, D), covariances = params.means.shape, params.covariances
    if covariances.shape[-2] == 1:
        covariances = np.broadcast_to(covariances, (len(covariances), 1, D)).swapaxes(1, 2) * np.eye(D)
    noise = params.noise and (params.noise.weight, params.noise.box)
    return Slow(params.weights, params.means, np.broadcast_to(covariances, (K, D, D)), noise)


def gaussian(x, mean, covariance):
    """Return the density of a Gaussian; 1 in no dimensions."""
    away = x - mean
    norm = np.sqrt(np.linalg.det(2 * np.pi * covariance)) if len(x) else 1.0
    return float(np.exp(-0.5 * away @ np.linalg.solve(covariance, away)) / norm) if len(x) else 1.0


def joint_of_row(x, mixture):
    """Return weight times density of what is observed of a row, for each component and noise."""
    o = ~np.isnan(x)
    values = [
        weight * gaussian(x[o], mean[o], covariance[np.ix_(o, o)])
        for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    ]
    if mixture.noise is not None:
        weight, box = mixture.noise
        values.append(weight / np.prod(box[1][o] - box[0][o]))
    return np.array(values)


def completed(x, mean, covariance):
    """Return the conditional mean of a row under a component, and the conditional covariance, 0 where observed."""
    o, m = ~np.isnan(x), np.isnan(x)
    full, spread = x.copy(), np.zeros_like(covariance)
    gain = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, m)]).T
    full[m] = mean[m] + gain @ (x[o] - mean[o])
    spread[np.ix_(m, m)] = covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
    return full, spread


def reduced(scatter, mass, family):
    """Return the covariances (K, D, D) of a family that maximise the expected likelihood; scatter (K, D, D)."""
    K, D, _ = scatter.shape
    if family.startswith("tied"):
        scatter, mass = np.repeat(scatter.sum(axis=0)[None], K, axis=0), np.full(K, mass.sum())
    covariances = scatter / mass[:, None, None]
    diagonals = np.diagonal(covariances, axis1=1, axis2=2)
    if family.endswith("diag"):
        return diagonals[:, :, None] * np.eye(D)
    if family.endswith("spherical"):
        return diagonals.mean(axis=1)[:, None, None] * np.eye(D)
    return covariances


def em_step(X, mixture, family, weight=None, allowed=None, hard=False):
    """Return the mixture after a step of EM, and the log-likelihood before it.

    allowed (N, K') says which components each row may belong to. Rows of which nothing is observed or known are absent.
    """
    weight = np.ones(len(X)) if weight is None else weight
    K, D = mixture.means.shape
    noisy = mixture.noise is not None
    mass, noise, loglik = np.zeros(K), 0.0, 0.0
    rows = []
    for n, x in enumerate(X):
        joint = joint_of_row(x, mixture)
        if allowed is not None:
            joint = np.where(allowed[n], joint, 0.0)
        if np.isnan(x).all() and (allowed is None or allowed[n].all()):
            continue
        resp = np.eye(K + noisy)[joint.argmax()] if hard else joint / joint.sum()
        loglik += weight[n] * np.log(joint.max() if hard else joint.sum())
        mass += weight[n] * resp[:K]
        noise += weight[n] * resp[K:].sum()
        rows.append((x, weight[n] * resp))
    filled = [[completed(x, m, c) for m, c in zip(mixture.means, mixture.covariances, strict=True)] for x, _ in rows]
    means = np.zeros((K, D))
    for (_, resp), row in zip(rows, filled, strict=True):
        for k in range(K):
            means[k] += resp[k] * row[k][0] / mass[k]
    scatter = np.zeros((K, D, D))
    for (_, resp), row in zip(rows, filled, strict=True):
        for k in range(K):
            away = row[k][0] - means[k]
            scatter[k] += resp[k] * (np.outer(away, away) + row[k][1])
    total = mass.sum() + noise
    noisy = (noise / total, mixture.noise[1]) if noisy else None
    return Slow(mass / total, means, reduced(scatter, mass, family), noisy), loglik


def with_gaps(X, share, seed=0):
    """Return a copy of X with a share of its cells missing at random; each row and column keeps an observed one."""
    rng = np.random.default_rng([seed, 99])
    gaps = rng.random(X.shape) < share
    gaps[np.arange(len(X)), rng.integers(0, X.shape[1], len(X))] = False
    return np.where(gaps, np.nan, X)
