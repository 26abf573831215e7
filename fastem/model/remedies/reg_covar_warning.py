"""The warning for a `reg_covar` that is not small in the units of the data."""

from __future__ import annotations

import warnings

import numpy as np

from fastem.model.families import Covariance
from fastem.model.matrices import EPS, variances
from fastem.model.maximisation import pooled
from fastem.model.stats import Stats

COARSE = 0.01  # share of a column's variance from which on reg_covar shows


def warn_of_large_reg_covar(reg_covar: float, family: Covariance, stats: Stats, stacklevel: int) -> None:
    """Warn if `reg_covar` is more than COARSE of the variance of a column that is not constant.

    Parameters
    ----------
    reg_covar : float
    family : Covariance, whose form says what is compared: each column's variance, or their mean
    stats : Stats, of all rows
    stacklevel : int, as in `warnings.warn`; 1 is the caller of this function
    """
    if not reg_covar:
        return
    with np.errstate(all="ignore"):
        total = pooled(stats)  # about its mean
        D = total.origin.shape[1]
        variance, size = variances(total.s2 / family.storage.divisor(total.s0, D))[0], total.origin[0] ** 2
        rounding = (16 * EPS) ** 2 * (size if len(variance) > 1 else size.mean())
        narrow = np.flatnonzero((variance > rounding) & (reg_covar > COARSE * variance))
    if len(narrow):
        column = narrow[variance[narrow].argmin()]
        whose = "the mean variance of the columns" if len(variance) == 1 else f"the variance of column {column}"
        warnings.warn(
            f"reg_covar={reg_covar:g} is more than {COARSE:.0%} of {whose}, {variance[column]:.3g}: it widens all "
            "components. Scale the data, pass a smaller reg_covar, or a regularization, for which units do not matter.",
            stacklevel=stacklevel + 1,
        )
