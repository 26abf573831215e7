"""Mixtures of factor analysers as a `Model`: what the EM loop fits for a `FactorMixture`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastem.model.factors import FactorParams, FactorStats, Woodbury
from fastem.model.matrices import EPS, Array
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.stats import Stats, are_empty, component_mass

NOISE = {"each": "diag", "shared": "tied_diag", "isotropic": "spherical"}  # families of the uniquenesses
FLOOR = 1e-8  # the least uniqueness, relative to the variance of all rows: Woodbury's formula loses EPS / FLOOR


@dataclass(frozen=True)
class FactorModel:
    """The mixtures of factor analysers with q factors, whose uniquenesses are those of a family under a remedy.

    An update is a step of parameter-expanded EM. There the factors of a component may have any mean and covariance R;
    then R, the mean, the regression of the rows on the factors and the uniquenesses all have closed forms, and
    L = regression R^1/2 has the same density. It climbs at least as surely as EM, and in fewer steps (Liu, Rubin & Wu
    1998, Biometrika 85, 755-770). Given the regression, the uniquenesses are the variances of what it leaves, with
    which `gaussian` makes its own M-step: so a remedy's prior or constraint on them is met exactly.

    Attributes
    ----------
    gaussian : GaussianModel, of the uniquenesses; starts are found for it
    n_factors : int
    least : (D|1,), the least uniquenesses
    """

    gaussian: GaussianModel
    n_factors: int
    least: Array

    @property
    def hard(self) -> bool:
        """False: rows belong to components by their responsibilities."""
        return False

    @property
    def monotone(self) -> bool:
        """Whether an update cannot lower the objective."""
        return self.gaussian.monotone or self.gaussian.strict

    @property
    def per_row(self) -> bool:
        """True: the objective is a mean over rows."""
        return True

    def moments_shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the shape of the second moments that `update` needs."""
        return K, 1, D

    def target(self, updated: Params, stats: Stats) -> Params:
        """See Model."""
        return updated

    def n_parameters(self, params: Params) -> int:
        """Return the number of free parameters; a rotation of the factors changes nothing."""
        K, D = params.means.shape
        return int(self.gaussian.n_parameters(params) + K * n_loadings(D, self.n_factors))

    def feasible(self, params: Params) -> FactorParams:
        """Return a mixture whose uniquenesses are within the constraints."""
        assert isinstance(params, FactorParams)
        return self.bounded(self.gaussian.feasible(Params(*params[:4])), params.loadings)

    def bounded(self, params: Params, loadings: Array) -> FactorParams:
        """Return the mixture with these loadings, and uniquenesses of no less than the least."""
        uniquenesses = np.maximum(params.covariances, self.least)
        return FactorParams(params.weights, params.means, uniquenesses, 1 / np.sqrt(uniquenesses), loadings)

    @np.errstate(all="ignore")
    def update(self, stats: Stats, previous: Params | None = None) -> FactorParams:
        """Return the parameters that the M-step makes.

        Raises
        ------
        SingularCovarianceError
            if a uniqueness is not positive
        """
        assert isinstance(stats, FactorStats)
        mass, before, shape = component_mass(stats), stats.params, stats.s1.shape
        step = stats.s1 / mass[:, None]
        about, loadings = stats.origin + step, regression(stats, step, mass)
        loadings = np.where(are_empty(stats)[:, None, None], before.loadings, loadings)
        scatter = stats.s2[:, 0] - (2 * mass - stats.s0)[:, None] * step**2
        left = np.maximum(scatter - mass[:, None] * (loadings**2).sum(axis=-1), 0.0)[:, None, :]
        left = reduced(left, self.gaussian.moments_shape(*shape))
        if self.gaussian.strict:  # of a variance of 0 no remedy makes one that is positive
            left = np.maximum(left, self.gaussian.family.storage.divisor(mass, shape[1]) * self.least)
        rows = Stats(np.nan, np.nan, np.nan, stats.s0, np.zeros(shape), left, about, stats.n_rows)
        return self.bounded(self.gaussian.update(rows, previous), loadings)

    def objective(self, params: Params, stats: Stats) -> float:
        """Return what EM maximises, per row: the mean log-likelihood, and the log prior of a monotone remedy."""
        return self.gaussian.objective(params, stats)

    @np.errstate(all="ignore")
    def fell(self, before: float, after: float, params: Params, eps: float) -> bool:
        """Return whether the objective per row fell by more than rounding explains.

        Rounding explains (64 `eps` + EPS times the largest ratio of a variance to its uniqueness) (1 + |objective|).
        """
        assert isinstance(params, FactorParams)
        size, fall = 1 + abs(before), before - after
        if not fall > 64 * eps * size:
            return False
        variances = (params.loadings**2).sum(axis=-1) + params.covariances[:, 0]
        ratio = float((variances / params.covariances[:, 0]).max())
        return bool(fall > (64 * eps + ratio * EPS) * size)


def n_loadings(D: int, q: int) -> int:
    """Return the number of free loadings of a component: a rotation of the q factors changes nothing."""
    return D * q - q * (q - 1) // 2


def reduced(s2: Array, shape: tuple[int, ...]) -> Array:
    """Return second moments (K, 1, D), summed to the shape (K|1, 1, D|1)."""
    if shape[-1] < s2.shape[-1]:
        s2 = s2.sum(axis=-1, keepdims=True)
    return np.asarray(s2.sum(axis=0, keepdims=True) if shape[0] < len(s2) else s2)


def regression(stats: FactorStats, step: Array, mass: Array) -> Array:
    """Return the new loadings, (K, D, q): the regression of rows on factors, times the root of the factors' covariance.

    `step` (K, D) leads from the origin to the new means. The factors have the covariance
    R = E[cov(z | x)] + cov(E[z | x]) over the rows of the component, and the rows the covariance S with them; the
    regression is S R^-1, so that the loadings are S R^-1/2.
    """
    terms = Woodbury.of(stats.params)
    shrunk = terms.axes / np.sqrt(1 + terms.squares)[:, None, :]  # E[z | x] = shrunk y
    away = stats.params.means - stats.origin
    planes = terms.planes.swapaxes(-1, -2)
    first = (planes @ (stats.s1 - stats.s0[:, None] * away)[..., None])[..., 0]  # sum of r y
    cross = (stats.cross_by(terms.axes) - step[..., None] * first[:, None, :]) / mass[:, None, None]
    inner = planes @ cross
    inner = (inner + inner.swapaxes(-1, -2)) / 2 + np.eye(inner.shape[-1])
    values, vectors = np.linalg.eigh(shrunk @ inner @ shrunk.swapaxes(-1, -2))
    root = (vectors / np.sqrt(values)[:, None, :]) @ vectors.swapaxes(-1, -2)
    return np.asarray(cross @ (shrunk.swapaxes(-1, -2) @ root))
