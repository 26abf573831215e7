"""Mixtures of t distributions as a `Model`: what the EM loop fits for a `StudentMixture`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastem.model.matrices import Array
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.stats import Stats, component_mass, outer
from fastem.model.student import (
    DOF_RANGE,
    StudentParams,
    StudentStats,
    bent,
    best_dof,
    information_of_dof,
    score_of_dof,
    straightened,
)

START_DOF = 10.0  # of a fit that finds them


def own(stats: StudentStats) -> Array:
    """Return degrees of freedom for each component, (K,); one without rows keeps those of the pass."""
    found = best_dof(stats.dof, stats.s1.shape[1], stats.tail / component_mass(stats))
    return np.where(stats.s0 > 0, found, stats.dof)


def shared(stats: StudentStats) -> Array:
    """Return the degrees of freedom that all components share, (K,)."""
    found = best_dof(stats.dof[:1], stats.s1.shape[1], stats.tail.sum(keepdims=True) / stats.s0.sum())
    return np.repeat(found, len(stats.s0))


def held(stats: StudentStats) -> Array:
    """Return the degrees of freedom of the pass, (K,)."""
    return stats.dof


@dataclass(frozen=True)
class Dof:
    """A rule for the degrees of freedom.

    Attributes
    ----------
    estimate : function of StudentStats that returns them, (K,)
    n_parameters : function of K
    together : bool, whether all components have the same
    """

    estimate: Callable[[StudentStats], Array]
    n_parameters: Callable[[int], int]
    together: bool


RULES = {
    "each": Dof(own, lambda K: K, together=False),
    "shared": Dof(shared, lambda K: 1, together=True),
}
GIVEN = Dof(held, lambda K: 0, together=True)


@dataclass(frozen=True)
class StudentModel:
    """The mixtures of t distributions of a covariance family under a remedy.

    The expected complete-data log-likelihood is that of a Gaussian mixture whose rows count by u for means and scale
    matrices, and in full for weights and log determinants; and a term of the degrees of freedom alone. So its M-step
    is that of `gaussian`, exactly, under any remedy: EM, not ECM.

    Attributes
    ----------
    gaussian : GaussianModel, of the family and the remedy; starts are found for it
    rule : Dof
    start : float, the degrees of freedom of a start
    """

    gaussian: GaussianModel
    rule: Dof
    start: float

    @property
    def hard(self) -> bool:
        """False: rows belong to components by their responsibilities."""
        return False

    @property
    def monotone(self) -> bool:
        """Whether an update cannot lower the objective."""
        return self.gaussian.monotone

    def begin(self, params: Params) -> StudentParams:
        """Return the start that a Gaussian mixture makes."""
        return StudentParams(*params[:4], np.full(len(params.weights), self.start))

    @property
    def per_row(self) -> bool:
        """True: the objective is a mean over rows."""
        return True

    def moments_shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the shape of the second moments that `update` needs."""
        return self.gaussian.moments_shape(K, D)

    def n_parameters(self, params: Params) -> int:
        """Return the number of free parameters."""
        return self.gaussian.n_parameters(params) + self.rule.n_parameters(len(params.weights))

    def feasible(self, params: Params) -> StudentParams:
        """Return a mixture within the constraints: of the remedy, and of the degrees of freedom."""
        assert isinstance(params, StudentParams)
        dof = np.exp(np.log(params.dof).mean()) * np.ones_like(params.dof) if self.rule.together else params.dof
        dof = np.full_like(dof, self.start) if self.rule is GIVEN else np.clip(dof, *DOF_RANGE)
        return StudentParams(*self.gaussian.feasible(params)[:4], dof)

    @np.errstate(all="ignore")
    def update(self, stats: Stats, previous: Params | None = None) -> StudentParams:
        """Return the parameters that the M-step makes.

        Raises
        ------
        SingularCovarianceError
            if a scale matrix is not positive definite
        """
        assert isinstance(stats, StudentStats)
        counted = Stats(np.nan, np.nan, np.nan, stats.mass, stats.s1, stats.s2, stats.origin, stats.n_rows)
        mass = component_mass(counted)
        step = stats.s1 / mass[:, None]
        scatter = stats.s2 - outer((2 * mass - stats.mass)[:, None] * step, step, stats.s2.shape)
        about, nothing = stats.origin + step, np.zeros_like(stats.s1)
        rows = Stats(np.nan, np.nan, np.nan, stats.s0, nothing, scatter, about, stats.n_rows)
        return StudentParams(*self.gaussian.update(rows, previous)[:4], self.rule.estimate(stats))

    @np.errstate(all="ignore")
    def target(self, updated: Params, stats: Stats) -> StudentParams:
        """Return the M-step's parameters with a step of scoring for the degrees of freedom.

        The information of complete data about large degrees of freedom is far more than that of rows: EM's step of 100
        is about a thousandth of the way.
        """
        assert isinstance(updated, StudentParams)
        assert isinstance(stats, StudentStats)
        score, information = score_of_dof(stats), stats.s0 * information_of_dof(stats.dof, stats.s1.shape[1])
        if self.rule.together:
            score, information = score.sum(), information.sum()
        moved = bent(straightened(stats.dof) + np.nan_to_num(score / information))
        return StudentParams(*updated[:4], stats.dof if self.rule is GIVEN else np.clip(moved, *DOF_RANGE))

    def objective(self, params: Params, stats: Stats) -> float:
        """Return what EM maximises, per row: the mean log-likelihood, and the log prior of a monotone remedy."""
        return self.gaussian.objective(params, stats)

    def fell(self, before: float, after: float, params: Params, eps: float) -> bool:
        """Return whether the objective fell by more than rounding of relative size `eps` explains."""
        return self.gaussian.fell(before, after, params, eps)
