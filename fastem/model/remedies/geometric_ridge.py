"""The ridge on a component's own scale: it adds rows between those of the component and all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastem.model.checks import real_or_nan
from fastem.model.families import Covariance
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.remedies.base import Remedy, Target, demand_value, map_eigenvalues, unconstrained
from fastem.model.stats import Stats
from fastem.model.units import Units

LEAST = 1e-10  # the least variance, relative to S0: clusters that are 1e5 standard deviations apart keep theirs
NEWTON_STEPS = 8  # the seventh changes no bit, see `widened`


@dataclass(frozen=True)
class GeometricRidge(Remedy):
    """Estimate each covariance from its rows and from `strength` more, spread between its own and all rows.

    The added rows have the covariance cov_k #_{1/4} S0, the geometric mean with weight 3/4 of the component's own and
    1/4 of that of all rows. So they count for little in a narrow component that has many rows, where `Ridge` adds rows
    as wide as all data: it is silent there, and still bounds a component on a few rows.

    The objective is L - strength sum_k sum_j [2 s_kj^(1/4) - log(s_kj) / 2], where s_k are the eigenvalues of
    S0 inv(cov_k). Its M-step keeps the eigenvectors of the covariance of the component's rows, relative to S0, and
    takes an eigenvalue lambda to the root of (N_k + strength) e = N_k lambda + strength e^(3/4): this is exact, since
    each eigenvalue has its own term, and none gains by turning (Theobald 1975). Rows that do not vary get
    e = (strength / (N_k + strength))^4, but no less than 1e-10 (tied: the pooled covariance, and the number of all
    rows in place of N_k).

    Parameters
    ----------
    strength : float, default 0.5, above 0
        how many rows are added

    Raises
    ------
    ValueError
        if `strength` is not in (0, inf)

    See Also
    --------
    GaussianMixture, em, m_step : take a remedy as `regularization`.
    Ridge, InverseWishart, EigenvalueFloor, EigenvalueRatio : other remedies.

    References
    ----------
    Chen & Tan (2009), Inference for multivariate normal mixtures, J. Multivar. Anal. 100, 1367-1383, on penalties of
    covariances; Theobald (1975), An inequality for the trace of the product of two symmetric matrices, Math. Proc.
    Camb. Philos. Soc. 77, 265-267.

    Examples
    --------
    >>> import fastem
    >>> stats = fastem.moments([[0.0], [2.0], [4.0]], labels=[0, 0, 1])
    >>> fastem.m_step(stats, regularization=fastem.GeometricRidge()).covariances.ravel().round(3)
    array([1.069, 0.033])
    """

    strength: float = 0.5

    def __post_init__(self) -> None:
        sound = 0 < real_or_nan(self.strength) < np.inf
        demand_value(sound, "GeometricRidge's strength must be in (0, inf)", self.strength)

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
        if not family.free and previous is not None:
            return self.estimate_within(weights, means, relative, mass, units, previous)
        wide = map_eigenvalues(lambda values: self.constrain(self.widened(values, mass), mass), relative, units)
        return Target(weights, means, units.absolute(wide), mass + self.strength)

    def estimate_within(
        self, weights: Array, means: Array, relative: Array, mass: Array, units: Units, previous: Array
    ) -> Target:
        """Return what the M-step of a family whose covariances are not free makes a mixture of.

        tr(P^(1/4)) is concave in P = S0 inv(cov_k), so that its tangent at the covariance before bounds it: the added
        rows then have the covariance that this one says. A maximum of that bound cannot be lower.
        """

        def with_added(rows: Array) -> Array:
            own = mass[..., None, None] * rows + self.strength * added
            return units.absolute(own / (mass + self.strength)[..., None, None])

        added = map_eigenvalues(lambda values: np.maximum(values, 0.0) ** 0.75, units.relative(previous), units)
        bounded = map_eigenvalues(lambda values: self.constrain(values, mass), relative, units)
        return Target(weights, means, with_added(bounded), mass + self.strength, with_added(relative))

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """See `fastem.model.remedies.base.Remedy`."""
        return np.maximum(eigenvalues, LEAST)

    def least(self, mass: Array) -> Array:
        """See `fastem.model.remedies.base.Remedy`."""
        return self.constrain(self.widened(np.zeros((len(mass), 1)), mass), mass)

    def widened(self, eigenvalues: Array, mass: Array) -> Array:
        """Return what the M-step makes of eigenvalues (K|1, R), relative to S0, of rows of weight `mass` (K|1,).

        Newton's method for u = e^(1/4), u^4 - added u^3 - own = 0, from added + own^(1/4), where the left side is not
        negative: there it is convex and increases, so that each step ends above the root, and is less than the last.
        """
        every = mass[:, None] + self.strength
        added, own = self.strength / every, mass[:, None] / every * np.maximum(eigenvalues, 0.0)
        u = added + np.sqrt(np.sqrt(own))
        for _ in range(NEWTON_STEPS):
            before, u = u, u - (u**3 * (u - added) - own) / (u**2 * (4 * u - 3 * added))
            if (u == before).all():  # after three or four steps, if the component has more than a few rows
                break
        return np.asarray(u**4)

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """See `fastem.model.remedies.base.Remedy`."""
        repeats = params.means.shape[1] // params.factor.shape[-1]
        total = 2 * np.sqrt(units.inverse_deviations(params.factor)).sum(axis=-1) + units.log_dets(params.factor) / 2
        return float(-self.strength * total.sum() * repeats)
