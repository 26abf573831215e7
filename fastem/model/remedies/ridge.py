"""The ridge: rows that are distributed like all rows are added to those of each component."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastem.model.checks import real_or_nan
from fastem.model.families import Covariance
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.remedies.base import Remedy, Target, demand_value, identity_like, unconstrained
from fastem.model.stats import Stats
from fastem.model.units import Units


@dataclass(frozen=True)
class Ridge(Remedy):
    """Estimate each covariance from its rows and from `strength` more that are distributed like all rows together.

    The objective is L - strength/2 sum_k [tr(S0 inv(cov_k)) + log det cov_k], its M-step
    cov_k = (N_k C_k + strength S0) / (N_k + strength), with C_k the covariance of the component's rows (tied: the
    pooled covariance, and the number of all rows in place of N_k).

    Parameters
    ----------
    strength : float, default 0.01, above 0
        how many rows are added

    Raises
    ------
    ValueError
        if `strength` is not in (0, inf)

    See Also
    --------
    GaussianMixture, em, m_step : take a remedy as `regularization`.
    GeometricRidge, InverseWishart, EigenvalueFloor, EigenvalueRatio : other remedies.

    References
    ----------
    Chen & Tan (2009), Inference for multivariate normal mixtures, J. Multivar. Anal. 100, 1367-1383, eq. 2, where
    strength = 2 a_n; Ciuperca, Ridolfi & Idier (2003), Scand. J. Stat. 30, 45-59.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> fastem.m_step(stats, regularization=fastem.Ridge(1.0)).covariances.ravel().round(3)
    array([1.556, 1.333])
    """

    strength: float = 0.01

    def __post_init__(self) -> None:
        demand_value(0 < real_or_nan(self.strength) < np.inf, "Ridge's strength must be in (0, inf)", self.strength)

    def estimate(
        self,
        family: Covariance,
        stats: Stats,
        units: Units,
        held: Array | None = None,
        previous: Array | None = None,
    ) -> Target:
        """See `fastem.model.remedies.base.Remedy`."""
        weights, means, relative, mass = unconstrained(family, stats, units, held)
        own, prior = mass[..., None, None] * relative, self.strength * identity_like(relative, units)
        every = mass + self.strength
        return Target(weights, means, units.absolute((own + prior) / every[..., None, None]), every)

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """See `fastem.model.remedies.base.Remedy`."""
        repeats = params.means.shape[1] // params.factor.shape[-1]
        total = units.inverse_trace(params.factor) + units.log_dets(params.factor)
        return float(-self.strength / 2 * total.sum() * repeats)
