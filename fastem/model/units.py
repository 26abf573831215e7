"""The coordinates in which remedies work: there the covariance of all rows is the identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastem.model.families import Covariance
from fastem.model.matrices import EPS, Array, variances
from fastem.model.rounding import variances_of_rounding
from fastem.model.stats import Stats

# The variance, of that of a feature, in directions in which rows do not vary: small, so that a feature is what others
# make of it, and far above what rounding does to a covariance.
NARROW = 1e-8


@dataclass(frozen=True)
class Units:
    """Coordinates in which the covariance of all rows, in a family's form, is the identity.

    Directions in which the rows do not vary but for rounding (a constant column, a linear combination of others) are
    left out. In these every component gets one and the same variance, of which the data say nothing.

    Attributes
    ----------
    matrices : bool, whether the family's covariances are matrices; whitening, unwhitening and constant are
        for these, and empty for others
    mean : (D,), the mean of all rows
    scale : (D|1,), standard deviations of the features; for a constant feature its absolute value, or 1 if it is 0
    varying : (D|1,) bool, which features are not constant
    whitening : (R, D), from features to R whitened coordinates
    unwhitening : (D, R), the inverse of `whitening` on its range
    constant : (D, D), the covariance that every component gets in the directions left out
    log_det : float, log determinant of the identity in the features' units
    eps : float, relative rounding of the rows
    least : float, a variance in these coordinates that float64 can still tell from 0 in the features' own
    """

    matrices: bool
    mean: Array
    scale: Array
    varying: NDArray[np.bool_]
    whitening: Array
    unwhitening: Array
    constant: Array
    log_det: float
    eps: float
    least: float = 0.0

    @classmethod
    def of(cls, family: Covariance, total: Stats, eps: float) -> Units:
        """Make units of the moments `total` of all rows, as one component; `eps` is the relative rounding of rows."""
        _, means, covariance = family.estimate(total, 0.0)
        varying = variances(covariance)[0] > 0
        size = np.where(means[0] != 0, np.abs(means[0]), 1.0)
        scale = np.where(varying, np.sqrt(variances(covariance)[0]), size[: len(varying)])
        if not family.matrices:  # nothing of size D x D
            return cls(False, means[0], scale, varying, _EMPTY, _EMPTY, _EMPTY, float(2 * np.log(scale).sum()), eps)
        values, vectors = np.linalg.eigh(covariance[0] / scale / scale[:, None])
        lost = (variances_of_rounding(total, eps, one_by_one=True)[0] / scale**2) @ vectors**2
        wide = values > lost
        values = np.where(wide, values, np.maximum(NARROW, 4 * lost))
        axes = scale[:, None] * vectors * np.sqrt(values)
        return cls(
            matrices=True,
            mean=means[0],
            scale=scale,
            varying=varying,
            whitening=((vectors / np.sqrt(values)).T / scale)[wide],
            unwhitening=axes[:, wide],
            constant=axes[:, ~wide] @ axes[:, ~wide].T,
            log_det=float(np.log(values).sum() + 2 * np.log(scale).sum()),
            eps=eps,
            # A Cholesky factor of correlations loses D EPS; the narrowest direction has `min(values)` of a variance.
            least=4 * len(values) * EPS / float(values.min(where=wide, initial=1.0)),
        )

    @property
    def rank(self) -> int:
        """The number of these coordinates: of directions in which the rows vary (spherical: 1 if they do in any)."""
        return len(self.whitening) if self.matrices else int(np.count_nonzero(self.varying))

    def lengths(self, vectors: Array) -> Array:
        """Return the lengths of vectors (n, D) in these coordinates, (n,)."""
        inner = vectors @ self.whitening.T if self.matrices else vectors / self.scale
        return np.asarray(np.sqrt((inner**2).sum(axis=-1)))

    def relative(self, covariances: Array) -> Array:
        """Return covariances (K|1, D|1, D|1) in these coordinates."""
        if not self.matrices:
            return np.asarray((covariances / self.scale / self.scale)[..., self.varying])
        inner = self.whitening @ covariances @ self.whitening.T
        return np.asarray((inner + inner.swapaxes(-1, -2)) / 2)

    def absolute(self, relative: Array) -> Array:
        """Return covariances in the features' coordinates, with the one variance in directions that were left out.

        This is the inverse of `relative`.
        """
        if not self.matrices:
            covariances = np.full((*relative.shape[:-1], len(self.scale)), NARROW)
            covariances[..., self.varying] = relative
            return covariances * self.scale * self.scale
        inner = self.unwhitening @ relative @ self.unwhitening.T
        return np.asarray((inner + inner.swapaxes(-1, -2)) / 2 + self.constant)

    def inside(self, covariances: Array) -> Array:
        """Return covariances (K, D|1, D) in features' units within the directions that vary, (K, R|1, R).

        For matrices the coordinates are those of an orthonormal basis. Else the features that do not vary are left out.
        """
        relative = self.relative(covariances)
        if not self.matrices:
            return np.asarray(relative * self.scale[self.varying] ** 2)
        return np.asarray(self._frame @ relative @ self._frame.T)

    def outside(self, inner: Array) -> Array:
        """Return the covariances of which `inside` has made others."""
        if not self.matrices:
            return self.absolute(inner / self.scale[self.varying] ** 2)
        inverse = np.linalg.inv(self._frame)
        return self.absolute(inverse @ inner @ inverse.T)

    @property
    def _frame(self) -> Array:
        """The whitened coordinates' axes, as columns, in an orthonormal basis of what they span, (R, R)."""
        return np.asarray(np.linalg.qr(self.unwhitening, mode="r"))

    def inverse_trace(self, factor: Array) -> Array:
        """Return the traces of the inverses, in these coordinates, of covariances with a precision factor; (K|1,)."""
        if not self.matrices:
            return np.asarray(((factor * self.scale)[..., self.varying] ** 2).sum(axis=(-2, -1)))
        return np.asarray(((factor @ self.unwhitening) ** 2).sum(axis=(-2, -1)))

    def inverse_deviations(self, factor: Array) -> Array:
        """Return one over the standard deviations, in these coordinates, along principal axes; (K|1, R)."""
        if not self.matrices:
            return np.asarray(np.abs(factor * self.scale)[:, 0, self.varying])
        return np.asarray(np.linalg.svd(factor @ self.unwhitening, compute_uv=False))

    def log_dets(self, factor: Array) -> Array:
        """Return the log determinants, in these coordinates, of covariances with a precision factor; (K|1,)."""
        return np.asarray(-2 * np.log(variances(factor)).sum(axis=-1) - self.log_det)


_EMPTY = np.empty((0, 0))
NO_UNITS = Units(False, _EMPTY, _EMPTY, _EMPTY > 0, _EMPTY, _EMPTY, _EMPTY, 0.0, EPS)  # under RegCovar, which uses none
