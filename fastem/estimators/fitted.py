"""Uses of a fitted mixture that scikit-learn's class does not have: marginals, regression, divergence, merging."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.analysis.marginals import Conditional, marginalise
from fastem.analysis.merging import Merging, merge_by_entropy, row_entropy
from fastem.analysis.montecarlo import Estimate, kl_divergence
from fastem.estimators.parameters import check_features, check_values
from fastem.estimators.rows import rows_for
from fastem.estimators.state import MixtureState, check_other, count_seen, family_of, names_of, set_names
from fastem.kernels.jit import threads
from fastem.model.checks import check_fitted, check_n_samples, check_n_threads, check_random_state
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.sources.blocks import Block, rows_at_once
from fastem.sources.opening import find_named
from fastem.sources.parts import local_rows
from fastem.sources.rows import check_n_features

Mixture = TypeVar("Mixture", bound="Fitted")


def model_like(model: Mixture, params: Params, names: NDArray[Any] | None) -> Mixture:
    """Return a model with other parameters, whose features have these names or None.

    It is of the same family if that leaves every number free: what a part of a mixture obeys is another matter.
    """
    family, noise = family_of(model), params.noise
    shares = params.weights / (params.weights.sum() + (noise.weight if noise else 0.0))  # float32's sum is off
    covariances = params.covariances.reshape(family.natural_shape(*params.means.shape))
    made = model.from_parameters(shares, params.means, covariances, family.plain, noise, count_seen(model))
    made.set_params(random_state=model.random_state, n_threads=model.n_threads)
    set_names(made, names)
    return made


class Fitted(MixtureState):
    """The methods of `GaussianMixture` for marginals, regression, divergence and merging.

    Features are given by position or, if the model was fitted with feature names, by name.
    """

    if TYPE_CHECKING:  # what `GaussianMixture` has

        @classmethod
        def from_parameters(cls, *args: Any, **kwargs: Any) -> Self: ...  # noqa: D102

    def _features(self, features: Any, *, some_left: bool = False) -> tuple[NDArray[np.intp], NDArray[Any] | None]:
        """Return positions of features, and the names of all or None; with `some_left` not all may be given."""
        check_fitted(self)
        D, names = self.means_.shape[1], names_of(self)
        return check_features(features, D - some_left, D, names), names

    # --- marginal and conditional mixtures ------------------------------------------------------------------------

    def marginal(self, features: Any) -> Self:
        """Return the mixture of some of the features, in the order given.

        ``model.marginal(features).sample(n)`` draws from it.

        Parameters
        ----------
        features : sequence of distinct int or str, or one of them

        Returns
        -------
        GaussianMixture
            a new one of the same covariance type, float64. (Where volume, shape or axes are shared, as in mclust's
            "VEI", a part of the mixture is "full" or "diag")

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if one of `features` is no feature

        See Also
        --------
        condition : the mixture of the other features, given values of these

        References
        ----------
        Bishop (2006), Pattern Recognition and Machine Learning, eq. 2.98.

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([1.0], [[1.0, 5.0]], [[[2.0, 0.5], [0.5, 3.0]]])
        >>> model.marginal(1).covariances_
        array([[[3.]]])
        """
        chosen, names = self._features(features)
        return model_like(self, marginalise(self.params_, chosen), None if names is None else names[chosen])

    def condition(self, features: Any, values: ArrayLike) -> Self:
        """Return the mixture of the other features, in their order, given values of these.

        Parameters
        ----------
        features : sequence of distinct int or str, or one of them
            not all features
        values : (len(features),) array-like

        Returns
        -------
        GaussianMixture
            a new one, of the covariance type that `marginal` gives, float64. Its weights are the responsibilities,
            given the values

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if one of `features` is no feature, or the values are not as many finite numbers

        See Also
        --------
        conditional_mean, conditional_variance : for many rows of values
        marginal : the mixture of some features, whatever the others are

        References
        ----------
        Bishop (2006), Pattern Recognition and Machine Learning, eqs. 2.81 and 2.82.

        Examples
        --------
        >>> import fastem
        >>> covariances = [[[1.0, 0.8], [0.8, 1.0]], [[1.0, -0.8], [-0.8, 1.0]]]
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0, 0.0], [3.0, 9.0]], covariances)
        >>> given = model.condition(0, 2.0)
        >>> given.weights_.round(3), given.means_.round(3).ravel(), given.covariances_.round(3).ravel()
        (array([0.182, 0.818]), array([1.6, 9.8]), array([0.36, 0.36]))
        """
        chosen, names = self._features(features, some_left=True)
        mixture = Conditional.given_features(self.params_, chosen).mixture_at(check_values(values, len(chosen)))
        rest = np.setdiff1d(np.arange(self.means_.shape[1]), chosen)
        return model_like(self, mixture, None if names is None else names[rest])

    def conditional_mean(self, X: Any, features: Any) -> NDArray[Any]:
        """Return the mean of the other features for each row of values of these: regression.

        Parameters
        ----------
        X : (N, V) array-like, or what `fastem.as_source` takes
            values of the V features, in their order
        features : sequence of distinct int or str, or one of them
            not all features

        Returns
        -------
        (N, D - V), float32 if X is, else float64
            the other features are in their order

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            if one of `features` is no feature, or the rows are not finite or of another length

        See Also
        --------
        conditional_variance : the variance about this mean
        condition : the whole mixture of the other features, for one row of values

        References
        ----------
        Ghahramani & Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6, 120-127.

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
        >>> model.conditional_mean([[2.0], [4.0]], 0).round(1)  # waiting time by the eruption's length
        array([[54.2],
               [78.4]])
        """
        return self._conditional(X, features, Conditional.mean)

    def conditional_variance(self, X: Any, features: Any) -> NDArray[Any]:
        """Return the variance of each other feature about its `conditional_mean`.

        Arguments, shape, dtype and errors are those of `conditional_mean`. The variance is larger between components
        that predict different means.

        See Also
        --------
        conditional_mean : the mean

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.GaussianMixture(2, random_state=0).fit(X)
        >>> model.conditional_variance([[2.0], [3.0], [4.0]], 0).round(1)
        array([[31. ],
               [47.4],
               [30.8]])
        """
        return self._conditional(X, features, Conditional.variance)

    def _conditional(self, X: Any, features: Any, what: Callable[[Conditional, Array], Array]) -> NDArray[Any]:
        """Return what a function of the conditional mixture and blocks of rows returns, for all rows."""
        chosen, names = self._features(features, some_left=True)
        source = local_rows(find_named(X, None if names is None else names[chosen]))
        check_n_features(source.n_features, len(chosen))
        model = Conditional.given_features(self.params_, chosen)
        K, U = model.means.shape
        out = np.empty((source.n_rows, U), dtype=source.dtype)

        def fill(block: Block) -> None:
            out[block.start : block.start + len(block.X)] = what(model, block.X)

        with threads(check_n_threads(self.n_threads)):
            source.for_each(fill, rows_at_once(K * (U + len(chosen))))
        return out

    # --- divergence and merging -----------------------------------------------------------------------------------

    def kl_divergence(self, other: Fitted, n_samples: int = 100_000, random_state: Any = None) -> Estimate:
        """Return the Kullback-Leibler divergence KL(self || other) = E_self[log p_self - log p_other], by Monte Carlo.

        Parameters
        ----------
        other : fitted GaussianMixture of as many features
        n_samples : int, at least 2, default 100,000
            number of draws from this mixture; the standard error falls with its root
        random_state : int, RandomState or None, default None

        Returns
        -------
        Estimate
            with the attributes value, in nats, and standard_error. The value is inf if the other's density underflows
            at a draw

        Raises
        ------
        NotFittedError
            if one of the mixtures is not fitted
        ValueError
            for another number of features, or a mixture with noise, whose density does not integrate to 1
        TypeError
            if the other is no mixture
        MemoryError
            if the draws are more than fit into memory

        See Also
        --------
        align_to : the same divergence between single components, to compare two fits

        References
        ----------
        Hershey & Olsen (2007), Approximating the Kullback Leibler divergence between Gaussian mixture models, ICASSP,
        section 2.

        Examples
        --------
        >>> import fastem
        >>> p = fastem.GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
        >>> q = fastem.GaussianMixture.from_parameters([1.0], [[1.0]], [1.0], "spherical")
        >>> estimate = p.kl_divergence(q, random_state=0)  # 0.5
        >>> abs(estimate.value - 0.5) < 4 * estimate.standard_error, round(estimate.standard_error, 4)
        (True, 0.0032)
        """
        check_n_samples(n_samples, least=2)
        check_other(other, "kl_divergence")
        mine, others = self.params_, other.params_
        check_n_features(others.means.shape[1], mine.means.shape[1])
        if mine.noise or others.noise:
            raise ValueError("kl_divergence needs densities: that of a noise component is constant, on and on")
        rng = check_random_state(random_state)
        with threads(check_n_threads(self.n_threads)):
            return kl_divergence(mine, others, int(n_samples), rng)

    def responsibility_entropy(self, X: Any) -> Array:
        """Return how uncertain the component of each row is: -sum_k r_nk log r_nk, from 0 to log K nats.

        Twice the sum over the rows is the difference of ICL and BIC, about (Biernacki, Celeux & Govaert 2000). `merge`
        lowers it.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes

        Returns
        -------
        (N,) float64

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        predict_proba : the responsibilities r_nk
        merge : join components that overlap

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
        >>> model.responsibility_entropy([[0.0], [4.5]]).round(3)
        array([0.   , 0.693])
        """
        source = rows_for(self, X)
        with threads(check_n_threads(self.n_threads)):
            return row_entropy(source, self.params_)

    def merge(self, X: Any, sample_weight: ArrayLike | None = None) -> Merging:
        """Join components that overlap to clusters that are not Gaussian.

        BIC finds as many components as the density needs, and a cluster of another shape needs several. From the
        fitted K down to 1, each step joins the two clusters whose union lowers the entropy of the assignment most.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes
            the rows of the fit
        sample_weight : (N,) array-like, non-negative, or as `fastem.as_source` takes it

        Returns
        -------
        Merging
            the hierarchy, its entropies, and the clusters of components and rows for each number of clusters. Noise
            is not joined to a cluster

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for data that cannot be used

        See Also
        --------
        responsibility_entropy : the entropy of each row
        fastem.select : choose the number of components

        References
        ----------
        Baudry, Raftery, Celeux, Lo & Gottardo (2010), Combining mixture components for clustering, J. Comput. Graph.
        Stat. 19, 332-353, section 3.

        Examples
        --------
        >>> import fastem
        >>> means = [[0.0], [1.0], [9.0]]
        >>> model = fastem.GaussianMixture.from_parameters([0.3, 0.3, 0.4], means, [1.0, 1.0, 1.0], "spherical")
        >>> X, _ = model.sample(500)
        >>> merging = model.merge(X)
        >>> merging.clusters(2), merging.predict([[0.5], [8.0]], 2)
        (array([0, 0, 1]), array([0, 1]))
        """
        source = rows_for(self, X, sample_weight)
        with threads(check_n_threads(self.n_threads)):
            return Merging(copy.copy(self), *merge_by_entropy(source, self.params_))
