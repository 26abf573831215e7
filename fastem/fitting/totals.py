"""The moments of all rows, which remedies and starts measure by: for each kind of rows, the function that finds them.

For complete rows these are mean and covariance. Of rows with gaps they are those of one Gaussian, which is fitted by
maximum likelihood to what is observed. Of rows with errors of measurement they are nearly those of one Gaussian that is
so fitted to the true places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fastem.fitting.accelerated import climb
from fastem.fitting.stopping import Stop
from fastem.model.families import COVARIANCES, free_family
from fastem.model.matrices import Array, variances
from fastem.model.maximisation import GaussianModel, make_model
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.remedies.eigenvalue_floor import EigenvalueFloor
from fastem.model.result import Status
from fastem.model.stats import Stats
from fastem.passes.imputation import drawn_rows
from fastem.passes.statistics import evaluate, overall
from fastem.sources.blocks import ArraySource, Block, Source, kind_of_rows, rounding_of, rows_at_once

FLOOR = EigenvalueFloor(1e-10)  # of correlations: maximum likelihood wherever that is not singular
FIRST_ROWS = 20_000  # of the sample on which the fit of one Gaussian begins
MAX_PASSES = 300, 30  # over that sample, and over all rows
GAIN_LEFT = 1e-8  # nats per row
WITH_ERRORS = 30, 1e-4  # most passes, and nats per row that are left: a scale is wanted, not an optimum


def moments_of_all(source: Source, shape: tuple[int, ...], near: Source | None = None) -> Stats:
    """Return the moments of all rows as one component, in a canonical shape; `near` as of `overall`."""
    return TOTALS[kind_of_rows(source)](source, shape, near)


def _of_complete(source: Source, shape: tuple[int, ...], near: Source | None) -> Stats:
    return overall(source, shape, near=near)


def _of_incomplete(source: Source, shape: tuple[int, ...], near: Source | None) -> Stats:
    """Return what the fit of one Gaussian expects of the moments of all rows, about its mean."""
    params, model = one_gaussian(source, shape)
    stats = pass_over(source, params, model)
    clear_constant(stats, model)  # missing values of such columns do not vary either
    return stats


@np.errstate(all="ignore")
def _of_true_places(source: Source, shape: tuple[int, ...], near: Source | None) -> Stats:
    """Return moments of rows that are distributed as one Gaussian, fitted to the true places of rows with errors.

    The fit begins at the variances of the rows as they were measured, and ends near the maximum: so variances are too
    large, if anything, and none is 0 where rows vary.
    """
    observed = observed_moments(source, shape)
    model = make_model(free_family(shape, 1, source.n_features), FLOOR, lambda: observed, rounding_of(source))
    (most, left), start = WITH_ERRORS, model.update(observed)
    result = climb(source, start, model, stop=Stop("change", left), max_iter=most, e_step=pass_over)
    expected = model.family.expected(result.params, observed.sum_w, 0.0)
    clear_constant(expected, model)
    return replace(expected, n_rows=source.n_present)


@np.errstate(all="ignore")  # columns may depend on others, so that trials overflow
def one_gaussian(source: Source, shape: tuple[int, ...]) -> tuple[Params, GaussianModel]:
    """Fit one Gaussian, with a covariance of this shape, to rows with gaps; return it and what was fitted.

    Variances of what is observed are the maximum of the likelihood if the covariance is no matrix, and else the start
    of accelerated EM. That begins on a sample if there are many rows.
    """
    family, observed = free_family(shape, 1, source.n_features), observed_moments(source, shape)
    model = make_model(family, FLOOR, lambda: observed, rounding_of(source))
    params = model.update(observed)
    if not family.matrices:
        return params, model
    rows = [(source, MAX_PASSES[0])]
    if source.n_present > 2 * FIRST_ROWS:
        X, weight, _ = source.sample(FIRST_ROWS, np.random.RandomState(0))
        rows = [(ArraySource(X, weight, rows_kind="missing"), MAX_PASSES[0]), (source, MAX_PASSES[1])]
    for some, most in rows:
        result = climb(some, params, model, stop=Stop("change", GAIN_LEFT), max_iter=most, e_step=pass_over)
        if result.status in (Status.CONVERGED, Status.MAX_ITER):
            params = model.update(result.stats)
    return params, model


def clear_constant(stats: Stats, model: GaussianModel) -> None:
    """Set the second moments of columns that do not vary to 0, in place."""
    constant = ~model.units.varying
    stats.s2[..., constant] = 0.0
    if model.family.matrices:
        stats.s2[:, constant] = 0.0


def pass_over(source: Source, params: Params, model: Model) -> Stats:
    """Return the statistics of a pass under one Gaussian, for which labels tell nothing."""
    return evaluate(source, params, ignore_labels=True)


def observed_moments(source: Source, shape: tuple[int, ...]) -> Stats:
    """Return means and variances of the values that are observed of each column, as moments of one component."""

    def about(centre: Array) -> Array:
        """Return, for each column, the weight of its values, and the sums of distances from a centre and of squares."""

        def add(block: Block) -> Array:
            present = block.present()
            away = np.subtract(present.X, centre, order="C")  # sums have the same bits, whatever the layout
            mass = np.where(np.isnan(away), 0.0, present.weights()[:, None])
            away = np.where(np.isnan(away), 0.0, away)
            return np.stack([mass.sum(axis=0), (mass * away).sum(axis=0), (mass * away * away).sum(axis=0)])

        return source.reduce(add, rows_at_once(source.n_features))

    mass, first, _ = about(np.zeros(source.n_features))
    mass = np.maximum(mass, np.finfo(np.float64).tiny)  # a sample may lack all values of a column
    means = first / mass
    _, first, second = about(means)
    variance = second / mass - (first / mass) ** 2
    if shape[-1] == 1:  # one for all: by the number of values
        variance = np.array([(mass * variance).sum() / mass.sum()]) * len(mass)
    s2 = np.zeros(shape)
    variances(s2)[...] = source.sum_w * variance
    means, s1 = (means + first / mass)[None], np.zeros((1, len(means)))
    return Stats(np.nan, np.nan, np.nan, np.array([source.sum_w]), s1, s2, means, source.n_present)


def completed(source: Source, n: int, rng: np.random.RandomState) -> ArraySource:
    """Return a sample of about n rows with gaps, with values drawn from the fit of one Gaussian to it.

    Draws keep the spread of the data, where means would put rows into subspaces, in which likelihoods have no bound.
    If the sample lacks all values of a column, the Gaussian is that of all rows.
    """
    X, weight, labels = source.sample(n, rng)
    shown = bool((~np.isnan(X)).any(axis=0).all())
    rows = ArraySource(X, weight, rows_kind="missing") if shown else source
    params, model = one_gaussian(rows, COVARIANCES["full"].shape(1, source.n_features))
    filled = np.where(np.isnan(X) & ~model.units.varying, params.means, drawn_rows(X, params, rng))
    return ArraySource(filled, weight, labels=labels)


TOTALS: dict[str, Callable[[Source, tuple[int, ...], Source | None], Stats]] = {
    "complete": _of_complete,
    "missing": _of_incomplete,
    "errors": _of_true_places,
    "errors and gaps": _of_true_places,
    "one error": _of_true_places,
    "bins": _of_complete,
}
