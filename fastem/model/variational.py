"""Beliefs about a mixture: a conjugate prior, and the variational posterior whose E-step is that of a mixture.

The model is that of full covariances, whatever the family. Component k has the precision Lambda_k ~ Wishart(W0, nu0)
and the mean mu_k ~ N(m0, (kappa0 Lambda_k)^-1). The weights are Dirichlet, or those of a Dirichlet process, of which
the posterior uses the first K sticks. The posterior is a product of the same distributions, and the family restricts
its Wishart scale matrices W_k: to one for all components, to diagonal ones, to multiples of the identity. Bishop
(2006), section 10.2, is the case without a restriction; Blei & Jordan (2006) has the sticks.

With ``covariances`` for (nu_k W_k)^-1 all arrays of matrices have the canonical shape of `fastem.model.params`.
The arrays of many posteriors have leading batch axes; their priors differ in mean and scatter alone.

scipy.special is imported where it is called, since its import takes a tenth of fastem's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem.model.matrices import Array, factorise
from fastem.model.params import Params, Terms, log_determinants


@dataclass(frozen=True)
class Prior:
    """What is believed of a mixture before any row is seen.

    Attributes
    ----------
    sticks : bool
        whether weights are those of a Dirichlet process; else they are Dirichlet
    concentration : float
        of the Dirichlet distribution, for each component, or of the Dirichlet process
    mean_precision : float
        kappa0, how many rows the prior mean counts for
    mean : (D,) or (..., 1, D) float64
        m0
    degrees_of_freedom : float
        nu0, more than D - 1
    scatter : (..., 1, D|1, D|1) float64
        the inverse of W0, in the form of the covariances
    """

    sticks: bool
    concentration: float
    mean_precision: float
    mean: Array
    degrees_of_freedom: float
    scatter: Array


class Posterior(Params):
    """What is believed of a mixture after rows were seen: the variational posterior.

    It is also the mixture of expected parameters, and works wherever a `Params` does. But what the E-step computes
    with, `terms`, are expected log densities, which fall below those of that mixture by what is not known.

    Parameters
    ----------
    means, covariances, factor, concentration, mean_precision, degrees_of_freedom
        the attributes

    Attributes
    ----------
    weights : (K,) float64
        the expected weights, made to sum to 1
    means : (K, D) float64
        the expected means
    covariances : (K|1, D|1, D|1) float64
        the inverses of the expected precisions, nu_k W_k
    factor : float64, of the shape of covariances
        lower triangular, with expected precision = factor' factor
    noise : None
    concentration : (K,) or (K, 2) float64
        of the Dirichlet distribution of weights; or of the beta distributions of the sticks, of which
        weight_k = stick_k prod_{j<k} (1 - stick_j) is made
    mean_precision : (K,) float64
        kappa_k: mean k has the precision kappa_k Lambda_k, given the precision Lambda_k of its component
    degrees_of_freedom : (K,) float64
        nu_k of the Wishart distribution of the precision Lambda_k

    See Also
    --------
    BayesianGaussianMixture : has such a posterior as `posterior_`.
    Params : a mixture that is known.

    Examples
    --------
    >>> import fastem
    >>> X, _ = fastem.load_faithful()
    >>> model = fastem.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    >>> posterior = model.posterior_
    >>> posterior.concentration.shape, posterior.degrees_of_freedom.round(0)
    ((2, 2), array([ 99., 177.]))
    """

    concentration: Array
    mean_precision: Array
    degrees_of_freedom: Array

    def __new__(
        cls,
        means: Array,
        covariances: Array,
        factor: Array,
        concentration: Array,
        mean_precision: Array,
        degrees_of_freedom: Array,
    ) -> Posterior:
        """Make it of its parts; the weights follow from these."""
        weights = expected_weights(concentration, concentration.ndim == means.ndim)
        posterior = super().__new__(cls, weights, means, covariances, factor)
        posterior.concentration = concentration
        posterior.mean_precision = mean_precision
        posterior.degrees_of_freedom = degrees_of_freedom
        return posterior

    def __getnewargs__(self) -> tuple[Any, ...]:  # pickle makes it of these
        return (
            *(self.means, self.covariances, self.factor),
            *(self.concentration, self.mean_precision, self.degrees_of_freedom),
        )

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Params:  # type: ignore[override]
        """Return a mixture that is known: what `_replace` makes of a posterior is none."""
        return Params._make(iterable)

    @property
    def has_sticks(self) -> bool:
        """Whether the weights are those of a Dirichlet process."""
        return self.concentration.ndim == self.means.ndim

    def log_weights(self) -> Array:
        """Return the expected logarithms of the weights, (..., K)."""
        from scipy.special import digamma

        expected = digamma(self.concentration) - digamma(self.concentration.sum(axis=-1, keepdims=True))
        if not self.has_sticks:
            return np.asarray(expected)
        taken, left = expected[..., 0], expected[..., 1]
        before = np.concatenate([np.zeros_like(left[..., :1]), np.cumsum(left[..., :-1], axis=-1)], axis=-1)
        return np.asarray(taken + before)

    def terms(self) -> Terms:
        """Return what the E-step computes with: the expected log density of a row and a component."""
        from scipy.special import digamma

        D, dof = self.means.shape[-1], self.degrees_of_freedom
        # The expected log determinant of a precision, less that of the expected precision: never positive.
        lost = digamma(0.5 * (dof[..., None] - np.arange(D))).sum(axis=-1) - D * np.log(0.5 * dof)
        log_det = log_determinants(self.factor, D) + 0.5 * lost
        norm = self.log_weights() + log_det - 0.5 * D * (1 / self.mean_precision + np.log(2 * np.pi))
        return Terms(norm, self.means, self.factor)

    def lower_bound(self, entropy: float) -> float:
        """Return scikit-learn's lower bound: that on the log evidence, without what no update changes.

        It holds right after an update without reg_covar, where the expected log likelihood and the prior's part add up
        to a constant.

        Parameters
        ----------
        entropy : float
            of the responsibilities that the update was made of
        """
        return float(self.lower_bounds(np.array(entropy)))

    def lower_bounds(self, entropy: Array) -> Array:
        """Return `lower_bound` of each of many posteriors, (...)."""
        D = self.means.shape[-1]
        if self.has_sticks:
            weights = log_beta(self.concentration[..., 0], self.concentration[..., 1]).sum(axis=-1)
        else:
            weights = log_dirichlet(self.concentration)
        wishart = log_wishart(self.log_scales(), self.degrees_of_freedom, D).sum(axis=-1)
        return np.asarray(entropy + wishart + weights - 0.5 * D * np.log(self.mean_precision).sum(axis=-1))

    def log_scales(self) -> Array:
        """Return the log determinants of the scale matrices W_k, (..., K)."""
        D = self.means.shape[-1]
        return np.asarray(2 * log_determinants(self.factor, D) - D * np.log(self.degrees_of_freedom))

    def divergence(self, prior: Prior) -> float:
        """Return the Kullback-Leibler divergence from a prior: what the rows have taught, in nats."""
        return divergence_of_weights(self, prior) + float(divergence_of_components(self, prior).sum())


def expected_weights(concentration: Array, sticks: bool) -> Array:
    """Return the expected weights, made to sum to 1: beyond the last stick there is weight that no component has."""
    shares = concentration / concentration.sum(axis=-1, keepdims=True)
    return weights_of_sticks(shares[..., 0], shares[..., 1]) if sticks else np.asarray(shares)


def weights_of_sticks(taken: Array, left: Array) -> Array:
    """Return weights (..., K) from what each stick takes and leaves, made to sum to 1."""
    weights = taken * np.cumprod(np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1), axis=-1)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def later_sums(x: Array) -> Array:
    """Return the sum of what comes after each entry of the last axis."""
    after = np.cumsum(x[..., :0:-1], axis=-1)[..., ::-1]
    return np.concatenate([after, np.zeros_like(x[..., :1])], axis=-1)


def log_beta(a: Array, b: Array) -> Array:
    """Return the logarithm of the beta function.

    SciPy's has a fourth power that overflows where both are beyond 1e77. There Stirling's formula has all digits, of
    which the terms that are left out would be less than the last.
    """
    from scipy.special import betaln

    share, large = np.minimum(a, b) / (a + b), np.minimum(a, b) > 1e60
    with np.errstate(all="ignore"):
        stirling = np.minimum(a, b) * np.log(share) + np.maximum(a, b) * np.log1p(-share)
        return np.asarray(np.where(large, stirling, betaln(a, b)))


def log_dirichlet(concentration: Array) -> Array:
    """Return the logarithm of the integral that normalises a Dirichlet density, (...)."""
    from scipy.special import gammaln

    return np.asarray(gammaln(concentration).sum(axis=-1) - gammaln(concentration.sum(axis=-1)))


def log_wishart(log_scale: Array, dof: Array, D: int) -> Array:
    """Return the logarithm of the integral that normalises a Wishart density, less D (D - 1) log(pi) / 4.

    Parameters
    ----------
    log_scale : (..., K), the log determinant of the scale matrix
    dof : (..., K), the degrees of freedom
    D : int
    """
    from scipy.special import gammaln

    gammas = gammaln(0.5 * (dof[..., None] - np.arange(D))).sum(axis=-1)
    return np.asarray(0.5 * dof * (log_scale + D * np.log(2.0)) + gammas)


def divergence_of_weights(posterior: Posterior, prior: Prior) -> float:
    """Return the divergence of the weights' posterior from their prior."""
    from scipy.special import digamma

    now = posterior.concentration
    if posterior.has_sticks:
        before = np.array([1.0, prior.concentration])
        expected = digamma(now) - digamma(now.sum(axis=1, keepdims=True))
        normalisers = log_beta(*before) - log_beta(*now.T)
    else:
        before = np.full(len(now), prior.concentration)
        expected = digamma(now) - digamma(now.sum())
        normalisers = log_dirichlet(before) - log_dirichlet(now)
    return float(normalisers.sum() + ((now - before) * expected).sum())


def divergence_of_components(posterior: Posterior, prior: Prior) -> Array:
    """Return the divergence of the means' and precisions' posterior from their prior, (K,)."""
    from scipy.special import digamma

    K, D = posterior.means.shape
    dof = posterior.degrees_of_freedom
    before = np.full(K, prior.degrees_of_freedom)
    log_scale, log_prior_scale = posterior.log_scales(), 2 * log_determinants(factorise(prior.scatter), D)
    expected = log_scale + D * np.log(2.0) + digamma(0.5 * (dof[:, None] - np.arange(D))).sum(axis=1)
    trace, moved = squares_of_prior(posterior, prior)
    ratio = prior.mean_precision / posterior.mean_precision
    means = D * (ratio - 1 - np.log(ratio)) + moved
    wisharts = log_wishart(log_prior_scale, before, D) - log_wishart(log_scale, dof, D)
    return np.asarray(0.5 * means + wisharts + 0.5 * ((dof - before) * expected - dof * D + trace))


def squares_of_prior(posterior: Posterior, prior: Prior) -> tuple[Array, Array]:
    """Return the squares that a prior adds to those of rows, in standard deviations of each component: two of (K,).

    They are the trace of the expected precision times the prior's scatter; and kappa0 times the squared distance of the
    mean from the prior's.
    """
    factor, D = posterior.factor, posterior.means.shape[1]
    if factor.shape[-2] > 1:
        moved = (factor @ (posterior.means - prior.mean)[..., None])[..., 0]
        trace = (factor.swapaxes(-1, -2) @ factor * prior.scatter).sum(axis=(-2, -1))
    else:
        moved = factor[:, 0] * (posterior.means - prior.mean)
        trace = (factor**2 * prior.scatter).sum(axis=(-2, -1)) * (D // factor.shape[-1])
    return np.asarray(trace), np.asarray(prior.mean_precision * (moved**2).sum(axis=1))
