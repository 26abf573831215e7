"""A normal distribution within intervals: probabilities and moments, for data that are counts in bins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from fastem.model.matrices import Array

NARROW = 1.0  # an interval (a, b) is narrow if (b - a) max(1, |a|, |b|) is less: the density changes by e^1 at most
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(12)  # exact to the last digit there


class Cells(NamedTuple):
    """A standard normal variable within some intervals.

    Attributes
    ----------
    log_mass : float64, log probability of the interval; -inf if it underflows
    first, second : float64, its moments about 0, given that it lies in the interval
    """

    log_mass: Array
    first: Array
    second: Array


@np.errstate(all="ignore")
def standard_cells(a: Array, b: Array) -> Cells:
    """Return what a standard normal variable is within intervals (a, b), which may be infinite.

    In the right tail, where the difference of two values of the distribution function has no digits, the interval is
    reflected to the left, where their ratio has them. In a narrow interval the moments have none: there Gauss's
    quadrature has all.
    """
    a, b = np.broadcast_arrays(np.atleast_1d(a), np.atleast_1d(b))
    right = a > 0
    low, high = np.where(right, -b, a), np.where(right, -a, b)
    fall, tail = np.exp((high - low) * (high + low) / 2), high <= 0  # fall: of the density, from high to low
    scaled = [erfcx(np.where(tail, -x / np.sqrt(2), 0.0)) for x in (low, high)]
    ratio = np.where(tail, fall * scaled[0] / scaled[1], ndtr(low) / ndtr(high))  # of probabilities below low and high
    ratio = np.where(np.isneginf(low), 0.0, ratio)
    log_mass = log_ndtr(high) + np.log1p(-ratio)
    at_high = np.where(tail, np.sqrt(2 / np.pi) / scaled[1], np.exp(-(high**2) / 2) / np.sqrt(2 * np.pi) / ndtr(high))
    at_high = at_high / (1 - ratio)  # densities at the ends, relative to the probability of the interval
    at_low = np.where(tail, at_high * fall, np.exp(-(low**2) / 2 - log_mass) / np.sqrt(2 * np.pi))
    at_low = np.where(np.isneginf(low), 0.0, at_low)
    first = at_low - at_high
    second = 1 + np.where(np.isfinite(low), low * at_low, 0.0) - np.where(np.isfinite(high), high * at_high, 0.0)
    narrow = (high - low) * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high))) < NARROW
    if narrow.any():
        log_mass[narrow], first[narrow], second[narrow] = _by_quadrature(low[narrow], high[narrow])
    return Cells(log_mass, np.where(right, -first, first), second)


def _by_quadrature(low: Array, high: Array) -> Cells:
    """Return what `standard_cells` does, for narrow intervals (n,)."""
    middle, half = (low + high) / 2, (high - low) / 2
    step = half[:, None] * NODES
    density = NODE_WEIGHTS * np.exp(-step * (middle[:, None] + 0.5 * step))  # relative to the middle
    total = density.sum(axis=1)
    log_mass = np.log(half * total) - 0.5 * middle**2 - 0.5 * np.log(2 * np.pi)
    share = density / total[:, None]
    away, square = (share * step).sum(axis=1), (share * step**2).sum(axis=1)
    return Cells(log_mass, middle + away, middle**2 + 2 * middle * away + square)
