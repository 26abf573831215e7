"""Exchange of fits with scikit-learn's `GaussianMixture`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastem.estimators.state import MixtureState, family_of, has_noise, set_arrays, set_names, set_record
from fastem.model.checks import check_fitted
from fastem.model.families import find_family
from fastem.model.result import Status

THEIR_STARTS = ("kmeans", "k-means++", "random", "random_from_data")  # scikit-learn's values of init_params


class Interchange(MixtureState):
    """The methods of `GaussianMixture` that make scikit-learn's estimator and take one over."""

    if TYPE_CHECKING:  # what `GaussianMixture` has

        @classmethod
        def from_parameters(cls, *args: Any, **kwargs: Any) -> Self: ...  # noqa: D102

    def to_sklearn(self) -> Any:
        """Return the same fit as a `sklearn.mixture.GaussianMixture`: the same numbers to the last bit.

        Parameters that scikit-learn does not have are left out. An `init_params` that it does not have becomes
        "kmeans". Variances that components share are given to each, and
        a covariance type that it does not have becomes the one of its four that stores the same numbers.

        Returns
        -------
        sklearn.mixture.GaussianMixture

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            with a noise component, which scikit-learn does not have
        ImportError
            without scikit-learn

        See Also
        --------
        from_sklearn : the other way

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical")
        >>> model.to_sklearn().predict([[1.0], [8.0]])
        array([0, 1])
        """
        from sklearn.mixture import GaussianMixture as Theirs

        check_fitted(self)
        if has_noise(self):
            raise ValueError("scikit-learn's GaussianMixture has no noise component")
        family, model = family_of(self), Theirs()
        family = find_family("tied" if family.shared and family.matrices else family.storage.form)
        known = model.get_params()
        parameters = {name: value for name, value in self.get_params().items() if name in known}
        if parameters["init_params"] not in THEIR_STARTS:
            parameters["init_params"] = "kmeans"
        model.set_params(**parameters | {"n_components": len(self.means_), "covariance_type": family.name})
        shape = family.natural_shape(*self.means_.shape)
        model.weights_, model.means_ = self.weights_.copy(), self.means_.copy()
        for name in ("covariances_", "precisions_", "precisions_cholesky_"):
            setattr(model, name, np.broadcast_to(getattr(self, name), shape).copy())
        for name in ("converged_", "n_iter_", "lower_bound_", "lower_bounds_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(model, name, copy.copy(getattr(self, name)))
        return model

    @classmethod
    def from_sklearn(cls, estimator: Any, n_samples_seen: float | None = None) -> Self:
        """Return the fit of a `sklearn.mixture.GaussianMixture`: the same numbers to the last bit.

        Parameters
        ----------
        estimator : fitted sklearn.mixture.GaussianMixture
            stays as it is
        n_samples_seen : float > 0, optional
            how many rows it was fitted to, which scikit-learn does not keep. Default: as in `from_parameters`

        Returns
        -------
        GaussianMixture
            with its constructor's parameters

        Raises
        ------
        TypeError
            for any other class (a Bayesian mixture predicts otherwise than its parameters say)
        ValueError
            if the estimator is not fitted, or its parameters are not those of a mixture
        ImportError
            without scikit-learn

        See Also
        --------
        to_sklearn : the other way

        Examples
        --------
        >>> import numpy as np, fastem
        >>> import sklearn.mixture
        >>> X, _ = fastem.load_faithful()
        >>> theirs = sklearn.mixture.GaussianMixture(2, random_state=0).fit(X)
        >>> bool(np.array_equal(fastem.GaussianMixture.from_sklearn(theirs).predict(X), theirs.predict(X)))
        True
        """
        from sklearn.mixture import GaussianMixture as Theirs
        from sklearn.utils.validation import check_is_fitted

        if not isinstance(estimator, Theirs):
            raise TypeError(f"expected a sklearn.mixture.GaussianMixture, got a {type(estimator).__name__}")
        check_is_fitted(estimator)
        arrays = (estimator.weights_, estimator.means_, estimator.covariances_)
        model = cls.from_parameters(*arrays, estimator.covariance_type, n_samples_seen=n_samples_seen)
        model.set_params(**{name: getattr(estimator, name) for name in estimator.get_params(deep=False)})
        if hasattr(estimator, "precisions_cholesky_"):
            set_arrays(model, [np.array(array) for array in (*arrays, estimator.precisions_cholesky_)])
        if hasattr(estimator, "converged_"):  # or its attributes were set by hand
            status = Status.CONVERGED if estimator.converged_ else Status.MAX_ITER
            history = list(getattr(estimator, "lower_bounds_", [estimator.lower_bound_]))
            set_record(model, status, estimator.lower_bound_, history, estimator.n_iter_)
        set_names(model, getattr(estimator, "feature_names_in_", None))
        return model
