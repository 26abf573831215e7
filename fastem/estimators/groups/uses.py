"""What speech and vision make of a mixture and sets of rows: adapted mixtures and Fisher vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.analysis.fisher import fisher_vectors, improve
from fastem.estimators.fitted import Fitted, model_like
from fastem.estimators.groups.mixtures import ManyMixtures
from fastem.estimators.groups.partition import Partition, check_groups
from fastem.estimators.groups.sums import under_one_mixture
from fastem.estimators.rows import rows_for
from fastem.estimators.state import family_of, has_noise, names_of, set_record
from fastem.fitting.options import FIXABLE, list_names
from fastem.kernels.jit import threads
from fastem.model.adaptation import adapt
from fastem.model.checks import check_fitted, check_n_threads, demand, real_or_nan
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import ArraySource, Source, kind_of_rows


class GroupUses(Fitted):
    """The methods of `GaussianMixture` that take the statistics of sets of rows under it."""

    @overload
    def adapt(
        self,
        X: Any,
        *,
        relevance: float = ...,
        update: tuple[str, ...] = ...,
        sample_weight: ArrayLike | None = ...,
        groups: None = ...,
    ) -> Self: ...

    @overload
    def adapt(
        self,
        X: Any,
        *,
        relevance: float = ...,
        update: tuple[str, ...] = ...,
        sample_weight: ArrayLike | None = ...,
        groups: ArrayLike,
    ) -> ManyMixtures: ...

    def adapt(
        self,
        X: Any,
        *,
        relevance: float = 16.0,
        update: tuple[str, ...] = ("means",),
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self | ManyMixtures:
        """Return this mixture adapted to few rows, such as a speaker's, or to each of many groups of them.

        This is MAP adaptation of a background model: one E-step, and an M-step to which this mixture counts as
        `relevance` rows per component. Components that have seen no rows stay as they are.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes; with `groups`, complete rows in memory
        relevance : float > 0, default 16
            how many rows a component counts for; a component with n rows goes n / (n + relevance) of the way to them
        update : tuple of names among "weights", "means" and "covariances", default ("means",)
            what is adapted. Covariances are about the new means, or about the old ones if means are not adapted
        sample_weight : (N,) array-like, non-negative, optional
            weight 2 is the row twice. Default: 1
        groups : (N,) array-like of integers or strings, optional
            the group of each row, in any order. Default: all rows are one set

        Returns
        -------
        GaussianMixture or, with `groups`, ManyMixtures
            float64. `lower_bound_` (`lower_bound`) is the mean log density of the rows under this mixture, before

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for arguments or rows that cannot be used, for a mixture with noise, and for "covariances" that components
            share

        See Also
        --------
        score_samples : the adapted mixture's less this one's are log-likelihood ratios
        fit_many : mixtures of groups with rows enough to be fitted alone

        References
        ----------
        Reynolds, Quatieri & Dunn (2000), Speaker verification using adapted Gaussian mixture models, Digit. Signal
        Process. 10, 19-41, eqs. 11 to 14. (Their equation 13 is the one here where means are adapted too; else it
        would depend on where 0 is.)

        Examples
        --------
        >>> import fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [[1.0], [1.0]], "diag")
        >>> model.adapt([[2.0]] * 16).means_.round(2).ravel()
        array([1., 9.])
        >>> speakers = model.adapt([[2.0], [2.0], [8.0]], groups=["ann", "ann", "bob"], relevance=2)
        >>> speakers.labels, speakers.means[:, :, 0].round(2)
        (array(['ann', 'bob'], dtype='<U3'), array([[1.  , 9.  ],
               [0.  , 8.67]]))
        """
        params = params_without_noise(self, "adapt")
        check_adaptation(self, relevance, update)
        storage = family_of(self).storage
        if groups is None:
            stats = sums_of_all(self, rows_for(self, X, sample_weight), params)
            model = model_like(self, adapt(params, stats, storage, float(relevance), update), names_of(self))
            set_record(model, None, stats.loglik / stats.sum_w, [stats.loglik / stats.sum_w], 1)
            return model
        source, parts = groups_of(self, X, sample_weight, groups)
        G, first = len(parts.labels), 0
        mixtures, bound = places_for(params, G, update), np.empty(G)
        for stats in sums_of_groups(self, source, parts, params):
            some = slice(first, first + len(stats.s0))
            found, first = adapt(params, stats, storage, float(relevance), update), some.stop
            for name in written(update):
                getattr(mixtures, name)[some] = getattr(found, name)
            bound[some] = stats.loglik / stats.s0.sum(axis=-1)
        status = np.full(G, None, dtype=object)
        n_iter = np.ones(G, dtype=np.int64)
        return ManyMixtures(parts.labels, mixtures, family_of(self).plain, status, n_iter, bound, type(self))

    def fisher_vector(
        self,
        X: Any,
        *,
        improved: bool = False,
        alpha: float = 0.5,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> NDArray[Any]:
        """Return the Fisher vector of a set of rows, such as an image's descriptors, or of each of many groups.

        It says how the mixture would have to change to suit the rows better: the gradient of their mean log density,
        scaled by the Fisher information in closed form. All sets have vectors of one length, however many rows they
        have, which a linear classifier then compares.

        Parameters
        ----------
        X : (N, D) array-like, or what `fastem.as_source` takes; with `groups`, complete rows in memory
        improved : bool, default False
            whether to take powers, ``sign(z) * abs(z) ** alpha``, and then divide by the length
        alpha : float in (0, 1], default 0.5
            the exponent
        sample_weight : (N,) array-like, non-negative, optional
            weight 2 is the row twice. Default: 1
        groups : (N,) array-like of integers or strings, optional
            the set of each row, in any order. Default: all rows are one set

        Returns
        -------
        (K + 2 K D,) or, with `groups`, (G, K + 2 K D), float32 if X is, else float64
            K numbers for the weights, then K D for the means, by component, then K D for the standard deviations.
            Groups are in ascending order, that of ``np.unique(groups)``

        Raises
        ------
        NotFittedError
            if the mixture is not fitted
        ValueError
            for arguments or rows that cannot be used, for a mixture with noise, and for another `covariance_type` than
            "diag"

        Notes
        -----
        scikit-image's `fisher_vector` has the same order and lengths. Its last K D numbers, those of the standard
        deviations, have the opposite sign: it returns minus the gradient there. Kernels between vectors are the same.

        See Also
        --------
        adapt : the other use of the same statistics

        References
        ----------
        Perronnin & Dance (2007), Fisher kernels on visual vocabularies for image categorization, CVPR; Sanchez,
        Perronnin, Mensink & Verbeek (2013), Int. J. Comput. Vis. 105, 222-245, eqs. 16 to 18, and section 2.3 for
        `improved`.

        Examples
        --------
        >>> import numpy as np, fastem
        >>> model = fastem.GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [[1.0], [4.0]], "diag")
        >>> model.fisher_vector([[1.0], [9.0]]).round(2)
        array([-0.  ,  0.  ,  0.71, -0.  ,  0.  , -0.5 ])
        >>> images = np.array([3, 3, 7])
        >>> model.fisher_vector([[1.0], [9.0], [8.0]], groups=images, improved=True).shape
        (2, 6)
        """
        params = params_without_noise(self, "fisher_vector")
        check_vectors(self, improved, alpha)
        if groups is None:
            source = rows_for(self, X, sample_weight)
            vectors = fisher_vectors(params, sums_of_all(self, source, params))
        else:
            source, parts = groups_of(self, X, sample_weight, groups)
            sums = sums_of_groups(self, source, parts, params)
            vectors = np.concatenate([fisher_vectors(params, stats) for stats in sums])
        return (improve(vectors, float(alpha)) if improved else vectors).astype(source.dtype, copy=False)


# --- statistics ---------------------------------------------------------------------------------------------------


def sums_of_all(model: Fitted, source: Source, params: Params) -> Stats:
    """Return the statistics of all rows as one set, summed in float64."""
    with threads(check_n_threads(model.n_threads)):
        return evaluate(source, params, ignore_labels=True, exact=True)


def sums_of_groups(model: Fitted, source: ArraySource, parts: Partition, params: Params) -> Iterator[Stats]:
    """Give the statistics of groups of rows, in the order of the groups, many at a time."""
    with threads(check_n_threads(model.n_threads)):
        yield from under_one_mixture(source.X, source.weight, parts, params)


def groups_of(model: Fitted, X: Any, sample_weight: Any, groups: ArrayLike) -> tuple[ArraySource, Partition]:
    """Return rows in memory, and their groups without rows of weight 0.

    Raises
    ------
    ValueError
        for rows or groups that cannot be used, and a group whose rows all have weight 0
    TypeError
        for rows that are not in memory
    """
    source = rows_for(model, X, sample_weight)
    if not isinstance(source, ArraySource):
        raise TypeError(
            "groups need rows in memory, and these are read block by block: pass them as an array, or the rows of a "
            "group at a time, without groups"
        )
    if kind_of_rows(source) != "complete":
        raise ValueError(
            "groups need complete rows without errors of measurement: impute values that are missing, or pass the rows "
            "of a group at a time, without groups"
        )
    labels = check_groups(groups, source.n_rows)
    parts = Partition.of(source.n_rows, labels, None).without_absent(source.weight)
    if not np.diff(parts.bounds).all():
        absent = parts.labels[np.argmin(np.diff(parts.bounds))]
        raise ValueError(f"groups: all rows of group {absent} have weight 0; leave them out")
    return source, parts


def written(update: Collection[str]) -> list[str]:
    """Return the names of the arrays of `Params` that an adaptation writes."""
    return [name for name in Params._fields[:4] if name in update or (name == "factor" and "covariances" in update)]


def places_for(params: Params, G: int, update: Collection[str]) -> Params:
    """Return arrays for the mixtures of G groups; what is not adapted is a view of the background's, without memory."""
    arrays: dict[str, Any] = {
        name: np.empty((G, *array.shape)) if name in written(update) else np.broadcast_to(array, (G, *array.shape))
        for name, array in zip(Params._fields[:4], params[:4], strict=True)
    }
    return Params(**arrays)


# --- checks -------------------------------------------------------------------------------------------------------


def params_without_noise(model: Fitted, method: str) -> Params:
    """Return the parameters of a fitted mixture; raise a ValueError if it has noise."""
    check_fitted(model)
    if has_noise(model):
        raise ValueError(f"{method} needs a mixture without noise: fit one with noise=False")
    return model.params_


def check_adaptation(model: Fitted, relevance: Any, update: Any) -> None:
    """Raise a ValueError for arguments of `adapt` that cannot be used."""
    demand(0 < real_or_nan(relevance) < np.inf, "relevance", "a positive number of rows", relevance, "adapt")
    listed = isinstance(update, (tuple, list, set, frozenset)) and len(update) > 0
    known = listed and all(isinstance(name, str) and name in FIXABLE for name in update)
    demand(known, "update", f"a tuple of names among {list_names(FIXABLE)}", update, "adapt")
    if "covariances" in update and family_of(model).shared:
        raise ValueError(
            f"adapt cannot adapt covariances that components share, as with covariance_type={family_of(model).name!r}: "
            "leave 'covariances' out of update, or fit a background model with covariances of its components' own"
        )


def check_vectors(model: Fitted, improved: Any, alpha: Any) -> None:
    """Raise a ValueError for arguments of `fisher_vector` that cannot be used."""
    if not family_of(model).storage.own_variances:
        raise ValueError(
            "fisher_vector needs a mixture with a variance for each component and feature: fit one with "
            f"covariance_type='diag'; this one has {family_of(model).name!r}"
        )
    demand(isinstance(improved, (bool, np.bool_)), "improved", "an instance of 'bool'", improved, "fisher_vector")
    demand(0 < real_or_nan(alpha) <= 1, "alpha", "a float in the range (0.0, 1.0]", alpha, "fisher_vector")
