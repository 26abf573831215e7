"""Checks of the options of a fit."""

from __future__ import annotations

import numbers
from typing import Any

from fastem.fitting.lost import ON_COLLAPSE
from fastem.fitting.stopping import RULES
from fastem.model.checks import check_bound, demand
from fastem.model.families import find_family
from fastem.model.given import check_params
from fastem.model.params import Params

ASSIGNMENTS = ("soft", "hard")
FIXABLE = ("weights", "means", "covariances")


def check_mixture(params: Params, covariance_type: str, reg_covar: float) -> None:
    """Refuse what is no mixture of this family, and a reg_covar that is negative."""
    shape = find_family(covariance_type).shape(*check_params(params).means.shape)
    if params.covariances.shape != shape:
        got = params.covariances.shape
        raise ValueError(f"covariance_type={covariance_type!r} needs covariances of shape {shape}; got {got}")
    check_bound("reg_covar", reg_covar)


def check_em(params: Params, covariance_type: str, reg_covar: float, tol: float, max_iter: int) -> None:
    """Check the arguments of `em`."""
    check_mixture(params, covariance_type, reg_covar)
    check_bound("tol", tol)
    if not (isinstance(max_iter, numbers.Integral) and max_iter >= 1):
        raise ValueError(f"max_iter must be an int in [1, inf); got {max_iter!r}")


def check_choices(caller: str, stop: Any, on_collapse: Any, regularization: Any) -> None:
    """Check the names of a stopping rule and of what becomes of lost components."""
    for name, value, choices in (("stop", stop, RULES), ("on_collapse", on_collapse, ON_COLLAPSE)):
        among = "{" + ", ".join(map(repr, sorted(choices))) + "}"
        demand(isinstance(value, str) and value in choices, name, f"a str among {among}", value, caller)
    if on_collapse == "drop" and regularization is None:
        raise ValueError("on_collapse='drop' needs a regularization: reg_covar alone follows scikit-learn")


def check_fixed(caller: str, assignment: Any, fixed: Any, on_collapse: Any) -> tuple[str, ...]:
    """Check how rows are assigned, and the names of parameters that are held; returns the latter."""
    among = "{" + ", ".join(map(repr, sorted(ASSIGNMENTS))) + "}"
    known = isinstance(assignment, str) and assignment in ASSIGNMENTS
    demand(known, "assignment", f"a str among {among}", assignment, caller)
    listed = isinstance(fixed, (tuple, list, set, frozenset))
    among = "{" + ", ".join(map(repr, FIXABLE)) + "}"
    demand(
        listed and all(isinstance(name, str) and name in FIXABLE for name in fixed),
        "fixed",
        f"a tuple of names among {among}",
        fixed,
        caller,
    )
    if fixed and on_collapse == "drop":
        raise ValueError("on_collapse='drop' changes the number of components: nothing can be fixed then")
    return tuple(fixed)
