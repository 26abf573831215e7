"""A floor under the eigenvalues of covariances, relative to all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastem.model.checks import real_or_nan
from fastem.model.matrices import Array
from fastem.model.remedies.base import Remedy, demand_value


@dataclass(frozen=True)
class EigenvalueFloor(Remedy):
    """Keep cov_k >= floor * S0 in every direction; diag and spherical compare with S0's diagonal or its mean.

    S0 is the covariance of all rows. The objective is the log-likelihood within this constraint. Its M-step takes the
    covariance of the component's rows and raises its eigenvalues, relative to S0, to the floor. This is exact, since
    given the eigenvectors each eigenvalue has its own term log e + lambda/e, and none gains by turning (Theobald 1975).

    Parameters
    ----------
    floor : float in (0, 1), default 1e-6
        the least variance, relative to S0

    Raises
    ------
    ValueError
        if `floor` is not in (0, 1)

    See Also
    --------
    GaussianMixture, em, m_step : take a remedy as `regularization`.
    Ridge, GeometricRidge, InverseWishart, EigenvalueRatio : other remedies.

    References
    ----------
    Ingrassia & Rocci (2007), Constrained monotone EM algorithms for finite mixture of multivariate Gaussians, Comput.
    Stat. Data Anal. 51, 5339-5351.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> fastem.m_step(stats, regularization=fastem.EigenvalueFloor(0.1)).covariances.ravel().round(3)
    array([1.   , 0.267])
    """

    floor: float = 1e-6

    def __post_init__(self) -> None:
        demand_value(0 < real_or_nan(self.floor) < 1, "EigenvalueFloor's floor must be in (0, 1)", self.floor)

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """See `fastem.model.remedies.base.Remedy`."""
        return np.maximum(eigenvalues, self.floor)

    def least(self, mass: Array) -> Array:
        """See `fastem.model.remedies.base.Remedy`."""
        return np.full((len(mass), 1), self.floor)
