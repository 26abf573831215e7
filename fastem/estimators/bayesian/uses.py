"""Scores of rows under a posterior, the bound on the evidence, and mixtures that a posterior makes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.analysis.posteriors import draw_mixtures, predictive_density
from fastem.estimators.bayesian.state import PosteriorState, prior_of_fit
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.lazy_scores import lazy_on_dask
from fastem.estimators.rows import rows_for
from fastem.estimators.scoring import Scoring, mean_density_of, scores_of
from fastem.estimators.state import family_of, names_of, set_names
from fastem.kernels.jit import threads
from fastem.model.checks import check_n_samples, check_n_threads, check_random_state
from fastem.model.matrices import Array, SingularCovarianceError

IN_USE = 0.5  # of a row: what a component must hold beyond its prior to be in use


class PosteriorUses(Scoring, PosteriorState):
    """The methods of `BayesianGaussianMixture` beside its fit."""

    # --- scores ---------------------------------------------------------------------------------------------------

    @lazy_on_dask
    def score_samples(self, X: Any, predictive: bool = False, *, error_covariance: Any = None) -> NDArray[Any]:
        """Return the log of the summed expected component densities of each row, or its predictive log density.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        predictive : bool, default False
            False is scikit-learn's number, log sum_k exp(E[log weight_k p_k(x)]), what the E-step works with. It lies
            below the log of a density. True is the log density of a new row: the mean of the mixtures over the
            posterior, which is a mixture of t distributions (with `weights_`, which sum to 1)

        Returns
        -------
        (N,), float32 if X is, else float64

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        score : the mean of scikit-learn's numbers

        References
        ----------
        Bishop (2006), Pattern Recognition and Machine Learning, eqs. 10.81 and 10.82.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
        >>> model.score_samples(X[:3]).round(2), model.score_samples(X[:3], predictive=True).round(2)
        (array([-4.64, -3.82, -5.74]), array([-4.62, -3.81, -5.7 ]))
        """
        if not predictive:
            return super().score_samples(X, error_covariance=error_covariance)
        posterior, source = self.posterior_, rows_for(self, X, errors=error_covariance)
        with threads(check_n_threads(self.n_threads)), np.errstate(over="ignore"):  # float32: -1e45 becomes -inf
            return predictive_density(source, posterior).astype(source.dtype, copy=False)

    def elbo(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the exact lower bound on the log evidence of rows under the prior: the evidence lower bound.

        It is the expected log likelihood, by the responsibilities of the posterior, less the divergence of the
        posterior from the prior. On the rows of the fit it differs from `lower_bound_` by a constant, but for
        `reg_covar`, and ascends from iteration to iteration where that is 0. Bounds of fits to the same rows can be
        compared if the priors are given, whatever the family and the number of components. (A prior that is made of
        the rows is none, strictly; the default ones are the same for any number of components, but for the
        concentration.)

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        sample_weight : (N,) array-like, non-negative, optional

        Returns
        -------
        float, in nats

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows or weights that cannot be used, and a prior made of rows whose covariance is singular

        See Also
        --------
        fastem.elbo : a bound of the same name on the entropy of a known mixture

        References
        ----------
        Bishop (2006), Pattern Recognition and Machine Learning, eqs. 10.70 to 10.77.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> for K in (1, 2, 3):
        ...     model = fastem.BayesianGaussianMixture(
        ...         n_components=K, weight_concentration_prior=1.0, tol=1e-6, max_iter=1000, random_state=0
        ...     )
        ...     print(K, round(model.fit(X).elbo(X), 1))
        1 -1309.5
        2 -1183.7
        3 -1188.8
        """
        posterior = self.posterior_
        mean, n = mean_density_of(self, X, sample_weight)
        try:
            return mean * n - posterior.divergence(prior_of_fit(self))
        except SingularCovarianceError:
            raise ValueError(
                "elbo needs a prior that is a distribution, but covariance_prior_ is singular (is a column of the rows "
                "of the fit constant?): pass a covariance_prior"
            ) from None

    # --- the posterior --------------------------------------------------------------------------------------------

    @property
    def n_components_in_use_(self) -> int:
        """How many components hold at least half a row beyond their prior."""
        rows = self.posterior_.mean_precision - self.mean_precision_prior_
        return int(np.count_nonzero(rows >= IN_USE))

    def sample_posterior(self, n_samples: int = 1) -> list[GaussianMixture]:
        """Draw mixtures from the posterior: what the rows leave open.

        Parameters
        ----------
        n_samples : int, at least 1, default 1

        Returns
        -------
        list of n_samples GaussianMixture
            of covariance type "full", whatever the family; see the Notes of the class. Component k is component k of
            this mixture

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if n_samples is not a positive integer

        See Also
        --------
        sample : draws rows of the mixture of expected parameters
        to_mixture : the mixture of expected parameters

        Examples
        --------
        How well is the mean of the long eruptions' waiting times known?

        >>> import numpy as np, fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
        >>> means = [mixture.means_[1, 1] for mixture in model.sample_posterior(1000)]
        >>> np.mean(means).round(0), np.std(means).round(1)
        (80.0, 0.5)
        """
        posterior = self.posterior_
        check_n_samples(n_samples)
        drawn = draw_mixtures(posterior, int(n_samples), check_random_state(self.random_state))
        return [self._named(GaussianMixture.from_parameters(*parts)) for parts in zip(*drawn, strict=True)]

    def to_mixture(self) -> GaussianMixture:
        """Return the mixture of expected parameters: weights_, means_ and covariances_.

        It has the methods of `GaussianMixture`, and its scores are log densities.

        Raises
        ------
        NotFittedError
            if the mixture is not fitted

        See Also
        --------
        sample_posterior : mixtures that are as likely

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
        >>> model.to_mixture().conditional_mean([[2.0], [4.0]], 0).round(1)
        array([[54.2],
               [78.3]])
        """
        params, family = self.params_, family_of(self)
        covariances = params.covariances.reshape(family.natural_shape(*params.means.shape))
        mixture = GaussianMixture.from_parameters(
            params.weights, params.means, covariances, family.name, n_samples_seen=self.n_samples_seen_
        )
        return self._named(mixture)

    def _named(self, mixture: GaussianMixture) -> GaussianMixture:
        """Return a mixture with this one's names of features, generator and threads."""
        mixture.set_params(random_state=self.random_state, n_threads=self.n_threads)
        set_names(mixture, names_of(self))
        return mixture

    # --- names that users of scikit-learn's class call ------------------------------------------------------------

    def _estimate_log_prob(self, X: Any, xp: Any = None) -> Array:
        """Return the expected log density of each component, (N, K)."""
        return scores_of(self, rows_for(self, X), joint=True).joint - self.posterior_.log_weights()

    def _estimate_log_weights(self, xp: Any = None) -> Array:
        """Return the expected log weights, (K,)."""
        return self.posterior_.log_weights()
