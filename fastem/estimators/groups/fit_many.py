"""A mixture per group of rows (per pixel, cell, customer), thousands of them in one call.

The whole fit of a group, start, passes, M-steps and stopping rule, runs in the kernel `fastem.kernels.groups.fit`,
parallel over groups. The other way is one pass over all groups and a batched M-step in NumPy: that has temporaries of
G x K x D x D numbers, as many as the rows themselves where a group has K D rows, reads all rows again in every pass,
and calls LAPACK once per covariance.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.estimators.bayesian.mixture import BayesianGaussianMixture
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.groups.fits import STATUSES, run_fits
from fastem.estimators.groups.mixtures import ManyMixtures
from fastem.estimators.groups.partition import Partition
from fastem.estimators.groups.posteriors import ManyPosteriors, check_prior, fit_posteriors
from fastem.estimators.groups.scores import rows_of_columns
from fastem.estimators.groups.search import Fits, Rows, search
from fastem.estimators.parameters import check_constructor
from fastem.kernels import groups as kernel
from fastem.kernels.jit import threads
from fastem.model.checks import ConvergenceWarning, check_random_state, exception
from fastem.model.exclusions import check_exclusions
from fastem.model.families import COVARIANCES
from fastem.model.given import check_means, check_precisions, check_weights
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.remedies.eigenvalue_floor import EigenvalueFloor
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.remedies.table import find_remedy, unit_free
from fastem.sources.blocks import ArraySource
from fastem.sources.rows import check_rows
from fastem.sources.scans import check_spread
from fastem.sources.weights import check_weight


def fit_many(
    X: ArrayLike,
    groups: ArrayLike | None = None,
    n_components: int = 1,
    *,
    sizes: ArrayLike | None = None,
    covariance_type: str = "full",
    tol: float = 1e-3,
    reg_covar: float | None = None,
    regularization: str | EigenvalueFloor | None = None,
    max_iter: int = 100,
    init_params: str = "kmeans",
    weights_init: ArrayLike | None = None,
    means_init: ArrayLike | None = None,
    precisions_init: ArrayLike | None = None,
    random_state: Any = None,
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
    prior: Mapping[str, Any] | None = None,
    columns: bool = False,
) -> ManyMixtures | ManyPosteriors:
    """Fit one Gaussian mixture to each group of rows, as `GaussianMixture` would, thousands of groups in one call.

    Parameters
    ----------
    X : (N, D) array-like
        arithmetic and parameters are float64, whatever the dtype of X
    groups : (N,) array-like of integers or strings, in any order: the group of each row; or
    sizes : (G,) array-like of int: the first sizes[0] rows are group 0, the next sizes[1] group 1, ...
    n_components : int, default 1
    covariance_type, tol, max_iter
        as in `GaussianMixture`
    reg_covar : float, optional
        added to every variance, as in `GaussianMixture`; in the square of the data's units. Default: `regularization`
    regularization : "floor" or `fastem.EigenvalueFloor`, optional
        instead of reg_covar: the floor's share of the group's own variance of a feature is added to each variance of
        it (spherical: of the mean over features), so that a change of the features' units changes nothing. Default,
        if there is no reg_covar: 1e-10
    init_params : {"kmeans", "auto"}, default "kmeans"
        how EM starts. "auto" goes on from the fit of "kmeans" with a search for a better optimum, for three components
        and more: they move from where two share a cluster to where one has two, as in `GaussianMixture`. It takes 10 to
        30 times as long
    weights_init, means_init, precisions_init : array-like, optional
        as in `GaussianMixture`, one start for all groups, or with a leading axis of groups in the order of `labels`
        of the result (that is ascending). What is not given is found by k-means in each group
    random_state : int, RandomState or None, default None
        for k-means. What a group gets is drawn by its place among the groups
    sample_weight : (N,) array-like, non-negative: weight 2 is the row twice, weight 0 the row absent
    n_threads : int, optional
        use at most so many threads; the bits do not depend on it
    prior : dict, optional
        fit posteriors by variational Bayes, as `BayesianGaussianMixture` does: any of its parameters
        weight_concentration_prior_type, weight_concentration_prior, mean_precision_prior, mean_prior,
        degrees_of_freedom_prior and covariance_prior; {} stands for its defaults. What is made of the rows is made of
        those of the group. `tol` is then that of the bound of all rows of a group, and reg_covar is 0 by default
    columns : bool, default False
        with a prior: fit a mixture in one dimension to each column of X, in place of groups

    Returns
    -------
    ManyMixtures, or with a prior ManyPosteriors
        One group does not stop the others. A group with fewer rows of positive weight than components (or than 2
        rows) has Status.TOO_FEW_ROWS, a group whose start is singular has Status.DEGENERATE with n_iter 0; the
        parameters of both are NaN. A group that collapses in mid-fit has Status.DEGENERATE and its last sound
        parameters

    Raises
    ------
    ValueError
        for parameters or data that cannot be used

    Warns
    -----
    ConvergenceWarning
        with the number of groups that did not converge

    See Also
    --------
    GaussianMixture : one mixture, for few and large groups
    ManyMixtures : what it returns

    Notes
    -----
    From the same start each group's parameters, n_iter and lower bound are those of `GaussianMixture` (to rounding).
    A group is the work of one thread: for few and large groups use `GaussianMixture`. A group's k-means, unlike
    that of `GaussianMixture`, depends on the order of its rows, and with a prior looks at 10,000 of these at most.
    Other remedies and a noise component are not offered.

    Examples
    --------
    >>> import numpy as np, fastem
    >>> rng = np.random.default_rng(0)
    >>> pixel = np.repeat(np.arange(1000), 50)
    >>> X = rng.normal(size=(50_000, 2)) + 10.0 * rng.integers(0, 2, size=(50_000, 1))
    >>> fits = fastem.fit_many(X, pixel, 2, random_state=0)
    >>> fits.means.shape, fits.covariances.shape, int(fits.converged.sum())
    ((1000, 2, 2), (1000, 2, 2, 2), 1000)
    >>> fits.means[:, 0].mean(axis=0).round(1), fits.means[:, 1].mean(axis=0).round(1)
    (array([-0., -0.]), array([10., 10.]))
    >>> fits.predict([[0.0, 0.0], [10.0, 10.0]], [7, 8])
    array([0, 1])
    """
    options: dict[str, Any] = dict(covariance_type=covariance_type, tol=tol, max_iter=max_iter)
    check_exclusions(covariance_type=covariance_type, method="fit_many")
    if prior is not None:
        for name, value in {
            "regularization": regularization,
            "weights_init": weights_init,
            "means_init": means_init,
            "precisions_init": precisions_init,
            "init_params": None if init_params == "kmeans" else init_params,
        }.items():
            if value is not None:
                raise ValueError(f"with a prior, fit_many takes no {name}: leave it out")
        options |= dict(reg_covar=0.0 if reg_covar is None else reg_covar, random_state=random_state)
        bayesian = check_prior(prior, n_components, **options, n_threads=n_threads)
        return fit_many_posteriors(bayesian, X, groups, sizes, sample_weight, columns)
    if columns:
        raise ValueError("columns=True needs a prior; without one, pass X.T.reshape(-1, 1) and sizes")
    chosen = unit_free(reg_covar, regularization)
    check_constructor(GaussianMixture(n_components, n_threads=n_threads, **options, **chosen))
    if init_params not in ("kmeans", "auto"):
        raise ValueError(f"fit_many's init_params must be 'kmeans' or 'auto'; got {init_params!r}")
    remedy = find_remedy(chosen.get("regularization"), chosen.get("reg_covar", 0.0))
    if not isinstance(remedy, RegCovar | EigenvalueFloor):
        raise ValueError(f"fit_many's regularization must be 'floor' or an EigenvalueFloor; got {regularization!r}")
    rows = check_rows(X).astype(np.float64, copy=False)
    weight = check_weight(sample_weight, len(rows))
    check_spread(ArraySource(rows, weight))
    parts = Partition.of(len(rows), groups, sizes).without_absent(weight)
    G, K, D = len(parts.labels), n_components, rows.shape[1]
    given, mixtures = check_starts(weights_init, means_init, precisions_init, covariance_type, (G, K, D))
    n_uniforms = 0 if given == kernel.WEIGHTS + kernel.MEANS + kernel.PRECISIONS else 1 + (K - 1) * (2 + int(np.log(K)))
    uniforms = check_random_state(random_state).uniform(size=(G, n_uniforms))
    status, n_iter, bound = np.zeros(G, dtype=np.int64), np.zeros(G, dtype=np.int64), np.empty(G)
    with threads(n_threads):
        run_fits(parts, rows, weight, uniforms, given, mixtures, (remedy, tol, max_iter), (status, n_iter, bound))
        if init_params == "auto" and max_iter:
            there = Rows.of(parts, rows, weight)
            fits = Fits(Params(*mixtures), status, n_iter, bound)
            search(there, COVARIANCES[covariance_type], fits, (remedy, tol, max_iter))
    lost = (status == kernel.TOO_FEW_ROWS) | ((status == kernel.DEGENERATE) & (n_iter == 0))
    for array in mixtures:
        array[lost] = np.nan
    states = STATUSES[status]
    if n_failed := int(np.count_nonzero(status != kernel.CONVERGED)) if max_iter else 0:
        warn_of_groups(n_failed, G, stacklevel=3)
    return ManyMixtures(parts.labels, Params(*mixtures), covariance_type, states, n_iter, bound, GaussianMixture)


def fit_many_posteriors(
    model: BayesianGaussianMixture, X: Any, groups: Any, sizes: Any, sample_weight: Any, columns: bool
) -> ManyPosteriors:
    """Return the posteriors of groups or columns; the arguments are those of `fit_many`."""
    if columns:
        if groups is not None or sizes is not None:
            raise ValueError("columns=True fits each column of X: leave groups and sizes out")
        rows, labels = rows_of_columns(X)
        n_rows = len(rows) // len(labels)
        weight = check_weight(sample_weight, n_rows)
        weight = None if weight is None else np.tile(weight, len(labels))
        parts = replace(Partition.of(len(rows), None, np.full(len(labels), n_rows)), labels=labels)
    else:
        rows = check_rows(X).astype(np.float64, copy=False)
        weight = check_weight(sample_weight, len(rows))
        parts = Partition.of(len(rows), groups, sizes)
    check_spread(ArraySource(rows, weight))
    with threads(model.n_threads):
        fits = fit_posteriors(model, rows, weight, parts.without_absent(weight), columns)
    if n_failed := int(np.count_nonzero(~fits.converged)) if model.max_iter else 0:
        warn_of_groups(n_failed, len(fits.labels), stacklevel=4)
    return fits


def warn_of_groups(n_failed: int, n_groups: int, stacklevel: int) -> None:
    """Warn that some groups have not converged; `stacklevel` leads to the caller of `fit_many`."""
    warnings.warn(
        f"{n_failed} of {n_groups} groups did not converge: see status. Try different init parameters, or increase "
        "max_iter, tol, or check for degenerate data.",
        exception(ConvergenceWarning),
        stacklevel=stacklevel,
    )


def check_starts(
    weights: ArrayLike | None,
    means: ArrayLike | None,
    precisions: ArrayLike | None,
    covariance: str,
    sizes: tuple[int, int, int],
) -> tuple[int, tuple[Array, Array, Array, Array]]:
    """Return which parts of the starts are given, and the mixtures of all groups with these parts filled in."""
    G, K, D = sizes
    family = COVARIANCES[covariance]
    shape, natural = family.shape(K, D), family.natural_shape(K, D)
    mixtures = np.empty((G, K)), np.empty((G, K, D)), np.empty((G, *shape)), np.empty((G, *shape))
    given = 0
    if weights is not None:
        given += kernel.WEIGHTS
        mixtures[0][:] = check_weights(weights, K, leading=leading_axis(weights, (K,), G))
    if means is not None:
        given += kernel.MEANS
        mixtures[1][:] = check_means(means, K, D, leading=leading_axis(means, (K, D), G))
    if precisions is not None:
        given += kernel.PRECISIONS
        found = check_precisions(precisions, covariance, K, D, leading=leading_axis(precisions, natural, G))
        mixtures[2][:], mixtures[3][:] = found
    return given, mixtures


def leading_axis(value: ArrayLike, shape: tuple[int, ...], G: int) -> tuple[int, ...]:
    """Return the axis of groups, (G,), if `value` has one more axis than `shape`; else ()."""
    return (G,) if np.ndim(value) > len(shape) else ()
