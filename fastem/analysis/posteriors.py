"""The use of a variational posterior: the density that it predicts, and mixtures drawn from it."""

from __future__ import annotations

import numpy as np

from fastem.model.matrices import Array, inverse_triangular
from fastem.model.params import log_determinants
from fastem.model.variational import Posterior, weights_of_sticks
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.parts import local_rows


def predictive_density(source: Source, posterior: Posterior) -> Array:
    """Return the log density of each row after those of the fit, (N,): that of a mixture of t distributions.

    It is the mean of the mixtures' densities over the posterior. Component k is a t distribution with
    nu_k + 1 - D degrees of freedom: Bishop (2006), eqs. 10.81 and 10.82.
    """
    from scipy.special import gammaln, logsumexp

    source, (K, D) = local_rows(source), posterior.means.shape
    mean_precision, dof = posterior.mean_precision, posterior.degrees_of_freedom
    tail = dof + 1 - D
    # What squared distances under the expected precision are multiplied by, and what the density is at the mean.
    shrink = mean_precision / ((mean_precision + 1) * dof)
    peak = gammaln(0.5 * (tail + D)) - gammaln(0.5 * tail)
    peak += log_determinants(posterior.factor, D) + 0.5 * D * np.log(shrink / np.pi)
    with np.errstate(divide="ignore"):  # a weight may underflow
        peak += np.log(posterior.weights)
    scorer, density = scorer_for(source, posterior, distances=True), np.empty(source.n_rows)

    def fill(block: Block) -> None:
        scores = Scores.empty(len(block.X), K, joint=True)
        scorer.fill(block, scores)
        joint = peak - 0.5 * (tail + D) * np.log1p(-2 * scores.joint * shrink)
        density[block.start : block.start + len(block.X)] = logsumexp(joint, axis=1)

    source.for_each(fill, rows_at_once(max(K, D)), scorer.block_rows)
    return density


def draw_mixtures(posterior: Posterior, n: int, rng: np.random.RandomState) -> tuple[Array, Array, Array]:
    """Draw n mixtures from a posterior: weights (n, K), means (n, K, D) and full covariances, whatever the family.

    Precisions are drawn by Bartlett's decomposition: Smith & Hocking (1972), Applied Statistics 21, 341-345.
    """
    K, D = posterior.means.shape
    mean_precision, dof = posterior.mean_precision[:, None], posterior.degrees_of_freedom
    if posterior.has_sticks:
        taken, left = posterior.concentration.T
        sticks = rng.beta(taken, left, size=(n, K))
        weights = weights_of_sticks(sticks, 1 - sticks)
    else:
        weights = rng.dirichlet(posterior.concentration, size=n)
    triangle = np.tril(rng.standard_normal((n, K, D, D)), -1)
    triangle[..., range(D), range(D)] = np.sqrt(rng.chisquare(dof[:, None] - np.arange(D), size=(n, K, D)))
    factor = posterior.factor
    matrices = factor if factor.shape[-2] > 1 else factor * np.eye(D)
    # The precision is F' A A' F / nu with the triangle A, so that the covariance is R R' with R = F^-1 A^-T nu^1/2.
    root = inverse_triangular(matrices) @ inverse_triangular(triangle).swapaxes(-1, -2)
    root = root * np.sqrt(dof)[:, None, None]
    means = posterior.means + (root @ rng.standard_normal((n, K, D, 1)))[..., 0] / np.sqrt(mean_precision)
    return weights, means, root @ root.swapaxes(-1, -2)
