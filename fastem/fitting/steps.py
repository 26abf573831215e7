"""The two steps of EM on the rows of a source, and the model whose steps they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fastem.kernels.mixture import HARD, SOFT
from fastem.model.families import find_family
from fastem.model.maximisation import NOTHING_HELD, GaussianModel, Held, make_model
from fastem.model.params import Params
from fastem.model.protocol import Model
from fastem.model.remedies.base import Remedy
from fastem.model.result import Result
from fastem.model.stats import Stats
from fastem.passes.precision import update_unless_coarse
from fastem.passes.statistics import evaluate, overall
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


def model_for(
    source: Source,
    covariance_type: str,
    remedy: Remedy,
    held: Held = NOTHING_HELD,
    assignment: str = "soft",
    sample: Source | None = None,
) -> GaussianModel:
    """Return the model of a covariance family under a remedy, in the units of the rows of a source.

    With a `sample` of the rows, whose mean is near that of all, their moments take one pass less. Default None: there
    is no sample.
    """
    family = find_family(covariance_type)
    shape = family.shape(1, source.n_features)
    model = make_model(family, remedy, lambda: overall(source, shape, near=sample))
    return replace(model, held=held, hard=assignment == "hard")
