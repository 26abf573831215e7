"""Checks of the options of a fit."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

from fastem.fitting.lost import ON_COLLAPSE
from fastem.fitting.stopping import RULES
from fastem.model.checks import check_bound, demand
from fastem.model.families import find_family
from fastem.model.given import check_gaussian
from fastem.model.params import Params

ASSIGNMENTS = ("soft", "hard")
FIXABLE = ("weights", "means", "covariances")


def check_mixture(params: Params, covariance_type: str, reg_covar: float) -> None:
    """Raise a ValueError unless `params` are those of a mixture of this family and reg_covar is not negative."""
    shape = find_family(covariance_type).shape(*check_gaussian(params).means.shape)
    if params.covariances.shape != shape:
        got = params.covariances.shape
        raise ValueError(f"covariance_type={covariance_type!r} needs covariances of shape {shape}; got {got}")
    check_bound("reg_covar", reg_covar)


def check_em(params: Params, covariance_type: str, reg_covar: float, tol: float, max_iter: int) -> None:
    """Raise a ValueError unless these arguments of `em` can be used."""
    check_mixture(params, covariance_type, reg_covar)
    check_bound("tol", tol)
    if not (isinstance(max_iter, numbers.Integral) and max_iter >= 1):
        raise ValueError(f"max_iter must be an int in [1, inf); got {max_iter!r}")


def list_names(choices: Iterable[str]) -> str:
    """Return names as messages list them: {'a', 'b'}."""
    return "{" + ", ".join(map(repr, choices)) + "}"


def check_choices(caller: str, **choices: Any) -> None:
    """Raise a ValueError unless each option has one of its names.

    Parameters
    ----------
    caller : str, whose options they are, for the message
    **choices : values of `stop`, `on_collapse` and `assignment`, those that the caller has
    """
    for name, value in choices.items():
        known = isinstance(value, str) and value in CHOICES[name]
        demand(known, name, f"a str among {list_names(sorted(CHOICES[name]))}", value, caller)


CHOICES: dict[str, Iterable[str]] = {"stop": RULES, "on_collapse": ON_COLLAPSE, "assignment": ASSIGNMENTS}


def check_fixed(caller: str, fixed: Any) -> tuple[str, ...]:
    """Return the names of the parameters that are held; raise a ValueError for other names."""
    listed = isinstance(fixed, (tuple, list, set, frozenset))
    known = listed and all(isinstance(name, str) and name in FIXABLE for name in fixed)
    demand(known, "fixed", f"a tuple of names among {list_names(FIXABLE)}", fixed, caller)
    return tuple(fixed)
