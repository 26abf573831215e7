"""Mixtures as vectors without constraints, and the gradient of the log-likelihood with respect to these.

As in all modules below the estimators, the shape (K|1, D|1, D|1) of the covariances says of which family they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.model.matrices import Array, inverse_triangular, variances
from fastem.model.params import Noise, Params
from fastem.model.stats import Stats
from fastem.model.student import StudentParams, bent, information_of_dof, straightened

LARGEST = 300.0  # logarithm of a root: a line search that goes far meets neither infinity nor NaN
LEAST_SHARE = 0.01  # times 1/K: the least weight of a component that the scales of its coordinates are made of
LIFT = 0.01  # times reg_covar: the least eigenvalue of L L' at a start. Along one of 0 there is no gradient


@dataclass(frozen=True, eq=False)
class Parametrization:
    """Mixtures of one shape as vectors without constraints, for optimisers that know nothing of mixtures.

    ``Parametrization.of(params)`` is for mixtures of the shape of `params`. A vector theta consists of

    - a (K,), the logits of the weights: weight_k = exp(a_k) / sum_j exp(a_j); with noise, a has one more, the last;
    - b (K, D), the means;
    - c, the roots of the covariances, cov_k = L_k L_k'. For matrices c holds the lower triangle of the Cholesky factor
      L_k, row by row, with the logarithms of its diagonal; for variances the logarithms of the standard deviations,
      (K, D) diag or (K,) spherical. A covariance that components share appears once.

    With W_k = inv(L_k), N_k = sum_n w_n r_nk, and s1_k and S2_k the moments of `Stats` about the means, the gradient of
    the log-likelihood equals that of the expected complete-data log-likelihood, by Fisher's identity. Its parts are
    N_k - weight_k sum_j N_j for a_k; W_k' W_k s1_k for b_k; the lower triangle of W_k' (W_k S2_k W_k' - N_k I) for L_k,
    and so, times the diagonal of L_k, for its logarithms (shared: with N and S2 of all components).

    ``Parametrization.around(params, reg_covar)`` takes coordinates for an optimiser that begins at `params`.
    In these 0 is that mixture, and theta * unit the vector of logits log weight_k + a_k, of means
    mean_k + chol(cov_k) b_k, and of covariances reg_covar I + L_k L_k' with L_k = root_k C_k, of which c is the lower
    triangle as above. The units, one over the root of the Fisher information, are such that for components that do
    not overlap the Hessian of the mean log-likelihood at 0 is -I (on the logits' simplex).

    Attributes
    ----------
    logits : (K,) or (K + 1,) float64
        what is added to a; with noise there is one more
    means : (K, D) float64
        what is added to b
    mean_root, root : (K|1, D|1, D|1) float64
        the matrices that multiply b and the triangles of c
    unit : (P,) float64
        what a vector is multiplied by first
    shape : tuple
        the shape of the covariances
    box : (2, D) float64, or None
        the box of the noise component; None if there is none
    reg_covar : float
    tails : (K,) float64, or None
        what is added to coordinates of degrees of freedom, which then end a vector; None: components are Gaussian

    See Also
    --------
    log_likelihood_and_gradient : the gradient with respect to ``Parametrization.of(params).pack(params)``.
    lbfgs : the optimiser that uses these vectors.

    References
    ----------
    Pinheiro & Bates (1996), Unconstrained parametrizations for variance-covariance matrices, Stat. Comput. 6, 289-296,
    section 2.2 (log-Cholesky); Louis (1982), J. R. Stat. Soc. B 44, 226-233, section 3 (the identity).

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[4.0]]])
    >>> space = fastem.Parametrization.of(params)
    >>> space.pack(params).round(3)
    array([-0.693, -0.693,  0.   ,  3.   ,  0.   ,  0.693])
    >>> space.unpack(space.pack(params)).covariances.ravel().round(12)
    array([1., 4.])
    """

    logits: Array
    means: Array
    mean_root: Array
    root: Array
    unit: Array
    shape: tuple[int, ...]
    box: Array | None
    reg_covar: float = 0.0
    tails: Array | None = None

    @classmethod
    def of(cls, params: Params) -> Parametrization:
        """Return the plain coordinates for mixtures of the shape of `params`, with the box of its noise component."""
        shape, one = params.covariances.shape, np.ones((1, 1, 1))
        logits, means = np.zeros(len(params.shares)), np.zeros(params.means.shape)
        unit = np.ones(logits.size + means.size + shape[0] * _n_roots(shape))
        return cls(logits, means, one, one, unit, shape, params.noise and params.noise.box)

    @classmethod
    def around(cls, params: Params, reg_covar: float = 0.0) -> Parametrization:
        """Return coordinates about a mixture.

        Where one of its variances is reg_covar or less, 0 is a mixture with a variance a little above that.
        """
        return cls._about(params, _logarithms(params.shares), _root(params, reg_covar, LIFT * reg_covar), reg_covar)

    def about(self, theta: ArrayLike) -> Parametrization:
        """Return coordinates about the mixture of a vector."""
        a, _, triangles = self._parts(theta)
        return self._about(self.unpack(theta), self.logits + a, _times(self.root, triangles), self.reg_covar)

    @classmethod
    def _about(cls, params: Params, logits: Array, root: Array, reg_covar: float) -> Parametrization:
        shape, (K, D) = params.covariances.shape, params.means.shape
        mass = np.maximum(params.shares, LEAST_SHARE / K)
        own = mass[:K] if shape[0] == K else np.ones(1)
        curvature = np.ones(_n_roots(shape))
        curvature[_diagonal(shape)] = 2 * (D // shape[-1])
        information = np.concatenate([mass, np.repeat(mass[:K], D), np.outer(own, curvature).ravel()])
        mean_root, box = _inverse(params.factor), params.noise and params.noise.box
        tails = straightened(params.dof) if isinstance(params, StudentParams) else None
        if isinstance(params, StudentParams):
            information = np.concatenate([information, mass * information_of_dof(params.dof, D)])
        unit = 1 / np.sqrt(information)
        return cls(logits, params.means, mean_root, root, unit, shape, box, reg_covar, tails)

    def pack(self, params: Params) -> Array:
        """Return the vector of a mixture, (P,) float64.

        Raises
        ------
        ValueError
            if the mixture has another shape, or a weight of 0, which has no logit
        """
        box = params.noise and params.noise.box
        if params.covariances.shape != self.shape or (box is None) != (self.box is None):
            raise ValueError(f"the vectors are those of mixtures with covariances of shape {self.shape}")
        tails = np.empty(0)
        if isinstance(params, StudentParams) and self.tails is not None:
            tails = straightened(params.dof) - self.tails
        triangles = _times(_inverse(self.root), _root(params, self.reg_covar))
        variances(triangles)[...] = np.log(variances(triangles))
        a = _logarithms(params.shares) - self.logits
        b = _applied(_inverse(self.mean_root), params.means - self.means)
        return np.append(self._joined(a, b, triangles), tails) / self.unit

    def unpack(self, theta: ArrayLike) -> Params:
        """Return the mixture of a vector (P,), as `Params`."""
        a, b, triangles = self._parts(theta)
        shares = np.exp(a + self.logits - (a + self.logits).max())
        shares, K = shares / shares.sum(), len(self.means)
        noise = None if self.box is None else Noise(float(shares[K]), self.box)
        lower = _times(self.root, triangles)
        covariances = _times(lower, _transposed(lower)) + self.reg_covar * _identity(self.shape)
        factor, means = _inverse(self._cholesky(lower)), self.means + _applied(self.mean_root, b)
        if self.tails is not None:
            dof = bent((np.asarray(theta) * self.unit)[-K:] + self.tails)
            return StudentParams(shares[:K], means, covariances, factor, dof)
        return Params(shares[:K], means, covariances, factor, noise)

    def gradient(self, theta: ArrayLike, stats: Stats) -> Array:
        """Return the gradient (P,) of the log-likelihood of all rows at a vector.

        Parameters
        ----------
        theta : (P,) array-like
        stats : Stats
            the statistics of the rows under the mixture ``unpack(theta)``
        """
        _, _, triangles = self._parts(theta)
        lower, params, repeats = _times(self.root, triangles), self.unpack(theta), stats.s1.shape[1] // self.shape[-1]
        factor, up = params.factor, _transposed(params.factor)
        counts = stats.s0 if stats.noise is None else np.append(stats.s0, stats.noise.weight)
        mass = stats.s0.sum(keepdims=True) if self.shape[0] == 1 else stats.s0
        excess = _times(_times(factor, stats.s2), up) - (mass * repeats)[:, None, None] * _identity(self.shape)
        roots = _times(_transposed(self.root), _times(_times(up, excess), _times(factor, lower)))
        variances(roots)[...] *= variances(triangles)
        b = _applied(_transposed(self.mean_root), _applied(up, _applied(factor, stats.s1)))
        return self._joined(counts - params.shares * stats.sum_w, b, roots) * self.unit

    def _cholesky(self, lower: Array) -> Array:
        """Return the Cholesky factor of reg_covar I + L L'."""
        if self.shape[-2] == 1:
            return np.sqrt(lower**2 + self.reg_covar)
        if self.reg_covar == 0:
            return lower
        ridge = np.broadcast_to(np.sqrt(self.reg_covar) * _identity(self.shape), lower.shape)
        return _triangle(np.concatenate([ridge, _transposed(lower)], axis=-2))

    def _parts(self, theta: ArrayLike) -> tuple[Array, Array, Array]:
        """Return the parts a and b of a vector, and the triangles C, (K|1, D|1, D|1)."""
        ends = np.cumsum([self.logits.size, self.means.size, self.shape[0] * _n_roots(self.shape)])
        a, b, c, _ = np.split(np.asarray(theta) * self.unit, ends)
        triangles = np.zeros(self.shape)
        row, column = entries(self.shape)
        triangles[..., row, column] = c.reshape(self.shape[0], -1)
        variances(triangles)[...] = np.exp(np.clip(variances(triangles), -LARGEST, LARGEST))
        return a, b.reshape(self.means.shape), triangles

    def _joined(self, a: Array, b: Array, triangles: Array) -> Array:
        row, column = entries(self.shape)
        return np.concatenate([a, b.ravel(), triangles[..., row, column].ravel()])


def _logarithms(shares: Array) -> Array:
    if not (shares > 0).all():
        raise ValueError("a component of weight 0 has no logit: leave it out")
    return np.log(shares)


def _root(params: Params, reg_covar: float, least: float = 0.0) -> Array:
    """Return L, lower triangular, with L L' = covariances - reg_covar I, whose eigenvalues are raised to `least`."""
    if reg_covar == 0:
        return _inverse(params.factor)
    free = params.covariances - reg_covar * _identity(params.covariances.shape)
    if free.shape[-2] == 1:
        return np.sqrt(np.maximum(free, least))
    values, vectors = np.linalg.eigh(free)
    return _triangle(np.sqrt(np.maximum(values, least))[..., None] * _transposed(vectors))


def _triangle(half: Array) -> Array:
    """Return L, lower triangular, with L L' = half' half.

    Orthogonal transformations make it of `half`, for the product would lose digits.
    """
    upper = np.asarray(np.linalg.qr(half, mode="r"))
    return _transposed(upper * np.sign(variances(upper))[..., None])


# The functions below take matrices (..., D, D), or diagonals (..., 1, D|1); an array (1, 1, 1) acts as the number 1.


def entries(shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of the entries of a lower triangular matrix, or of a diagonal."""
    return np.tril_indices(shape[-1]) if shape[-2] > 1 else (np.zeros(shape[-1], np.intp), np.arange(shape[-1]))


def _n_roots(shape: tuple[int, ...]) -> int:
    return len(entries(shape)[0])


def _diagonal(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which of these entries are on the diagonal."""
    row, column = entries(shape)
    return row == column if shape[-2] > 1 else np.ones(len(row), dtype=bool)


def _identity(shape: tuple[int, ...]) -> Array:
    return np.eye(shape[-1]) if shape[-2] > 1 else np.ones(shape[-1])


def _times(left: Array, right: Array) -> Array:
    return left @ right if left.shape[-2] > 1 else left * right


def _applied(left: Array, vectors: Array) -> Array:
    return _times(left, vectors[..., None])[..., 0] if left.shape[-2] > 1 else left[..., 0, :] * vectors


def _transposed(matrices: Array) -> Array:
    return matrices.swapaxes(-1, -2) if matrices.shape[-2] > 1 else matrices


def _inverse(lower: Array) -> Array:
    return inverse_triangular(lower) if lower.shape[-2] > 1 else 1 / lower
