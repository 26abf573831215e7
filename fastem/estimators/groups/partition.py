"""Rows by group, and how many groups one call of a kernel takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.kernels.jit import count_tasks, n_threads
from fastem.kernels.lanes import aligned
from fastem.kernels.mixture import scratch_size
from fastem.model.matrices import Array
from fastem.passes.sizes import tile_rows

CALL_FLOPS = 2e9  # most of a kernel call, if each fit took 30 passes: about 0.1 s, so that Ctrl-C is served
CALL_SECONDS = 0.2  # after which Ctrl-C is served; a call that lasts longer makes the next ones smaller
LABEL_KINDS = "iubUS"  # of the dtypes of labels that a file can hold: integers, booleans, strings and bytes
MIXED_LABELS = "groups must all be integers or all strings: some are missing or of another type"
THREAD_GROUPS = 4  # of a call, that each thread gets at least: with fewer, threads wait for the last one


@dataclass(frozen=True)
class Partition:
    """The rows of a table by group.

    Attributes
    ----------
    labels : (G,), the labels of the groups, in ascending order
    bounds : (G + 1,) int64, where the rows of each group begin once they are in order; the last is their number
    order : (N,) or None
        the indices of the rows by group, within a group in the order of X. None says that X has them in this order, and
        that all of its rows are in a group
    """

    labels: NDArray[Any]
    bounds: NDArray[np.int64]
    order: NDArray[np.intp] | None

    @classmethod
    def of(cls, n_rows: int, groups: ArrayLike | None, sizes: ArrayLike | None) -> Partition:
        """Return the groups by a label for each row, (N,), or by the sizes (G,) of groups that follow each other."""
        if (groups is None) == (sizes is None):
            raise ValueError("give either groups, a label for each row, or sizes, and not both")
        if groups is None:
            counts = check_sizes(sizes, n_rows)
            return cls(np.arange(len(counts)), np.concatenate([[0], np.cumsum(counts)]), None)
        return cls.by_codes(*find_codes(check_groups(groups, n_rows)))

    @classmethod
    def by_codes(cls, labels: NDArray[Any], codes: NDArray[np.intp]) -> Partition:
        """Return the groups by the index of each row's group among `labels`, (N,)."""
        bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(labels)))])
        return cls(labels, bounds, None if (codes[1:] >= codes[:-1]).all() else stable_order(codes))

    def without_absent(self, weight: Array | None) -> Partition:
        """Return the same groups without their rows of weight 0; a weight of None is 1 for all rows."""
        if weight is None or weight.all():
            return self
        order = np.arange(len(weight)) if self.order is None else self.order
        there = weight[order] > 0
        return Partition(self.labels, np.concatenate([[0], np.cumsum(there)])[self.bounds], order[there])

    def only(self, groups: NDArray[np.intp]) -> Partition:
        """Return the partition of the rows of some groups."""
        sizes = np.diff(self.bounds)[groups]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        order = np.arange(bounds[-1]) + np.repeat(self.bounds[groups] - bounds[:-1], sizes)
        return Partition(self.labels[groups], bounds, order if self.order is None else self.order[order])

    def by_group(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of an array by group."""
        return array if self.order is None else array.take(self.order, axis=0)  # 8 times as fast as array[order]

    def by_row(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array whose rows are by group, in the order of X."""
        if self.order is None:
            return array
        result = np.empty_like(array)
        result[self.order] = array
        return result


def find_codes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the distinct labels, sorted, and the index of each row's label among them.

    This is np.unique, but integers of a small range need not be sorted.
    """
    if np.can_cast(values.dtype, np.int64) and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < 4 * len(values) + 1024:
            shifted = values.astype(np.int64) - low
            present = np.bincount(shifted, minlength=high - low + 1) > 0
            return (np.flatnonzero(present) + low).astype(values.dtype), (np.cumsum(present) - 1)[shifted]
    try:
        labels, codes = np.unique(values, return_inverse=True)
    except TypeError:  # of objects, such as None or NaN among strings
        raise ValueError(MIXED_LABELS) from None
    return plain_labels(labels), codes


def plain_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return distinct labels, those that are integers as objects as an array of integers, which a file can hold."""
    if labels.dtype != object or all(isinstance(one, str) for one in labels):
        return labels
    if not all(isinstance(one, int | np.integer) for one in labels):
        raise ValueError(MIXED_LABELS)
    return np.array(labels.tolist())


def stable_order(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a stable argsort of integers from 0 on, by rounds of 16 bits: for these NumPy has a radix sort."""
    order = np.argsort((codes & 0xFFFF).astype(np.uint16), kind="stable")
    shift = 16
    while len(codes) and codes.max() >> shift:
        order = order[np.argsort(((codes[order] >> shift) & 0xFFFF).astype(np.uint16), kind="stable")]
        shift += 16
    return order


def check_groups(groups: ArrayLike, n_rows: int) -> NDArray[Any]:
    """Return the labels of rows as (N,); raise a ValueError unless they are integers or strings."""
    labels = np.asarray(groups)
    converted = labels.dtype.kind in "US" and not hasattr(groups, "dtype")  # from a list
    if converted and not all(isinstance(one, str | bytes) for one in np.asarray(groups, dtype=object).flat):
        raise ValueError(MIXED_LABELS)  # of which NumPy has made strings, such as "nan"
    if labels.shape != (n_rows,) or labels.dtype.kind not in LABEL_KINDS + "O":
        raise ValueError(
            f"groups must be {n_rows} integers or strings, one per row; got shape {labels.shape}, dtype {labels.dtype}"
        )
    return labels


def check_sizes(sizes: ArrayLike | None, n_rows: int) -> NDArray[np.int64]:
    """Return the sizes of groups as (G,) int64; raise a ValueError unless their sum is the number of rows."""
    counts = np.asarray(sizes)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any() or counts.sum() != n_rows:
        raise ValueError(f"sizes must be integers from 0 on, (G,), whose sum is the number of rows, {n_rows}")
    return counts.astype(np.int64)


def split_calls(bounds: NDArray[np.int64], flops: float) -> Iterator[slice]:
    """Give slices of groups, one for each call of a kernel, which is to end in CALL_SECONDS.

    How many passes a fit takes is not known before: the first call is a quarter of the work that would be right for 30,
    and the time that a call took says how large the next one is. Every thread gets some groups, unless they are few.

    Parameters
    ----------
    bounds : (G + 1,) int64, as in `Partition`
    flops : float, the work per row
    """
    n_groups, first, share = len(bounds) - 1, 0, 0.25
    while first < n_groups:
        whole, part = np.searchsorted(bounds, bounds[first] + np.array([1.0, share]) * CALL_FLOPS / flops, "right") - 1
        last = min(max(min(int(whole), first + THREAD_GROUPS * n_threads()), int(part), first + 1), n_groups)
        since = time.perf_counter()
        yield slice(first, last)
        took = max(time.perf_counter() - since, 1e-9)
        share = min(1.0, share * max(0.25, min(4.0, CALL_SECONDS / took)))
        first = last


def make_scratch(bounds: NDArray[np.int64], K: int, D: int, flops: float) -> Array:
    """Return the scratch memory of a kernel call on groups: a row for each task. The arguments are as above."""
    n_tasks = count_tasks(len(bounds) - 1, (bounds[-1] - bounds[0]) * flops)
    return aligned((n_tasks, scratch_size(D, K, tile_rows(K, D), 8)), np.float64)
