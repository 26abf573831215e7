"""The mixtures that `select` fits, made of its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastem.estimators.factors.mixture import FactorMixture
from fastem.estimators.factors.training import check_parameters
from fastem.estimators.gaussian_mixture import GaussianMixture
from fastem.estimators.parameters import check_constructor
from fastem.estimators.selecting.best import Mixture
from fastem.model.families import MCLUST

FACTORS = {"factor": "each", "factor_shared": "shared", "factor_isotropic": "isotropic"}  # and their `noise`


def make_mixtures(n_components: Any, covariance_types: Any, n_factors: Any, options: dict[str, Any]) -> list[Mixture]:
    """Return the mixtures that are to be fitted, one for each row of the table; the first arguments as in `select`.

    Raises
    ------
    ValueError
        if there are none, or for parameters that cannot be used
    """
    given = _several("covariance_types", covariance_types)
    names = list(dict.fromkeys(name for one in given for name in (MCLUST if one == "mclust" else [one])))
    factors, sizes = _factors(n_factors, names), _several("n_components", n_components)
    models = [model for K in sizes for name in names for model in _mixtures(K, name, factors, options)]
    if not models:
        raise ValueError("select needs at least one number of components, and of factors, and one covariance type")
    for model in models:
        check_parameters(model) if isinstance(model, FactorMixture) else check_constructor(model)
    return models


def type_of(model: Mixture) -> tuple[str, int]:
    """Return the name of a mixture's covariance type in the table, and its number of factors."""
    if not isinstance(model, FactorMixture):
        return model.covariance_type, 0
    return next(name for name, noise in FACTORS.items() if noise == str(model.noise)), model.n_factors


def _several(name: str, values: Any) -> list[Any]:
    """Return one value or several of a parameter as a list, numbers in ascending order; none is there twice."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values]
    try:
        each = list(dict.fromkeys(values))
        return each if name == "covariance_types" else sorted(each)
    except TypeError:  # of what has no hash, no order or no entries
        raise TypeError(f"{name} of select must be one value, or a flat list of such; got {values!r:.60}") from None


def _factors(n_factors: Any, names: Sequence[str]) -> list[Any]:
    """Return the numbers of factors to try, none if the covariance types, by their names, have none.

    Raises
    ------
    ValueError
        if there are numbers without such a type, or such a type without numbers
    """
    with_factors = [name for name in names if name in FACTORS]
    if with_factors and n_factors is None:
        raise ValueError(f"the covariance type {with_factors[0]!r} needs n_factors, such as n_factors=range(1, 5)")
    if n_factors is not None and not with_factors:
        types = ", ".join(map(repr, FACTORS))
        given = ", ".join(map(repr, names))
        raise ValueError(
            f"n_factors={n_factors!r} is for the covariance types {types}; got {given}: leave n_factors out, or ask "
            "for covariance_types='factor'"
        )
    return [] if n_factors is None else _several("n_factors", n_factors)


def _mixtures(K: int, name: str, factors: Sequence[int], options: dict[str, Any]) -> list[Mixture]:
    """Return the mixtures to fit of one size and covariance type: one, or one for each number of factors."""
    if name not in FACTORS:
        return [GaussianMixture(K, covariance_type=name, **options)]
    plain = GaussianMixture().get_params()
    lacking = plain.keys() - FactorMixture().get_params().keys() | {"noise"}  # of another meaning there
    for option in lacking & options.keys():
        if not np.array_equal(options[option], plain[option]):
            own_noise = f". The names {', '.join(FACTORS)} say which noise they have" if option == "noise" else ""
            raise ValueError(
                f"covariance type {name!r} does not go with {option}={options[option]!r:.60}, an option of "
                f"GaussianMixture alone: leave one of them out{own_noise}"
            )
    own = {option: value for option, value in options.items() if option not in lacking}
    own = {"regularization": None, **own}  # beside a reg_covar
    return [FactorMixture(K, q, noise=FACTORS[name], **own) for q in factors]
