"""Mixtures of multivariate t distributions: parameters, statistics of a pass, and the degrees of freedom.

A row x of component k has the density of x = mean_k + z / sqrt(g), where z has the covariance of the component and g a
gamma distribution of mean 1 and shape dof_k / 2. Given x, the mean of g is u = (dof_k + D) / (dof_k + q), with the
squared distance q: a row far away counts little. Peel & McLachlan (2000), Stat. Comput. 10, 339-348.

scipy.special is imported where it is called, since its import takes longer than that of a module of fastem.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastem.model.matrices import Array
from fastem.model.params import Params, Terms, log_determinants
from fastem.model.stats import Stats

DOF_RANGE = 0.1, 1e6  # of degrees of freedom that are fitted: the density of 1e6 is that of a Gaussian to 1e-6
MOST_DOF = 1e16  # that are computed with: the density is that of a Gaussian to the last digit, and so is that of more
BEND = 10.0  # degrees of freedom up to which a fit goes by their logarithm, and beyond by their inverse
FLAT = 1000.0
LARGE = 30.0  # argument from which Stirling's series has all digits


class StudentParams(Params):
    """A mixture of t distributions. It works wherever a `Params` does; its covariances are scale matrices.

    Attributes
    ----------
    weights, means, covariances, factor : as in `Params`
        the covariance of a component is dof / (dof - 2) times its scale matrix, if dof > 2
    noise : None
    dof : (K,) float64
        degrees of freedom
    """

    dof: Array

    def __new__(cls, weights: Array, means: Array, covariances: Array, factor: Array, dof: Array) -> StudentParams:
        """Make it of its parts."""
        params = super().__new__(cls, weights, means, covariances, factor)
        params.dof = dof
        return params

    def __getnewargs__(self) -> tuple[Any, ...]:  # pickle makes it of these
        return (*self[:4], self.dof)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Params:  # type: ignore[override]
        """Return a Gaussian mixture."""
        return Params._make(iterable)

    def _replace(self, **changes: Any) -> StudentParams:
        """Return the mixture with other parts, and the same degrees of freedom."""
        return StudentParams(*super()._replace(**changes)[:4], self.dof)

    @np.errstate(divide="ignore")  # a component of weight 0 has log_norm -inf
    def terms(self) -> Terms:
        """Return what the E-step computes with."""
        D = self.means.shape[1]
        norm = np.log(self.weights) + log_determinants(self.factor, D) - 0.5 * D * np.log(2 * np.pi)
        return Terms(norm + log_excess(0.5 * self.dof, 0.5 * D), self.means, self.factor, self.dof)


@dataclass(frozen=True)
class StudentStats(Stats):
    """Statistics of rows under a mixture of t distributions.

    Attributes
    ----------
    s0 : (K,) float64
        sum_n w_n r_nk
    s1, s2 : as in `Stats`, of rows that count by u: sum_n w_n r_nk u_nk (x_n - origin_k), ...
    mass : (K,) float64
        sum_n w_n r_nk u_nk
    tail : (K,) float64
        sum_n w_n r_nk (u_nk - 1 - log u_nk)
    dof : (K,) float64
        the degrees of freedom of the pass

    The others are those of `Stats`.
    """

    mass: Array = field(default_factory=lambda: np.empty(0))
    tail: Array = field(default_factory=lambda: np.empty(0))
    dof: Array = field(default_factory=lambda: np.empty(0))

    def __add__(self, other: object) -> Stats:
        if not isinstance(other, StudentStats):
            return NotImplemented
        mass, tail = self.mass + other.mass, self.tail + other.tail
        return StudentStats(**vars(super().__add__(other)), mass=mass, tail=tail, dof=self.dof)


def log_excess(x: Array, h: float) -> Array:
    """Return log Gamma(x + h) - log Gamma(x) - h log x, which goes to 0 as x grows, for x > 0 and h > 0."""
    from scipy.special import gammaln

    large = np.maximum(x, LARGE)
    series = (large + h - 0.5) * np.log1p(h / large) - h + stirling(large + h) - stirling(large)
    small = np.minimum(x, LARGE)
    return np.where(x < LARGE, gammaln(small + h) - gammaln(small) - h * np.log(small), series)


def stirling(x: Array) -> Array:
    """Return what Stirling's formula leaves of log Gamma(x), for x >= LARGE."""
    return np.asarray((1 / 12 - (1 / 360 - 1 / 1260 / x**2) / x**2) / x)


def log_less_digamma(x: Any) -> Any:
    """Return log x - digamma(x), which falls from infinity to 0, for x > 0."""
    from scipy.special import digamma

    large = np.maximum(x, LARGE)
    series = (0.5 + (1 / 12 - (1 / 120 - 1 / 252 / large**2) / large**2) / large) / large
    return np.where(np.asarray(x) < LARGE, np.log(x) - digamma(x), series)


def information_of_dof(dof: Array, D: int) -> Array:
    """Return the Fisher information of a row about the coordinate of `straightened`, (K,).

    Means and scale matrices are known: Lange, Little & Taylor (1989), J. Am. Stat. Assoc. 84, 881-896, appendix B. From
    FLAT degrees of freedom on, where differences of 1 / dof would leave dof^-4, it goes on as that.
    """
    from scipy.special import polygamma

    nu = np.minimum(dof, FLAT)
    about_dof = (polygamma(1, 0.5 * nu) - polygamma(1, 0.5 * (nu + D))) / 4
    about_dof -= 0.5 * D * (nu + D + 4) / (nu * (nu + D) * (nu + D + 2))
    return np.asarray(about_dof * (nu / dof) ** 4 * slope(dof) ** 2)


def score_of_dof(stats: StudentStats) -> Array:
    """Return the derivative of the log-likelihood by each component's coordinate of `straightened`, (K,)."""
    D = stats.s1.shape[1]
    excess = log_less_digamma(0.5 * stats.dof) - log_less_digamma(0.5 * (stats.dof + D))
    return np.asarray(0.5 * (stats.s0 * excess - stats.tail) * slope(stats.dof))


def slope(dof: Array) -> Array:
    """Return the derivative of the degrees of freedom by the coordinate of `straightened`."""
    return dof * (dof + BEND) / BEND


def straightened(dof: Array) -> Array:
    """Return log(dof / (dof + BEND)), a coordinate in which the log-likelihood is more nearly quadratic."""
    return np.asarray(-np.log1p(BEND / dof))


def bent(coordinate: Array) -> Array:
    """Return the degrees of freedom of a coordinate; the largest of the range where there are none."""
    far = coordinate > -BEND / (2 * DOF_RANGE[1])
    return np.where(far, DOF_RANGE[1], BEND / np.expm1(np.minimum(-np.where(far, -1.0, coordinate), 300.0)))


def best_dof(before: Array, D: int, tail: Array) -> Array:
    """Return the degrees of freedom that maximise the expected log density of g: Peel & McLachlan (2000), eq. 30.

    Half of them, x, solves log x - digamma(x) = target. Minka's start is within 1.5 % of it (Estimating a gamma
    distribution, 2002), and that function of log x is nearly a line in logarithms: two steps of Newton's leave 3e-13.

    Parameters
    ----------
    before : (K,) float64
        the degrees of freedom of the pass
    D : int
    tail : (K,) float64
        the means of u - 1 - log u over rows

    Returns
    -------
    (K,) float64, within DOF_RANGE
    """
    from scipy.special import polygamma

    target = log_less_digamma(0.5 * (before + D)) + np.maximum(tail, 0.0)
    most, least = log_less_digamma(0.5 * np.array(DOF_RANGE))
    inside = np.clip(target, least, most)
    x = (3 - inside + np.sqrt((inside - 3) ** 2 + 24 * inside)) / (12 * inside)
    for _ in range(3):
        found = log_less_digamma(x)
        x *= (found / inside) ** (found / (x * polygamma(1, x) - 1))
    return np.select([target >= most, target <= least], DOF_RANGE, np.clip(2 * x, *DOF_RANGE))
