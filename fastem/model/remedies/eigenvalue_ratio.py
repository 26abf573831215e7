"""A bound on the ratio of eigenvalues of covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastem.model.checks import real_or_nan
from fastem.model.matrices import EPS, Array
from fastem.model.remedies.base import Remedy, demand_value

LEAST = 16 * EPS  # the least variance, relative to S0: that of rows that are all alike


@dataclass(frozen=True)
class EigenvalueRatio(Remedy):
    """Keep every eigenvalue of all covariances, relative to S0, to at most `ratio` times any other.

    S0 is the covariance of all rows. The objective is the log-likelihood within this constraint (Hathaway's, in units
    that features' scales do not change). The M-step clips the eigenvalues to [m, ratio m], with the m that minimises
    sum_k N_k sum_j (log e_kj + lambda_kj / e_kj).

    Parameters
    ----------
    ratio : float, default 1000, at least 1

    Raises
    ------
    ValueError
        if `ratio` is not in [1, inf)

    See Also
    --------
    GaussianMixture, em, m_step : take a remedy as `regularization`.
    Ridge, GeometricRidge, InverseWishart, EigenvalueFloor : other remedies.

    References
    ----------
    Hathaway (1985), Ann. Stat. 13, 795-800; Fritz, Garcia-Escudero & Mayo-Iscar (2013), A fast algorithm for robust
    constrained clustering, Comput. Stat. Data Anal. 61, 124-136, section 3.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> fastem.m_step(stats, regularization=fastem.EigenvalueRatio(4.0)).covariances.ravel().round(3)
    array([0.667, 0.167])
    """

    ratio: float = 1000.0

    def __post_init__(self) -> None:
        demand_value(1 <= real_or_nan(self.ratio) < np.inf, "EigenvalueRatio's ratio must be in [1, inf)", self.ratio)

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """See `fastem.model.remedies.base.Remedy`."""
        if not eigenvalues.size:
            return eigenvalues
        least = max(find_truncation(eigenvalues, mass, self.ratio), LEAST)  # bounds it on K distinct rows too
        return np.clip(eigenvalues, least, self.ratio * least)


def find_truncation(eigenvalues: Array, mass: Array, ratio: float) -> float:
    """Return the m that minimises sum_k N_k sum_j (log e + lambda/e), e = lambda clipped to [m, ratio m].

    m^2 times its derivative by m, sum_{lambda < m} N (m - lambda) + sum_{lambda > ratio m} N (m - lambda / ratio), is
    continuous, increasing and linear between the breakpoints {lambda, lambda / ratio}: its zero is found by
    interpolation.
    """
    values, n = eigenvalues.ravel(), np.repeat(mass, eigenvalues.shape[-1])
    order = np.argsort(values)
    values, n = values[order], n[order]
    mass_below, sum_below = (np.concatenate([[0.0], np.cumsum(terms)]) for terms in (n, n * values))
    points = np.sort(np.concatenate([values, values / ratio]))
    low, high = np.searchsorted(values, points), np.searchsorted(values / ratio, points, side="right")
    slope = points * mass_below[low] - sum_below[low]
    slope += points * (mass_below[-1] - mass_below[high]) - (sum_below[-1] - sum_below[high]) / ratio
    return float(np.interp(0.0, slope, points))
