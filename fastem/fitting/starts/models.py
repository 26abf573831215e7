"""How a fit of each kind of model begins, from the start of a Gaussian mixture.

To add a kind of model, write a function as those below and name it in a row of `KINDS` at the end of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastem.fitting.starts.clutter import without_clutter
from fastem.fitting.starts.factors import begin_factors
from fastem.fitting.starts.posterior_search import from_posterior_search
from fastem.fitting.starts.table import STARTS, Given, make_start, why_singular
from fastem.model.factor_model import FactorModel
from fastem.model.matrices import SingularCovarianceError
from fastem.model.maximisation import GaussianModel
from fastem.model.params import Params
from fastem.model.result import Event
from fastem.model.student_model import StudentModel
from fastem.model.variational_model import VariationalModel
from fastem.sources.blocks import Source
from fastem.sources.labels import is_labelled
from fastem.sources.parts import agreed

Begun = tuple[Params, tuple[Event, ...]]  # parameters that a fit begins with, and the events of its start


def start_posterior(
    source: Source, K: int, model: VariationalModel, init: str, rng: np.random.RandomState, given: Given
) -> Begun:
    """Return the posterior of a start, the update on the statistics of one; its events.

    "auto" searches for a posterior, the other starts are those of a mixture.

    Raises
    ------
    SingularCovarianceError
        with the column or component that is the cause
    """
    if init == "auto":
        stats, events = from_posterior_search(source, K, model, rng)
    else:
        stats, events = STARTS[init](source, K, model.gaussian, rng)
    try:
        return agreed(source, lambda: model.update(stats)), events
    except SingularCovarianceError as error:
        raise error.because(error.cause or why_singular(source, stats)) from None


def start_students(
    source: Source, K: int, model: StudentModel, init: str, rng: np.random.RandomState, given: Given
) -> Begun:
    """Return the mixture of t distributions of a start on the rows that are not far from all others; its events."""
    rows = source if is_labelled(source) else without_clutter(source, rng)
    params, events = make_start(rows, K, model.gaussian, init, rng, given)
    return model.begin(params), events


def start_factors(
    source: Source, K: int, model: FactorModel, init: str, rng: np.random.RandomState, given: Given
) -> Begun:
    """Return the mixture of factor analysers of a start, and its events."""
    params, events = make_start(source, K, model.gaussian, init, rng, given)
    return begin_factors(source, params, model, rng), events


class Kind(NamedTuple):
    """How a kind of model is fitted.

    Attributes
    ----------
    begin : function (source, K, model, init, rng, given) that returns a `Begun`
    mends : bool, whether a component that is lost gets another place; under a prior or heavy tails it is none
    """

    begin: Callable[..., Begun]
    mends: bool


KINDS: dict[type[Any], Kind] = {
    GaussianModel: Kind(make_start, mends=True),
    VariationalModel: Kind(start_posterior, mends=False),
    StudentModel: Kind(start_students, mends=False),
    FactorModel: Kind(start_factors, mends=False),
}
