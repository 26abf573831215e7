"""When a fit has converged: rules by name.

Each is a function of the course of a fit that goes to 0 as the fit converges; the fit ends where that is below tol.
To add one is to add an entry to RULES, at the bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastem.model.matrices import EPS, variances
from fastem.model.params import Params

LOOKBACK = 4  # bounds that a rule may look at
ROUNDING = 64 * EPS  # changes of the mean log-likelihood below this (times 1 + itself) are rounding


class Course(NamedTuple):
    """What a rule looks at.

    Attributes
    ----------
    bounds : at most LOOKBACK floats, the objective per row of the last passes
    total : float, the sum of the rows' weights
    params : Params, of the last pass
    before : Params or None, of the pass before
    """

    bounds: Sequence[float]
    total: float
    params: Params
    before: Params | None


def change(course: Course) -> float:
    """The last change of the objective per row; scikit-learn's rule.

    It says how fast EM climbs, not how far it still has to go: on overlapping components it stops early.
    """
    return abs(course.bounds[-1] - course.bounds[-2])


def aitken(course: Course) -> float:
    """What EM still has to gain, in log-likelihood of all rows, if its gains go on shrinking by the same factor.

    The factor a is that of the last two gains, and must lie in (0, 1); the sum of the geometric series to come is
    gain * a / (1 - a). The larger of two successive estimates counts. As the log-likelihood of all rows has a
    statistical meaning (differences far below 1 say nothing about the model), tol means the same for any N.

    References
    ----------
    Aitken (1926), Proc. R. Soc. Edinburgh 46, 289-305; Boehning, Dietz, Schaub, Schlattmann & Lindsay (1994), Ann.
    Inst. Stat. Math. 46, 373-388; McNicholas, Murphy, McDaid & Frost (2010), Comput. Stat. Data Anal. 54, 711-723.
    """
    if len(course.bounds) < LOOKBACK:
        return np.inf
    first, second, third, last = course.bounds[-LOOKBACK:]
    return course.total * max(_to_come(first, second, third), _to_come(second, third, last))


def _to_come(first: float, second: float, third: float) -> float:
    before, gain = second - first, third - second
    if abs(gain) <= ROUNDING * (1 + abs(third)):
        return 0.0
    factor = gain / before if before else np.inf
    return abs(gain) * factor / (1 - factor) if 0 < factor < 1 else np.inf


def parameters(course: Course) -> float:
    """The largest change of a parameter: of weights, of means in standard deviations, of covariances in variances."""
    new, old = course.params, course.before
    if old is None:
        return np.inf
    sd = np.sqrt(variances(new.covariances))
    products = sd[..., :, None] * sd[..., None, :] if new.covariances.shape[-2] > 1 else (sd * sd)[..., None, :]
    moves = (
        new.weights - old.weights,
        (new.means - old.means) / sd,
        (new.covariances - old.covariances) / products,
    )
    return max(float(np.abs(move).max()) for move in moves)


class Stop(NamedTuple):
    """Whether a fit has converged: whether what a rule measures, one of RULES, is below `tol`."""

    rule: str
    tol: float

    @np.errstate(all="ignore")
    def __call__(self, course: Course) -> bool:
        """Whether a fit has converged."""
        return RULES[self.rule](course) < self.tol


RULES: dict[str, Callable[[Course], float]] = {"change": change, "aitken": aitken, "parameters": parameters}
