"""Coordinates of mixtures of each kind, for the accelerated loop."""

from __future__ import annotations

from fastem.model.factor_space import FactorSpace
from fastem.model.factors import FactorParams
from fastem.model.parametrization import Parametrization
from fastem.model.params import Params
from fastem.model.posterior_space import PosteriorSpace
from fastem.model.variational import Posterior

Coordinates = Parametrization | FactorSpace | PosteriorSpace


def coordinates_about(params: Params) -> Coordinates:
    """Return coordinates about a mixture in which a step of EM is the gradient of the objective per row."""
    if isinstance(params, FactorParams):
        return FactorSpace.around(params)
    return PosteriorSpace.around(params) if isinstance(params, Posterior) else Parametrization.around(params)
