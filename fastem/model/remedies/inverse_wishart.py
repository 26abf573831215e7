"""The conjugate prior of mclust, with which the M-step is maximum a posteriori."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastem.model.checks import real_or_nan
from fastem.model.families import Covariance
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.remedies.base import Remedy, Target, demand_value, identity_like, unconstrained
from fastem.model.stats import Stats, component_mass, outer
from fastem.model.units import Units


@dataclass(frozen=True)
class InverseWishart(Remedy):
    """Estimate by maximum a posteriori: mean_k ~ N(m, cov_k / shrinkage), cov_k ~ IW(D + 2, Lambda).

    m is the mean of all rows and Lambda = S0 / K^(2/D); for diag and spherical the prior is inverse gamma, with S0's
    diagonal or its mean. This is mclust's prior, but for diag, where mclust gives all features one Lambda. The
    objective is L + sum_k log p(mean_k, cov_k) (tied: with one covariance); its M-step is Fraley & Raftery's Table 1.

    Parameters
    ----------
    shrinkage : float, default 0.01, at least 0
        how many rows the prior of a mean counts for

    Raises
    ------
    ValueError
        if `shrinkage` is not in [0, inf)

    See Also
    --------
    GaussianMixture, em, m_step : take a remedy as `regularization`.
    Ridge, GeometricRidge, EigenvalueFloor, EigenvalueRatio : other remedies.

    References
    ----------
    Fraley & Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering,
    J. Classif. 24, 155-181.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> fastem.m_step(stats, regularization=fastem.InverseWishart()).means.ravel().round(3)
    array([1.005, 3.98 ])
    """

    shrinkage: float = 0.01

    def __post_init__(self) -> None:
        sound = 0 <= real_or_nan(self.shrinkage) < np.inf
        demand_value(sound, "InverseWishart's shrinkage must be in [0, inf)", self.shrinkage)

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
        K, D = means.shape[-2:]
        repeats = D // stats.s2.shape[-1]
        nk = component_mass(stats)[..., None]
        away, data = means - units.mean, nk / (nk + self.shrinkage)
        pull = self.shrinkage * (data if held is None else 1.0)  # a mean that is held is not where it would be best
        pull = units.relative(outer(pull * away, away, stats.s2.shape))
        scatter = mass[..., None, None] * repeats * relative + pull
        divisor = self._power(family, D) + repeats * (mass + (K if family.shared else 1))
        covariances = units.absolute(
            (K ** (-2 / D) * identity_like(relative, units) + scatter) / divisor[..., None, None]
        )
        return Target(weights, units.mean + data * away, covariances, divisor)

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """See `fastem.model.remedies.base.Remedy`."""
        K, D = params.means.shape
        n_means, repeats = K if family.shared else 1, D // params.factor.shape[-1]
        power = self._power(family, D) + n_means * repeats
        away = params.means - units.mean
        if family.matrices:
            away = np.einsum("kij,kj->ki", np.broadcast_to(params.factor, (K, D, D)), away)
        else:
            away = params.factor[:, 0] * away
        total = power * units.log_dets(params.factor) + K ** (-2 / D) * units.inverse_trace(params.factor)
        return float(-0.5 * total.sum() - self.shrinkage / 2 * (away**2).sum())

    @staticmethod
    def _power(family: Covariance, D: int) -> int:
        """Return the exponent of 1/|cov|^(1/2) in the prior of a covariance, or of each variance: nu = D + 2."""
        return (D + 2) + (D + 1 if family.matrices else 2)
