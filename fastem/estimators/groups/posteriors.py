"""The posteriors of the mixtures of groups of rows, or of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.bayesian.mixture import BayesianGaussianMixture
from fastem.estimators.bayesian.state import set_posterior, set_prior
from fastem.estimators.bayesian.training import check_parameters, prior_of
from fastem.estimators.bayesian.uses import IN_USE
from fastem.estimators.groups.fits import STATUSES
from fastem.estimators.groups.partition import Partition
from fastem.estimators.groups.posterior_fits import GroupPosteriors, GroupRows, clusters_as_stats, clusters_of
from fastem.estimators.groups.scores import GroupScores
from fastem.estimators.state import set_params_of, set_record
from fastem.kernels import groups as kernel
from fastem.model.checks import check_random_state
from fastem.model.families import COVARIANCES, find_family
from fastem.model.matrices import Array
from fastem.model.params import Params, Terms
from fastem.model.result import Status
from fastem.model.variational import Posterior, Prior
from fastem.model.variational_model import VariationalModel

PRIOR = (
    *("weight_concentration_prior_type", "weight_concentration_prior", "mean_precision_prior"),
    *("mean_prior", "degrees_of_freedom_prior", "covariance_prior"),
)


@dataclass(frozen=True, eq=False)
class ManyPosteriors(GroupScores):
    """The posteriors of groups, or of columns, as `fit_many` returns them where it is given a prior.

    Attributes
    ----------
    labels : (G,), the labels of the groups, in ascending order; or the names or numbers of the columns, in theirs
    posterior : Posterior, whose arrays have a leading axis of groups
    prior : Prior, whose mean is (G, 1, D) and whose scatter has a leading axis of groups, too
    covariance_type : str
    status : (G,) array of Status, why the fit of each group ended
    n_iter : (G,) int64
    lower_bound : (G,) float64, scikit-learn's bound after the last iteration
    sum_w : (G,) float64, the weight of the rows of each group
    columns : bool, whether groups are columns

    See Also
    --------
    fit_many : makes it
    BayesianGaussianMixture : one posterior
    save, load : keep it in a file

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([rng.choice([0.0, 9.0], 1000) + rng.normal(size=1000) for _ in range(2)])
    >>> prior = {"weight_concentration_prior": 1e-3}
    >>> fits = fastem.fit_many(X, n_components=3, columns=True, prior=prior, max_iter=500, random_state=0)
    >>> fits.means.shape, fits.n_components_in_use
    ((2, 3, 1), array([2, 2]))
    """

    labels: NDArray[Any]
    posterior: Posterior
    prior: Prior = field(repr=False)
    covariance_type: str
    status: NDArray[np.object_]
    n_iter: NDArray[np.int64]
    lower_bound: Array
    sum_w: Array
    columns: bool = False

    def __repr__(self) -> str:
        (G, K, D), what = self.means.shape, "columns" if self.columns else "groups"
        return f"<posteriors of {G} {what}, of mixtures of {K} components in {D} dimensions, {self.covariance_type}>"

    @property
    def weights(self) -> Array:
        """The expected weights of the components, made to sum to 1, (G, K) float64."""
        return self.posterior.weights

    @property
    def means(self) -> Array:
        """The expected means of the components, (G, K, D) float64."""
        return self.posterior.means

    @property
    def covariances(self) -> Array:
        """The inverses of the expected precisions, float64, in the shapes of `ManyMixtures.covariances`."""
        G, K, D = self.means.shape
        return self.posterior.covariances.reshape(G, *COVARIANCES[self.covariance_type].natural_shape(K, D))

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether each group's fit has converged, (G,) bool: its status is Status.CONVERGED."""
        return np.asarray(self.status == Status.CONVERGED)

    @property
    def n_components_in_use(self) -> NDArray[np.int64]:
        """How many components of each group hold at least half a row beyond their prior, (G,) int64."""
        rows = self.posterior.mean_precision - self.prior.mean_precision
        return np.asarray(np.count_nonzero(rows >= IN_USE, axis=1))

    @cached_property
    def terms(self) -> Terms:
        """What the E-step computes with, with a leading axis of groups."""
        with np.errstate(all="ignore"):
            return self.posterior.terms()

    def model(self, label: Any) -> BayesianGaussianMixture:
        """Return the posterior of one group or column as a fitted `BayesianGaussianMixture`.

        Parameters
        ----------
        label : one of `labels`

        Raises
        ------
        ValueError
            if there is no such group, or it has no posterior

        Examples
        --------
        >>> import numpy as np, fastem
        >>> X = np.random.default_rng(0).normal(size=(100, 3))
        >>> fits = fastem.fit_many(X, columns=True, prior={})
        >>> bool(abs(fits.model(2).means_[0, 0] - X[:, 2].mean()) < 1e-9)
        True
        """
        found = np.flatnonzero(self.labels == label) if np.ndim(label) == 0 else np.empty(0, np.intp)
        if not len(found):
            raise ValueError(f"there is no group {label!r}: labels has those that there are")
        g, family = int(found[0]), find_family(self.covariance_type)
        if np.isnan(self.weights[g, 0]):
            raise ValueError(f"group {label} has no posterior. {self.status[g].advice}")
        mine, K = self.posterior, self.means.shape[1]
        posterior = Posterior(
            *(mine.means[g], mine.covariances[g], mine.factor[g]),
            *(mine.concentration[g], mine.mean_precision[g], mine.degrees_of_freedom[g]),
        )
        model = BayesianGaussianMixture(n_components=K, covariance_type=family.name)
        set_params_of(model, posterior, np.dtype(np.float64))
        set_posterior(model, posterior)
        set_prior(model, self.prior_of(g))
        bound = float(self.lower_bound[g])
        set_record(model, self.status[g], bound, [bound], int(self.n_iter[g]))
        model.n_samples_seen_ = float(self.sum_w[g])
        return model

    def prior_of(self, g: int) -> Prior:
        """Return the prior of the group of this number."""
        p = self.prior
        rest = p.mean_precision, p.mean[g, 0], p.degrees_of_freedom, p.scatter[g]
        return Prior(p.sticks, p.concentration, *rest)


def check_prior(prior: Any, n_components: int, **options: Any) -> BayesianGaussianMixture:
    """Return an estimator with the parameters of a prior; raise a ValueError for what is none.

    Parameters
    ----------
    prior : mapping from names among PRIOR to values
    n_components : int
    **options : further parameters of the estimator
    """
    if not isinstance(prior, Mapping) or not set(prior) <= set(PRIOR):
        raise ValueError(f"prior must be a dict with some of the keys {', '.join(PRIOR)}; got {prior!r:.100}")
    model = BayesianGaussianMixture(n_components=n_components, **options, **prior)
    check_parameters(model)
    return model


def fit_posteriors(
    model: BayesianGaussianMixture, X: NDArray[Any], weight: Array | None, parts: Partition, columns: bool
) -> ManyPosteriors:
    """Return the posteriors of groups.

    Parameters
    ----------
    model : BayesianGaussianMixture, with the parameters of all fits
    X : (N, D) float64
    weight : (N,) or None
    parts : Partition
    columns : bool, whether groups are columns
    """
    rng, family = check_random_state(model.random_state), find_family(model.covariance_type)
    D, K = X.shape[1], model.n_components
    rows = GroupRows(parts.by_group(X), np.empty(0) if weight is None else parts.by_group(weight), parts.bounds)
    sum_w, G = rows.sums_of_weights(), len(parts.labels)
    whole, codes = clusters_of(rows, 1, family)
    if (sum_w[codes == kernel.MAX_ITER] <= 1).any():
        raise ValueError("the sum of sample_weight in a group is the number of its rows, and must be more than 1")
    prior = prior_of(model, D, lambda: moments_of_groups(whole, sum_w))
    prior = Prior(
        *(prior.sticks, prior.concentration, prior.mean_precision),
        np.array(np.broadcast_to(prior.mean, (G, 1, D))),
        prior.degrees_of_freedom,
        np.array(np.broadcast_to(prior.scatter, (G, *family.shape(1, D)))),
    )
    clusters, starts = clusters_of(rows.thinned(rng), K, family, rng)
    flat = codes == kernel.DEGENERATE  # a prior that such rows make is singular, too
    proper = ~flat | (model.covariance_prior is not None) | ((model.reg_covar > 0) & (sum_w > 1))
    codes = np.where(proper, kernel.MAX_ITER, codes)
    status = STATUSES[np.where(starts == kernel.TOO_FEW_ROWS, starts, codes)]
    stats = clusters_as_stats(sum_w, clusters, family, np.diff(rows.bounds))
    fits = GroupPosteriors(VariationalModel(prior, family, model.reg_covar), stats, status)
    for _ in range(model.max_iter):
        if not len(fits.going):
            break
        fits.step(rows, model.tol)
    record = fits.status, fits.n_iter, fits.lower_bound
    return ManyPosteriors(parts.labels, fits.posterior, prior, family.name, *record, sum_w, columns)


def moments_of_groups(whole: Params, sum_w: Array) -> tuple[Array, Array]:
    """Return the means of groups, (G, 1, D), and their covariances without bias, of mixtures of one component."""
    with np.errstate(all="ignore"):
        return whole.means, whole.covariances * (sum_w / (sum_w - 1))[:, None, None, None]
