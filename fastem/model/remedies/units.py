"""The warning for a `reg_covar` that is not small in the units of the data."""

from __future__ import annotations

import warnings

import numpy as np

from fastem.model.families import Covariance
from fastem.model.matrices import EPS, variances
from fastem.model.maximisation import pooled
from fastem.model.stats import Stats


def warn_of_unit(reg_covar: float, family: Covariance, stats: Stats, stacklevel: int) -> None:
    """Warn if reg_covar is more than COARSE of a column's variance (that of a constant one says nothing)."""
    if not reg_covar:
        return
    with np.errstate(all="ignore"):
        _, means, covariance = family.estimate(pooled(stats), 0.0)
        spread, size = variances(covariance)[0], means[0] ** 2
        rounding = (16 * EPS) ** 2 * (size if len(spread) > 1 else size.mean())
        narrow = np.flatnonzero((spread > rounding) & (reg_covar > COARSE * spread))
    if len(narrow):
        column = narrow[spread[narrow].argmin()]
        whose = "the mean variance of the columns" if len(spread) == 1 else f"the variance of column {column}"
        warnings.warn(
            f"reg_covar={reg_covar:g} is more than {COARSE:.0%} of {whose}, {spread[column]:.3g}: it widens all "
            "components. Scale the data, pass a smaller reg_covar, or a regularization, for which units do not matter.",
            stacklevel=stacklevel + 1,
        )


COARSE = 0.01  # share of a column's variance from which on reg_covar shows
