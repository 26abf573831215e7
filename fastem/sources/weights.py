"""Checks of sample weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.model.checks import real_numbers
from fastem.model.matrices import Array


def check_again_weights(weight: NDArray[Any], first: int) -> None:
    """Raise an OSError if weights have changed so that the first pass would have refused them.

    Negative weights, unlike NaN, do not show in the sums. `first` is the index of the first row.
    """
    if len(weight) and not (weight.min() >= 0 and weight.max() < np.inf):
        last = first + len(weight) - 1
        try:
            check_weight_values(weight, first)
        except ValueError as error:
            raise OSError(f"rows {first} to {last} have changed since the first pass: {error}") from error


def check_weight(sample_weight: ArrayLike | None, n_rows: int) -> Array | None:
    """Check weights and return them as (N,) float64; return None for None: every weight is 1."""
    if sample_weight is None:
        return None
    weight = real_numbers("sample_weight", sample_weight)
    if weight.ndim == 0:
        weight = np.full(n_rows, float(weight))
    if weight.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if weight.shape != (n_rows,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_rows,)}!")
    if not np.isfinite(weight).all():
        raise ValueError("Input sample_weight contains NaN or infinity.")
    if (weight < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if n_rows:
        check_weight_scale(float(weight.max()))
    return weight


def check_weight_scale(largest: float) -> None:
    """Refuse weights that are all 0, or whose products would overflow or vanish."""
    if largest == 0:
        raise ValueError("sample_weight: every weight is zero, so there is nothing to fit.")
    if not 1e-100 < largest < 1e100:
        raise ValueError(
            f"sample_weight is too large or too small: with a largest weight of {largest:.3g}, products overflow "
            "float64 or lose digits. Scale the weights."
        )


def check_weight_values(weight: Array, first: int) -> None:
    """Refuse weights that are not finite or negative; `first` is the index of the first row."""
    sound = np.isfinite(weight) & (weight >= 0)
    if not sound.all():
        row = int(np.argmin(sound))
        raise ValueError(
            f"sample_weight: expected finite numbers that are not negative, found {weight[row]} in row {first + row}."
        )
