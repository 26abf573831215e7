"""The table of remedies by name. To add a remedy, add a module beside this one and a row to `REMEDIES`."""

from __future__ import annotations

from typing import Any

from fastem.model.checks import check_bound
from fastem.model.exclusions import check_exclusions
from fastem.model.remedies.base import Remedy
from fastem.model.remedies.eigenvalue_floor import EigenvalueFloor
from fastem.model.remedies.eigenvalue_ratio import EigenvalueRatio
from fastem.model.remedies.geometric_ridge import GeometricRidge
from fastem.model.remedies.inverse_wishart import InverseWishart
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.remedies.ridge import Ridge


def find_remedy(regularization: str | Remedy | None, reg_covar: float = 0.0) -> Remedy:
    """Return the remedy that `regularization` names or is; None stands for `reg_covar`.

    Raises
    ------
    ValueError
        if both are given, or `regularization` is no remedy
    """
    check_bound("reg_covar", reg_covar)
    check_exclusions(regularization=regularization, reg_covar=reg_covar)
    if regularization is None:
        return RegCovar(reg_covar)
    if isinstance(regularization, str) and regularization in REMEDIES:
        return REMEDIES[regularization]
    if isinstance(regularization, str) or type(regularization) not in map(type, REMEDIES.values()):
        names = ", ".join(map(repr, REMEDIES))
        raise ValueError(f"regularization must be None, one of {names}, or a remedy; got {regularization!r}")
    return regularization


def unit_free(reg_covar: float | None = None, regularization: str | Remedy | None = None) -> dict[str, Any]:
    """Return the one argument that is given, by name; if none is, UNIT_FREE, as scikit-learn's reg_covar has a unit.

    Raises
    ------
    ValueError
        if both are given
    """
    if reg_covar is not None and regularization is not None:
        raise ValueError(f"regularization={regularization!r} takes the place of reg_covar: leave that out")
    if reg_covar is not None:
        return {"reg_covar": reg_covar}
    return {"regularization": UNIT_FREE if regularization is None else regularization}


def describe_remedy(remedy: Remedy) -> dict[str, Any]:
    """Return a remedy as its name in `REMEDIES` and its numbers, for files."""
    name = next(name for name, example in REMEDIES.items() if type(example) is type(remedy))
    return {"remedy": name, **vars(remedy)}


def remedy_described(description: dict[str, Any]) -> Remedy:
    """Return the remedy that `describe_remedy` has described; raise a ValueError for any other description."""
    numbers = {name: value for name, value in description.items() if name != "remedy"}
    example = REMEDIES.get(str(description.get("remedy")))
    if example is None or numbers.keys() != vars(example).keys() or not all(type(n) is float for n in numbers.values()):
        raise ValueError(f"expected the name and the numbers of a remedy, found {description!r:.60}")
    return type(example)(**numbers)


UNIT_FREE = EigenvalueFloor(1e-10)  # clusters that are 1e5 standard deviations apart keep theirs
RECOMMENDED = GeometricRidge()  # it costs sound components under 1e-4 nats per row: see docs/covariances.md

REMEDIES: dict[str, Remedy] = {
    "ridge": Ridge(),
    "map": InverseWishart(),
    "floor": EigenvalueFloor(),
    "ratio": EigenvalueRatio(),
    "geometric": RECOMMENDED,
}
