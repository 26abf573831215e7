"""Samples that grow: an accelerated fit begins on a part of the rows, and takes what it has learned to all of them.

A sample of n rows tells the parameters to about P / (2 n) nats per row. To go on there when less is left to gain is of
no use: a level ends at a tenth of that, the next has GROWTH times the rows, and the last level is that of all rows. One
sample of the rows serves all levels: every GROWTH-th row of it is the sample of the level before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastem.fitting.accelerated import climb
from fastem.fitting.acceleration import Memory
from fastem.fitting.interruption import handing_over
from fastem.fitting.seeds import weights_of
from fastem.fitting.steps import last_update
from fastem.fitting.stopping import Stop
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.result import Result, Status
from fastem.sources.blocks import ArraySource, Source, kind_of_rows
from fastem.sources.errors import has_errors
from fastem.sources.labels import is_labelled
from fastem.sources.parts import agreed

FIRST_ROWS, ROWS_PER_COMPONENT = 10_000, 50  # of the first level: the more of FIRST_ROWS and this times K
GROWTH = 4
LEAST_SHARE = 4  # the largest sample has at most a 4th of all rows
MOST_BYTES = 2**28  # of the largest sample
SHARE_OF_ERROR = 0.1  # of what the sampling error of a level is worth, P / (2 n) nats per row


def rows_of_levels(n_rows: int, n_features: int, K: int) -> list[int]:
    """Return how many rows the samples have, in ascending order; none if there are too few rows for samples to pay."""
    n, most = max(FIRST_ROWS, ROWS_PER_COMPONENT * K), min(n_rows // LEAST_SHARE, MOST_BYTES // (8 * n_features))
    sizes = []
    while n <= most:
        sizes.append(n)
        n *= GROWTH
    return sizes


def draw_sample(source: Source, K: int) -> ArraySource | None:
    """Return the rows of a fit's largest sample, in one pass; None if there are too few rows for samples to pay.

    They have the weight of all rows, so that a remedy's prior counts as much as it does with all rows. They are the
    same for all starts, and for a fit that goes on from a checkpoint. Rows with labels have no sample: labels may be
    few, and those that a sample lacks would not hold. A sample has no errors of measurement, so that rows with errors
    have none either.
    """
    sizes = [] if is_labelled(source) or has_errors(source) else rows_of_levels(source.n_present, source.n_features, K)
    if not sizes:
        return None
    X, weight, _ = source.sample(sizes[-1], np.random.RandomState(0))
    return ArraySource(X, weight * (source.sum_w / weight.sum()), rows_kind=kind_of_rows(source))


def climb_by_levels(
    source: Source,
    params: Params,
    model: Model,
    *,
    sample: ArraySource | None = None,
    max_iter: int,
    stop: Stop,
    **options: Any,
) -> Result:
    """Run `climb` on growing parts of a sample, and then on all rows.

    Parameters
    ----------
    source, params, model, stop, max_iter : as in `climb`
    sample : ArraySource or None, as `draw_sample` returns it. Default None: all rows are the only level
    **options : the others of `climb`
    """
    if sample is None:
        return climb(source, params, model, stop=stop, max_iter=max_iter, **options)
    with handing_over(lambda _: None):  # a result of a sample is none of all rows
        on_sample = partial(climb_sample, sample, params, model, max_iter, source.n_present)
        params, memory, passes = agreed(source, on_sample)
    return climb(source, params, model, stop=stop, max_iter=max_iter, memory=memory, passes=passes, **options)


def climb_sample(
    sample: ArraySource, params: Params, model: Model, max_iter: int, n_rows: int
) -> tuple[Params, Memory, float]:
    """Return where the levels of a sample lead, the memory of the way, and passes over `n_rows` rows made on it.

    A pass of the `max_iter` is left for all rows. A level that ends badly, as by a component that collapses on it,
    counts for nothing.
    """
    memory, passes = Memory(), 0.0
    for n in rows_of_levels(n_rows, sample.n_features, len(params.means)):
        X, weight = sample.X[:: sample.n_rows // n], weights_of(sample)[:: sample.n_rows // n]
        weight = weight * (sample.sum_w / weight.sum())  # a copy: these are views of the sample's
        rows = ArraySource(np.ascontiguousarray(X), weight, rows_kind=kind_of_rows(sample))
        most = int(min(max_iter, (max_iter - 1 - passes) * n_rows / n))
        if most < 1:
            break
        memory.change_rows()
        error = model.n_parameters(params) / (2 * n) * (1.0 if model.per_row else rows.sum_w)
        stop = Stop("change", SHARE_OF_ERROR * error)
        level = climb(rows, params, model, stop=stop, max_iter=most, memory=memory)
        passes += level.n_passes * n / n_rows
        if level.status in (Status.CONVERGED, Status.MAX_ITER):
            params = last_update(rows, level, model)
        else:
            memory = Memory()
    memory.change_rows()
    return params, memory, passes
