"""What rounding does to variances: which of them are rounding alone, and how the M-step repairs those that it lost."""

from __future__ import annotations

import numpy as np

from fastem.model.matrices import EPS, Array, variances
from fastem.model.stats import Stats, component_mass, outer


def replace_cancelled_variances(covariances: Array, s2: Array, divisor: Array, nk: Array, means: Array) -> None:
    """Replace, in place, the variances that were lost to cancellation in ``s2 / divisor - step^2``.

    Below the rounding of that difference a variance is unknown. Where s2 itself is the rows' rounding (by the square
    of the means) the column is constant: its variance becomes 0. Else the mean came from far away: the variance becomes
    an upper bound, without covariances, which the next pass, about a mean that is near, replaces.

    Parameters
    ----------
    covariances : (..., K|1, D|1, D|1), what the M-step made of the statistics
    s2 : like covariances, the second moments about the means of the pass
    divisor : (..., K|1, 1, 1), what divides s2 to make covariances
    nk : (..., K, 1), the weight of each component's rows
    means : (..., K, D), the new means
    """
    diagonal, before = variances(covariances), variances(s2 / divisor)
    cancelled = diagonal <= 16 * EPS * before
    if not cancelled.any():
        return
    square = variances(outer(nk * means, means, s2.shape) / divisor)
    constant = cancelled & (before <= (8 * EPS) ** 2 * square)
    far = cancelled & ~constant
    if covariances.shape[-2] > 1:
        covariances[far[..., :, None] | far[..., None, :]] = 0.0
    diagonal[far] = 16 * EPS * before[far]
    diagonal[constant] = 0.0


def variances_of_rounding(stats: Stats, eps: float, one_by_one: bool) -> Array:
    """Return the variances, (K|1, D|1), that are rounding alone: covariances below them say nothing of the rows.

    Of each second moment about the means of the pass, sums lose up to `stats.eps` in tiles, as soft assignments make
    them, and 45 times that where rows are added `one_by_one` (measured on columns that depend on others, up to 1e6
    rows). This takes 16 + D, more than what `replace_cancelled_variances` puts there, and 128 + D. Rows that are stored
    with a relative `eps` vary by that much of their values: one rounding has a variance of eps^2 x^2 / 12.
    """
    nk, loss = component_mass(stats), stats.s1.shape[1] + (128 if one_by_one else 16)
    divisor = (nk.sum(keepdims=True) if len(stats.s2) == 1 else nk)[:, None] * (stats.s1.shape[1] // stats.s2.shape[-1])
    means = stats.origin + stats.s1 / nk[:, None]
    second = variances(stats.s2) / divisor
    square = variances(outer(nk[:, None] * means, means, stats.s2.shape)) / divisor
    return np.asarray(loss * stats.eps * second + eps**2 * (second + square))


def mean_squares_along(factor: Array, square: Array) -> Array:
    """Return the mean squares of W x along each row of W, (K|1, D), for features x that do not depend on each other.

    Parameters
    ----------
    factor : (K|1, D|1, D|1), the precision factors W
    square : (K|1, D|1), the mean square of each feature
    """
    weight = factor**2
    return np.asarray((weight * square[:, None, :]).sum(axis=-1) if weight.shape[-2] > 1 else weight[:, 0] * square)
