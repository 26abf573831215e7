"""The M-step of a covariance family under a remedy, with some parameters held."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fastem.model.exclusions import check_exclusions
from fastem.model.families import Covariance, find_family
from fastem.model.matrices import EPS, Array, factorise, pivot_tolerance, variances
from fastem.model.params import Params
from fastem.model.remedies.base import Estimate, Remedy, Target, constrain_eigenvalues
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.remedies.table import find_remedy
from fastem.model.stats import Stats, are_empty
from fastem.model.units import NO_UNITS, Units


class Held(NamedTuple):
    """Parameters that are not estimated, but held at their start. None stands for a parameter that is estimated.

    Attributes
    ----------
    weights : (K,) or None
        the components' shares of what is not noise; they sum to 1
    means : (K, D) or None
    precisions : tuple (covariances, factor) in canonical shapes, or None
    """

    weights: Array | None = None
    means: Array | None = None
    precisions: tuple[Array, Array] | None = None

    @property
    def anything(self) -> bool:
        """Whether any parameter is held."""
        return any(part is not None for part in self)

    def put_into(self, weights: Array, means: Array, covariances: Array, noise: float) -> Estimate:
        """Return an estimate with its parts replaced by those that are held, beside noise of this share."""
        return (
            weights if self.weights is None else (1 - noise) * self.weights,
            means if self.means is None else self.means,
            covariances if self.precisions is None else self.precisions[0],
        )


NOTHING_HELD = Held()


@dataclass(frozen=True)
class GaussianModel:
    """The Gaussian mixtures of a covariance family under a remedy: the `Model` that the EM loop fits.

    Attributes
    ----------
    family : Covariance
    remedy : Remedy
    units : Units
        the coordinates of the remedy, made of the moments of all rows; NO_UNITS under reg_covar
    held : Held
        the parameters that `update` leaves as they are
    hard : bool
        whether the E-step gives each row to one component, whole. The statistics' `loglik` is then the classification
        log-likelihood, which takes the log-likelihood's place in the objective
    """

    family: Covariance
    remedy: Remedy
    units: Units = NO_UNITS
    held: Held = NOTHING_HELD
    hard: bool = False

    @cached_property
    def strict(self) -> bool:
        """Whether it is maximum likelihood, where a singular covariance is an error."""
        return self.remedy == RegCovar(0.0)

    @np.errstate(all="ignore")
    def estimate(self, stats: Stats) -> Estimate:
        """Return weights, means and covariances, which may be singular."""
        return self._put_together(self._target(stats, None), stats, None)

    @np.errstate(all="ignore")
    def update(self, stats: Stats, previous: Params | None = None) -> Params:
        """Return the parameters that the M-step makes; the arguments are those of `m_step`.

        Raises
        ------
        SingularCovarianceError
            if a covariance is not positive definite
        """
        target = self._target(stats, previous)
        weights, means, covariances = self._put_together(target, stats, previous)
        noise = stats.noise and stats.noise._replace(weight=stats.noise.weight / stats.sum_w)
        params = Params(weights, means, covariances, self.factorise(covariances), noise)
        if previous is None or self.family.free or self.held.precisions is not None:
            return params
        return no_worse(params, previous, target)

    def _target(self, stats: Stats, previous: Params | None) -> Target:
        """Return what an M-step makes a mixture of; without a remedy, empty components have the covariance before."""
        before = None if previous is None else previous.covariances
        target = self.remedy.estimate(self.family, stats, self.units, self.held.means, before)
        if before is not None and self.strict and not self.family.shared:
            empty = are_empty(stats)
            target.covariances[empty] = before[empty]
        return target

    def _put_together(self, target: Target, stats: Stats, previous: Params | None) -> Estimate:
        """Return the parameters that are made of a target, and those that are held."""
        covariances = target.covariances
        if self.held.precisions is None:
            covariances = self.within_family(covariances, target.mass, previous and previous.covariances)
        noise = stats.noise.weight / stats.sum_w if stats.noise else 0.0
        return self.held.put_into(target.weights, target.means, covariances, noise)

    def within_family(self, covariances: Array, mass: Array, start: Array | None = None) -> Array:
        """Return the covariances of maximum likelihood in the family, for rows with these covariances and `mass`.

        Under a monotone remedy that is so within the directions in which the rows vary; in others all stay alike.
        """
        if self.family.free or (self.monotone and self.units.rank == 0):
            return covariances
        maximise = self.family.constraint.maximise
        if not self.monotone or self.units.rank == covariances.shape[-1]:
            return maximise(covariances, mass, start)
        inside = self.units.inside(covariances)
        return self.units.outside(maximise(inside, mass, None if start is None else self.units.inside(start)))

    @property
    def monotone(self) -> bool:
        """Whether an update cannot lower the objective."""
        return self.remedy.monotone

    @property
    def per_row(self) -> bool:
        """True: the objective is a mean over rows."""
        return True

    def moments_shape(self, K: int, D: int) -> tuple[int, int, int]:
        """Return the shape of the second moments that `update` needs: that of the covariances."""
        return self.family.shape(K, D)

    def target(self, updated: Params, stats: Stats) -> Params:
        """Return the M-step's own parameters."""
        return updated

    def n_parameters(self, params: Params) -> int:
        """Return the number of free parameters: those that are held do not count."""
        held = (("weights", self.held.weights), ("means", self.held.means), ("covariances", self.held.precisions))
        return n_free(params, self.family, [name for name, value in held if value is not None])

    def factorise(self, covariances: Array) -> Array:
        """Return the precision factor of covariances; a pivot that is rounding counts as zero in a strict fit alone."""
        if self.held.precisions is not None:
            return self.held.precisions[1]
        return factorise(covariances, pivot_tolerance(covariances.shape[-1], 0.0 if self.strict else 1.0))

    @np.errstate(all="ignore")
    def feasible(self, params: Params) -> Params:
        """Return a start with what is held, within the remedy's constraint: from any other the objective may fall."""
        noise = params.noise.weight if params.noise else 0.0
        weights, means, covariances = self.held.put_into(*params[:3], noise)
        if self.held.precisions is None and not self.remedy.monotone and self.family.free:
            return params._replace(weights=weights, means=means)
        if self.held.precisions is None:
            mass = np.ones(1) if self.family.shared else weights
            if self.remedy.monotone:
                relative = constrain_eigenvalues(self.remedy, self.units.relative(covariances), mass, self.units)
                covariances = self.units.absolute(relative)
            covariances = self.within_family(covariances, mass, covariances)
        return Params(weights, means, covariances, self.factorise(covariances), params.noise)

    def condition(self, params: Params) -> float:
        """Return the largest condition number of covariances, which says what rounding costs.

        Covariances are scaled to unit diagonal; under a monotone remedy those in `units` count too.
        """
        if not self.family.matrices:
            return 1.0
        scale = np.sqrt(variances(params.covariances))
        forms = [params.covariances / scale[..., None] / scale[..., None, :]]
        if self.remedy.monotone and self.units.rank:  # 0 where all rows are one, or one has all the weight
            forms.append(self.units.relative(params.covariances))
        return float(max(np.linalg.cond(form).max(initial=1.0) for form in forms))

    @np.errstate(all="ignore")
    def fell(self, before: float, after: float, params: Params, eps: float) -> bool:
        """Return whether the objective per row fell by more than rounding explains.

        Rounding explains (64 `eps` + `condition` EPS) (1 + |objective|). Sums in float32, whose `eps` is given then,
        are used where they resolve covariances: see `fastem.passes.precision`.
        """
        size, fall = 1 + abs(before), before - after
        return fall > 64 * eps * size and fall > (64 * eps + self.condition(params) * EPS) * size

    @np.errstate(all="ignore")
    def objective(self, params: Params, stats: Stats) -> float:
        """Return what EM maximises, per row: the mean log-likelihood, and the log prior of a monotone remedy."""
        return (stats.loglik + self.remedy.log_prior(params, self.family, self.units)) / stats.sum_w


def no_worse(params: Params, previous: Params, target: Target) -> Params:
    """Return the mixture of an M-step, with the covariances before if its own are worse for the rows of the target.

    (Weights and means are best whatever the covariances are, so that the mixture is no worse than that before.)
    """
    rows = target.covariances if target.rows is None else target.rows
    if misfit(params.factor, rows, target.mass) <= misfit(previous.factor, rows, target.mass):
        return params
    return params._replace(covariances=previous.covariances, factor=previous.factor)


def misfit(factor: Array, rows: Array, mass: Array) -> float:
    """Return sum_k m_k [log det cov_k + tr(C_k inv(cov_k))], for rows of covariance C_k; all (K, D|1, D)."""
    white = ((factor @ rows) * factor if factor.shape[-2] > 1 else factor**2 * rows).sum(axis=(-2, -1))
    return float(mass @ (white - 2 * np.log(variances(factor)).sum(axis=-1)))


def n_free(params: Params, family: Covariance, fixed: Iterable[str] = ()) -> int:
    """Return the number of free parameters of a mixture of this family, with some `fixed` by name."""
    K, D = params.means.shape
    sizes = {"weights": K - 1, "means": K * D, "covariances": family.n_parameters(K, D)}
    return sum(int(size) for name, size in sizes.items() if name not in fixed) + (params.noise is not None)


def m_step(
    stats: Stats,
    covariance_type: str = "full",
    *,
    reg_covar: float = 0.0,
    previous: Params | None = None,
    regularization: str | Remedy | None = None,
    total: Stats | None = None,
) -> Params:
    """Make the mixture that maximises the expected complete-data log-likelihood, and a remedy's log prior: the M-step.

    Parameters
    ----------
    stats : Stats
        statistics that `fastem.accumulate` or `fastem.moments` made for this family
    covariance_type : "full" (default), "tied", "diag", "spherical", "tied_diag", "tied_spherical", or one of mclust's
        fourteen names, "EII" to "VVV"
    reg_covar : float, default 0
        what is added to every variance
    previous : Params, optional
        the mixture from which, with ``reg_covar=0``, a component without rows takes its covariance, for it has none of
        its own. Default None: such a component is an error
    regularization : "ridge", "map", "floor", "ratio", "geometric", or an instance as of `fastem.Ridge`, optional
        a remedy instead of reg_covar, under which EM is monotone. Default None: reg_covar alone
    total : Stats, optional
        moments of all rows as one component, to which a remedy is relative. Default None: they are those of `stats`

    Returns
    -------
    Params

    Raises
    ------
    SingularCovarianceError
        (a ValueError) if a covariance is not positive definite. With ``reg_covar=0`` a Cholesky pivot of less
        than (D + 8) eps of the variance counts as zero
    ValueError
        if the statistics are those of another family, reg_covar is negative or not finite, or reg_covar and
        regularization are both given
    TypeError
        if `stats` is no `Stats`

    See Also
    --------
    accumulate : the E-step: statistics of rows under a mixture.
    moments : statistics of rows whose components are known.
    em : both steps in turn, until the fit has converged.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> params = fastem.m_step(fastem.moments(X, labels=[0, 0, 1, 1]))
    >>> params.means.ravel(), params.covariances.ravel()
    (array([ 1., 11.]), array([1., 1.]))
    """
    family = check_stats(stats, covariance_type)
    if not isinstance(previous, Params | None):
        raise TypeError(f"previous must be a fastem.Params, as make_params returns; got {type(previous).__name__}")
    remedy = find_remedy(regularization, reg_covar)
    return make_model(family, remedy, lambda: pooled(stats) if total is None else total).update(stats, previous)


def check_stats(stats: Any, covariance_type: str) -> Covariance:
    """Return the family of this name; raise an error unless `stats` are statistics for it.

    Raises
    ------
    TypeError
        if `stats` is no `Stats`
    ValueError
        if the second moments have the shape of another family
    """
    family = find_family(covariance_type)
    if not isinstance(stats, Stats):
        raise TypeError(f"stats must be a fastem.Stats, as accumulate and moments return; got {type(stats).__name__}")
    if stats.s2.shape != family.shape(*stats.s1.shape):
        raise ValueError(
            f"covariance_type={covariance_type!r} needs second moments of shape {family.shape(*stats.s1.shape)}, but "
            f"these statistics have {stats.s2.shape}: make them with the same covariance_type"
        )
    return family


def make_model(family: Covariance, remedy: Remedy, total: Callable[[], Stats], eps: float = EPS) -> GaussianModel:
    """Return the model of a family under a remedy; `total` is called if the remedy asks for the moments of all rows.

    `eps` is the relative rounding of the rows.
    """
    check_exclusions(covariance_type=family.name, regularization=remedy)
    with np.errstate(all="ignore"):
        return GaussianModel(family, remedy, Units.of(family, total(), eps) if remedy.monotone else NO_UNITS)


def pooled(stats: Stats) -> Stats:
    """Return the moments of all rows as one component, about their mean."""
    near = stats.origin[0]
    mean = near + (stats.s0 @ (stats.origin - near) + stats.s1.sum(axis=0)) / stats.sum_w
    about = stats.shifted(np.repeat(mean[None], len(stats.origin), axis=0))
    s0, s1, s2 = (sums.sum(axis=0, keepdims=True) for sums in (about.s0, about.s1, about.s2))
    return Stats(np.nan, np.nan, np.nan, s0, s1, s2, mean[None], stats.n_rows, eps=stats.eps)


def held_parameters(
    fixed: tuple[str, ...], weights: Array | None, means: Array | None, precisions: tuple[Array, Array] | None
) -> Held:
    """Return what of a start is held: the parameters whose names are in `fixed`."""
    return Held(
        weights / weights.sum() if weights is not None and "weights" in fixed else None,
        means if "means" in fixed else None,
        precisions if "covariances" in fixed else None,
    )
