"""A mixture's parameters. NumPy only.

Matrices that belong to components have one canonical shape everywhere below the estimator: ``(K|1, D|1, D|1)``,
with leading batch axes allowed. The first of the three axes says whether components share the matrix, the other
two its form::

    full (K, D, D)   diag (K, 1, D)        spherical (K, 1, 1)
    tied (1, D, D)   tied_diag (1, 1, D)   tied_spherical (1, 1, 1)

so that the shape alone says how to compute, by broadcasting, and no other code asks for a covariance type.
(Where shapes coincide, at D = 1 or K = 1, so do the models.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Noise(NamedTuple):
    """A component of constant density, for rows that belong to no other: Banfield & Raftery (1993), Biometrics 49, 803.

    Attributes
    ----------
    weight : float; among a mixture's parameters its share, among statistics the weight of its rows, sum_n w_n r_n
    box : (2, D) float64, least and largest values of the features
    """

    weight: float
    box: Array

    @property
    def log_density(self) -> float:
        """Minus the logarithm of the box's volume; the density is that outside of the box, too."""
        return float(-np.log(self.box[1] - self.box[0]).sum())


class Params(NamedTuple):
    """A Gaussian mixture. To change it, make another with `fastem.make_params`: `factor` goes with `covariances`.

    Attributes
    ----------
    weights : (K,) float64, sum to 1, with that of a noise component
    means : (K, D) float64
    covariances : (K|1, D|1, D|1) float64, see the module's docstring
    factor : like covariances: lower triangular, inverse covariance = factor' factor
    noise : Noise or None
    """

    weights: Array
    means: Array
    covariances: Array
    factor: Array
    noise: Noise | None = None


def permuted(params: Params, order: NDArray[np.intp]) -> Params:
    """The mixture with its components in another order: component k is what `order[k]` was."""
    covariances, factor = (m if len(m) == 1 else m[order] for m in (params.covariances, params.factor))
    return Params(params.weights[order], params.means[order], covariances, factor, params.noise)
