"""Stepwise EM, for streams: one M-step per block of rows, and each row is read once."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import ArrayLike

from fastem.fitting.options import check_mixture
from fastem.model.families import find_family
from fastem.model.maximisation import check_stats, m_step
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.statistics import evaluate_finely
from fastem.sources.opening import find_source

EXPONENT = 0.6  # how fast rows are forgotten; the value that Cappé & Moulines recommend


@dataclass(frozen=True)
class Stepwise:
    """A mixture that follows a stream of blocks of rows: stepwise (online) EM.

    A step takes the statistics S of a block under the present parameters, moves the running statistics towards them
    and makes new parameters of these (Cappé & Moulines 2009; with blocks, Liang & Klein 2009)::

        s <- (1 - gamma) s + gamma S / w       gamma = (w / W) ** exponent       params <- m_step(s)

    w is the weight of the block, W that of all rows so far with it. For blocks of equal weight gamma is
    ``t ** -exponent`` at step t. Without `stats` the first block replaces them wholly (gamma = 1): the start is
    forgotten.

    Parameters
    ----------
    params : Params
        the start, for instance of a fit of some first rows
    covariance_type : "full" (default), "tied", "diag", "spherical", "tied_diag", "tied_spherical", or one of mclust's
        fourteen names, "EII" to "VVV"
        the family of `params`
    reg_covar : float, default 1e-6
        what is added to every variance in each M-step
    exponent : float, default 0.6, above 1/2 and at most 1
        how fast rows are forgotten. With 1 nothing is forgotten: what the first blocks contributed under poor
        parameters stays in the mean. 0.6 is the value that Cappé & Moulines recommend
    stats : Stats, optional
        the running statistics, scaled to the weight W, for instance of a fit of some first rows. Default None: the
        first block makes them
    n_steps : int, default 0
        the number of blocks so far

    Raises
    ------
    ValueError
        if `params` or `stats` are of another family or size, or `reg_covar` or `exponent` is out of range

    Notes
    -----
    What it guarantees: for rows drawn independently from one distribution, with 1/2 < exponent <= 1, parameters that
    stay in a compact set converge to a stationary point of the Kullback-Leibler divergence from that distribution,
    with probability 1 (Cappé & Moulines); their variance decays as gamma does.

    What it does not: a step may lower the likelihood, of the block or of all rows. Of finitely many rows it does not
    find the maximum-likelihood estimate, but something near it, which depends on their order. Rows in a sorted order
    break the theorem: the mixture then follows what it has seen last, with a memory of about ``t ** exponent``
    blocks. Shuffle such data, or fit them as a whole. The local optimum is decided by the start.

    A state never changes: `partial_fit` returns the next one, and a block that fails leaves the last one as it was.

    See Also
    --------
    GaussianMixture.partial_fit : the same in the estimator.
    em : fits rows that can be read more than once.

    References
    ----------
    Cappé & Moulines (2009), J. R. Stat. Soc. B 71, 593-613; Liang & Klein (2009), NAACL-HLT, 611-619.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> state = fastem.Stepwise(fastem.make_params([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.0], "spherical"), "spherical")
    >>> for _ in range(100):
    ...     state = state.partial_fit(rng.normal(2.0, size=(1000, 1)) + 5.0 * rng.integers(0, 2, size=(1000, 1)))
    >>> state.params.means.round(1).ravel(), state.n_steps, state.stats.n_rows
    (array([2. , 6.9]), 100, 100000)
    """

    params: Params
    covariance_type: str = "full"
    reg_covar: float = 1e-6
    exponent: float = EXPONENT
    stats: Stats | None = None
    n_steps: int = 0

    def __post_init__(self) -> None:
        check_mixture(self.params, self.covariance_type, self.reg_covar)
        if not isinstance(self.exponent, numbers.Real) or not 0.5 < self.exponent <= 1:
            raise ValueError(f"exponent must be a number in (0.5, 1]; got {self.exponent!r}")
        if self.stats is not None:
            check_stats(self.stats, self.covariance_type)
            if self.stats.s1.shape != self.params.means.shape:
                shapes = f"{self.stats.s1.shape}, and params of {self.params.means.shape}"
                raise ValueError(f"stats and params must be of as many components and features; got stats of {shapes}")

    @property
    def mean_loglik(self) -> float:
        """The running mean log-likelihood per row, of each block under the parameters before it; NaN before any."""
        return math.nan if self.stats is None else self.stats.loglik / self.stats.sum_w

    def partial_fit(self, X: Any, sample_weight: ArrayLike | None = None) -> Stepwise:
        """Return the state after one more block.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        sample_weight : (N,) array-like, non-negative, optional
            weight 2 is the row twice, weight 0 the row absent. Default None: each row has weight 1

        Returns
        -------
        Stepwise

        Raises
        ------
        ValueError
            if the data cannot be used
        SingularCovarianceError
            (a ValueError) if a component collapses
        """
        params = self.params
        D = params.means.shape[1]
        source = find_source(X, sample_weight, n_features=D, takes_gaps=True, with_errors=True)
        block = evaluate_finely(source, params, find_family(self.covariance_type))
        stats = step_towards(block, None if self.stats is None else self._known(block), self.exponent)
        params = m_step(stats, self.covariance_type, reg_covar=self.reg_covar, previous=params)
        return replace(self, params=params, stats=stats, n_steps=self.n_steps + 1)

    def _known(self, block: Stats) -> Stats:
        """Return the running statistics; if their log-likelihood is not known (NaN), it is the block's, per row."""
        assert self.stats is not None
        if not math.isnan(self.stats.loglik):
            return self.stats
        return replace(self.stats, loglik=self.stats.sum_w * block.loglik / block.sum_w)


def step_towards(block: Stats, running: Stats | None, exponent: float = EXPONENT) -> Stats:
    """Return running statistics that have moved towards those of a block; None stands for none before the block.

    They are scaled to the weight of all rows so far.
    """
    if running is not None and block.sum_w == 0:  # rows of which nothing is observed
        return running
    before = 0.0 if running is None else running.sum_w
    total = before + block.sum_w
    gamma = (block.sum_w / total) ** exponent
    stats = block.scaled(gamma * total / block.sum_w)
    if running is None:
        return stats
    return running.shifted(block.origin).scaled((1 - gamma) * total / before) + stats
