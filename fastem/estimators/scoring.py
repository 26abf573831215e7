"""Labels, probabilities and densities of rows under a fitted mixture, and draws from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.analysis.montecarlo import draw
from fastem.estimators import criteria
from fastem.estimators.lazy_scores import lazy_on_dask
from fastem.estimators.parameters import check_top
from fastem.estimators.rows import rows_for
from fastem.estimators.state import NOISE_LABEL, MixtureState, count_parameters, has_noise
from fastem.kernels.jit import threads
from fastem.model.checks import check_fitted, check_n_samples, check_n_threads, check_random_state
from fastem.model.matrices import Array
from fastem.passes.scorer import Scores
from fastem.passes.scores import mean_density, score
from fastem.sources.blocks import Source


def scores_of(model: MixtureState, source: Source, **wanted: Any) -> Scores:
    """Return the scores of rows under a fitted mixture, on its threads; noise has the label -1.

    Parameters
    ----------
    model : GaussianMixture, fitted
    source : Source, as `rows_for` returns it
    **wanted : names of the fields of `Scores` that are asked for, as in `fastem.passes.scores.score`
    """
    params = model.params_
    with threads(check_n_threads(model.n_threads)):
        scores = score(source, params, **wanted)
    if params.noise is not None:
        for index in (scores.label, scores.top_index):
            index[index == len(params.means)] = NOISE_LABEL
    return scores


def mean_density_of(model: MixtureState, X: Any, sample_weight: Any = None, errors: Any = None) -> tuple[float, float]:
    """Return the mean log density of rows under a fitted mixture, and the sum of weights that the mean is over."""
    source = rows_for(model, X, sample_weight, errors=errors)
    with threads(check_n_threads(model.n_threads)):
        return mean_density(source, model.params_)


class Scoring(MixtureState):
    """The methods of `GaussianMixture` that score rows. X is (N, D), or what `fastem.as_source` takes."""

    @lazy_on_dask
    def predict(self, X: Any, *, error_covariance: Any = None) -> NDArray[np.int64]:
        """Return the most probable component of each row. No N x K array is made.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        error_covariance : array-like, optional
            covariances of the rows' errors of measurement, as `fit` takes them

        Returns
        -------
        (N,) int64
            -1 for noise. Of a Dask collection the labels are a lazy collection; this holds for all scores

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        predict_top : the m most probable components, and their probabilities
        fastem.write_scores : write the labels of more rows than fit into memory to a file

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
        >>> model.predict([[1.0], [8.0]])
        array([0, 1])
        """
        return scores_of(self, rows_for(self, X, errors=error_covariance), label=True).label

    @lazy_on_dask
    def predict_proba(self, X: Any, *, error_covariance: Any = None) -> NDArray[Any]:
        """Return the probability (responsibility) of each component for each row.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        error_covariance : array-like, optional
            covariances of the rows' errors of measurement, as `fit` takes them

        Returns
        -------
        (N, K), float32 if X is, else float64
            each row sums to 1. With `noise` there are K + 1 columns; the last is the probability of noise

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        predict_top : the largest of these alone, without an N x K array

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [2.0]], [1.0, 1.0], "spherical")
        >>> model.predict_proba([[1.0], [2.0]]).round(3)
        array([[0.5  , 0.5  ],
               [0.119, 0.881]])
        """
        source = rows_for(self, X, errors=error_covariance)
        return scores_of(self, source, resp=True).resp.astype(source.dtype, copy=False)

    def predict_top(self, X: Any, m: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the m most probable components of each row and their probabilities. No N x K array is made.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        m : int in [1, K], or K + 1 with `noise`

        Returns
        -------
        indices : (N, m) int64
            the most probable component first, and of equals the lower index first; -1 for noise
        values : (N, m), float32 if X is, else float64
            their probabilities, those of `predict_proba`. The other components have 1 - values.sum(axis=1)

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if m is not an int in that range, or for rows that cannot be used

        See Also
        --------
        predict : the most probable component
        predict_proba : the probabilities of all components

        Examples
        --------
        >>> import fastem
        >>> means, variances = [[0.0], [1.0], [9.0]], [1.0, 1.0, 1.0]
        >>> model = fastem.GaussianMixture.from_parameters([0.2, 0.3, 0.5], means, variances, "spherical")
        >>> indices, values = model.predict_top([[0.0], [8.0]], 2)
        >>> indices, values.round(3)
        (array([[0, 1],
               [2, 1]]), array([[0.524, 0.476],
               [1.   , 0.   ]]))
        """
        source = rows_for(self, X)
        top = check_top(m, len(self.means_) + has_noise(self))
        scores = scores_of(self, source, top=top)
        return scores.top_index, scores.top_resp.astype(source.dtype, copy=False)

    @lazy_on_dask
    def score_samples(self, X: Any, *, error_covariance: Any = None) -> NDArray[Any]:
        """Return the log density of each row.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        error_covariance : array-like, optional
            covariances of the rows' errors of measurement, as `fit` takes them

        Returns
        -------
        (N,), float32 if X is, else float64
            -inf where the density underflows under every component

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        score : their mean
        fastem.AnomalyDetector : rows of low density

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
        >>> model.score_samples([[0.0], [2.0]]).round(3)
        array([-0.919, -2.919])
        """
        source = rows_for(self, X, errors=error_covariance)
        with np.errstate(over="ignore"):  # float32: -1e45 becomes -inf
            return scores_of(self, source, density=True).density.astype(source.dtype, copy=False)

    def score(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, *, error_covariance: Any = None
    ) -> float:
        """Return the mean log density of the rows.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        y : ignored
        sample_weight : (N,) array-like, non-negative, optional
            by which the mean is weighted
        error_covariance : array-like, optional
            covariances of the rows' errors of measurement, as `fit` takes them

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows or weights that cannot be used

        See Also
        --------
        score_samples : the log density of each row
        """
        return mean_density_of(self, X, sample_weight, error_covariance)[0]

    def sample(self, n_samples: int = 1) -> tuple[Array, NDArray[np.int64]]:
        """Draw rows from the fitted mixture, in scikit-learn's order of draws.

        Parameters
        ----------
        n_samples : int, at least 1, default 1

        Returns
        -------
        X : (n_samples, D) float64, sorted by component
        y : (n_samples,) int64, the components; -1 for noise, which comes last

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if n_samples is not a positive integer
        MemoryError
            if the draws are more than fit into memory

        See Also
        --------
        marginal : ``model.marginal(features).sample(n)`` draws some of the features
        condition : ``model.condition(features, values).sample(n)`` draws the others

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[0.0, 5.0]], [1.0], "spherical")
        >>> X, y = model.set_params(random_state=0).sample(3)
        >>> X.shape, y
        ((3, 2), array([0, 0, 0]))
        """
        check_fitted(self)
        check_n_samples(n_samples)
        rng = check_random_state(self.random_state)
        rows, y = draw(self.params_, n_samples, rng)
        y[y == len(self.means_)] = NOISE_LABEL
        return rows, y

    # --- names that users of scikit-learn's class call ------------------------------------------------------------

    def _estimate_weighted_log_prob(self, X: Any, xp: Any = None) -> Array:
        """Return log weight + log density of each component, (N, K)."""
        return scores_of(self, rows_for(self, X), joint=True).joint

    def _estimate_log_prob_resp(self, X: Any, xp: Any = None) -> tuple[Array, Array]:
        """Return the log density of each row, (N,), and the log responsibilities of the components, (N, K)."""
        scores = scores_of(self, rows_for(self, X), joint=True, density=True)
        return scores.density, scores.joint - scores.density[:, None]

    def _estimate_log_prob(self, X: Any, xp: Any = None) -> Array:
        """Return the log density of each component, (N, K)."""
        params = self.params_._replace(weights=np.ones(len(self.means_)), noise=None)
        with threads(check_n_threads(self.n_threads)):
            return score(rows_for(self, X), params, joint=True).joint

    def _estimate_log_weights(self, xp: Any = None) -> NDArray[Any]:
        """Return the log weights, (K,)."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.weights_))


class Criteria(MixtureState):
    """The methods of `GaussianMixture` that rate a fit by its number of parameters."""

    def bic(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion on rows, the lower the better.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
        sample_weight : (N,) array-like, non-negative, optional
            the number of rows in the criterion is the sum of weights

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows or weights that cannot be used

        See Also
        --------
        aic : Akaike's criterion
        fastem.select : choose the number of components and the covariance type by a criterion
        """
        mean, n = mean_density_of(self, X, sample_weight)
        return criteria.bic(mean * n, count_parameters(self), n)

    def aic(self, X: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion on rows, the lower the better; arguments and errors as in `bic`.

        See Also
        --------
        bic : the Bayesian criterion
        """
        mean, n = mean_density_of(self, X, sample_weight)
        return criteria.aic(mean * n, count_parameters(self))
