"""Passes over all rows of a source without a mixture: the range of the values, and what the labels tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastem.model.checks import NAME
from fastem.model.given import check_box
from fastem.model.matrices import Array
from fastem.sources.blocks import Block, Source, T, rows_at_once
from fastem.sources.labels import certain_labels, check_range, is_labelled


def check_if_not_finite(function: Callable[[Block], T], check: Callable[[Block], None]) -> Callable[[Block], T]:
    """Return a function that calls `function` and, if a block's sums are not finite, `check` on the block.

    This is for rows that are read anew. The first pass checks all values. In later passes NaN, infinity and values that
    are too large show in the sums, so that it costs nothing to notice rows that have changed.
    """

    def checked(block: Block) -> T:
        sums = function(block)
        if not is_finite(sums):
            check(block)
        return sums

    return checked


def is_finite(sums: Any) -> bool:
    """Tell whether all numbers are finite in an array, or in an object that holds arrays."""
    values = vars(sums).values() if hasattr(sums, "__dict__") else (sums,)
    floats = (value for value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return all(np.isfinite(value).all() for value in floats)


def all_weights(source: Source) -> Array | None:
    """Return the weights of all rows of a source, (N,); None if every weight is 1."""
    found: list[Array] = []

    def keep(block: Block) -> None:
        if block.weight is not None:
            found.append(block.weight.copy())

    source.for_each(keep, rows_at_once(source.n_features))
    return np.concatenate(found) if found else None


@dataclass(frozen=True)
class Extent:
    """The range of the values. Extents of blocks can be added.

    Attributes
    ----------
    low, high : () float64, the least and the largest value; or (D,), those of each column
    """

    low: Array
    high: Array

    def __add__(self, other: Extent) -> Extent:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Extent(low, high)

    def __radd__(self, other: object) -> Extent:
        return self if other == 0 else NotImplemented  # sum() starts from 0


def find_extent(source: Source, axis: int | None = None) -> Extent:
    """Find the range of the values of rows of positive weight, in one pass.

    With axis 0, find the range of each column. With None, find one range of all values: it bounds that of each column,
    and takes an eighth of the time.
    """

    def find_in_block(block: Block) -> Extent:
        X = block.present().X
        low, high = X.min(axis=axis, initial=np.inf), X.max(axis=axis, initial=-np.inf)
        if np.isnan(low).any():  # of rows with gaps, the range of what is observed; this takes longer
            low, high = np.fmin.reduce(X, axis, initial=np.inf), np.fmax.reduce(X, axis, initial=-np.inf)
        return Extent(low.astype(np.float64), high.astype(np.float64))

    return source.reduce(find_in_block, rows_at_once(source.n_features))


@dataclass(frozen=True)
class Known:
    """What the labels of rows of positive weight tell. Those of blocks can be added.

    Attributes
    ----------
    mass : (K,) float64, the weight of the rows that are known to belong to each component
    n_unknown : int, rows that may belong to more than one component
    """

    mass: Array
    n_unknown: int

    def __add__(self, other: Known) -> Known:
        return Known(self.mass + other.mass, self.n_unknown + other.n_unknown)

    def __radd__(self, other: object) -> Known:
        return self if other == 0 else NotImplemented  # sum() starts from 0


def count_known(source: Source, K: int) -> Known:
    """Find out in one pass what the labels tell; raise a ValueError for a label of K or more."""

    def count_in_block(block: Block) -> Known:
        assert block.labels is not None
        check_range(block.labels, K, block.start)
        labels = certain_labels(block.labels)
        weight = np.ones(len(labels)) if block.weight is None else block.weight
        one = labels >= 0
        mass = np.bincount(labels[one], weight[one], K).astype(np.float64)  # without any row it has integers
        return Known(mass, int(np.count_nonzero(weight[~one])))

    return source.reduce(count_in_block, rows_at_once(source.n_features))


def check_extent(source: Source, n_components: int, who: str = NAME) -> None:
    """Refuse fewer rows than components, and values whose weighted sum of squares would overflow.

    `who` names the caller in messages.
    """
    check_spread(source)  # first: where nobody knows the number of rows, this pass counts them
    if source.n_rows > 1 and source.n_present < n_components:
        raise ValueError(
            f"Expected n_samples >= n_components but got n_components = {n_components}, n_samples = {source.n_present}"
        )
    if source.n_present < 2:
        raise ValueError(
            f"Found array with 1 sample(s) (shape={(1, source.n_features)}) while a minimum of 2 is required by {who}."
            + (" Rows of weight 0 do not count." if source.n_rows > 1 else "")
        )


def check_spread(source: Source) -> None:
    """Refuse values whose squares would overflow when they are added, and ranges whose weighted squares would."""
    for axis in (None, 0):
        found = find_extent(source, axis)
        with np.errstate(over="ignore"):
            width, largest = np.max(found.high - found.low), np.maximum(-found.low, found.high).max()
            fits = np.isfinite(source.n_rows * source.n_features * largest * largest)
            if fits and np.isfinite(4 * source.sum_w * source.n_features * width * width):
                return
    if not fits:
        raise ValueError(
            f"The values of X are too large: squares of one such as {largest:.3g} overflow float64. Scale the data."
        )
    raise ValueError(
        f"The values of X are too large: with a range of {width:.3g} in one column, sums of squares overflow float64. "
        "Scale the data."
    )


def box_of(source: Source) -> Array:
    """Return the least and largest values of the columns, (2, D); raise a ValueError if a column is constant.

    Rows of weight 0 do not count.
    """
    found = find_extent(source, axis=0)
    return check_box(np.array([found.low, found.high]))


def check_known(source: Source, n_components: int) -> Known | None:
    """Return what the labels tell, None without labels; refuse labels that leave a component without any row."""
    if not is_labelled(source):
        return None
    found = count_known(source, n_components)
    empty = np.flatnonzero(found.mass == 0)
    if len(empty) and not found.n_unknown:
        raise ValueError(f"labels: all rows have one, but none (of positive weight) has label {empty[0]}")
    return found


def check_clusters(source: Source, n_clusters: int) -> None:
    """Refuse fewer rows than clusters, and values whose weighted sum of squares would overflow."""
    check_spread(source)
    if source.n_present < n_clusters:
        raise ValueError(f"n_samples={source.n_present} should be >= n_clusters={n_clusters}.")
