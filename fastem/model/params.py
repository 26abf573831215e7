"""A mixture's parameters, and what the kernels of a pass read of them.

Matrices that belong to components have one canonical shape everywhere below the estimator: ``(K|1, D|1, D|1)``,
with leading batch axes allowed. The first of the three axes says whether components share the matrix, the other
two its form::

    full (K, D, D)   diag (K, 1, D)        spherical (K, 1, 1)
    tied (1, D, D)   tied_diag (1, 1, D)   tied_spherical (1, 1, 1)

so that the shape alone says how to compute with them, by broadcasting. A family's constraint on them concerns the
M-step alone; see `fastem.model.families`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array, variances


class Noise(NamedTuple):
    """A component of constant density, for rows that belong to no other: Banfield & Raftery (1993), Biometrics 49, 803.

    Attributes
    ----------
    weight : float
        in `Params` the weight of the component; in `Stats` the weight of its rows, sum_n w_n r_n
    box : (2, D) float64
        the least and largest values of the features

    See Also
    --------
    make_params : makes a mixture with such a component.
    GaussianMixture : ``noise=True`` fits one.

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([0.9], [[0.0]], [1.0], "spherical", noise=(0.1, [[-4.0], [4.0]]))
    >>> params.noise.weight, params.noise.box.ravel()
    (0.1, array([-4.,  4.]))
    """

    weight: float
    box: Array

    @property
    def log_density(self) -> float:
        """Minus the logarithm of the box's volume. The density is the same outside of the box, too."""
        return float(-np.log(self.box[1] - self.box[0]).sum())


class Terms(NamedTuple):
    """What the E-step computes with.

    The joint log density of a row and component k is ``log_norm[k] - |factor[k] (x - means[k])|^2 / 2``, or with `dof`
    ``log_norm[k] - (dof[k] + D) / 2 log(1 + |factor[k] (x - means[k])|^2 / dof[k])``.

    Attributes
    ----------
    log_norm : (K',) float64
        log weight + log normalising constant; -inf for a component of weight 0
    means : (K', D) float64
    factor : (K'|1, D|1, D|1) float64, canonical shape
    dof : (K,) float64, the degrees of freedom of t components, or None: components are Gaussian

    K' is `Params.n_columns`: noise is one more component, the last one.
    """

    log_norm: Array
    means: Array
    factor: Array
    dof: Array | None = None


class Params(NamedTuple):
    """A Gaussian mixture. To change it, make another with `fastem.make_params`, which makes `factor` of `covariances`.

    Attributes
    ----------
    weights : (K,) float64
        they sum to 1, with the weight of a noise component
    means : (K, D) float64
    covariances : (K|1, D|1, D|1) float64
        the first axis has length 1 if components share the covariance. The others are (D, D) for matrices, (1, D) for
        variances of features and (1, 1) for one variance
    factor : float64, of the shape of covariances
        lower triangular, with inverse covariance = factor' factor
    noise : Noise or None
        a component of constant density; None if there is none

    See Also
    --------
    make_params : makes and checks such a mixture.
    em : fits one.

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [1.0, 4.0], "spherical")
    >>> params.covariances.shape, params.noise
    ((2, 1, 1), None)
    """

    weights: Array
    means: Array
    covariances: Array
    factor: Array
    noise: Noise | None = None

    @property
    def n_columns(self) -> int:
        """The number of columns of responsibilities: K, and one more for noise."""
        return len(self.means) + (self.noise is not None)

    @property
    def shares(self) -> Array:
        """The weights of all columns of responsibilities, with the weight of noise last; they sum to 1."""
        return self.weights if self.noise is None else np.append(self.weights, self.noise.weight)

    def permuted(self, order: NDArray[np.intp]) -> Params:
        """Return the mixture with its components in another order: component k is what `order[k]` was."""
        covariances, factor = (m if len(m) == 1 else m[order] for m in (self.covariances, self.factor))
        return Params(self.weights[order], self.means[order], covariances, factor, self.noise)

    @np.errstate(divide="ignore")  # a component of weight 0 has log_norm -inf
    def terms(self) -> Terms:
        """Return what the E-step computes with. The precision of noise is 0: its density is the same everywhere."""
        norm = log_norm(self)
        if self.noise is None:
            return Terms(norm, self.means, self.factor)
        each = np.broadcast_to(self.factor, (len(self.means), *self.factor.shape[1:]))
        return Terms(
            np.append(norm, np.log(self.noise.weight) + self.noise.log_density),
            np.append(self.means, self.means[:1], axis=0),
            np.append(each, np.zeros_like(each[:1]), axis=0),
        )


def log_norm(params: Params) -> Array:
    """Return log weight + log normalising constant of each component, (..., K); -inf for weight 0."""
    D = params.means.shape[-1]
    return np.asarray(np.log(params.weights) + log_determinants(params.factor, D) - 0.5 * D * np.log(2 * np.pi))


def log_determinants(factor: Array, D: int) -> Array:
    """Return the log determinants of factors in canonical shape, (..., K|1), in D dimensions."""
    diagonal = variances(factor)
    return np.asarray(np.log(diagonal).sum(axis=-1) * (D if diagonal.shape[-1] == 1 else 1))


def unit_spheres(means: Array) -> Params:
    """Return spheres of variance 1 and weight 1 at `means`: the components of k-means, and carriers of an origin."""
    ones = np.ones((1, 1, 1))
    return Params(np.ones(len(means)), means, ones, ones)
