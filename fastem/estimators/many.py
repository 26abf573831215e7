"""A mixture per group of rows (per pixel, cell, customer), thousands of them in one call.

The whole fit of a group, start, passes, M-steps and stopping rule, runs in the kernel `fastem.kernels.groups.fit`,
parallel over groups. The other way is one pass over all groups and a batched M-step in NumPy: that has temporaries of
G x K x D x D numbers, as many as the rows themselves where a group has K D rows, reads all rows again in every pass,
and calls LAPACK once per covariance.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.parameters import check_constructor
from fastem.kernels import groups as kernel
from fastem.kernels.jit import n_threads as threads_now
from fastem.kernels.jit import threads
from fastem.kernels.lanes import aligned
from fastem.kernels.micro import DIAG, FULL, ROWS
from fastem.kernels.mixture import N_SCALARS, n_values, scratch_size
from fastem.model.checks import ConvergenceWarning, check_random_state, exception
from fastem.model.families import COVARIANCES
from fastem.model.given import check_means, check_precisions, check_weights
from fastem.model.matrices import Array, pivot_tolerance
from fastem.model.params import Params, log_norm
from fastem.model.remedies.eigenvalue_floor import EigenvalueFloor
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.remedies.table import find_remedy, unit_free
from fastem.model.result import Status
from fastem.model.stats import Stats
from fastem.passes.sizes import row_flops, tile_rows
from fastem.passes.sums import reduced, unpacked
from fastem.sources.blocks import ArraySource
from fastem.sources.rows import check_rows
from fastem.sources.scans import check_spread
from fastem.sources.weights import check_weight

STATUSES = {
    kernel.CONVERGED: Status.CONVERGED,
    kernel.MAX_ITER: Status.MAX_ITER,
    kernel.DEGENERATE: Status.DEGENERATE,
    kernel.TOO_FEW_ROWS: Status.TOO_FEW_ROWS,
}
CALL_FLOPS = 2e9  # of a kernel call, if each fit took 30 passes: about 0.1 s, so that Ctrl-C is served


@dataclass(frozen=True)
class Partition:
    """Rows by group.

    Attributes
    ----------
    labels : (G,) of the groups, in ascending order
    bounds : (G + 1,) int64, where a group's rows begin, in order
    order : (N,) or None
        the rows' indices by group, each group's in the order of X; None: they are in order, and all are there
    """

    labels: NDArray[Any]
    bounds: NDArray[np.int64]
    order: NDArray[np.intp] | None

    @classmethod
    def of(cls, n_rows: int, groups: ArrayLike | None, sizes: ArrayLike | None) -> Partition:
        """By labels (N,), or by the sizes (G,) of groups that follow each other."""
        if (groups is None) == (sizes is None):
            raise ValueError("give either groups, a label for each row, or sizes, and not both")
        if groups is None:
            counts = check_sizes(sizes, n_rows)
            return cls(np.arange(len(counts)), np.concatenate([[0], np.cumsum(counts)]), None)
        return cls.by_codes(*coded(check_groups(groups, n_rows)))

    @classmethod
    def by_codes(cls, labels: NDArray[Any], codes: NDArray[np.intp]) -> Partition:
        """By indices into `labels`, (N,)."""
        bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(labels)))])
        return cls(labels, bounds, None if (codes[1:] >= codes[:-1]).all() else stable_order(codes))

    def present(self, weight: Array | None) -> Partition:
        """The same groups without their rows of weight 0."""
        if weight is None or weight.all():
            return self
        order = np.arange(len(weight)) if self.order is None else self.order
        there = weight[order] > 0
        return Partition(self.labels, np.concatenate([[0], np.cumsum(there)])[self.bounds], order[there])

    def rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """Rows of an array by group."""
        return array if self.order is None else array.take(self.order, axis=0)  # 8 times as fast as array[order]

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """What belongs to rows by group, in the order of X."""
        if self.order is None:
            return array
        result = np.empty_like(array)
        result[self.order] = array
        return result


def coded(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The distinct labels, sorted, and each row's index into them: np.unique, which need not sort such integers."""
    if np.can_cast(values.dtype, np.int64) and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < 4 * len(values) + 1024:
            shifted = values.astype(np.int64) - low
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            return (np.flatnonzero(present) + low).astype(values.dtype), (np.cumsum(present) - 1)[shifted]
    try:
        labels, codes = np.unique(values, return_inverse=True)
    except TypeError:  # of objects, such as None or NaN among strings
        raise ValueError("groups must all be integers or all strings: some are missing or of another type") from None
    return labels, codes


def stable_order(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """A stable argsort of integers from 0 on, by rounds of 16 bits: for these NumPy has a radix sort."""
    order = np.argsort((codes & 0xFFFF).astype(np.uint16), kind="stable")
    shift = 16
    while len(codes) and codes.max() >> shift:
        order = order[np.argsort(((codes[order] >> shift) & 0xFFFF).astype(np.uint16), kind="stable")]
        shift += 16
    return order


def check_groups(groups: ArrayLike, n_rows: int) -> NDArray[Any]:
    """Labels of rows as (N,)."""
    labels = np.asarray(groups)
    if labels.shape != (n_rows,) or labels.dtype.kind not in "iubUSO":
        raise ValueError(
            f"groups must be {n_rows} integers or strings, one per row; got shape {labels.shape}, dtype {labels.dtype}"
        )
    return labels


def check_sizes(sizes: ArrayLike | None, n_rows: int) -> NDArray[np.int64]:
    """Sizes of groups as (G,) int64, whose sum is N."""
    counts = np.asarray(sizes)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any() or counts.sum() != n_rows:
        raise ValueError(f"sizes must be integers from 0 on, (G,), whose sum is the number of rows, {n_rows}")
    return counts.astype(np.int64)


@dataclass(frozen=True, eq=False)
class ManyMixtures:
    """The mixtures of groups, by `fit_many`.

    Attributes
    ----------
    labels : (G,) of the groups, in ascending order
    params : Params, with a leading axis of groups: weights (G, K), means (G, K, D), ...
    covariance_type : str
    status : (G,) array of Status
    n_iter : (G,) int64
    lower_bound : (G,) float64, mean log-likelihood at a group's last E-step, as GaussianMixture's
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
        """(G, K) float64"""
        return self.params.weights

    @property
    def means(self) -> Array:
        """(G, K, D) float64"""
        return self.params.means

    @property
    def covariances(self) -> Array:
        """(G, K, D, D) full, (G, D, D) tied, (G, K, D) diag, (G, K) spherical, ...; float64"""
        G, K, D = self.means.shape
        return self.params.covariances.reshape(G, *COVARIANCES[self.covariance_type].natural_shape(K, D))

    @property
    def converged(self) -> NDArray[np.bool_]:
        """(G,) bool, whether status is Status.CONVERGED."""
        return np.asarray(self.status == Status.CONVERGED)

    def model(self, label: Any) -> GaussianMixture:
        """The mixture of one group, as a fitted `GaussianMixture`; ValueError if it has none."""
        g = int(self._codes(np.asarray([label]))[0])
        if np.isnan(self.weights[g, 0]):
            raise ValueError(f"group {label} has no mixture. {self.status[g].advice}")
        return GaussianMixture.from_parameters(
            self.weights[g], self.means[g], self.covariances[g], self.covariance_type
        )

    def predict(self, X: ArrayLike, groups: ArrayLike | None = None, *, sizes: ArrayLike | None = None) -> NDArray[Any]:
        """Most probable component of each row of X (N, D) in its group's mixture: (N,) int64, -1 where there is none.

        Rows are given as to `fit_many`, by labels that the fit has seen, or by the sizes of all its groups.
        """
        return self._scores(X, groups, sizes, label=True)[1]

    def predict_proba(self, X: ArrayLike, groups: ArrayLike | None = None, *, sizes: ArrayLike | None = None) -> Array:
        """Responsibilities in the mixture of each row's group, (N, K); NaN where there is none."""
        return self._scores(X, groups, sizes, resp=True)[2]

    def score_samples(self, X: ArrayLike, groups: ArrayLike | None = None, *, sizes: ArrayLike | None = None) -> Array:
        """Log density of each row under its group's mixture, (N,); NaN where there is none."""
        return self._scores(X, groups, sizes, density=True)[0]

    def accumulate(
        self,
        X: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        sizes: ArrayLike | None = None,
    ) -> Stats:
        """Statistics of each group's rows under its mixture: a Stats whose fields have a leading axis of groups.

        ``COVARIANCES[covariance_type].estimate`` takes them as they are; those of a group without a mixture are NaN.
        """
        rows, parts = self._parts(X, groups, sizes)
        weight = check_weight(sample_weight, len(rows))
        parts = parts.present(weight)
        K, D = self.means.shape[1:]
        shape = self.params.covariances.shape[1:]
        form = FULL if shape[-2] > 1 else DIAG
        out = np.empty((len(self.labels), n_values(K, D, form)))
        rows, weights = parts.rows(rows), np.empty(0) if weight is None else parts.rows(weight)
        mixtures = self._log_norm(), self.means, self.params.factor
        for g in calls(parts.bounds, row_flops(K, D)):
            kernel.accumulate(
                len(out[g]),
                rows,
                weights,
                parts.bounds[g.start : g.stop + 1],
                *(array[g] for array in mixtures),
                form,
                out[g],
                _scratch(len(out[g]), K, D),
            )
        scalars, s0 = out[:, :N_SCALARS].T, out[:, N_SCALARS : N_SCALARS + K]
        s1, s2 = unpacked(out[:, N_SCALARS + K :].reshape(len(out) * K, -1, ROWS), form, D)
        s2 = reduced(s2.reshape(len(out), K, *s2.shape[1:]), shape)
        fields: Any = (*scalars, s0, s1.reshape(len(out), K, D), s2, self.means, np.diff(parts.bounds))
        return Stats(*fields)

    def _codes(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        """Indices of labels among the fit's; ValueError for others."""
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

    def _log_norm(self) -> Array:
        with np.errstate(all="ignore"):  # a component of weight 0 has -inf
            return log_norm(self.params)

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
        rows, mixtures = parts.rows(rows), (self._log_norm(), self.means, self.params.factor)
        for g in calls(parts.bounds, row_flops(K, D)):
            bounds = parts.bounds[g.start : g.stop + 1]
            kernel.score(
                len(bounds) - 1,
                rows,
                bounds,
                *(array[g] for array in mixtures),
                *outputs,
                _scratch(len(bounds) - 1, K, D),
            )
        first, second, third = (parts.back(out) if len(out) else out for out in outputs)
        return first, second, third


def calls(bounds: NDArray[np.int64], flops: float) -> Iterator[slice]:
    """Slices of groups, as long as a kernel call should last, for so much work per row."""
    n_groups, first = len(bounds) - 1, 0
    while first < n_groups:
        most = np.searchsorted(bounds, bounds[first] + CALL_FLOPS / flops, side="right") - 1
        last = min(max(int(most), first + 1), n_groups)
        yield slice(first, last)
        first = last


def _scratch(n_groups: int, K: int, D: int) -> Array:
    return aligned((min(threads_now(), n_groups), scratch_size(D, K, tile_rows(K, D), 8)), np.float64)


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
    weights_init: ArrayLike | None = None,
    means_init: ArrayLike | None = None,
    precisions_init: ArrayLike | None = None,
    random_state: Any = None,
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
) -> ManyMixtures:
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
    weights_init, means_init, precisions_init : array-like, optional
        as in `GaussianMixture`, one start for all groups, or with a leading axis of groups in the order of `labels`
        of the result (that is ascending). What is not given is found by k-means in each group
    random_state : int, RandomState or None, default None
        for k-means. What a group gets is drawn by its place among the groups
    sample_weight : (N,) array-like, non-negative: weight 2 is the row twice, weight 0 the row absent
    n_threads : int, optional
        use at most so many threads; the bits do not depend on it

    Returns
    -------
    ManyMixtures
        One group does not stop the others: a group with fewer rows of positive weight than components (or than 2
        rows) has Status.TOO_FEW_ROWS, one whose start is singular Status.DEGENERATE with n_iter 0; their parameters
        are NaN. One that collapses in mid-fit has Status.DEGENERATE and its last sound parameters

    Raises
    ------
    ValueError
        for parameters or data that cannot be used

    Warns
    -----
    ConvergenceWarning
        with the number of groups that did not converge

    Notes
    -----
    From the same start each group's parameters, n_iter and lower bound are those of `GaussianMixture` (to rounding).
    A group is the work of one thread: for few and large groups use `GaussianMixture`. A group's k-means, unlike
    that of `GaussianMixture`, depends on the order of its rows. Other remedies and a noise component are not offered.

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
    chosen = unit_free(reg_covar, regularization)
    check_constructor(GaussianMixture(n_components, n_threads=n_threads, **options, **chosen))
    remedy = find_remedy(chosen.get("regularization"), chosen.get("reg_covar", 0.0))
    if not isinstance(remedy, RegCovar | EigenvalueFloor):
        raise ValueError(f"fit_many's regularization must be 'floor' or an EigenvalueFloor; got {regularization!r}")
    rows = check_rows(X).astype(np.float64, copy=False)
    weight = check_weight(sample_weight, len(rows))
    check_spread(ArraySource(rows, weight))
    parts = Partition.of(len(rows), groups, sizes).present(weight)
    G, K, D = len(parts.labels), n_components, rows.shape[1]
    given, mixtures = check_starts(weights_init, means_init, precisions_init, covariance_type, (G, K, D))
    n_uniforms = 0 if given == kernel.WEIGHTS + kernel.MEANS + kernel.PRECISIONS else 1 + (K - 1) * (2 + int(np.log(K)))
    uniforms = check_random_state(random_state).uniform(size=(G, n_uniforms))
    status, n_iter, bound = np.zeros(G, dtype=np.int64), np.zeros(G, dtype=np.int64), np.empty(G)
    with threads(n_threads):
        run(parts, rows, weight, uniforms, given, mixtures, (remedy, tol, max_iter), (status, n_iter, bound))
    lost = (status == kernel.TOO_FEW_ROWS) | ((status == kernel.DEGENERATE) & (n_iter == 0))
    for array in mixtures:
        array[lost] = np.nan
    states = np.array([STATUSES[code] for code in range(len(STATUSES))], dtype=object)[status]
    if n_failed := int(np.count_nonzero(status != kernel.CONVERGED)) if max_iter else 0:
        warnings.warn(
            f"{n_failed} of {G} groups did not converge: see status. Try different init parameters, or increase "
            "max_iter, tol, or check for degenerate data.",
            exception(ConvergenceWarning),
            stacklevel=2,
        )
    return ManyMixtures(parts.labels, Params(*mixtures), covariance_type, states, n_iter, bound)


def run(
    parts: Partition,
    X: NDArray[Any],
    weight: Array | None,
    uniforms: Array,
    given: int,
    mixtures: tuple[Array, Array, Array, Array],
    options: tuple[RegCovar | EigenvalueFloor, float, int],
    results: tuple[NDArray[Any], ...],
) -> None:
    """The fits: `mixtures` and `results` are filled. Kernel calls take groups that are worth about 0.1 s."""
    (_, K, D), shape, (remedy, tol, max_iter) = mixtures[1].shape, mixtures[2].shape[1:], options
    reg_covar, floor = (remedy.reg_covar, 0.0) if isinstance(remedy, RegCovar) else (0.0, remedy.floor)
    X, weights = parts.rows(X), np.empty(0) if weight is None else parts.rows(weight)
    nearest = np.empty(len(X) if uniforms.size else 0)
    for g in calls(parts.bounds, row_flops(K, D) * min(max_iter + 1, 30)):
        n = g.stop - g.start
        scratch = _scratch(n, K, D)
        kernel.fit(
            n,
            X,
            weights,
            parts.bounds[g.start : g.stop + 1],
            uniforms[g],
            given,
            *(array[g] for array in mixtures),
            float(reg_covar),
            float(floor),
            pivot_tolerance(D, reg_covar + floor),
            float(tol),
            max_iter,
            *(array[g] for array in results),
            nearest,
            aligned((len(scratch), kernel.state_size(K, D, shape)), np.float64),
            scratch,
        )


def check_starts(
    weights: ArrayLike | None,
    means: ArrayLike | None,
    precisions: ArrayLike | None,
    covariance: str,
    sizes: tuple[int, int, int],
) -> tuple[int, tuple[Array, Array, Array, Array]]:
    """Which parts of the starts are given, and arrays of the mixtures of all groups with these parts in place."""
    G, K, D = sizes
    family = COVARIANCES[covariance]
    shape, natural = family.shape(K, D), family.natural_shape(K, D)
    mixtures = np.empty((G, K)), np.empty((G, K, D)), np.empty((G, *shape)), np.empty((G, *shape))
    given = 0
    if weights is not None:
        given += kernel.WEIGHTS
        mixtures[0][:] = check_weights(weights, K, leading=_leading(weights, (K,), G))
    if means is not None:
        given += kernel.MEANS
        mixtures[1][:] = check_means(means, K, D, leading=_leading(means, (K, D), G))
    if precisions is not None:
        given += kernel.PRECISIONS
        found = check_precisions(precisions, covariance, K, D, leading=_leading(precisions, natural, G))
        mixtures[2][:], mixtures[3][:] = found
    return given, mixtures


def _leading(value: ArrayLike, shape: tuple[int, ...], G: int) -> tuple[int, ...]:
    """The axis of groups, if `value` has one more than `shape`."""
    return (G,) if np.ndim(value) > len(shape) else ()
