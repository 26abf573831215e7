"""The variational Bayes of a mixture as a `Model`: what the EM loop fits for a `BayesianGaussianMixture`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fastem.model.families import Covariance
from fastem.model.matrices import TINY, Array, SingularCovarianceError, pivot_tolerance, variances
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.stats import Stats, component_mass, outer
from fastem.model.variational import Posterior, Prior, later_sums, squares_of_prior

MOST_OF_PRIOR = 2.0  # of what the prior may make of covariances; an extrapolation may go somewhat beyond 1


@dataclass(frozen=True)
class VariationalModel:
    """The posteriors of a mixture under a prior: the `Model` of variational Bayes.

    Attributes
    ----------
    prior : Prior
    family : Covariance
    reg_covar : float
        what is added to the variances of the rows of each component
    latest : list, the statistics of the last update and the posterior that they made; empty before the first. The
        objective is that of this posterior, so that the loop asks for it twice
    """

    prior: Prior
    family: Covariance
    reg_covar: float
    latest: list[tuple[Stats, Posterior]] = field(default_factory=list, init=False, repr=False, compare=False)

    @cached_property
    def gaussian(self) -> GaussianModel:
        """The mixtures that have no prior: it makes the rows' means and covariances, and starts are found for it."""
        return GaussianModel(self.family, RegCovar(self.reg_covar))

    @property
    def hard(self) -> bool:
        """False: rows belong to components by their responsibilities."""
        return False

    @property
    def monotone(self) -> bool:
        """False: reg_covar is added to covariances that the bound knows nothing of."""
        return False

    @property
    def per_row(self) -> bool:
        """False: the bound is that of all rows together."""
        return False

    def moments_shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the shape of the second moments that `update` needs: that of the covariances."""
        return self.family.shape(K, D)

    def target(self, updated: Params, stats: Stats) -> Params:
        """Return the M-step's own parameters."""
        return updated

    def n_parameters(self, params: Params) -> int:
        """Return the number of free parameters of the mixture of expected parameters."""
        return self.gaussian.n_parameters(params)

    @np.errstate(all="ignore")
    def feasible(self, params: Params) -> Posterior:
        """Return a posterior whose counts are those of the prior and of rows, none of them negative.

        Raises
        ------
        SingularCovarianceError
            if covariances are less than the prior alone makes them: no rows lead there
        """
        assert isinstance(params, Posterior)
        rows, D = params.mean_precision - self.prior.mean_precision, params.means.shape[1]
        mass = np.maximum(rows, 0.0)
        mass *= rows.sum() / mass.sum()
        dof = self.degrees_of_freedom(mass)
        least = sum(squares_of_prior(params, self.prior)) / (D * dof)  # after an update at most 1, without rows 1
        few = np.flatnonzero(~((least.mean(keepdims=True) if self.family.shared else least) <= MOST_OF_PRIOR))
        if len(few):
            raise SingularCovarianceError(few.tolist())
        return Posterior(
            *(params.means, params.covariances, params.factor),
            *(self.concentration(mass), self.prior.mean_precision + mass, dof),
        )

    def update(self, stats: Stats, previous: Params | None = None) -> Posterior:
        """Return the posterior that maximises the bound, given the responsibilities that statistics are made of.

        The same statistics, as an object, make the same posterior, and that of the last ones is at hand.

        scikit-learn's updates, Bishop (2006), eqs. 10.58 and 10.60-10.63: the rows' covariances are those of
        `Covariance.estimate`, with reg_covar and 10 eps rows more in each component.

        Raises
        ------
        SingularCovarianceError
            if a covariance is not positive definite: that of the prior must be singular, too
        """
        if not self.latest or self.latest[0][0] is not stats:
            self.latest[:] = [(stats, self._updated(stats))]
        return self.latest[0][1]

    @np.errstate(all="ignore")
    def _updated(self, stats: Stats) -> Posterior:
        """Return what `update` does, computed."""
        prior, family, (K, D) = self.prior, self.family, stats.s1.shape[-2:]
        mass = component_mass(stats)
        _, means, covariances = self.gaussian.estimate(stats)
        mean_precision = prior.mean_precision + mass
        step = means - prior.mean
        pulled = (prior.mean_precision * mass / mean_precision)[..., None] * step
        scatter = covariances * family.storage.divisor(mass, D) + outer(pulled, step, covariances.shape)
        scatter /= family.storage.divisor(np.ones(K), D)  # the mean over what the family takes to be equal
        dof = self.degrees_of_freedom(mass)
        covariances = (prior.scatter + scatter) / dof[..., : scatter.shape[-3], None, None]
        means = (prior.mean_precision * prior.mean + mass[..., None] * means) / mean_precision[..., None]
        try:
            factor = self.gaussian.factorise(covariances)
        except SingularCovarianceError as error:
            raise error.because(self._cause_in_prior(pulled * step)) from None
        return Posterior(means, covariances, factor, self.concentration(mass), mean_precision, dof)

    def _cause_in_prior(self, pull: Array) -> str:
        """Return a sentence that says what of the prior makes covariances singular, or "" if that is not the cause.

        `pull` (..., K, D) is what the prior's mean adds to the squares of each feature.
        """
        prior, spread = self.prior, variances(self.prior.scatter)
        if ((spread >= TINY) & (spread / prior.degrees_of_freedom < TINY)).any():
            return (
                f"The degrees_of_freedom_prior of {prior.degrees_of_freedom:.3g} makes the expected covariances, the "
                "covariance_prior divided by it, vanish in float64: choose a smaller one."
            )
        lost = pivot_tolerance(pull.shape[-1], 0.0) * pull.max(axis=-2)
        if not ((lost < spread.min(axis=-2)) | (spread.min(axis=-2) < TINY)).all():
            return (
                "The mean_prior is so far from the rows that float64 loses their variances beside the square of the "
                "distance: choose a nearer one, or a smaller mean_precision_prior."
            )
        return ""

    def concentration(self, mass: Array) -> Array:
        """Return the concentration of the posterior of the weights, or of the sticks, for components of this weight."""
        if not self.prior.sticks:
            return self.prior.concentration + mass
        return np.stack([1.0 + mass, self.prior.concentration + later_sums(mass)], axis=-1)

    def degrees_of_freedom(self, mass: Array) -> Array:
        """Return the posterior degrees of freedom of components of this weight; those of a shared scale are equal."""
        rows = np.broadcast_to(mass.mean(axis=-1, keepdims=True), mass.shape) if self.family.shared else mass
        return self.prior.degrees_of_freedom + rows

    def expected(self, posterior: Posterior, entropy: float) -> Stats:
        """Return the statistics, about the means, of which `update` makes this posterior: it less the prior.

        `entropy` is that of the responsibilities, which the posterior does not tell.
        """
        prior, (K, D) = self.prior, posterior.means.shape
        storage, covariances = self.family.storage, posterior.covariances
        mass = np.maximum(posterior.mean_precision - prior.mean_precision, 0.0)
        step = posterior.means - prior.mean
        dof = posterior.degrees_of_freedom[: len(covariances), None, None]
        s2 = (dof * covariances - prior.scatter) * storage.divisor(np.ones(K), D)
        s2 -= outer(prior.mean_precision * step, step, covariances.shape)
        variances(s2)[...] -= self.reg_covar * storage.divisor(mass, D)[..., 0]
        s1, n_rows = prior.mean_precision * step, round(mass.sum())
        return Stats(np.nan, np.nan, entropy, mass, s1, s2, posterior.means, n_rows)

    def objective(self, params: Params, stats: Stats) -> float:
        """Return the lower bound after the update that follows a pass, as scikit-learn counts it, for all rows."""
        try:
            return self.update(stats).lower_bound(stats.entropy)
        except SingularCovarianceError:  # which the loop meets when it updates
            return -np.inf

    def fell(self, before: float, after: float, params: Params, eps: float) -> bool:
        """Return whether the bound fell by more than rounding of relative size `eps` explains."""
        return before - after > 64 * eps * (1 + abs(before))
