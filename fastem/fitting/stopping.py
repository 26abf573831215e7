"""When a fit has converged: rules by name.

Each rule is a function of the course of a fit. Its value goes to 0 as the fit converges, and the fit ends when it is
below tol. To add a rule, write such a function and a row of `RULES` at the end of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastem.model.matrices import EPS, variances
from fastem.model.params import Params

LOOKBACK = 4  # how many of the last values of the objective a rule may look at
ROUNDING = 64 * EPS  # changes of the mean log-likelihood below this (times 1 + itself) are rounding


class Course(NamedTuple):
    """What a rule looks at.

    Attributes
    ----------
    bounds : sequence of at most LOOKBACK floats, the objective per row of the last passes
    total : float, the sum of the rows' weights
    params : Params, those of the last pass
    before : Params of the pass before, or None if there was none
    """

    bounds: Sequence[float]
    total: float
    params: Params
    before: Params | None


def change(course: Course) -> float:
    """Return the last change of the objective per row: scikit-learn's rule.

    It says how fast EM climbs, not how far it still has to go: on overlapping components it stops early.
    """
    return abs(course.bounds[-1] - course.bounds[-2])


def aitken(course: Course) -> float:
    """Return what EM still has to gain, in log-likelihood of all rows, if gains go on shrinking by the same factor.

    The factor a is the ratio of the last two gains, and must lie in (0, 1). The sum of the geometric series to come is
    gain * a / (1 - a). The larger of two successive estimates is returned. As the log-likelihood of all rows has a
    statistical meaning (differences far below 1 say nothing about the model), tol means the same for any N.

    References
    ----------
    Aitken (1926), Proc. R. Soc. Edinburgh 46, 289-305; Boehning, Dietz, Schaub, Schlattmann & Lindsay (1994), Ann.
    Inst. Stat. Math. 46, 373-388; McNicholas, Murphy, McDaid & Frost (2010), Comput. Stat. Data Anal. 54, 711-723.
    """
    if len(course.bounds) < LOOKBACK:
        return np.inf
    first, second, third, last = course.bounds[-LOOKBACK:]
    return course.total * max(_estimate_gain(first, second, third), _estimate_gain(second, third, last))


def _estimate_gain(first: float, second: float, third: float) -> float:
    """Return the gain to come after three values of the objective; infinity if gains do not shrink."""
    before, gain = second - first, third - second
    if abs(gain) <= ROUNDING * (1 + abs(third)):
        return 0.0
    factor = gain / before if before else np.inf
    return abs(gain) * factor / (1 - factor) if 0 < factor < 1 else np.inf


def parameters(course: Course) -> float:
    """Return the largest change of a parameter: means change in standard deviations, covariances in variances."""
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
    """The test whether a fit has converged: whether what a rule of `RULES` measures is below `tol`."""

    rule: str
    tol: float

    @np.errstate(all="ignore")
    def __call__(self, course: Course) -> bool:
        """Return whether a fit has converged."""
        return RULES[self.rule](course) < self.tol


RULES: dict[str, Callable[[Course], float]] = {"change": change, "aitken": aitken, "parameters": parameters}
