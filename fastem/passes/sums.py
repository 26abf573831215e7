"""Run the fused pass: from a block of rows and a mixture to sufficient statistics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import assignment
from fastem.kernels import mixture as kernel
from fastem.kernels.micro import DIAG, FIRST, FULL, ROWS, moments_rows
from fastem.kernels.mixture import HARD, LABELS, RESP, SOFT
from fastem.model.matrices import EPS, Array, inverse_triangular
from fastem.model.params import Params
from fastem.model.stats import Stats, outer
from fastem.passes.layout import WHITEN_LIMIT, KernelMixture, may_whiten
from fastem.passes.precision import EPS32, may_use_float32
from fastem.passes.sizes import block_rows, slice_blocks
from fastem.sources.blocks import Block
from fastem.sources.labels import certain_labels, check_range


class MakesSums(Protocol):
    """What `Sums` ask of the accumulator that made them.

    Attributes
    ----------
    block_rows, slice_rows : int
    """

    block_rows: int
    slice_rows: int

    def stats(self, layout: Any, total: Array, n_rows: int) -> Stats:
        """Return the statistics that a pass under `layout` has summed up in `total` (n_values)."""


@dataclass(frozen=True)
class Sums:
    """What the kernel sums up for some rows; they are added in the order of the rows.

    Blocks are summed to slices, and slices to all rows. So the bits do not depend on the parts in which rows come, if
    no part is longer than a slice. A longer part, such as a worker's partition, is cut into slices from its own start.

    Attributes
    ----------
    accumulator : MakesSums
        What made them: an `Accumulator`, for one.
    layout : KernelMixture, or what else the accumulator makes statistics with
        The mixture of `accumulator`, for the dtype of the rows.
    n_rows : int
    blocks : (n_blocks, n_values) float64
        Sums of each block that does not make up a slice yet.
    slices : (n_values,) float64 or None
        The sum over the slices before them. None: there are no slices.
    """

    accumulator: MakesSums
    layout: Any
    n_rows: int
    blocks: Array
    slices: Array | None = None

    def __add__(self, other: Sums) -> Sums:
        size = self.accumulator.slice_rows // self.accumulator.block_rows
        blocks, slices = other.blocks, self.slices
        if other.slices is not None:
            slices = other.slices if slices is None and not len(self.blocks) else self.total() + other.slices
        elif len(self.blocks):
            blocks = np.concatenate([self.blocks, blocks])
        while len(blocks) >= size:
            whole = blocks[:size].sum(axis=0)
            blocks, slices = blocks[size:], whole if slices is None else slices + whole
        return Sums(self.accumulator, self.layout, self.n_rows + other.n_rows, blocks, slices)

    def __radd__(self, other: object) -> Sums:
        if not isinstance(other, int) or other != 0:
            return NotImplemented
        if self.slices is None and len(self.blocks) <= self.accumulator.slice_rows // self.accumulator.block_rows:
            return self
        return Sums(self.accumulator, self.layout, 0, self.blocks[:0]) + self  # a longer part, cut into slices

    def total(self) -> Array:
        """Return the sum over all rows, (n_values,)."""
        rest = self.blocks.sum(axis=0)
        return np.asarray(rest if self.slices is None else self.slices + rest)

    def stats(self) -> Stats:
        """Return the statistics of these rows."""
        return self.accumulator.stats(self.layout, self.total(), self.n_rows)


class Given(NamedTuple):
    """What is known of a block's rows, as the kernel takes it.

    Attributes
    ----------
    weight : (n,) float64 or None
        None: every weight is 1.
    labels : (n,) int64 or None
        Components of rows, -1 where unknown. None: all are unknown.
    allowed : (n, K) bool or None
        Components that rows may belong to. None: all of them.
    resp : (n, K) float64 or None
        Responsibilities. None: the pass computes them.
    """

    weight: Array | None
    labels: NDArray[np.int64] | None = None
    allowed: NDArray[np.bool_] | None = None
    resp: Array | None = None

    def take(self, index: slice | NDArray[Any]) -> Given:
        """Return what is known of the rows that `index` chooses."""
        return Given(*(None if column is None else column[index] for column in self))  # type: ignore[arg-type]

    def arguments(self) -> list[NDArray[Any]]:
        """Return the kernel's arguments."""
        return [none if array is None else array for array, none in zip(self, NOTHING_GIVEN, strict=True)]


def given_of(block: Block, params: Params) -> Given:
    """Return what is known of a block's rows where the pass computes their responsibilities."""
    weight, given = block.weight, block.labels
    if given is None:
        return Given(weight)
    check_range(given, len(params.means), block.start)
    if given.ndim == 1:
        return Given(weight, labels=given)
    if params.noise:  # a row may be noise if nothing is known of it
        given = np.column_stack([given, given.all(axis=1)])
    return Given(weight, allowed=given)


# The kernel's signature has arrays alone: one without rows says that there is none.
NO_COLUMN, NO_MATRIX = np.empty(0), np.empty((0, 0))
NOTHING_GIVEN = NO_COLUMN, NO_COLUMN.astype(np.int64), NO_MATRIX.astype(np.bool_), NO_MATRIX


class Accumulator:
    """The fused pass: a function from a Block to its Stats.

    float32 rows are worked on in float32 where `may_use_float32` holds, in EM's passes alone (SOFT). Sums over more
    than a tile are always float64. `Stats.eps` says which arithmetic it was.

    Parameters
    ----------
    params : Params
        For LABELS and RESP only the means count, as the origin.
    shape : tuple of int or None
        Canonical shape of the second moments. None, the default: that of the covariances.
    mode : int
        SOFT (EM) or HARD (each row to its most probable component), both within what a block's labels allow; LABELS
        (each row to its label, rows of unknown label left out) or RESP (a block's labels are then (n, K)
        responsibilities).
    second_moments : bool, default True
        False: sum first moments alone; `Stats.s2` is then (0, 0, 0).
    distances : bool, default False
        Leave the components' weights and normalising constants out: the assignment of k-means.
    exact : bool, default False
        Use float64 arithmetic, whatever the rows.
    """

    def __init__(
        self,
        params: Params,
        shape: tuple[int, ...] | None = None,
        mode: int = SOFT,
        *,
        second_moments: bool = True,
        distances: bool = False,
        exact: bool = False,
    ) -> None:
        if mode in (LABELS, RESP) or distances:
            params = params._replace(noise=None)
        self.params, self.mode, self.distances, self.exact = params, mode, distances, exact
        self.shape = params.covariances.shape if shape is None else shape
        self.form = (FULL if self.shape[-2] > 1 else DIAG) if second_moments else FIRST
        K, D = params.means.shape
        grid = FIRST if self.form == FIRST and mode in (HARD, LABELS) else FULL
        self.block_rows = block_rows(K, D, grid)
        self.slice_rows = self.block_rows * slice_blocks(K, D, self.n_values(False), grid)
        matrices = self.shape[-2] > 1 or params.factor.shape[-2] > 1
        self.work = grid if matrices or grid == FIRST else DIAG  # the form of the work per row
        spheres = distances and params.factor.size == 1 and params.factor.item() == 1.0
        self.by_products = spheres and mode == HARD and self.form == FIRST and assignment.pays(K, D)
        self._layouts: dict[np.dtype[Any], KernelMixture] = {}

    def layout(self, dtype: np.dtype[Any]) -> KernelMixture:
        """Return the mixture for rows of a dtype."""
        if dtype not in self._layouts:
            single = dtype == np.float32 and self.mode == SOFT and not self.exact and may_use_float32(self.params)
            white = self.mode == SOFT and self.form != FIRST and self.shape == self.params.factor.shape
            white = white and not self.distances and may_whiten(self.params, WHITEN_LIMIT[1 if single else 0])
            self._layouts[dtype] = KernelMixture(
                self.params, np.float32 if single else np.float64, self.distances, white
            )
        return self._layouts[dtype]

    def n_values(self, white: bool) -> int:
        """Return how many values a block's statistics are in the kernel, with rows whitened or not."""
        K, D = self.params.n_columns, self.params.means.shape[1]
        return kernel.n_values(K, D, self.form, white)

    def __call__(self, block: Block) -> Stats:
        """Return the statistics of a block of rows."""
        return self.sums(block).stats()

    def sums(self, block: Block) -> Sums:
        """Return the statistics of a block, to be added: only the last block may end within `block_rows` rows."""
        layout = self.layout(block.X.dtype)
        n_blocks = -(-len(block.X) // self.block_rows)
        out = np.empty((n_blocks, self.n_values(layout.white.size > 0)))
        given = self.given(block)
        if self.by_products and given.labels is None and given.allowed is None:
            weight = NO_COLUMN if given.weight is None else given.weight
            scratch = layout.scratch(len(block.X), n_blocks, self.work, assignment.scratch_size)
            assignment.assign(block.X, weight, layout.means, self.block_rows, out, scratch)
            return Sums(self, layout, len(block.X), out)
        kernel.accumulate(
            self.mode,
            block.X,
            *given.arguments(),
            *layout.arguments,
            self.form,
            self.block_rows,
            out,
            layout.scratch(len(block.X), n_blocks, self.work),
        )
        return Sums(self, layout, len(block.X), out)

    def given(self, block: Block) -> Given:
        """Return what is known of a block's rows, as the kernel takes it in this mode."""
        weight, given = block.weight, block.labels
        if self.mode in (SOFT, HARD):
            return given_of(block, self.params)
        if given is None:
            raise ValueError("rows without labels have no statistics of their labels")
        if self.mode == RESP:
            return Given(weight, resp=given)
        check_range(given, len(self.params.means), block.start)
        given = certain_labels(given)
        weight = np.where(given >= 0, 1.0 if block.weight is None else block.weight, 0.0)
        return Given(weight, labels=np.maximum(given, 0))

    def stats(self, layout: KernelMixture, total: Array, n_rows: int) -> Stats:
        """Return the statistics that a pass under `layout` has summed up in `total` (n_values)."""
        K, D = layout.K, layout.D
        begin = kernel.N_SCALARS
        scalars, s0, sums = total[:begin], total[begin : begin + K], total[begin + K :].reshape(-1, ROWS)
        if layout.white.size > 0:
            s1, s2 = _unwhitened(layout, s0, sums)
        else:
            s1, s2 = unpacked(sums.reshape(K, -1, ROWS)[: len(layout.origin)], self.form, D)
            s2 = s2 if self.form == FIRST else reduced(s2, self.shape)
        if self.mode in (LABELS, RESP):
            scalars[:] = np.nan
        if self.mode == HARD:
            scalars[0] = scalars[1]
        loglik, class_loglik, entropy = scalars.tolist()
        noise = self.params.noise and self.params.noise._replace(weight=float(s0[-1]))
        eps = EPS if layout.dtype == np.float64 else EPS32
        return Stats(loglik, class_loglik, entropy, s0[: len(s1)], s1, s2, layout.origin.copy(), n_rows, noise, eps)


def unpacked(sums: Array, form: int, D: int) -> tuple[Array, Array]:
    """Return s1 (K, D) and s2 (K, D|1, D) from the kernel's moments (K, rows, 4); for FIRST s2 is (0, 0, 0)."""
    K, P = len(sums), ROWS * moments_rows(FIRST, D)
    if form == FIRST:
        return sums.reshape(K, P)[:, :D], np.empty((0, 0, 0))
    if form == DIAG:
        both = sums.reshape(K, -1, 2, ROWS).swapaxes(1, 2).reshape(K, 2, P)
        return both[:, 0, :D], both[:, 1:, :D]
    s1, s2, first = np.empty((K, P)), np.zeros((K, P, P)), 0
    for i in range(0, P, ROWS):
        rows = slice(i, i + ROWS)
        s1[:, rows] = sums[:, first]
        blocks = sums[:, first + 1 : first + 1 + i + ROWS].reshape(K, -1, ROWS, ROWS).swapaxes(1, 2)
        s2[:, rows, rows] = blocks[:, :, 0]
        s2[:, rows, :i] = blocks[:, :, 1:].reshape(K, ROWS, i)
        first += 1 + i + ROWS
    row, column = _below(D)
    s2[:, column, row] = s2[:, row, column]
    return s1[:, :D], s2[:, :D, :D]


@cache
def _below(D: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.tril_indices(D, -1)


def reduced(s2: Array, shape: tuple[int, ...]) -> Array:
    """Return second moments (..., K, D|1, D) in the shape of the covariances that they are for."""
    if shape[-1] == 1:
        s2 = s2.sum(axis=-1, keepdims=True)
    return s2.sum(axis=-3, keepdims=True) if shape[-3] == 1 else s2


def in_form(second: Array, shape: tuple[int, ...]) -> Array:
    """Return second moments (K|1, D, D) in the shape of the covariances that they are for."""
    return reduced(second if shape[-2] > 1 else np.einsum("kii->ki", second)[:, None], shape)


def _unwhitened(layout: KernelMixture, s0: Array, sums: Array) -> tuple[Array, Array]:
    """Return s1 and s2 about the means, in the units of the rows.

    A pass over whitened rows has summed first moments about the whitened means, and second moments about the centre.
    """
    n_rows = layout.K * moments_rows(FIRST, layout.D)
    first, _ = unpacked(sums[:n_rows].reshape(layout.K, -1, ROWS), FIRST, layout.D)
    _, second = unpacked(sums[None, n_rows:], FULL, layout.D)
    means = layout.means.astype(np.float64)
    shape = second.shape
    moved = first + s0[:, None] * means  # sums about the centre
    second = second - outer(first, means, shape) - outer(means, moved, shape)
    back = inverse_triangular(layout.white.astype(np.float64))
    # einsum, not matmul: BLAS would start its threads, which spin for 25 ms, against the next pass.
    half = np.einsum("ij,fjk->fik", back, second)
    return np.einsum("kj,ij->ki", first, back), np.einsum("fij,kj->fik", half, back)
