"""Mixtures of factor analysers as vectors without constraints, about one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastem.model.factors import FactorParams, scaled_axes
from fastem.model.matrices import Array
from fastem.model.parametrization import LARGEST, LEAST_SHARE
from fastem.model.params import Params


@dataclass(frozen=True, eq=False)
class FactorSpace:
    """Coordinates about a mixture, in which the information of the complete data is the identity per row.

    A vector consists of the logits of the weights, (K,), the means, (K, D), the logarithms of the square roots of the
    uniquenesses, and the loadings, (K, D, q). Zero is the mixture `about`. As in `Parametrization.around`, each is
    divided by the root of its information. For means that is the root of the component's precision: with
    B = Psi^-1/2 L and the eigenvalues s^2 of B' B, the root of I + B B' is I + B V diag(c) V' B', where
    c = 1 / (1 + sqrt(1 + s^2)), and its inverse has c = -1 / (sqrt(1 + s^2) + 1 + s^2).

    Attributes
    ----------
    about : FactorParams
    inner : (K, D, q), B V
    spread : (K, q), sqrt(1 + s^2)
    """

    about: FactorParams
    inner: Array
    spread: Array

    @classmethod
    def around(cls, params: FactorParams) -> FactorSpace:
        """Return coordinates about a mixture."""
        squares, axes = scaled_axes(params)
        scaled = params.loadings * params.factor.swapaxes(-1, -2)
        return cls(params, scaled @ axes, np.sqrt(1 + squares))

    def pack(self, params: Params) -> Array:
        """Return the vector of a mixture of the same shape, (P,) float64."""
        assert isinstance(params, FactorParams)
        mass, scale = self._units()
        steps = self._turned((params.means - self.about.means) * self.about.factor[:, 0], inverse=True)
        logs = np.log(params.covariances / self.about.covariances) / 2
        loadings = (params.loadings - self.about.loadings) * self.about.factor.swapaxes(-1, -2)
        return np.concatenate(
            [
                np.log(params.weights / self.about.weights) * mass,
                (steps * mass[:, None]).ravel(),
                (logs * scale).ravel(),
                (loadings * mass[:, None, None]).ravel(),
            ]
        )

    def unpack(self, theta: ArrayLike) -> FactorParams:
        """Return the mixture of a vector (P,)."""
        about, (mass, scale) = self.about, self._units()
        K, D = about.means.shape
        ends = np.cumsum([K, K * D, about.covariances.size])
        logits, steps, logs, loadings = np.split(np.asarray(theta), ends)
        logits = np.log(about.weights) + logits / mass
        weights = np.exp(logits - logits.max())
        deviation = 1 / about.factor
        moved = self._turned(steps.reshape(K, D) / mass[:, None], inverse=False) * deviation[:, 0]
        half = np.exp(np.clip(logs.reshape(about.covariances.shape) / scale, -LARGEST, LARGEST))
        added = loadings.reshape(about.loadings.shape) / mass[:, None, None] * deviation.swapaxes(-1, -2)
        uniquenesses = about.covariances * half**2
        return FactorParams(
            weights / weights.sum(), about.means + moved, uniquenesses, about.factor / half, about.loadings + added
        )

    def _units(self) -> tuple[Array, Array]:
        """Return the roots of the information of weights, means and loadings, (K,), and of log deviations."""
        (K, D), shape = self.about.means.shape, self.about.covariances.shape
        mass = np.maximum(self.about.weights, LEAST_SHARE / K)
        own = mass if shape[0] == K else mass.sum(keepdims=True)
        return np.sqrt(mass), np.sqrt(2 * own * (D // shape[-1]))[:, None, None]

    def _turned(self, steps: Array, inverse: bool) -> Array:
        """Return steps (K, D), in deviations of the noise, times the root of I + B B' or its inverse."""
        change = -1 / (self.spread + self.spread**2) if inverse else 1 / (1 + self.spread)
        along = np.einsum("kdq,kd->kq", self.inner, steps)
        return np.asarray(steps + np.einsum("kdq,kq->kd", self.inner, change * along))
