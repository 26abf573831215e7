"""Marginal and conditional mixtures: of some of the features, and of the others given these.

Both are Gaussian mixtures. With the features given (v) first, a component's precision factor, lower triangular, is
W = [[A, 0], [B, E]]. A is the factor of the marginal of v. E is the factor of the rest (u) given v, whose mean is
mean_u - inv(E) B (v - mean_v). For inv(E) inv(E)' is the Schur complement cov_uu - cov_uv inv(cov_vv) cov_vu, and no
difference of covariances, which would lose digits, is formed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

from fastem.model.matrices import Array, factorise, inverse_triangular, variances
from fastem.model.params import Noise, Params, log_determinants
from fastem.passes.scores import score
from fastem.sources.blocks import ArraySource


def marginalise(params: Params, features: NDArray[np.intp]) -> Params:
    """Return the mixture of these features, in their order: Bishop (2006), Pattern Recognition and ML, eq. 2.98."""
    covariances = params.covariances
    if covariances.shape[-2] > 1:
        covariances = covariances[:, features[:, None], features]
    elif covariances.shape[-1] > 1:
        covariances = covariances[:, :, features]
    noise = params.noise and params.noise._replace(box=params.noise.box[:, features])
    return Params(params.weights, params.means[:, features], covariances, factorise(covariances), noise)


class Conditional(NamedTuple):
    """The features that are left (U of them), as they depend on the features given (V of them).

    Attributes
    ----------
    given : Params, the marginal mixture of the features given
    means : (K, U), the means of the other features where the given ones are at their means
    slopes : (K|1, U, V), how the means change with the given features
    covariances, factor : canonical shapes, for the other features; they do not depend on the values given
    box : (2, U), the box of noise for the other features, or None if there is no noise
    """

    given: Params
    means: Array
    slopes: Array
    covariances: Array
    factor: Array
    box: Array | None

    @classmethod
    def given_features(cls, params: Params, features: NDArray[np.intp]) -> Conditional:
        """Return the features that are left, given these; all of them if these are none."""
        V, D = len(features), params.means.shape[1]
        if not V:
            box, nothing = params.noise and params.noise.box, params._replace(means=params.means[:, :0])
            return cls(nothing, params.means, np.zeros((1, D, 0)), params.covariances, params.factor, box)
        rest = np.setdiff1d(np.arange(D), features)
        turned = marginalise(params, np.concatenate([features, rest]))
        covariances, factor = turned.covariances[..., V:], turned.factor[..., V:]
        slopes = np.zeros((1, D - V, V))
        if turned.factor.shape[-2] > 1:
            factor = turned.factor[:, V:, V:]
            roots = inverse_triangular(factor)
            slopes, covariances = -roots @ turned.factor[:, V:, :V], roots @ roots.swapaxes(-1, -2)
        elif turned.factor.shape[-1] == 1:
            covariances, factor = turned.covariances, turned.factor
        box = None if params.noise is None else params.noise.box[:, rest]
        return cls(marginalise(params, features), params.means[:, rest], slopes, covariances, factor, box)

    def mixture_at(self, values: Array) -> Params:
        """Return the mixture of the other features at these values (V,): Bishop (2006), eqs. 2.96 and 2.97."""
        K = len(self.means)
        shares = self.responsibilities(values[None])[0]
        noise = None if self.box is None else Noise(float(shares[K]), self.box)
        return Params(shares[:K], self.component_means(values[None])[:, 0], self.covariances, self.factor, noise)

    def responsibilities(self, rows: NDArray[np.floating]) -> Array:
        """Return the responsibilities of components (and noise) for rows of the given features, (n, K)."""
        if not rows.shape[1]:  # nothing is given
            return np.tile(self.given.shares, (len(rows), 1))
        return score(ArraySource(rows), self.given, resp=True).resp

    def component_means(self, rows: NDArray[np.floating]) -> Array:
        """Return the components' means for rows (n, V) of the given features, (K, n, U)."""
        away = rows - self.given.means[:, None]
        return np.asarray(self.means[:, None] + away @ self.slopes.swapaxes(-1, -2))

    def mean(self, rows: NDArray[np.floating]) -> Array:
        """Return the mean of the other features for rows (n, V) of the given ones, (n, U)."""
        return self._mean_and_means(rows)[1]

    def variance(self, rows: NDArray[np.floating]) -> Array:
        """Return the variances of the other features for rows (n, V) of the given ones, (n, U)."""
        return self.mean_and_variance(rows)[1]

    def mean_and_variance(self, rows: NDArray[np.floating]) -> tuple[Array, Array]:
        """Return the means and the variances of the other features for rows (n, V) of the given ones, (n, U) each.

        Variances are sum_k r_k (var_k u + (mean_k u - mean u)^2), with the responsibilities r_k.
        """
        resp, mean, means = self._mean_and_means(rows)
        within = np.broadcast_to(variances(self.covariances), self.means.shape)
        if self.box is not None:
            within = np.concatenate([within, np.diff(self.box, axis=0) ** 2 / 12])
        return mean, np.asarray(np.einsum("nk,knu->nu", resp, within[:, None] + (means - mean) ** 2))

    @np.errstate(divide="ignore")  # a responsibility of 0 has the logarithm -inf
    def log_density(self, rows: NDArray[np.floating], values: Array) -> Array:
        """Return the log density of values (n, U) of the other features for rows (n, V) of the given ones, (n,)."""
        U, resp = self.means.shape[1], self.responsibilities(rows).T
        absent = (resp[: len(self.means)] == 0)[..., None]  # their means may be so far away that they overflow
        away = np.where(absent, 0.0, values - self.component_means(rows))
        scaled = away @ self.factor.swapaxes(-1, -2) if self.factor.shape[-2] > 1 else away * self.factor
        joint = log_determinants(self.factor, U)[:, None] - 0.5 * U * np.log(2 * np.pi) - 0.5 * (scaled**2).sum(axis=-1)
        if self.box is not None:
            joint = np.append(joint, np.full((1, len(rows)), -np.log(np.diff(self.box, axis=0)).sum()), axis=0)
        return np.asarray(logsumexp(joint + np.log(resp), axis=0))

    def draw(self, rows: NDArray[np.floating], uniforms: Array, normals: Array) -> Array:
        """Return draws of the other features for rows (n, V) of the given ones, (n, S, U).

        `uniforms` (n, S) choose the components, and `normals` (n, S, U) the places in them.
        """
        U, means = self.means.shape[1], self.component_means(rows)
        steps = np.cumsum(self.responsibilities(rows), axis=1)[:, None, :-1]
        chosen = (uniforms[..., None] >= steps).sum(axis=-1)
        roots = inverse_triangular(self.factor) if self.factor.shape[-2] > 1 else np.eye(U) / self.factor
        out = np.empty(normals.shape)
        for k, root in enumerate(np.broadcast_to(roots, (len(means), U, U))):
            n, s = np.nonzero(chosen == k)
            out[n, s] = means[k, n] + normals[n, s] @ root.T
        if self.box is not None:
            low, high = self.box
            n, s = np.nonzero(chosen == len(means))
            out[n, s] = low + (high - low) * ndtr(normals[n, s])
        return out

    def _mean_and_means(self, rows: NDArray[np.floating]) -> tuple[Array, Array, Array]:
        """Return responsibilities, the mean of the mixture and the means of the components, with noise as the last.

        Components of responsibility 0, whose means may be so far away that they overflow, get the mixture's mean.
        """
        resp, means = self.responsibilities(rows), self.component_means(rows)
        if self.box is not None:
            means = np.concatenate([means, np.broadcast_to(self.box.mean(axis=0), (1, *means.shape[1:]))])
        absent = (resp.T == 0)[..., None]
        mean = np.einsum("nk,knu->nu", resp, np.where(absent, 0.0, means))
        return resp, mean, np.where(absent, mean, means)
