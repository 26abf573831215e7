"""Targets of a regression: checks in scikit-learn's words, and its score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.model.checks import real_numbers
from fastem.model.matrices import Array
from fastem.sources.weights import check_weight


def as_targets(y: Any, n_rows: int, who: str) -> NDArray[Any]:
    """Return y as (N,) or (N, U), float64, or float32 if it is.

    Raises
    ------
    ValueError
        for anything but finite numbers, one or more for each of `n_rows` rows; `who` is the class that messages name
    """
    if y is None:
        raise ValueError(f"{who} requires y to be passed, but the target y is None.")
    given = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(y)
    targets = given if given.dtype == np.float32 else real_numbers("y", given)
    if targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise ValueError(
            f"y should be a 1d array, or a 2d array of targets, got an array of shape {targets.shape} instead."
        )
    if len(targets) != n_rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[n_rows, len(targets)]}")
    if np.isnan(targets).any():
        raise ValueError("Input y contains NaN.")
    if not np.isfinite(targets).all():
        raise ValueError(f"Input y contains infinity or a value too large for dtype('{targets.dtype}').")
    return targets


def check_targets(n_targets: Any, D: int) -> int:
    """Return how many of D features are targets, 1 for None; raise a ValueError unless a feature and a target are."""
    U = 1 if n_targets is None else n_targets
    if not isinstance(U, (int, np.integer)) or isinstance(U, bool) or not 1 <= U < D:
        raise ValueError(
            f"n_targets must be an int in [1, {D - 1}], as the mixture has {D} features; got {n_targets!r}"
        )
    return int(U)


def r2_score(y: Array, predicted: Array, sample_weight: ArrayLike | None) -> float:
    """Return R^2, the mean over targets, as scikit-learn does; it is 1 or 0 for targets that do not vary."""
    weight = check_weight(sample_weight, len(y))
    y, predicted = (array.reshape(len(y), -1) for array in (y, predicted))
    if y.shape != predicted.shape:
        raise ValueError(
            f"y and the predictions have different numbers of targets: {y.shape[1]} and {predicted.shape[1]}"
        )
    share = np.ones(len(y)) if weight is None else weight
    left = share @ (y - predicted) ** 2
    spread = share @ (y - np.average(y, axis=0, weights=share)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(spread > 0, 1 - left / spread, np.where(left > 0, 0.0, 1.0))
    return float(each.mean())
