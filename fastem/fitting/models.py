"""The model that a fit maximises, in the units of its rows."""

from __future__ import annotations

from dataclasses import replace

from fastem.fitting.totals import moments_of_all
from fastem.model.families import find_family
from fastem.model.maximisation import NOTHING_HELD, GaussianModel, Held, make_model
from fastem.model.remedies.base import Remedy
from fastem.sources.blocks import Source


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
    model = make_model(family, remedy, lambda: moments_of_all(source, shape, near=sample))
    return replace(model, held=held, hard=assignment == "hard")
