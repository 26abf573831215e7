"""Mixtures of factor analysers: parameters and statistics of a pass.

A row of component k is mean_k + L_k z + e, with q factors z ~ N(0, I) and noise e ~ N(0, Psi_k), Psi_k diagonal. So its
covariance is L_k L_k' + Psi_k, of which no D x D matrix is ever made: with B = Psi^-1/2 L and B' B = V diag(s^2) V',

    inv(cov) = Psi^-1 - P P',  P = Psi^-1 L V diag(1 / sqrt(1 + s^2)),  log det cov = log det Psi + sum log(1 + s^2),

by Woodbury's formula. The factors of a row have the posterior mean V diag(1 / sqrt(1 + s^2)) y with y = P' (x - mean),
and the posterior covariance inv(I + B' B). Ghahramani & Hinton (1996), The EM algorithm for mixtures of factor
analyzers, CRG-TR-96-1; McLachlan, Peel & Bean (2003), Comput. Stat. Data Anal. 41, 379-388.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastem.model.matrices import Array
from fastem.model.params import Params, log_norm
from fastem.model.stats import Stats


class FactorParams(Params):
    """A mixture of factor analysers.

    Attributes
    ----------
    weights, means : as in `Params`
    covariances : (K|1, 1, D|1) float64
        the uniquenesses: variances of the noise, Psi
    factor : (K|1, 1, D|1) float64
        one over the square roots of these
    noise : None
    loadings : (K, D, q) float64
    """

    loadings: Array

    def __new__(cls, weights: Array, means: Array, covariances: Array, factor: Array, loadings: Array) -> FactorParams:
        """Make it of its parts."""
        params = super().__new__(cls, weights, means, covariances, factor)
        params.loadings = loadings
        return params

    def __getnewargs__(self) -> tuple[Any, ...]:  # pickle makes it of these
        return (*self[:4], self.loadings)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Params:  # type: ignore[override]
        """Return a Gaussian mixture."""
        return Params._make(iterable)

    def _replace(self, **changes: Any) -> FactorParams:
        """Return the mixture with other parts, and the same loadings."""
        return FactorParams(*super()._replace(**changes)[:4], self.loadings)

    def terms(self) -> NoReturn:
        """Raise a TypeError: no kernel computes with loadings, see `fastem.passes.factors`."""
        raise TypeError("a mixture of factor analysers has no factor of its covariances")

    def full_covariances(self) -> Array:
        """Return L L' + Psi of each component, (K, D, D)."""
        K, D = self.means.shape
        noise = np.broadcast_to(self.covariances, (K, 1, D)) * np.eye(D)
        return np.asarray(self.loadings @ self.loadings.swapaxes(-1, -2) + noise)


class Woodbury(NamedTuple):
    """What the E-step of a mixture of factor analysers computes with.

    Attributes
    ----------
    precision : (K, D), 1 / Psi
    planes : (K, D, q), P
    axes : (K, q, q), V
    squares : (K, q), s^2
    log_norm : (K,), log weight + log normalising constant; -inf for a component of weight 0
    """

    precision: Array
    planes: Array
    axes: Array
    squares: Array
    log_norm: Array

    @classmethod
    @np.errstate(divide="ignore")  # a component of weight 0 has log_norm -inf
    def of(cls, params: FactorParams) -> Woodbury:
        """Make it of the parameters."""
        squares, axes = scaled_axes(params)
        precision = np.broadcast_to(params.factor[:, 0] ** 2, params.means.shape)
        planes = precision[..., None] * (params.loadings @ (axes / np.sqrt(1 + squares)[:, None, :]))
        return cls(precision, planes, axes, squares, log_norm(params) - np.log1p(squares).sum(axis=-1) / 2)

    def factor_means(self, y: Array) -> Array:
        """Return the posterior means of the factors, (..., K, q), of the products y = P' (x - mean)."""
        return np.asarray(np.einsum("kij,...kj->...ki", self.axes, y / np.sqrt(1 + self.squares)))


def scaled_axes(params: FactorParams) -> tuple[Array, Array]:
    """Return the eigenvalues s^2 (K, q), which are not negative, and eigenvectors V (K, q, q) of L' inv(Psi) L."""
    scaled = params.loadings * params.factor.swapaxes(-1, -2)
    squares, axes = np.linalg.eigh(scaled.swapaxes(-1, -2) @ scaled)
    return np.maximum(squares, 0.0), axes


def canonical(params: FactorParams) -> FactorParams:
    """Return the same mixture with its factors turned to principal axes.

    L' inv(Psi) L is then diagonal, the largest entry first, and the largest loading of each factor is positive.
    """
    turned = params.loadings @ scaled_axes(params)[1][..., ::-1]
    largest = np.take_along_axis(turned, np.abs(turned).argmax(axis=1, keepdims=True), axis=1)
    return FactorParams(*params[:4], turned * np.where(largest < 0, -1.0, 1.0))


@dataclass(frozen=True)
class FactorStats(Stats):
    """Statistics of rows under a mixture of factor analysers.

    Attributes
    ----------
    s2 : (K, 1, D) float64
        sum_n w_n r_nk (x_n - origin_k)^2, feature by feature
    cross : (K, D, q) float64
        sum_n w_n r_nk (x_n - origin_k) y_nk', with y of the module's docstring
    params : FactorParams, of the pass
    axes : (K, q, q) float64
        V of the module's docstring, which y depends on: another processor may find other eigenvectors

    The others are those of `Stats`; the origin is near the means of the pass.
    """

    cross: Array = None  # type: ignore[assignment]  # the fields before it have defaults
    params: FactorParams = None  # type: ignore[assignment]
    axes: Array = None  # type: ignore[assignment]

    def __add__(self, other: object) -> Stats:
        if not isinstance(other, FactorStats):
            return NotImplemented
        if not np.array_equal(self.origin, other.origin):  # another processor finds it with other last bits
            other = other.shifted(self.origin)
        cross = self.cross + other.cross_by(self.axes)
        return FactorStats(**vars(super().__add__(other)), cross=cross, params=self.params, axes=self.axes)

    def shifted(self, origin: Array) -> FactorStats:
        """Return the same statistics about another `origin`, (K, D)."""
        terms = Woodbury.of(self.params)
        about_means = self.s1 - self.s0[:, None] * (self.params.means - self.origin)
        first = np.einsum("kdq,kd,kqp->kp", terms.planes, about_means, terms.axes.swapaxes(-1, -2) @ self.axes)
        moved = vars(super().shifted(origin))
        return FactorStats(**moved | {"cross": self.cross + (self.origin - origin)[..., None] * first[:, None, :]})

    def cross_by(self, axes: Array) -> Array:
        """Return `cross` for other eigenvectors: of other signs, and turned where eigenvalues are equal."""
        if np.array_equal(axes, self.axes):
            return self.cross
        return np.asarray(self.cross @ (self.axes.swapaxes(-1, -2) @ axes))
