"""The table of starts by name, and how the rest of a fit calls one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastem.fitting.starts.beginning import Beginning
from fastem.fitting.starts.clutter import without_clutter
from fastem.fitting.starts.kmeans import from_kmeans
from fastem.fitting.starts.labels import from_labels
from fastem.fitting.starts.race import from_race
from fastem.fitting.starts.random import from_random
from fastem.fitting.starts.rows import from_rows, from_seeds
from fastem.kernels.mixture import HARD
from fastem.model.checks import ConvergenceWarning, exception
from fastem.model.families import COVARIANCES
from fastem.model.matrices import Array, SingularCovarianceError, pivot_tolerance, variances
from fastem.model.maximisation import GaussianModel, pooled
from fastem.model.params import Noise, Params, unit_spheres
from fastem.model.result import Event
from fastem.model.stats import Stats
from fastem.passes.statistics import evaluate, overall
from fastem.sources.blocks import Source
from fastem.sources.scans import Known


class Given(NamedTuple):
    """Parts of a start that the user gives. None stands for a part that the start is to find.

    Attributes
    ----------
    weights : (K,) or None
    means : (K, D) or None
    precisions : tuple (covariances, factor) in canonical shapes, or None
    noise : Noise, the component at the start, or None if the mixture has none
    known : Known, what labels of rows tell, or None if there are no labels
    gaps : bool, whether values are missing or have errors, so that known components leave EM something to do
    """

    weights: Array | None = None
    means: Array | None = None
    precisions: tuple[Array, Array] | None = None
    noise: Noise | None = None
    known: Known | None = None
    gaps: bool = False

    @property
    def all_known(self) -> bool:
        """Whether labels leave nothing to EM: the fit is one M-step."""
        return self.known is not None and not self.known.n_unknown and self.noise is None and not self.gaps


def make_start(
    source: Source, K: int, model: GaussianModel, init: str, rng: np.random.RandomState, given: Given
) -> tuple[Params, tuple[Event, ...]]:
    """Return starting parameters: those given, and the others from an M-step on the statistics of a start; its events.

    Raises
    ------
    SingularCovarianceError
        with the column or component that is the cause
    """
    if given.noise is None:
        return start_without_noise(source, K, model, init, rng, given)
    rows = source if given.known else without_clutter(source, rng)
    params, events = start_without_noise(rows, K, model, init, rng, given)
    return params._replace(weights=(1 - given.noise.weight) * params.weights, noise=given.noise), events


def start_without_noise(
    source: Source, K: int, model: GaussianModel, init: str, rng: np.random.RandomState, given: Given
) -> tuple[Params, tuple[Event, ...]]:
    """Return what `make_start` returns, without a noise component."""
    if given.all_known:
        given = Given()
    if given.weights is not None and given.means is not None and given.precisions is not None:
        return Params(given.weights, given.means, *given.precisions), ()
    order, events = np.arange(K), tuple[Event, ...]()
    if model.held.means is not None:  # clusters of other means would say nothing about the components of these
        shape = model.moments_shape(K, source.n_features)
        stats = evaluate(source, unit_spheres(model.held.means), shape, HARD, distances=True)
    else:
        stats, events = STARTS[init](source, K, model, rng)
        if given.means is not None and init in FIND_CLUSTERS:  # their numbers are not those of the means
            order = nearest_order(model.estimate(stats)[1], given.means, stats)
    weights, means, covariances = model.estimate(stats)
    weights, covariances = weights[order], covariances if model.family.shared else covariances[order]
    try:
        precisions = given.precisions or (covariances, model.factorise(covariances))
    except SingularCovarianceError as error:
        raise error.because(why_singular(source, stats)) from None
    n_distinct = len(set(map(tuple, means.tolist())))
    if n_distinct < K and given.means is None:
        warnings.warn(
            f"Number of distinct clusters ({n_distinct}) found smaller than n_clusters ({K}). Possibly due to "
            "duplicate points in X.",
            exception(ConvergenceWarning),
            stacklevel=8,  # the line of the caller of `GaussianMixture.fit`
        )
    params = Params(
        weights if given.weights is None else given.weights, means if given.means is None else given.means, *precisions
    )
    return params, events


def nearest_order(means: Array, given: Array, stats: Stats) -> NDArray[np.intp]:
    """Return the order in which clusters (K, D) are nearest to given means, one each.

    In this order the sum of squared distances is least. Distances are in standard deviations of all rows, so that no
    column's unit counts.
    """
    variance = variances(pooled(stats).s2)[0] / stats.sum_w
    steps = (given[:, None] - means) / np.sqrt(np.where(variance > 0, variance, 1.0))
    distances = (steps**2).sum(axis=-1)
    order = distances.argmin(axis=1)
    if len(np.unique(order)) < len(order):  # two means are nearest to one cluster
        from scipy.optimize import linear_sum_assignment  # 16 MB and 0.2 s, which most programs need not pay

        _, order = linear_sum_assignment(distances)
    return np.asarray(order)


def why_singular(source: Source, stats: Stats) -> str:
    """Return a sentence that says why the covariances of a start are singular."""
    if not stats.s2.any() and stats.sum_w == len(stats.s0):
        return "This start puts one row into each component, which needs reg_covar > 0."
    total = overall(source, (1, source.n_features, source.n_features))
    covariance = COVARIANCES["full"].estimate(total, 0.0)[2][0]
    scale = np.sqrt(np.diagonal(covariance))
    constant = np.flatnonzero(scale == 0)
    if len(constant) == len(scale):
        return "All rows of X are identical."
    if len(constant):
        return f"Column {constant[0]} of X is constant."
    correlation = covariance / np.outer(scale, scale)
    _, pivots, rank, _ = lapack.dpstrf(correlation, lower=1, tol=pivot_tolerance(len(scale), 0.0))
    if rank < len(scale):
        return f"Column {pivots[rank] - 1} of X is a linear combination of other columns."
    few = np.flatnonzero(stats.s0 <= source.n_features)
    if len(few):
        return (
            f"Component {few[0]} starts with a weight of {stats.s0[few[0]]:g} rows in {source.n_features} dimensions."
        )
    return "The rows of a component lie in a subspace."


Begin = Callable[[Source, int, GaussianModel, np.random.RandomState], Beginning]
STARTS: dict[str, Begin] = {
    "auto": from_race,
    "kmeans": from_kmeans,
    "k-means++": from_seeds,
    "random": from_random,
    "random_from_data": from_rows,
    "labels": from_labels,  # for rows that have labels, whatever init_params
}
INIT_PARAMS = tuple(name for name in STARTS if name != "labels")
FIND_CLUSTERS = ("auto", "kmeans")  # the others' components are alike, or numbered by labels
