"""`MixtureRegressor`: regression by a Gaussian mixture of features and targets, to scikit-learn's protocol."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.analysis.marginals import Conditional
from fastem.estimators.conditioning import Fill, for_each_pattern
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.parameters import check_constructor
from fastem.estimators.protocol import Estimator
from fastem.estimators.recommended import recommended_model
from fastem.estimators.targets import as_targets, check_targets, r2_score
from fastem.kernels.jit import threads
from fastem.model.checks import check_fitted, check_n_samples, check_n_threads, check_random_state
from fastem.model.matrices import Array
from fastem.model.remedies.base import Remedy
from fastem.sources.blocks import ArraySource, Source
from fastem.sources.opening import find_named, find_source
from fastem.sources.parts import local_rows
from fastem.sources.rows import check_n_features

OWN_PARAMETERS = ("n_components", "covariance_type", "regularization", "n_init", "missing", "random_state", "n_threads")


class MixtureRegressor(Estimator):
    """Regression by a mixture: a Gaussian mixture is fitted to features and targets together, then conditioned.

    Given x, y has a mixture whose weights depend on x, and whose components have means that are linear in x. So the
    mean is a curve, the standard deviation varies with x, and the density may have several peaks. One component is
    linear regression.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : str, default "full"
        as in `GaussianMixture`. Means of components are linear in x with "full" and "tied", constant with the others
    regularization : str or a remedy, default "geometric"
        as in `GaussianMixture`; `fastem.Ridge` and others with a larger strength shrink where features are many
    n_init : int, default 1
        number of searches for a start; the fit with the largest lower bound is kept
    missing : bool, default False
        NaN in X is a value that is missing at random; y is predicted from the features that a row has. Default: NaN is
        refused
    random_state : int, RandomState or None, default None
        seed of the search; None takes NumPy's global generator
    n_threads : int, optional
        most threads that a method uses. Default: as many as Numba is set to

    Attributes
    ----------
    mixture_ : GaussianMixture, fitted to the features and, behind them, the targets, as `fastem.fit` does
    target_shape_ : tuple, () if y was (N,), else (U,)
    n_features_in_ : int
    feature_names_in_ : (V,) array of str, only if X was a data frame

    See Also
    --------
    from_mixture : a regressor of a mixture that is fitted already, with any options
    GaussianMixture.conditional_mean : regression on any features of a mixture

    Notes
    -----
    The units of features and targets do not matter, but for what a fit leaves to gain, 0.1 nats of all rows. Results
    are float64. A choice of `n_components` by `fastem.select` looks at the joint density; scikit-learn's
    ``GridSearchCV`` looks at R^2 or, with a function that returns ``model.log_density(X, y).mean()`` as `scoring`, at
    the density of y given x.

    References
    ----------
    Ghahramani & Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6, 120-127; Sung
    (2004), Gaussian mixture regression and classification, PhD thesis, Rice University, chapter 3.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-3, 3, size=(2000, 1))
    >>> y = np.abs(x[:, 0]) + rng.normal(scale=0.1 + 0.3 * (x[:, 0] > 0))
    >>> model = fastem.MixtureRegressor(4, random_state=0).fit(x, y)
    >>> mean, std = model.predict([[-2.0], [2.0]], return_std=True)
    >>> mean.round(1), std.round(1), round(model.score(x, y), 1)
    (array([2., 2.]), array([0.1, 0.4]), 0.9)
    """

    kind, fitted, weighted = "regressor", "mixture_", ("fit", "score")
    if TYPE_CHECKING:  # what a fit sets
        mixture_: GaussianMixture
        target_shape_: tuple[int, ...]
        n_features_in_: int
        feature_names_in_: NDArray[Any]

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        regularization: str | Remedy = "geometric",
        n_init: int = 1,
        missing: bool = False,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.regularization = regularization
        self.n_init = n_init
        self.missing = missing
        self.random_state = random_state
        self.n_threads = n_threads

    @classmethod
    def from_mixture(cls, model: GaussianMixture, n_targets: int | None = None) -> Self:
        """Return a regressor of a mixture that is fitted already, to rows from files for one, or with other options.

        Parameters
        ----------
        model : GaussianMixture, fitted
            its last features are the targets; ``model.marginal(order)`` puts them there
        n_targets : int, optional
            how many; predictions are then (N, n_targets). Default: one, and predictions are (N,)

        Returns
        -------
        MixtureRegressor

        Raises
        ------
        TypeError
            for anything but a `GaussianMixture`
        NotFittedError
            if the mixture is not fitted
        ValueError
            unless at least one feature and one target are there

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()  # the waiting time, given the eruption's length
        >>> model = fastem.MixtureRegressor.from_mixture(fastem.fit(X, 2, random_state=0))
        >>> model.predict([[2.0], [4.0]]).round(1)
        array([54.2, 78.4])
        """
        if not isinstance(model, GaussianMixture):
            raise TypeError(f"from_mixture takes a GaussianMixture; got a {type(model).__name__}")
        check_fitted(model)
        D, U = model.means_.shape[1], check_targets(n_targets, model.means_.shape[1])
        parameters = {name: value for name, value in model.get_params().items() if name in OWN_PARAMETERS}
        regressor = cls(**parameters)
        regressor._set_mixture(model, D - U, () if n_targets is None else (U,), None)
        if hasattr(model, "feature_names_in_"):
            regressor.feature_names_in_ = model.feature_names_in_[: D - U]
        return regressor

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture of features and targets.

        Parameters
        ----------
        X : (N, V) array-like or data frame
            in memory. For rows in files, fit a `GaussianMixture` to features and targets side by side, and take
            `from_mixture`
        y : (N,) or (N, U) array-like
        sample_weight : (N,) array-like, non-negative, optional
            weight 2 is the row twice, weight 0 the row absent. Weights whose mean is below 1 are scaled to mean 1.
            Default: 1

        Returns
        -------
        self

        Raises
        ------
        ValueError
            for parameters or data that cannot be used. The estimator is then unchanged
        TypeError
            for rows that are not in memory

        Warns
        -----
        ConvergenceWarning
            if the fit has not converged after 1000 passes
        """
        parameters = {name: getattr(self, name) for name in OWN_PARAMETERS}
        check_constructor(GaussianMixture(**parameters), type(self).__name__)
        gaps = bool(self.missing)
        source = find_source(X, sample_weight, min_rows=2, who=type(self).__name__, missing=gaps)
        if not isinstance(source, ArraySource):
            raise TypeError(
                "MixtureRegressor fits rows in memory: for others, fit a GaussianMixture to features and targets side "
                "by side, and take MixtureRegressor.from_mixture"
            )
        targets = as_targets(y, source.n_rows, type(self).__name__)
        weight = source.weight
        if weight is not None:
            weight = weight / min(1.0, source.sum_w / source.n_present)
        joint = find_source(np.column_stack([source.X, targets]), weight, missing=gaps)
        mixture = recommended_model(joint, parameters.pop("n_components"), **parameters).fit(joint)
        self._set_mixture(mixture, source.n_features, targets.shape[1:], source.columns)
        return self

    def _set_mixture(
        self, mixture: GaussianMixture, V: int, target_shape: tuple[int, ...], names: NDArray[Any] | None
    ) -> None:
        """Set the fitted attributes."""
        self.mixture_, self.n_features_in_, self.target_shape_ = mixture, V, target_shape
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names

    # --- what is known of y ---------------------------------------------------------------------------------------

    def predict(self, X: Any, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Return the mean of y given each row, and with `return_std` its standard deviation.

        Parameters
        ----------
        X : (N, V) array-like, or what `fastem.as_source` takes
        return_std : bool, default False

        Returns
        -------
        mean : (N,) or (N, U) float64, as y was
        std : the same, only with `return_std`
            of y, not of its mean. The uncertainty of the parameters is not in it

        Raises
        ------
        NotFittedError
            if the regressor is not fitted
        ValueError
            for rows that cannot be used

        See Also
        --------
        log_density : the whole distribution
        """
        source = self._rows(X)
        mean, variance = np.empty((2, source.n_rows, self._n_targets))

        def fill(conditional: Conditional, X: NDArray[Any], rows: NDArray[np.intp]) -> None:
            mean[rows], variance[rows] = conditional.mean_and_variance(X)

        self._for_each(source, fill)
        shape = (source.n_rows, *self.target_shape_)
        return (mean.reshape(shape), np.sqrt(variance).reshape(shape)) if return_std else mean.reshape(shape)

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> Array:
        """Draw targets from their distribution given each row.

        Parameters
        ----------
        X : (N, V) array-like, or what `fastem.as_source` takes
        n_samples : int, default 1
            draws for each row
        random_state : int, RandomState or None, default 0
            as in scikit-learn's ``GaussianProcessRegressor``; None takes NumPy's global generator

        Returns
        -------
        (N, n_samples) or (N, U, n_samples) float64

        Raises
        ------
        NotFittedError
            if the regressor is not fitted
        ValueError
            for arguments or rows that cannot be used

        Examples
        --------
        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.MixtureRegressor(2, random_state=0).fit(X[:, :1], X[:, 1])
        >>> model.sample_y([[2.0], [4.0]], 1000).mean(axis=1).round()
        array([54., 78.])
        """
        source = self._rows(X)
        check_n_samples(n_samples)
        rng = check_random_state(random_state)
        uniforms = rng.uniform(size=(source.n_rows, n_samples))
        draws = rng.standard_normal((source.n_rows, n_samples, self._n_targets))

        def fill(conditional: Conditional, X: NDArray[Any], rows: NDArray[np.intp]) -> None:
            draws[rows] = conditional.draw(X, uniforms[rows], draws[rows])

        self._for_each(source, fill, n_samples)
        return np.ascontiguousarray(np.moveaxis(draws, 1, 2)).reshape(source.n_rows, *self.target_shape_, n_samples)

    def log_density(self, X: Any, y: Any) -> Array:
        """Return the log density of each row's y, given its x.

        Parameters
        ----------
        X : (N, V) array-like, or what `fastem.as_source` takes
        y : (N,) or (N, U) array-like, as in the fit

        Returns
        -------
        (N,) float64

        Raises
        ------
        NotFittedError
            if the regressor is not fitted
        ValueError
            for rows or targets that cannot be used

        Examples
        --------
        After an eruption of three minutes, a wait of 72 minutes is likelier than one of 60:

        >>> import fastem
        >>> X, names = fastem.load_faithful()
        >>> model = fastem.MixtureRegressor(2, random_state=0).fit(X[:, :1], X[:, 1])
        >>> model.log_density([[3.0], [3.0]], [60.0, 72.0]).round(1)
        array([-4.3, -2.8])
        """
        source = self._rows(X)
        targets = as_targets(y, source.n_rows, type(self).__name__)
        if targets.shape[1:] != self.target_shape_:
            raise ValueError(
                f"y should have shape {(source.n_rows, *self.target_shape_)}, as in the fit; got {targets.shape}"
            )
        values, out = targets.reshape(source.n_rows, -1), np.empty(source.n_rows)

        def fill(conditional: Conditional, X: NDArray[Any], rows: NDArray[np.intp]) -> None:
            out[rows] = conditional.log_density(X, values[rows])

        self._for_each(source, fill)
        return out

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the coefficient of determination R^2 of the predictions, as scikit-learn's regressors do.

        Parameters
        ----------
        X : (N, V) array-like, or what `fastem.as_source` takes
        y : (N,) or (N, U) array-like
        sample_weight : (N,) array-like, non-negative, optional

        Returns
        -------
        float
            the mean over targets; NaN, with a warning, for a single row

        Raises
        ------
        NotFittedError
            if the regressor is not fitted
        ValueError
            for rows, targets or weights that cannot be used

        See Also
        --------
        log_density : its mean also rates the spread
        """
        predicted = self.predict(X)
        targets = as_targets(y, len(predicted), type(self).__name__)
        if len(targets) < 2:
            warnings.warn("R^2 score is not well-defined with less than two samples.", stacklevel=2)
            return float("nan")
        return r2_score(targets, np.asarray(predicted), sample_weight)

    # --- how ------------------------------------------------------------------------------------------------------

    @property
    def _n_targets(self) -> int:
        return int(self.mixture_.means_.shape[1]) - self.n_features_in_

    def _rows(self, X: Any) -> Source:
        """Return a source of rows that have the features of the fit."""
        check_fitted(self)
        who = type(self).__name__
        names = getattr(self, "feature_names_in_", None)
        source = local_rows(find_named(X, names, who=who, missing=bool(self.missing)))
        check_n_features(source.n_features, self.n_features_in_, who)
        return source

    def _for_each(self, source: Source, fill: Fill, n_samples: int = 1) -> None:
        """Call a function with the mixture of the targets, rows that show the same features, and their numbers."""
        with threads(check_n_threads(self.n_threads)):
            for_each_pattern(source, self.mixture_.params_, fill, n_samples)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        tags = super().__sklearn_tags__()
        tags.regressor_tags = RegressorTags()
        tags.target_tags.required = tags.target_tags.multi_output = True
        return tags
