"""The evidence lower bound, the one function that both steps of EM maximise in turn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastem.model.given import check_gaussian
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.kinds import scorer_for
from fastem.passes.scorer import Scores
from fastem.sources.blocks import Block, rows_at_once
from fastem.sources.labels import check_distributions
from fastem.sources.opening import find_source


class Bound(NamedTuple):
    """What `elbo` returns: three sums over the rows, times their weights.

    Attributes
    ----------
    elbo : float
        the evidence lower bound
    kl : float
        the Kullback-Leibler divergence of q from the posterior, at least 0
    loglik : float
        the log-likelihood; it equals elbo + kl, but for rounding

    See Also
    --------
    elbo : computes the three.

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.0], "spherical")
    >>> bound = fastem.elbo([[0.5]], params, [[0.5, 0.5]])
    >>> round(bound.kl, 12), round(bound.loglik - bound.elbo, 12)
    (0.0, 0.0)
    """

    elbo: float
    kl: float
    loglik: float


def elbo(X: Any, params: Params, q: ArrayLike, sample_weight: ArrayLike | None = None) -> Bound:
    """Compute the evidence lower bound of a mixture for any distributions over its components.

    With q_n a distribution over the components for each row x_n, and r_n the posterior (the responsibilities),

    ``sum_n log p(x_n) = ELBO + sum_n KL(q_n || r_n)``, ``ELBO = sum_n sum_k q_nk (log(weight_k p_k(x_n)) - log q_nk)``.

    The E-step maximises the ELBO in q, by q = r, where the divergence is 0; the M-step maximises it in the
    parameters. Each of the three sums is computed from its own definition.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
    params : Params
    q : (N, K) array-like, non-negative
        each row sums to 1. With a noise component, which comes last, the shape is (N, K + 1)
    sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it, optional
        Default None: each row has weight 1

    Returns
    -------
    Bound
        elbo, kl and loglik. Where q_nk > 0 but the density of component k underflows, elbo is -inf and kl inf

    Raises
    ------
    ValueError
        if rows, weights or parameters are not finite or do not match, or a row of q is no distribution

    See Also
    --------
    accumulate : the E-step, which maximises the bound in q.
    m_step : the M-step, which maximises it in the parameters.
    log_likelihood_and_gradient : the log-likelihood and how it changes with the parameters.

    References
    ----------
    Neal & Hinton (1998), A view of the EM algorithm that justifies incremental, sparse, and other variants, in: Jordan
    (ed.), Learning in Graphical Models, 355-368, section 2.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [12.0]], [[[4.0]], [[4.0]]])
    >>> q = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    >>> bound = fastem.elbo(X, params, q)
    >>> [round(value, 6) for value in bound]
    [-24.891435, 14.670515, -10.220919]

    The M-step for these q raises it:

    >>> better = fastem.m_step(fastem.moments(X, resp=q))
    >>> fastem.elbo(X, better, q).elbo > bound.elbo
    True
    """
    source = find_source(X, sample_weight, with_errors=True, n_features=check_gaussian(params).means.shape[1])
    K = params.n_columns
    distributions = check_distributions(q, source.n_rows, K)
    scorer = scorer_for(source, params)

    def add(block: Block) -> Array:
        n = len(block.X)
        scores = Scores.empty(n, K, density=True, joint=True)
        scorer.fill(block, scores)
        own = distributions[block.start : block.start + n]
        with np.errstate(divide="ignore", invalid="ignore"):
            log_q = np.log(own)
            log_posterior = scores.joint - scores.density[:, None]
            parts = own * (scores.joint - log_q), own * (log_q - log_posterior)
        bound, divergence = (np.where(own > 0, part, 0.0).sum(axis=1) for part in parts)
        rows = np.stack([bound, divergence, scores.density])
        if block.weight is None:
            return np.asarray(rows.sum(axis=1))
        present = block.weight > 0  # 0 times -inf would be NaN
        return np.asarray((rows[:, present] * block.weight[present]).sum(axis=1))

    total = source.reduce(add, rows_at_once(max(K, source.n_features)))
    return Bound(*total.tolist())
