"""The two steps of EM on the rows of a source."""

from __future__ import annotations

from functools import partial

from fastem.kernels.mixture import HARD, SOFT
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.result import Result
from fastem.model.stats import Stats
from fastem.passes.precision import update_unless_coarse
from fastem.passes.statistics import evaluate
from fastem.sources.blocks import Source
from fastem.sources.parts import agreed


def e_step(source: Source, params: Params, model: Model, exact: bool = False) -> Stats:
    """Return the statistics of a pass under `params`; with `exact` in float64, whatever the dtype of the rows."""
    return evaluate(source, params, mode=HARD if model.hard else SOFT, exact=exact)


def last_update(source: Source, result: Result, model: Model) -> Params:
    """Return the M-step after the last pass; where sums in float32 are too coarse, after the same pass in float64.

    Raises
    ------
    SingularCovarianceError
        if a component has no covariance
    """
    params = agreed(source, partial(update_unless_coarse, model, result.stats, result.params))
    if params is None:
        stats = e_step(source, result.params, model, exact=True)
        params = agreed(source, partial(model.update, stats, result.params))
    return params
