"""Statistics of groups of rows: under a mixture for each group, or under one mixture for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.groups.partition import Partition, make_scratch, split_calls
from fastem.kernels import groups as kernel
from fastem.kernels.micro import DIAG, FULL, ROWS
from fastem.kernels.mixture import N_SCALARS, n_values
from fastem.model.matrices import Array
from fastem.model.params import Params, Terms
from fastem.model.stats import Stats
from fastem.passes.sizes import block_rows, work
from fastem.passes.sums import reduced, unpacked

BATCH_BYTES = 8 << 20  # of statistics at a time, which a cache holds: 25 groups under 512 components of 40 variances


def form_of(terms: Terms) -> int:
    """Return the form of second moments in kernels: of matrices or of variances."""
    return FULL if terms.factor.shape[-2] > 1 else DIAG


def row_work(terms: Terms) -> float:
    """Return the work of a pass per row, in flops."""
    _, K, D = terms.means.shape
    return work(1, K, D, form_of(terms))


def accumulate_groups(rows: NDArray[Any], weights: Array, bounds: NDArray[np.int64], terms: Terms) -> Stats:
    """Return the statistics of each group under its mixture, with a leading axis of groups; NaN without a mixture.

    The arguments are those of `sum_groups`.
    """
    return to_stats(sum_groups(rows, weights, bounds, terms), terms, np.diff(bounds))


def sum_groups(rows: Array, weights: Array, bounds: NDArray[np.int64], terms: Terms) -> Array:
    """Return what the kernel sums up for each group of rows, (G, n_values).

    Parameters
    ----------
    rows : (N, D) float64, by group
    weights : (N,) float64, by group; or (0,) if every weight is 1
    bounds : (G + 1,) int64, as in `Partition`
    terms : Terms, with a leading axis of groups, or of 1: a mixture for all
    """
    (n_mixtures, K, D), form, flops = terms.means.shape, form_of(terms), row_work(terms)
    out = np.empty((len(bounds) - 1, n_values(K, D, form)))
    for g in split_calls(bounds, flops):
        own, some = g if n_mixtures > 1 else slice(None), bounds[g.start : g.stop + 1]
        mixtures = (np.ascontiguousarray(array[own]) for array in (terms.log_norm, terms.means, terms.factor))
        kernel.accumulate(rows, weights, some, *mixtures, form, out[g], make_scratch(some, K, D, flops))
    return out


def to_stats(out: Array, terms: Terms, n_rows: NDArray[np.int64]) -> Stats:
    """Return the statistics of groups, with a leading axis of groups, from what `sum_groups` returns."""
    K, D = terms.means.shape[1:]
    scalars, s0 = out[:, :N_SCALARS].T, out[:, N_SCALARS : N_SCALARS + K]
    s1, s2 = unpacked(out[:, N_SCALARS + K :].reshape(len(out) * K, -1, ROWS), form_of(terms), D)
    s2 = reduced(s2.reshape(len(out), K, *s2.shape[1:]), terms.factor.shape[1:])
    fields: Any = (*scalars, s0, s1.reshape(len(out), K, D), s2, terms.means, n_rows)
    return Stats(*fields)


def under_one_mixture(X: NDArray[Any], weight: Array | None, parts: Partition, params: Params) -> Iterator[Stats]:
    """Give the statistics of groups of rows under one mixture, in order, many groups at a time.

    Large groups are cut into pieces, which threads share; the pieces of a group are added in order. So the bits of a
    group depend neither on the threads nor on other groups.

    Parameters
    ----------
    X : (N, D) float64 or float32
    weight : (N,) float64; None: every weight is 1
    parts : Partition
    params : Params, one mixture

    Yields
    ------
    Stats
        with a leading axis of groups
    """
    log_norm, means, factor, *_ = params.terms()
    one = Terms(log_norm[None], means[None], factor[None])
    K, D = params.means.shape
    step = max(1, BATCH_BYTES // (8 * n_values(K, D, form_of(one))))
    for first in range(0, len(parts.labels), step):
        bounds = parts.bounds[first : first + step + 1]
        index = slice(bounds[0], bounds[-1]) if parts.order is None else parts.order[bounds[0] : bounds[-1]]
        rows = X[index].astype(np.float64, copy=False)
        weights = np.empty(0) if weight is None else weight[index]
        yield to_stats(sum_pieces(rows, weights, bounds - bounds[0], one), one, np.diff(bounds))


def sum_pieces(rows: Array, weights: Array, bounds: NDArray[np.int64], one: Terms) -> Array:
    """Return what `sum_groups` returns under one mixture, with large groups cut into pieces."""
    (_, K, D), flops = one.means.shape, row_work(one)
    cuts, owner = cut(bounds, block_rows(K, D))
    if len(cuts) == len(bounds):
        return sum_groups(rows, weights, bounds, one)
    total = np.zeros((len(bounds) - 1, n_values(K, D, form_of(one))))
    for pieces in split_calls(cuts, flops):
        sums = sum_groups(rows, weights, cuts[pieces.start : pieces.stop + 1], one)
        for g, piece in zip(owner[pieces], sums, strict=True):
            total[g] += piece
    return total


def cut(bounds: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Cut groups into pieces of at most `most` rows; return the pieces' bounds (P + 1,) and their groups (P,)."""
    n_pieces = np.maximum(1, -(-np.diff(bounds) // most))
    owner = np.repeat(np.arange(len(n_pieces)), n_pieces)
    before = np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)  # pieces of the groups before
    starts = bounds[owner] + most * (np.arange(len(owner)) - before)
    return np.append(starts, bounds[-1]), owner
