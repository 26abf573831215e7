"""Sum up all rows of a source under a mixture, in one pass: the functions under the EM loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastem.kernels.mixture import HARD, LABELS, RESP, SOFT
from fastem.model.families import Covariance, find_family, free_family
from fastem.model.given import check_gaussian, check_means
from fastem.model.matrices import EPS, Array
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params, unit_spheres
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.stats import Stats
from fastem.passes.kinds import Addable, accumulator_for, stats_of
from fastem.passes.precision import update_unless_coarse
from fastem.sources.blocks import Block, SameDraw, Source
from fastem.sources.labels import check_all_labels, check_resp, is_labelled
from fastem.sources.opening import find_source
from fastem.sources.parts import reduce_to

ONE_DRAW = SameDraw(np.random.RandomState(0).uniform())


def evaluate(
    source: Source,
    params: Params,
    shape: tuple[int, ...] | None = None,
    mode: int = SOFT,
    *,
    given: Any = None,
    ignore_labels: bool = False,
    second_moments: bool = True,
    distances: bool = False,
    exact: bool = False,
) -> Stats:
    """Return the statistics of a source's rows under `params`, in one pass.

    Parameters
    ----------
    source : Source
    params, shape, mode, second_moments, distances, exact
        As in `fastem.passes.sums.Accumulator`.
    given : array or None
        Labels of all rows, or responsibilities. None, the default: the labels of the source, if it has any.
    ignore_labels : bool, default False
        Take rows as if the source had no labels.

    Returns
    -------
    Stats
    """
    options = {"second_moments": second_moments, "distances": distances, "exact": exact}
    accumulator = accumulator_for(source, params, shape, mode, **options)

    def relabelled(block: Block) -> Addable:
        labels = None if given is None else given[block.start : block.start + len(block.X)]
        return accumulator.sums(block._replace(labels=labels))

    replaced = given is not None or (ignore_labels and is_labelled(source))
    function = relabelled if replaced else accumulator.sums
    stats = reduce_to(source, stats_of, function, accumulator.slice_rows, accumulator.block_rows)
    n_rows = source.n_present
    return stats if stats.n_rows == n_rows else replace(stats, n_rows=n_rows)


def moments_about_means(
    source: Source, K: int, shape: tuple[int, ...] | None, mode: int, *, second_moments: bool = True, **options: Any
) -> Stats:
    """Return the moments of K components, whose rows are known, about the components' own means, in two passes.

    The first finds the means, about one of the rows; the second keeps all digits, however far from 0 the rows are.
    A component without rows is at that row. `options` are those of `evaluate`, which has the others as well.
    """
    near = np.repeat(some_row(source), K, axis=0)
    rough = evaluate(source, unit_spheres(near), mode=mode, second_moments=False, **options)
    means = rough.origin + rough.s1 / np.where(rough.s0 > 0, rough.s0, 1.0)[:, None]
    return evaluate(source, unit_spheres(means), shape, mode, second_moments=second_moments, **options)


def some_row(source: Source) -> Array:
    """Return one of the rows, (1, D), always the same: an origin for moments about which few digits are lost."""
    return source.sample(1, ONE_DRAW).X[:1]


def overall(
    source: Source,
    shape: tuple[int, ...] | None = None,
    *,
    second_moments: bool = True,
    near: Source | None = None,
) -> Stats:
    """Return the moments of all rows about their mean, whatever their labels, in two passes.

    Parameters
    ----------
    source : Source
    shape : tuple of int or None
        That of second moments. None: (1, D, D).
    second_moments : bool, default True
        False: there are none.
    near : Source or None
        Rows whose mean is near that of all, so that one pass will do: a sample. None: there are none.
    """
    options: dict[str, Any] = {"second_moments": second_moments, "ignore_labels": True, "distances": True}
    if near is None:
        return moments_about_means(source, 1, shape, HARD, **options)
    rough = overall(near, second_moments=False)
    about = evaluate(source, unit_spheres(rough.origin + rough.s1 / rough.sum_w), shape, HARD, **options)
    return about.shifted(about.origin + about.s1 / about.sum_w)


def accumulate(X: Any, params: Params, sample_weight: ArrayLike | None = None, labels: Any = None) -> Stats:
    """Do the E-step and the sums that the M-step needs, in one pass over the rows.

    With `m_step` this is EM for a code that has its own loop over its data, in one process or in many. Each iteration
    accumulates all blocks under the same parameters, adds the statistics (``+``, `sum`, or across processes their
    `Stats.to_buffer`, which can be added number by number), and computes the next parameters from them. Statistics are
    about the means of their pass, so that no digits are lost however far from 0 the data are. Statistics of different
    parameters cannot be added (`Stats.shifted` moves them to another origin).

    float32 rows are worked on in float32 where that shows each component's narrowest direction, else in float64
    (`Stats.eps` says which it was).

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
        The rows, float64 or float32; others are converted to float64.
    params : Params
    sample_weight : (N,) array-like, optional
        Not negative, or as `fastem.as_source` takes it. Default: every weight is 1.
    labels : array-like, optional
        Components of rows that are known, as `GaussianMixture.fit` takes them.

    Returns
    -------
    Stats
        About ``params.means``.

    Raises
    ------
    ValueError
        If rows, weights, labels or parameters are not finite or do not fit together.

    See Also
    --------
    m_step : parameters, from statistics
    moments : statistics of rows whose components are known
    fastem.embed.accumulate_point : the same in your own compiled code, point by point

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38, section 2 (sufficient statistics); Neal & Hinton
    (1998), in: Jordan (ed.), Learning in Graphical Models, 355-368 (their sums over parts of the data).

    Examples
    --------
    >>> import numpy as np, fastem
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> params = fastem.make_params([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [np.eye(2), np.eye(2)])
    >>> whole = fastem.accumulate(X, params)
    >>> parts = fastem.accumulate(X[:300], params) + fastem.accumulate(X[300:], params)
    >>> bool(np.allclose(whole.s2, parts.s2, rtol=1e-12)), whole.n_rows
    (True, 1000)

    The whole algorithm, over blocks that need never be in memory together:

    >>> for _ in range(20):
    ...     stats = sum(fastem.accumulate(block, params) for block in np.split(X, 10))
    ...     params = fastem.m_step(stats)
    >>> params.weights.shape, stats.n_rows
    ((2,), 1000)
    """
    check_gaussian(params)
    family = free_family(params.covariances.shape, *params.means.shape)  # of another, these are the sums too
    D = params.means.shape[1]
    source = find_source(X, sample_weight, labels, n_features=D, takes_gaps=True, with_errors=True)
    return evaluate_finely(source, params, family)


def evaluate_finely(source: Source, params: Params, family: Covariance) -> Stats:
    """Return `evaluate`; in float64 where sums in float32 do not show the parameters that an M-step makes of them."""
    stats = evaluate(source, params)
    plain = GaussianModel(family, RegCovar())
    if stats.eps == EPS or update_unless_coarse(plain, stats, params) is not None:
        return stats
    return evaluate(source, params, exact=True)


def moments(
    X: Any,
    *,
    resp: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    n_components: int | None = None,
    covariance_type: str = "full",
    sample_weight: ArrayLike | None = None,
    origin: ArrayLike | None = None,
) -> Stats:
    """Return the statistics of rows whose components are known: the start of a fit from labels or responsibilities.

    Give either `resp` or `labels`.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
        The rows, float64 or float32; others are converted to float64.
    resp : (N, K) array-like, optional
        Responsibilities, not negative.
    labels : (N,) array-like of int, optional
        Components of the rows, in 0..K-1.
    n_components : int, optional
        K. Default: what the labels or responsibilities show.
    covariance_type : str, default "full"
        Family of covariances that the second moments are for.
    sample_weight : (N,) array-like, optional
        Not negative. Default: every weight is 1.
    origin : (K, D) array-like, optional
        What the moments are about. Default: the components' own means, found by a first pass, so that all digits are
        kept however far from 0 the data are.

    Returns
    -------
    Stats
        `loglik`, `class_loglik` and `entropy` are NaN.

    Raises
    ------
    ValueError
        If both or none of `resp` and `labels` are given, or if rows, weights, labels or responsibilities are not finite
        or do not fit together.

    See Also
    --------
    m_step : parameters, from statistics
    accumulate : statistics of rows under a mixture

    Examples
    --------
    >>> import fastem
    >>> fastem.moments([[0.0], [2.0], [10.0]], labels=[0, 0, 1]).s0
    array([2., 1.])
    """
    source = find_source(X, sample_weight)
    if (resp is None) == (labels is None):
        raise ValueError("moments needs either resp (N, K) or labels (N,), and not both")
    if labels is None:
        mode, (given, K) = RESP, check_resp(resp, source.n_rows, n_components)
    else:
        mode, (given, K) = LABELS, check_all_labels(labels, source.n_rows, n_components)
    D = source.n_features
    shape = find_family(covariance_type).shape(K, D)

    if origin is not None:
        return evaluate(source, unit_spheres(check_means(origin, K, D)), shape, mode, given=given)
    return moments_about_means(source, K, shape, mode, given=given)
