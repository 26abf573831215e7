"""What the mixtures of groups say of rows, whether they are known or posteriors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.groups.partition import Partition, check_groups, make_scratch, split_calls
from fastem.estimators.groups.sums import row_work
from fastem.kernels import groups as kernel
from fastem.model.frames import column_names
from fastem.model.matrices import Array
from fastem.model.params import Terms
from fastem.sources.rows import check_rows


class GroupScores(ABC):
    """The methods by which the mixtures of groups score rows.

    A subclass has the attribute `labels`, (G,), the labels of the groups in ascending order; or, where `columns` is
    True, the names or numbers of columns, each of which has a mixture of its own.
    """

    labels: NDArray[Any]
    columns: bool = False

    @property
    @abstractmethod
    def terms(self) -> Terms:
        """What the E-step computes with, with a leading axis of groups; log_norm is NaN for a group without mixture."""

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

    def _scores(
        self, X: ArrayLike, groups: ArrayLike | None, sizes: ArrayLike | None, **wanted: bool
    ) -> tuple[Array, NDArray[np.int64], Array]:
        """Return the scores of rows, in the order of X; `wanted` as in `score_groups`."""
        if not self.columns:
            rows, parts = rows_of_groups(self, X, groups, sizes)
            return score_groups(rows, parts, self.terms, **wanted)
        if groups is not None or sizes is not None:
            raise ValueError("the mixtures are those of columns: pass X alone, without groups or sizes")
        rows, labels = rows_of_columns(X)
        if len(labels) != len(self.labels) or (labels != self.labels).any():
            raise ValueError(f"X must have the columns of the fit, {len(self.labels)} in its order")
        N, G = len(rows) // len(labels), len(labels)
        found = score_groups(rows, Partition.of(len(rows), None, np.full(G, N)), self.terms, **wanted)
        density, label, resp = found
        by_column = density.reshape(G, -1).T, label.reshape(G, -1).T, resp.reshape(G, -1, resp.shape[1])
        return *by_column[:2], by_column[2].swapaxes(0, 1)


def codes_of(fits: GroupScores, labels: NDArray[Any]) -> NDArray[np.intp]:
    """Return the indices of labels among those of the fit; raise a ValueError for others."""
    if labels.ndim != 1:
        one = fits.labels[:1].tolist()[0]
        raise ValueError(f"a group has one label, such as {one!r}; got an array of shape {labels.shape[1:]}")
    try:
        codes = np.minimum(np.searchsorted(fits.labels, labels), len(fits.labels) - 1)
    except TypeError:  # of objects: None or NaN among strings, or labels of another type than those of the fit
        found = labels.dtype if labels.dtype != object else " or ".join(sorted({type(one).__name__ for one in labels}))
        raise ValueError(f"the labels of the fit are {fits.labels.dtype}; got some of type {found}") from None
    unknown = np.flatnonzero(fits.labels[codes] != labels)
    if len(unknown):
        raise ValueError(f"group {labels[unknown[0]]} was not there when the mixtures were fitted")
    return codes


def rows_of_groups(
    fits: GroupScores, X: Any, groups: ArrayLike | None, sizes: ArrayLike | None
) -> tuple[NDArray[Any], Partition]:
    """Return checked rows, float64, and which belong to each group of a fit."""
    rows = check_rows(X, n_features=fits.terms.means.shape[2]).astype(np.float64, copy=False)
    if groups is None or sizes is not None:
        parts = Partition.of(len(rows), groups, sizes)
        if len(parts.labels) != len(fits.labels):
            raise ValueError(f"sizes must be those of all {len(fits.labels)} groups; got {len(parts.labels)}")
        return rows, parts
    return rows, Partition.by_codes(fits.labels, codes_of(fits, check_groups(groups, len(rows))))


def rows_of_columns(X: Any) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the values of X (N, C) as rows (C N, 1), one column after the other; and the columns' names or numbers."""
    rows, found = check_rows(X), column_names(X)
    names = range(rows.shape[1]) if found is None else found
    if not any(all(isinstance(name, kind) for name in names) for kind in (str, int | np.integer)):
        raise ValueError(f"names of columns must all be strings or all integers; got {names}: rename them")
    return np.ascontiguousarray(rows.T, dtype=np.float64).reshape(-1, 1), np.asarray(names)


def score_groups(
    rows: NDArray[Any],
    parts: Partition,
    terms: Terms,
    *,
    density: bool = False,
    label: bool = False,
    resp: bool = False,
) -> tuple[Array, NDArray[np.int64], Array]:
    """Return log densities (N,), labels (N,) and responsibilities (N, K), in the order of the rows.

    Those that are not wanted have no rows. A row whose group has no mixture has NaN, and the label -1.
    """
    (_, K, D), N = terms.means.shape, len(rows)
    outputs = (
        np.full(N if density else 0, np.nan),
        np.full(N if label else 0, -1),
        np.full((N if resp else 0, K), np.nan),
    )
    rows, flops = parts.by_group(rows), row_work(terms)
    for g in split_calls(parts.bounds, flops):
        bounds = parts.bounds[g.start : g.stop + 1]
        scratch = make_scratch(bounds, K, D, flops)
        # What was not adapted is one array for all groups, of stride 0.
        mixtures = (np.ascontiguousarray(array[g]) for array in (terms.log_norm, terms.means, terms.factor))
        kernel.score(rows, bounds, *mixtures, *outputs, scratch)
    first, second, third = (parts.by_row(out) if len(out) else out for out in outputs)
    return first, second, third
