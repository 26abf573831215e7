"""Draws from a mixture, and what can be estimated from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.model.factors import FactorParams
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.student import StudentParams
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource

MOST_APART = 1e6  # of the units of features: the least variance is right to 1e-4


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes
    ----------
    value : float
    standard_error : float, the standard error of the value: the draws' standard deviation over the root of their number
    """

    value: float
    standard_error: float


def draw(params: Params, n: int, rng: np.random.RandomState) -> tuple[Array, NDArray[np.int64]]:
    """Draw rows (n, D), sorted by component, and return them with their components (n,), in which K is noise.

    They are drawn in scikit-learn's order; of t distributions the row's distance from the mean is drawn at last, and of
    factor analysers the factors.
    """
    K, D = params.means.shape
    weights = params.shares
    counts = rng.multinomial(n, weights / weights.sum())
    rows, y = _room_for(n, D), np.repeat(np.arange(len(weights)), counts)
    for k, covariance in enumerate(np.broadcast_to(params.covariances, (K, *params.covariances.shape[1:]))):
        if len(covariance) > 1:
            rows[y == k] = draw_normal(params.means[k], covariance, int(counts[k]), rng)
        else:
            rows[y == k] = params.means[k] + rng.standard_normal((counts[k], D)) * np.sqrt(covariance)
    if isinstance(params, FactorParams):
        factors = rng.standard_normal((n, params.loadings.shape[-1]))
        for k in range(K):
            rows[y == k] += factors[y == k] @ params.loadings[k].T
    if isinstance(params, StudentParams):
        stretch = np.sqrt(params.dof[y] / rng.chisquare(params.dof[y]))
        rows = params.means[y] + stretch[:, None] * (rows - params.means[y])
    if params.noise is not None:
        low, high = params.noise.box
        rows[y == K] = rng.uniform(low, high, (int(counts[K]), D))
    return rows, y


def draw_normal(mean: Array, covariance: Array, n: int, rng: np.random.RandomState) -> Array:
    """Draw rows (n, D) of a normal distribution, in scikit-learn's way unless units of features lie far apart.

    Its singular values are right to EPS times the largest variance, so that features of the least lose theirs. (NumPy's
    own check of the matrix warns long before, and of any small covariance in large units.)
    """
    unit = np.sqrt(np.diagonal(covariance))
    if unit.max() <= MOST_APART * unit.min():
        return rng.multivariate_normal(mean, covariance, n, check_valid="ignore")
    correlations = covariance / unit / unit[:, None]
    return np.asarray(mean + unit * rng.multivariate_normal(np.zeros_like(mean), correlations, n, check_valid="ignore"))


def _room_for(n: int, D: int) -> Array:
    """Return an array for n draws of D features; raise a MemoryError that says how large it would be."""
    try:
        return np.empty((n, D))
    except (MemoryError, ValueError) as error:  # NumPy's ValueError: more bytes than can be counted
        raise MemoryError(f"{n} draws of {D} features take {8 * n * D / 1e9:.0f} GB: draw fewer at a time") from error


def kl_divergence(p: Params, q: Params, n: int, rng: np.random.RandomState) -> Estimate:
    """Estimate KL(p || q) = E_p[log p - log q] by the mean over n draws from p."""
    rows, _ = draw(p, n, rng)
    source = ArraySource(rows)
    log_p, log_q = (score(source, params, density=True).density for params in (p, q))
    ratios = log_p - log_q
    with np.errstate(invalid="ignore"):  # infinite where q underflows
        return Estimate(float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(n)))
