"""The mixtures of groups of rows (of pixels, cells, customers), and what they say of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.groups.scores import GroupScores, codes_of, rows_of_groups
from fastem.estimators.groups.sums import accumulate_groups
from fastem.model.families import COVARIANCES
from fastem.model.matrices import Array
from fastem.model.params import Params, Terms
from fastem.model.result import Status
from fastem.model.stats import Stats
from fastem.sources.weights import check_weight

if TYPE_CHECKING:
    from fastem.estimators.gaussian_mixture import GaussianMixture


@dataclass(frozen=True, eq=False)
class ManyMixtures(GroupScores):
    """The mixtures of groups, as `fit_many` and `GaussianMixture.adapt` return them.

    Attributes
    ----------
    labels : (G,), the labels of the groups, in ascending order
    params : Params, whose arrays have a leading axis of groups: weights (G, K), means (G, K, D), ...
    covariance_type : str
    status : (G,) array of Status, why the fit of each group ended; None for a mixture that was adapted
    n_iter : (G,) int64
    lower_bound : (G,) float64, the mean log-likelihood at the last E-step of a group, as in `GaussianMixture`
    estimator : type, the class of what `model` returns

    See Also
    --------
    fit_many, GaussianMixture.adapt : make it
    save, load : keep it in a file
    """

    labels: NDArray[Any]
    params: Params
    covariance_type: str
    status: NDArray[np.object_]
    n_iter: NDArray[np.int64]
    lower_bound: Array
    estimator: type[Any]

    def __repr__(self) -> str:
        G, K, D = self.means.shape
        return f"<{G} mixtures of {K} components in {D} dimensions, {self.covariance_type}>"

    @property
    def weights(self) -> Array:
        """The weights of the components, (G, K) float64."""
        return self.params.weights

    @property
    def means(self) -> Array:
        """The means of the components, (G, K, D) float64."""
        return self.params.means

    @property
    def covariances(self) -> Array:
        """The covariances, float64: (G, K, D, D) full, (G, D, D) tied, (G, K, D) diag, (G, K) spherical, ..."""
        G, K, D = self.means.shape
        return self.params.covariances.reshape(G, *COVARIANCES[self.covariance_type].natural_shape(K, D))

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether each group's fit has converged, (G,) bool: its status is Status.CONVERGED."""
        return np.asarray(self.status == Status.CONVERGED)

    def model(self, label: Any) -> GaussianMixture:
        """Return the mixture of one group as a fitted `GaussianMixture`.

        Parameters
        ----------
        label : int or str, one of `labels`

        Raises
        ------
        ValueError
            if there is no such group, or it has no mixture

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X = np.array([[0.0], [2.0], [5.0], [9.0]])
        >>> fastem.fit_many(X, ["a", "a", "b", "b"], reg_covar=0.0).model("b").means_
        array([[7.]])
        """
        g = int(codes_of(self, np.asarray([label]))[0])
        if np.isnan(self.weights[g, 0]):
            raise ValueError(f"group {label} has no mixture. {self.status[g].advice}")
        parameters = self.weights[g], self.means[g], self.covariances[g]
        model: GaussianMixture = self.estimator.from_parameters(*parameters, self.covariance_type)
        return model

    @property
    def terms(self) -> Terms:
        """What the E-step computes with, with a leading axis of groups; a component of weight 0 has log_norm -inf."""
        return self.params.terms()

    def accumulate(
        self,
        X: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        sizes: ArrayLike | None = None,
    ) -> Stats:
        """Return the statistics of the rows of each group under its mixture.

        Parameters
        ----------
        X, groups, sizes : as in `predict`
        sample_weight : (N,) array-like, non-negative

        Returns
        -------
        Stats
            whose fields have a leading axis of groups; they are NaN for a group without a mixture

        Raises
        ------
        ValueError
            for rows or weights that cannot be used, or a group that the fit has not seen
        """
        rows, parts = rows_of_groups(self, X, groups, sizes)
        weight = check_weight(sample_weight, len(rows))
        parts = parts.without_absent(weight)
        weights = np.empty(0) if weight is None else parts.by_group(weight)
        return accumulate_groups(parts.by_group(rows), weights, parts.bounds, self.terms)
