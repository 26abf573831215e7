"""The free numbers of a mixture as one vector: what standard errors and replicates of a fit are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastem.model.families import Covariance
from fastem.model.matrices import Array
from fastem.model.parametrization import entries
from fastem.model.params import Params


@dataclass(frozen=True)
class Numbers:
    """How the numbers of mixtures of one family make a vector (P,), in the order of `Parametrization`'s.

    These are the weights, of which that of noise is the last, the means, and the covariances, of matrices the lower
    triangle, row by row.

    Attributes
    ----------
    family : Covariance
    K, D : int
    noise : bool, whether there is a noise component
    """

    family: Covariance
    K: int
    D: int
    noise: bool

    @classmethod
    def of(cls, params: Params, family: Covariance) -> Numbers:
        """Return how the numbers of a mixture make a vector."""
        K, D = params.means.shape
        return cls(family, K, D, params.noise is not None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The canonical shape of the covariances."""
        return self.family.shape(self.K, self.D)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many numbers are weights, means and covariances."""
        return self.K + self.noise, self.K * self.D, self.shape[0] * len(entries(self.shape)[0])

    def join(self, shares: Array, means: Array, covariances: Array) -> Array:
        """Return the vectors (..., P) of weights (..., K'), means (..., K, D) and covariances of canonical shape."""
        row, column = entries(self.shape)
        parts = shares, means, covariances[..., row, column]
        lead = shares.shape[:-1]
        return np.concatenate([part.reshape(*lead, -1) for part in parts], axis=-1)

    def split(self, vectors: Array) -> tuple[Array, Array, Array, Array | None]:
        """Return weights (..., K), means (..., K, D), covariances in the estimator's shape, and the weights of noise.

        The last are (...), or None without a noise component.
        """
        lead, ends = vectors.shape[:-1], np.cumsum(self.sizes)
        shares, means, lower = (part.copy() for part in np.split(vectors, ends[:2], axis=-1))
        row, column = entries(self.shape)
        covariances = np.zeros((*lead, *self.shape))
        lower = lower.reshape(*lead, self.shape[0], -1)
        covariances[..., row, column] = lower
        if self.family.matrices:
            covariances[..., column, row] = lower
        natural = covariances.reshape((*lead, *self.family.natural_shape(self.K, self.D)))
        return shares[..., : self.K], means.reshape(*lead, self.K, self.D), natural, self._noise(shares)

    def _noise(self, shares: Array) -> Array | None:
        return shares[..., self.K] if self.noise else None

    def names(self, features: Sequence[str] | None = None) -> list[str]:
        """Return a name for each number, as "mean 0 x1"; `features` are names of the features, None for x0, x1, ..."""
        features = [f"x{d}" for d in range(self.D)] if features is None else features
        weights = [*(f"weight {k}" for k in range(self.K)), *["weight of noise"] * self.noise]
        means = [f"mean {k} {feature}" for k in range(self.K) for feature in features]
        F, _, C = self.shape
        pairs = [
            [*dict.fromkeys([features[i if self.family.matrices else j], features[j]])] if self.D == C else []
            for i, j in zip(*entries(self.shape), strict=True)
        ]
        owners = [""] if self.family.shared else [f" {k}" for k in range(F)]
        return [*weights, *means, *(" ".join([f"covariance{k}", *pair]) for k in owners for pair in pairs)]
