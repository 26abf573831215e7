"""The mixtures of groups of rows (of pixels, cells, customers), and what they say of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.groups import Partition, check_groups, make_scratch, split_calls
from fastem.kernels import groups as kernel
from fastem.kernels.micro import DIAG, FULL, ROWS
from fastem.kernels.mixture import N_SCALARS, n_values
from fastem.model.families import COVARIANCES
from fastem.model.matrices import Array
from fastem.model.params import Params, log_norm
from fastem.model.result import Status
from fastem.model.stats import Stats
from fastem.passes.sizes import row_flops
from fastem.passes.sums import reduced, unpacked
from fastem.sources.rows import check_rows
from fastem.sources.weights import check_weight


@dataclass(frozen=True, eq=False)
class ManyMixtures:
    """The mixtures of groups, as `fit_many` returns them.

    Attributes
    ----------
    labels : (G,), the labels of the groups, in ascending order
    params : Params, whose arrays have a leading axis of groups: weights (G, K), means (G, K, D), ...
    covariance_type : str
    status : (G,) array of Status, why the fit of each group ended
    n_iter : (G,) int64
    lower_bound : (G,) float64, the mean log-likelihood at the last E-step of a group, as in `GaussianMixture`

    See Also
    --------
    fit_many : makes it
    save, load : keep it in a file
    """

    labels: NDArray[Any]
    params: Params
    covariance_type: str
    status: NDArray[np.object_]
    n_iter: NDArray[np.int64]
    lower_bound: Array

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
        g = int(self._codes(np.asarray([label]))[0])
        if np.isnan(self.weights[g, 0]):
            raise ValueError(f"group {label} has no mixture. {self.status[g].advice}")
        return GaussianMixture.from_parameters(
            self.weights[g], self.means[g], self.covariances[g], self.covariance_type
        )

    def predict(self, X: ArrayLike, groups: ArrayLike | None = None, *, sizes: ArrayLike | None = None) -> NDArray[Any]:
        """Return the most probable component of each row in the mixture of its group.

        Parameters
        ----------
        X : (N, D) array-like
        groups : (N,) array-like, the group of each row, which the fit has seen; or
        sizes : (G,) array-like of int, the sizes of all groups of the fit, whose rows follow each other

        Returns
        -------
        (N,) int64
            -1 where the group has no mixture

        Raises
        ------
        ValueError
            for rows that cannot be used, or a group that the fit has not seen

        See Also
        --------
        predict_proba, score_samples : take the same arguments
        """
        return self._scores(X, groups, sizes, label=True)[1]

    def predict_proba(self, X: ArrayLike, groups: ArrayLike | None = None, *, sizes: ArrayLike | None = None) -> Array:
        """Return the probability of each component for each row in the mixture of its group, (N, K) float64.

        It is NaN where the group has no mixture. Arguments and errors are those of `predict`.
        """
        return self._scores(X, groups, sizes, resp=True)[2]

    def score_samples(self, X: ArrayLike, groups: ArrayLike | None = None, *, sizes: ArrayLike | None = None) -> Array:
        """Return the log density of each row under the mixture of its group, (N,) float64.

        It is NaN where the group has no mixture. Arguments and errors are those of `predict`.
        """
        return self._scores(X, groups, sizes, density=True)[0]

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
        rows, parts = self._parts(X, groups, sizes)
        weight = check_weight(sample_weight, len(rows))
        parts = parts.without_absent(weight)
        K, D = self.means.shape[1:]
        shape = self.params.covariances.shape[1:]
        form = FULL if shape[-2] > 1 else DIAG
        out = np.empty((len(self.labels), n_values(K, D, form)))
        rows, weights = parts.by_group(rows), np.empty(0) if weight is None else parts.by_group(weight)
        mixtures = log_norms(self.params), self.means, self.params.factor
        for g in split_calls(parts.bounds, row_flops(K, D)):
            bounds = parts.bounds[g.start : g.stop + 1]
            kernel.accumulate(
                rows,
                weights,
                bounds,
                *(array[g] for array in mixtures),
                form,
                out[g],
                make_scratch(bounds, K, D, row_flops(K, D)),
            )
        scalars, s0 = out[:, :N_SCALARS].T, out[:, N_SCALARS : N_SCALARS + K]
        s1, s2 = unpacked(out[:, N_SCALARS + K :].reshape(len(out) * K, -1, ROWS), form, D)
        s2 = reduced(s2.reshape(len(out), K, *s2.shape[1:]), shape)
        fields: Any = (*scalars, s0, s1.reshape(len(out), K, D), s2, self.means, np.diff(parts.bounds))
        return Stats(*fields)

    def _codes(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """Return the indices of labels among those of the fit; raise a ValueError for others."""
        codes = np.minimum(np.searchsorted(self.labels, labels), len(self.labels) - 1)
        unknown = np.flatnonzero(self.labels[codes] != labels)
        if len(unknown):
            raise ValueError(f"group {labels[unknown[0]]} was not there when the mixtures were fitted")
        return codes

    def _parts(self, X: Any, groups: ArrayLike | None, sizes: ArrayLike | None) -> tuple[NDArray[Any], Partition]:
        rows = check_rows(X, n_features=self.means.shape[2]).astype(np.float64, copy=False)
        if groups is None or sizes is not None:
            parts = Partition.of(len(rows), groups, sizes)
            if len(parts.labels) != len(self.labels):
                raise ValueError(f"sizes must be those of all {len(self.labels)} groups; got {len(parts.labels)}")
            return rows, parts
        return rows, Partition.by_codes(self.labels, self._codes(check_groups(groups, len(rows))))

    def _scores(
        self,
        X: ArrayLike,
        groups: ArrayLike | None,
        sizes: ArrayLike | None,
        *,
        density: bool = False,
        label: bool = False,
        resp: bool = False,
    ) -> tuple[Array, NDArray[np.int64], Array]:
        rows, parts = self._parts(X, groups, sizes)
        (_, K, D), N = self.means.shape, len(rows)
        outputs = (
            np.full(N if density else 0, np.nan),
            np.full(N if label else 0, -1),
            np.full((N if resp else 0, K), np.nan),
        )
        rows, mixtures = parts.by_group(rows), (log_norms(self.params), self.means, self.params.factor)
        for g in split_calls(parts.bounds, row_flops(K, D)):
            bounds = parts.bounds[g.start : g.stop + 1]
            kernel.score(
                rows,
                bounds,
                *(array[g] for array in mixtures),
                *outputs,
                make_scratch(bounds, K, D, row_flops(K, D)),
            )
        first, second, third = (parts.by_row(out) if len(out) else out for out in outputs)
        return first, second, third


def log_norms(params: Params) -> Array:
    """Return the log norms of the components of all groups, (G, K); a component of weight 0 has -inf."""
    with np.errstate(all="ignore"):
        return log_norm(params)
