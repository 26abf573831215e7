"""What a mixture says of rows of which some features are missing, for patterns of observed features.

Values are taken to be missing at random: what is missing tells nothing but by what is observed. The E-step is then that
of the marginal mixture of the features that are observed, and what EM lacks of a row is its conditional expectation.
With o for the observed features of a row and m for the missing ones, each component has

    B = cov_mo inv(cov_oo)    E[x_m] = mean_m + B (x_o - mean_o)    Cov[x_m] = cov_mm - B cov_om

References
----------
Ghahramani & Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6, 120-127, section 3;
Little & Rubin (2019), Statistical Analysis with Missing Data, section 11.3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from fastem.model.matrices import Array, inverse_triangular
from fastem.model.params import Params, log_determinants


class Observed(ABC):
    """A mixture for P patterns in which equally many features are observed: V of D, so that U = D - V are missing.

    Kernels need a feature: where nothing is observed, `means` and `factor` have one all the same, of precision 0.

    Parameters
    ----------
    params : Params
    patterns : (P, D) bool
        Which features are observed.

    Attributes
    ----------
    features : (P, D) int
        The observed features of each pattern, in ascending order, and then the others.
    V : int
    log_norm, means, factor : (P, K'), (P, K', V) and (P, K'|1, V|1, V|1) float64
        The marginal mixture of the observed features, as in `fastem.model.params.Terms`.
    """

    def __init__(self, params: Params, patterns: NDArray[np.bool_]) -> None:
        self.params, self.V = params, int(patterns[0].sum())
        self.features = np.argsort(~patterns, axis=1, kind="stable")
        means, factor = params.means[:, self.features[:, : self.V]].swapaxes(0, 1), self.factorise()
        self.log_norm = self._log_norm(factor)
        if not self.V:
            means, factor = np.zeros((*means.shape[:2], 1)), np.zeros((len(patterns), 1, 1, 1))
        if params.noise:  # it is the last component, as in `Params.terms`
            each = np.broadcast_to(factor, (*means.shape[:2], *factor.shape[2:]))
            means = np.concatenate([means, means[:, :1]], axis=1)
            factor = np.concatenate([each, np.zeros_like(each[:, :1])], axis=1)
        self.means, self.factor = np.ascontiguousarray(means), np.ascontiguousarray(factor)

    @np.errstate(divide="ignore")  # a component of weight 0 has log_norm -inf
    def _log_norm(self, factor: Array) -> Array:
        """Return the log weight and log normalising constant of each component, and of noise, (P, K')."""
        norm, noise = np.log(self.params.weights), self.params.noise
        if self.V:
            norm = norm + log_determinants(factor, self.V) - 0.5 * self.V * np.log(2 * np.pi)
        norm = np.broadcast_to(norm, (len(self.features), len(self.params.weights)))
        if noise is None:
            return norm
        width = np.log(noise.box[1] - noise.box[0])[self.features[:, : self.V]]
        return np.column_stack([norm, np.log(noise.weight) - width.sum(axis=1)])

    @abstractmethod
    def factorise(self) -> Array:
        """Return the precision factors of the observed features, (P, K|1, V|1, V|1)."""

    @abstractmethod
    def expected(self, mass: Array, s1: Array, s2: Array) -> tuple[Array, Array]:
        """Return the moments of all features that are expected, given those of the observed ones; sums over patterns.

        Parameters
        ----------
        mass : (P, K|1)
            The weight of the rows that `s2` is of.
        s1 : (P, K, V)
        s2 : (P, K|1, V|1, V|1)
            Moments about the means, in the shape of the covariances. Where nothing is observed, these are of the one
            feature that says nothing.

        Returns
        -------
        s1 : (K, D)
        s2 : (K|1, D|1, D|1)
        """

    @abstractmethod
    def conditional_means(self, number: int, k: int, X: Array) -> Array:
        """Return what component k expects of the missing features, (n, U), of rows (n, V) of a pattern."""

    @abstractmethod
    def deviations(self, number: int, k: int, draws: Array) -> Array:
        """Return deviations from these means, (n, U), made of standard normal `draws` (n, U)."""

    def in_place(self, values: Array, axis: int) -> Array:
        """Return an array (P, ...) whose `axis` is in the order of `features`, with that axis in the natural order."""
        back = np.argsort(self.features, axis=1)
        shape = [len(back) if i == 0 else back.shape[1] if i == axis else 1 for i in range(values.ndim)]
        return np.take_along_axis(values, back.reshape(shape), axis)


class ObservedMatrices(Observed):
    """See Observed: for covariances that are matrices.

    A Cholesky factor L of a covariance with the observed features first has all that is needed: L_oo, of which the
    precision factor is the inverse, B = L_mo inv(L_oo), and L_mm, a root of the conditional covariance.

    Attributes
    ----------
    regression : (P, K|1, U, V), B of each component
    root : (P, K|1, U, U)
    """

    def factorise(self) -> Array:
        """See Observed."""
        V, lower = self.V, self._lower()
        factor = inverse_triangular(lower[..., :V, :V]) if V else lower[..., :0, :0]
        self.regression, self.root = lower[..., V:, :V] @ factor, lower[..., V:, V:]
        return factor

    def _lower(self) -> Array:
        """Return Cholesky factors of covariances with the observed features first, (P, K|1, D, D).

        Where rounding makes such a covariance indefinite, they come of the factor that the mixture has, by QR, which
        takes five times as long.
        """
        order = self.features
        try:
            ordered = self.params.covariances[:, order[:, :, None], order[:, None, :]].swapaxes(0, 1)
            return np.asarray(np.linalg.cholesky(ordered), np.float64)
        except np.linalg.LinAlgError:
            roots = inverse_triangular(self.params.factor)[:, order].swapaxes(0, 1)
            upper = np.asarray(np.linalg.qr(roots.swapaxes(-1, -2), mode="r"))
            signs = np.where(upper.diagonal(0, -2, -1) < 0, -1.0, 1.0)
            return np.asarray(upper.swapaxes(-1, -2) * signs[..., None, :])

    def expected(self, mass: Array, s1: Array, s2: Array) -> tuple[Array, Array]:
        """See Observed."""
        V, (P, F, U, _) = self.V, self.regression.shape
        s1, s2 = s1[..., :V], s2[..., :V, :V]
        first = np.concatenate([s1, (self.regression @ s1[..., None])[..., 0]], axis=2)
        second = np.empty((P, F, V + U, V + U))
        across = self.regression @ s2
        second[..., :V, :V] = s2
        second[..., V:, :V], second[..., :V, V:] = across, across.swapaxes(-1, -2)
        spread = self.root @ self.root.swapaxes(-1, -2)
        own = across @ self.regression.swapaxes(-1, -2)
        second[..., V:, V:] = (own + own.swapaxes(-1, -2)) / 2 + mass[..., None, None] * spread
        return self.in_place(first, 2).sum(axis=0), self.in_place(self.in_place(second, 2), 3).sum(axis=0)

    def conditional_means(self, number: int, k: int, X: Array) -> Array:
        """See Observed."""
        missing, B = self.features[number, self.V :], self.regression[number]
        away = X - self.means[number, k, : self.V]
        return np.asarray(self.params.means[k, missing] + np.einsum("nv,uv->nu", away, B[k if len(B) > 1 else 0]))

    def deviations(self, number: int, k: int, draws: Array) -> Array:
        """See Observed."""
        root = self.root[number]
        return np.asarray(np.einsum("nu,vu->nv", draws, root[k if len(root) > 1 else 0]))


class ObservedVariances(Observed):
    """See Observed: for covariances that are variances, so that missing features depend on no others."""

    def factorise(self) -> Array:
        """See Observed."""
        factor = self.params.factor
        if factor.shape[-1] == 1:
            return np.broadcast_to(factor, (len(self.features), *factor.shape))
        return factor[:, 0, self.features[:, : self.V]].swapaxes(0, 1)[:, :, None]

    def expected(self, mass: Array, s1: Array, s2: Array) -> tuple[Array, Array]:
        """See Observed."""
        V, (P, D), covariances = self.V, self.features.shape, self.params.covariances
        missing = np.zeros((P, s1.shape[1], D - V))
        first = self.in_place(np.concatenate([s1[..., :V], missing], axis=2), 2)
        if covariances.shape[-1] == 1:
            each = s2 + (D - V) * mass[..., None, None] * covariances
            return first.sum(axis=0), each.sum(axis=0)
        spread = mass[..., None, None] * covariances[:, 0, self.features[:, V:]].swapaxes(0, 1)[:, :, None]
        return first.sum(axis=0), self.in_place(np.concatenate([s2[..., :V], spread], axis=3), 3).sum(axis=0)

    def conditional_means(self, number: int, k: int, X: Array) -> Array:
        """See Observed."""
        missing = self.features[number, self.V :]
        return np.broadcast_to(self.params.means[k, missing], (len(X), len(missing)))

    def deviations(self, number: int, k: int, draws: Array) -> Array:
        """See Observed."""
        covariances = self.params.covariances
        variance = np.broadcast_to(covariances[k if len(covariances) > 1 else 0, 0], self.features.shape[1])
        return np.asarray(draws * np.sqrt(variance[self.features[number, self.V :]]))


def observe(params: Params, patterns: NDArray[np.bool_]) -> Observed:
    """Return a mixture for patterns (P, D) of observed features, equally many in each."""
    return (ObservedMatrices if params.covariances.shape[-2] > 1 else ObservedVariances)(params, patterns)
