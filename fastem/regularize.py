"""Remedies against the unbounded likelihood, and the M-step under them.

The likelihood of a Gaussian mixture has no maximum: a component that shrinks onto one row, or into a subspace that
holds its rows, takes it to infinity (Kiefer & Wolfowitz 1956). Each remedy but scikit-learn's `reg_covar` maximises
an objective that is bounded, the log-likelihood plus `log_prior`, perhaps within a constraint; its M-step is the
exact maximiser, so that no pass lowers the objective.

They are written in `Units`, coordinates in which the covariance S0 of all rows is the identity (for diag its
diagonal, for spherical the mean of that): what they do follows a change of the features' units, and none of their
parameters has a unit. Below, N_k is the weight of a component's rows and M_k their covariance in these coordinates.

To add a remedy is to add a class and an entry to REMEDIES, at the bottom.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.covariance import Covariance, check_bound, factorise, find, nothing, rounding, tolerance, variances
from fastem.model import EPS, Array, Params, Stats, outer

LEAST = 16 * EPS  # variance, relative to S0, of rows that are all alike
Estimate = tuple[Array, Array, Array]  # weights, means, covariances


@dataclass(frozen=True)
class Units:
    """Coordinates in which the covariance of all rows, in a family's form, is the identity.

    Directions in which the rows have no spread but rounding (a constant column, a linear combination of others) are
    left out: there every component gets one and the same variance, which the data say nothing about.

    Attributes
    ----------
    matrices : bool, whether the family's covariances are matrices; forward, back and flat are for these
    mean : (D,) of all rows
    scale : (D|1,) standard deviations of the features; for a constant one its absolute value, or 1
    spread : (D|1,) bool, which features are not constant
    forward : (R, D) from features to R whitened coordinates
    back : (D, R) its inverse on its range
    flat : (D, D) the covariance in the directions left out
    log_det : float, log determinant of the identity in the features' units
    eps : float, relative rounding of the rows
    """

    matrices: bool
    mean: Array
    scale: Array
    spread: NDArray[np.bool_]
    forward: Array
    back: Array
    flat: Array
    log_det: float
    eps: float

    @classmethod
    def of(cls, family: Covariance, total: Stats, eps: float) -> Units:
        """From the moments of all rows, as one component."""
        _, means, covariance = family.estimate(total, 0.0)
        spread = variances(covariance)[0] > 0
        constant = np.where(means[0] != 0, np.abs(means[0]), 1.0)
        scale = np.where(spread, np.sqrt(variances(covariance)[0]), constant[: len(spread)])
        correlation = covariance[0] / scale / scale[:, None] if family.matrices else np.eye(len(scale))
        values, vectors = np.linalg.eigh(correlation)
        wide = values > (rounding(total, eps, one_by_one=True)[0] / scale**2) @ vectors**2
        values = np.where(wide, values, 1.0)
        axes = scale[:, None] * vectors * np.sqrt(values)
        return cls(
            matrices=family.matrices,
            mean=means[0],
            scale=scale,
            spread=spread,
            forward=((vectors / np.sqrt(values)).T / scale)[wide],
            back=axes[:, wide],
            flat=axes[:, ~wide] @ axes[:, ~wide].T,
            log_det=float(np.log(values).sum() + 2 * np.log(scale).sum()),
            eps=eps,
        )

    @property
    def rank(self) -> int:
        """The number of these coordinates: directions in which the rows have spread (spherical: 1 if in any)."""
        return len(self.forward) if self.matrices else int(np.count_nonzero(self.spread))

    def lengths(self, vectors: Array) -> Array:
        """Lengths of vectors (n, D) in these coordinates, (n,)."""
        inner = vectors @ self.forward.T if self.matrices else vectors / self.scale
        return np.asarray(np.sqrt((inner**2).sum(axis=-1)))

    def relative(self, covariances: Array) -> Array:
        """Covariances (K|1, D|1, D|1) in these coordinates."""
        if not self.matrices:
            return np.asarray((covariances / self.scale / self.scale)[..., self.spread])
        inner = self.forward @ covariances @ self.forward.T
        return np.asarray((inner + inner.swapaxes(-1, -2)) / 2)

    def absolute(self, relative: Array) -> Array:
        """The inverse of `relative`, with the variance in directions without spread."""
        if not self.matrices:
            covariances = np.ones((*relative.shape[:-1], len(self.scale)))
            covariances[..., self.spread] = relative
            return covariances * self.scale * self.scale
        inner = self.back @ relative @ self.back.T
        return np.asarray((inner + inner.swapaxes(-1, -2)) / 2 + self.flat)

    def inverse_trace(self, factor: Array) -> Array:
        """Traces of the inverses of covariances in these coordinates, (K|1,), by their precision factor."""
        if not self.matrices:
            return np.asarray(((factor * self.scale)[..., self.spread] ** 2).sum(axis=(-2, -1)))
        return np.asarray(((factor @ self.back) ** 2).sum(axis=(-2, -1)))

    def log_dets(self, factor: Array) -> Array:
        """Log determinants of covariances in these coordinates, (K|1,), by their precision factor."""
        return np.asarray(-2 * np.log(variances(factor)).sum(axis=-1) - self.log_det)


_NONE = np.empty((0, 0))
NO_UNITS = Units(False, _NONE, _NONE, _NONE > 0, _NONE, _NONE, _NONE, 0.0, EPS)  # RegCovar asks for none


class Remedy:
    """What keeps covariances from becoming singular; by default, a constraint on their eigenvalues.

    Attributes
    ----------
    monotone : bool, whether an M-step cannot lower the log-likelihood + `log_prior`
    """

    monotone: ClassVar[bool] = True

    def estimate(self, family: Covariance, stats: Stats, units: Units, held: Array | None = None) -> Estimate:
        """The M-step: weights, means and covariances; with `held` (K, D), about means that are not estimated."""
        weights, means, relative, mass = _strict(family, stats, units, held)
        return weights, means, units.absolute(_constrained(self, relative, mass, units))

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """What the objective adds to the log-likelihood, up to a constant."""
        return 0.0

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """The eigenvalues (K|1, R), relative to S0, within the constraint, for rows of weight `mass` (K|1,)."""
        return eigenvalues


@dataclass(frozen=True)
class RegCovar(Remedy):
    """scikit-learn's: add `reg_covar`, in the square of the data's units, to every variance after the M-step.

    It maximises no fixed objective: the log-likelihood may fall from pass to pass.
    """

    reg_covar: float = 0.0
    monotone: ClassVar[bool] = False

    def estimate(self, family: Covariance, stats: Stats, units: Units, held: Array | None = None) -> Estimate:
        """See Remedy."""
        return family.estimate(stats, self.reg_covar, held)


@dataclass(frozen=True)
class Ridge(Remedy):
    """Each covariance is estimated from its rows and `strength` more that are spread like all rows together.

    The objective is L - strength/2 sum_k [tr(S0 inv(cov_k)) + log det cov_k], its M-step
    cov_k = (N_k C_k + strength S0) / (N_k + strength) with C_k the covariance of the component's rows (tied: the
    pooled one, and the number of rows).

    Parameters
    ----------
    strength : float > 0

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
        _demand(0 < self.strength < np.inf, "Ridge's strength must be in (0, inf)", self.strength)

    def estimate(self, family: Covariance, stats: Stats, units: Units, held: Array | None = None) -> Estimate:
        """See Remedy."""
        weights, means, relative, mass = _strict(family, stats, units, held)
        own, prior = mass[..., None, None] * relative, self.strength * _identity(relative, units)
        return weights, means, units.absolute((own + prior) / (mass + self.strength)[..., None, None])

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """See Remedy."""
        repeats = params.means.shape[1] // params.factor.shape[-1]
        total = units.inverse_trace(params.factor) + units.log_dets(params.factor)
        return float(-self.strength / 2 * total.sum() * repeats)


@dataclass(frozen=True)
class InverseWishart(Remedy):
    """Maximum a posteriori under the conjugate prior: mean_k ~ N(m, cov_k / shrinkage), cov_k ~ IW(D + 2, Lambda).

    m is the mean of all rows and Lambda = S0 / K^(2/D); for diag and spherical the prior is inverse gamma, with S0's
    diagonal or its mean. As in mclust, but for diag, where mclust gives all features one Lambda. The objective is
    L + sum_k log p(mean_k, cov_k) (tied: with one covariance), its M-step Fraley & Raftery's Table 1.

    Parameters
    ----------
    shrinkage : float >= 0, rows that the prior of a mean counts for

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
        _demand(0 <= self.shrinkage < np.inf, "InverseWishart's shrinkage must be in [0, inf)", self.shrinkage)

    def estimate(self, family: Covariance, stats: Stats, units: Units, held: Array | None = None) -> Estimate:
        """See Remedy."""
        weights, means, relative, mass = _strict(family, stats, units, held)
        K, D = means.shape[-2:]
        repeats = D // stats.s2.shape[-1]
        nk = (stats.s0 + nothing(stats))[..., None]
        away, data = means - units.mean, nk / (nk + self.shrinkage)
        pull = self.shrinkage * (data if held is None else 1.0)  # a mean that is held is not where it would be best
        pull = units.relative(outer(pull * away, away, stats.s2.shape))
        scatter = mass[..., None, None] * repeats * relative + pull
        divisor = self._power(family, D) + repeats * (mass + (K if family.shared else 1))
        covariances = units.absolute((K ** (-2 / D) * _identity(relative, units) + scatter) / divisor[..., None, None])
        return weights, units.mean + data * away, covariances

    def log_prior(self, params: Params, family: Covariance, units: Units) -> float:
        """See Remedy."""
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
        """The exponent of 1/|cov|^(1/2) in the prior of a covariance, or of each variance: nu = D + 2."""
        return (D + 2) + (D + 1 if family.matrices else 2)


@dataclass(frozen=True)
class EigenvalueFloor(Remedy):
    """cov_k >= floor * S0 in every direction; for diag and spherical against S0's diagonal or its mean.

    The objective is the log-likelihood within this constraint, its M-step the covariance of the component's rows
    with eigenvalues, relative to S0, raised to the floor: exact, since given the eigenvectors each eigenvalue has
    its own term log e + lambda/e, and none gains by turning (Theobald 1975).

    Parameters
    ----------
    floor : float in (0, 1)

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
        _demand(0 < self.floor < 1, "EigenvalueFloor's floor must be in (0, 1)", self.floor)

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """See Remedy."""
        return np.maximum(eigenvalues, self.floor)


@dataclass(frozen=True)
class EigenvalueRatio(Remedy):
    """No eigenvalue of any covariance, relative to S0, is more than `ratio` times another.

    The objective is the log-likelihood within this constraint (Hathaway's, in units that features' scales do not
    change). The M-step clips the eigenvalues to [m, ratio m], with the m that minimises
    sum_k N_k sum_j (log e_kj + lambda_kj / e_kj).

    Parameters
    ----------
    ratio : float >= 1

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
        _demand(1 <= self.ratio < np.inf, "EigenvalueRatio's ratio must be in [1, inf)", self.ratio)

    def constrain(self, eigenvalues: Array, mass: Array) -> Array:
        """See Remedy."""
        if not eigenvalues.size:
            return eigenvalues
        least = max(truncation(eigenvalues, mass, self.ratio), LEAST)  # bounds it on K distinct rows too
        return np.clip(eigenvalues, least, self.ratio * least)


def truncation(eigenvalues: Array, mass: Array, ratio: float) -> float:
    """The m that minimises sum_k N_k sum_j (log e + lambda/e), e = lambda clipped to [m, ratio m].

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


def _strict(family: Covariance, stats: Stats, units: Units, held: Array | None) -> tuple[Array, Array, Array, Array]:
    """Weights, means and covariances without a remedy, the last in `units`; and the weight of their rows, (K|1,)."""
    weights, means, covariances = family.estimate(stats, 0.0, held)
    mass = stats.s0 + nothing(stats)
    return weights, means, units.relative(covariances), mass.sum(keepdims=True) if family.shared else mass


def _identity(relative: Array, units: Units) -> Array:
    return np.eye(relative.shape[-1]) if units.matrices else np.ones(relative.shape[-1])


def _constrained(remedy: Remedy, relative: Array, mass: Array, units: Units) -> Array:
    """Covariances (in `units`) with their eigenvalues constrained."""
    if not units.matrices:
        return remedy.constrain(relative[..., 0, :], mass)[..., None, :]
    values, vectors = np.linalg.eigh(relative)
    return np.asarray((vectors * remedy.constrain(values, mass)[..., None, :]) @ vectors.swapaxes(-1, -2))


def _demand(holds: bool, message: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{message}; got {value!r}")


# --- the M-step ---------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """Parameters that are not estimated, but held at their start (None: estimated).

    Attributes
    ----------
    weights : (K,), sum 1: the components' shares of what is not noise, or None
    means : (K, D) or None
    precisions : (covariances, factor), canonical shapes, or None
    """

    weights: Array | None = None
    means: Array | None = None
    precisions: tuple[Array, Array] | None = None

    @property
    def anything(self) -> bool:
        """Whether any parameter is held."""
        return any(part is not None for part in self)

    def instead(self, weights: Array, means: Array, covariances: Array, noise: float) -> Estimate:
        """An estimate with what is held in its place, beside noise of this share."""
        return (
            weights if self.weights is None else (1 - noise) * self.weights,
            means if self.means is None else self.means,
            covariances if self.precisions is None else self.precisions[0],
        )


FREE = Held()


@dataclass(frozen=True)
class MStep:
    """The M-step of a family under a remedy, for rows whose moments are known.

    Attributes
    ----------
    held : parameters that it leaves as they are
    hard : bool, whether the E-step before it gives each row to one component, whole. The statistics' `loglik` is then
        the classification log-likelihood, which takes the log-likelihood's place in the objective
    """

    family: Covariance
    remedy: Remedy
    units: Units = NO_UNITS
    held: Held = FREE
    hard: bool = False

    @cached_property
    def strict(self) -> bool:
        """Whether it is maximum likelihood, where a singular covariance is an error."""
        return self.remedy == RegCovar(0.0)

    @np.errstate(all="ignore")
    def estimate(self, stats: Stats) -> Estimate:
        """Weights, means and covariances, which may be singular."""
        estimate = self.remedy.estimate(self.family, stats, self.units, self.held.means)
        return self.held.instead(*estimate, stats.noise.weight / stats.sum_w if stats.noise else 0.0)

    @np.errstate(all="ignore")
    def __call__(self, stats: Stats, previous: Params | None = None) -> Params:
        """The parameters; the arguments are those of `m_step`."""
        weights, means, covariances = self.estimate(stats)
        if previous is not None and self.strict and not self.family.shared and self.held.precisions is None:
            empty = stats.s0 <= nothing(stats)
            covariances[empty] = previous.covariances[empty]
        noise = stats.noise and stats.noise._replace(weight=stats.noise.weight / stats.sum_w)
        return Params(weights, means, covariances, self.factorise(covariances), noise)

    def factorise(self, covariances: Array) -> Array:
        """Their precision factor; a pivot that is rounding counts as zero in a strict fit alone."""
        if self.held.precisions is not None:
            return self.held.precisions[1]
        return factorise(covariances, tolerance(covariances.shape[-1], 0.0 if self.strict else 1.0))

    @np.errstate(all="ignore")
    def feasible(self, params: Params) -> Params:
        """A start with what is held, within the remedy's constraint: from any other the objective may fall."""
        noise = params.noise.weight if params.noise else 0.0
        weights, means, covariances = self.held.instead(*params[:3], noise)
        if self.held.precisions is None and not self.remedy.monotone:
            return params._replace(weights=weights, means=means)
        if self.held.precisions is None:
            mass = np.ones(1) if self.family.shared else weights
            relative = _constrained(self.remedy, self.units.relative(covariances), mass, self.units)
            covariances = self.units.absolute(relative)
        return Params(weights, means, covariances, self.factorise(covariances), params.noise)

    def condition(self, params: Params) -> float:
        """Largest condition number of the covariances, scaled to unit diagonal or in `units`: what rounding costs."""
        if not self.family.matrices:
            return 1.0
        scale = np.sqrt(variances(params.covariances))
        forms = [params.covariances / scale[..., None] / scale[..., None, :]]
        if self.remedy.monotone:
            forms.append(self.units.relative(params.covariances))
        return float(max(np.linalg.cond(form).max(initial=1.0) for form in forms))

    @np.errstate(all="ignore")
    def fell(self, before: float, after: float, params: Params, eps: float) -> bool:
        """Whether the objective per row fell by more than rounding explains, (64 `eps` + condition EPS) (1 + |it|).

        Sums in float32 (whose `eps` is given then) are used where they resolve covariances: see `float32_shows`.
        """
        size, fall = 1 + abs(before), before - after
        return fall > 64 * eps * size and fall > (64 * eps + self.condition(params) * EPS) * size

    @np.errstate(all="ignore")
    def objective(self, params: Params, stats: Stats) -> float:
        """What EM maximises, per row: the mean log-likelihood, under a monotone remedy with its log prior."""
        return (stats.loglik + self.remedy.log_prior(params, self.family, self.units)) / stats.sum_w


def m_step(
    stats: Stats,
    covariance: str = "full",
    *,
    reg_covar: float = 0.0,
    previous: Params | None = None,
    regularization: str | Remedy | None = None,
    total: Stats | None = None,
) -> Params:
    """The M-step: the mixture that maximises the expected complete-data log-likelihood (and a remedy's log prior).

    Parameters
    ----------
    stats : Stats, as `fastem.accumulate` or `fastem.moments` made them for this family
    covariance : "full", "tied", "diag", "spherical", "tied_diag" or "tied_spherical"
    reg_covar : added to every variance
    previous : Params, optional
        with ``reg_covar=0``, where a component without rows takes its covariance from (it has none of its own)
    regularization : None, "ridge", "map", "floor", "ratio", or an instance of `fastem.Ridge`, ...
        a remedy instead of reg_covar, under which EM is monotone
    total : Stats, optional
        moments of all rows as one component, which a remedy is relative to. Default: those of `stats`

    Returns
    -------
    Params

    Raises
    ------
    SingularCovarianceError
        (a ValueError) if a covariance is not positive definite. With ``reg_covar=0`` a Cholesky pivot of less
        than (D + 8) eps of the variance counts as zero
    ValueError
        if the statistics are those of another family, reg_covar is negative or not finite, or there are two remedies

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> params = fastem.m_step(fastem.moments(X, labels=[0, 0, 1, 1]))
    >>> params.means.ravel(), params.covariances.ravel()
    (array([ 1., 11.]), array([1., 1.]))
    """
    family = check_stats(stats, covariance)
    remedy = find_remedy(regularization, reg_covar)
    return bind(family, remedy, lambda: pooled(stats) if total is None else total)(stats, previous)


def check_stats(stats: Any, covariance: str) -> Covariance:
    """The family; statistics must be of it."""
    family = find(covariance)
    if not isinstance(stats, Stats):
        raise TypeError(f"stats must be a fastem.Stats, as accumulate and moments return; got {type(stats).__name__}")
    if stats.s2.shape != family.shape(*stats.s1.shape):
        raise ValueError(
            f"covariance={covariance!r} needs second moments of shape {family.shape(*stats.s1.shape)}, but these "
            f"statistics have {stats.s2.shape}: make them with the same covariance"
        )
    return family


def bind(family: Covariance, remedy: Remedy, total: Callable[[], Stats], eps: float = EPS) -> MStep:
    """The M-step of a family under a remedy; `total` is called if the remedy asks for the moments of all rows.

    `eps` is the relative rounding of the rows.
    """
    with np.errstate(all="ignore"):
        return MStep(family, remedy, Units.of(family, total(), eps) if remedy.monotone else NO_UNITS)


def pooled(stats: Stats) -> Stats:
    """The moments of all rows as one component, about their mean."""
    near = stats.origin[0]
    mean = near + (stats.s0 @ (stats.origin - near) + stats.s1.sum(axis=0)) / stats.sum_w
    about = stats.shifted(np.repeat(mean[None], len(stats.origin), axis=0))
    s0, s1, s2 = (sums.sum(axis=0, keepdims=True) for sums in (about.s0, about.s1, about.s2))
    return Stats(np.nan, np.nan, np.nan, s0, s1, s2, mean[None], stats.n_rows, eps=stats.eps)


def find_remedy(regularization: str | Remedy | None, reg_covar: float = 0.0) -> Remedy:
    """The remedy that the arguments of this name ask for; ValueError for both, or for what is none."""
    check_bound("reg_covar", reg_covar)
    if regularization is None:
        return RegCovar(reg_covar)
    if reg_covar:
        raise ValueError(f"regularization={regularization!r} takes the place of reg_covar: leave that at 0")
    if isinstance(regularization, str) and regularization in REMEDIES:
        return REMEDIES[regularization]
    if isinstance(regularization, str) or type(regularization) not in map(type, REMEDIES.values()):
        names = ", ".join(map(repr, REMEDIES))
        raise ValueError(f"regularization must be None, one of {names}, or a remedy; got {regularization!r}")
    return regularization


def unit_free(reg_covar: float | None = None, regularization: str | Remedy | None = None) -> dict[str, Any]:
    """The argument that is given; if neither is, UNIT_FREE, for scikit-learn's default reg_covar has a unit."""
    if reg_covar is not None and regularization is not None:
        raise ValueError(f"regularization={regularization!r} takes the place of reg_covar: leave that out")
    if reg_covar is not None:
        return {"reg_covar": reg_covar}
    return {"regularization": UNIT_FREE if regularization is None else regularization}


def warn_of_unit(reg_covar: float, family: Covariance, stats: Stats, stacklevel: int) -> None:
    """Warn if reg_covar is more than COARSE of a column's variance (that of a constant one says nothing)."""
    if not reg_covar:
        return
    with np.errstate(all="ignore"):
        _, means, covariance = family.estimate(pooled(stats), 0.0)
        spread, size = variances(covariance)[0], means[0] ** 2
        rounding = (16 * EPS) ** 2 * (size if len(spread) > 1 else size.mean())
        narrow = np.flatnonzero((spread > rounding) & (reg_covar > COARSE * spread))
    if len(narrow):
        column = narrow[spread[narrow].argmin()]
        whose = "the mean variance of the columns" if len(spread) == 1 else f"the variance of column {column}"
        warnings.warn(
            f"reg_covar={reg_covar:g} is more than {COARSE:.0%} of {whose}, {spread[column]:.3g}: it widens all "
            "components. Scale the data, pass a smaller reg_covar, or a regularization, for which units do not matter.",
            stacklevel=stacklevel + 1,
        )


UNIT_FREE = EigenvalueFloor(1e-10)  # clusters that are 1e5 standard deviations apart keep theirs
COARSE = 0.01  # share of a column's variance from which on reg_covar shows

REMEDIES: dict[str, Remedy] = {
    "ridge": Ridge(),
    "map": InverseWishart(),
    "floor": EigenvalueFloor(),
    "ratio": EigenvalueRatio(),
}
