"""From a block of rows and a mixture to statistics or scores: allocate, lay out, call the kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem._jit import n_threads
from fastem.covariance import inverse_triangular, log_norm, nothing, variances, whitened
from fastem.kernels import mixture as kernel
from fastem.kernels.lanes import aligned
from fastem.kernels.micro import DIAG, FIRST, FULL, ROWS, moments_rows
from fastem.kernels.mixture import HARD, LABELS, RESP, SOFT
from fastem.model import EPS, Array, Noise, Params, Stats, outer
from fastem.sources import Block, certain, check_range

__all__ = ["HARD", "LABELS", "RESP", "SOFT", "Accumulator", "Scorer", "Scores", "Sums"]

# The order of summation is a function of (K, D, shape of s2) alone, so that bits depend on nothing else. Rows fall
# on an absolute grid of blocks; each block sums into memory of its own; blocks are added in order, then slices.
BLOCK_FLOPS = 2e6, 1.5e9  # a block is worth a thread (50 us) and leaves work for others
MAX_BLOCKS = 256  # per slice
SLICE_BYTES = 256 << 20  # cap on the blocks' statistics
SLICE_FLOPS = 1.6e10  # a kernel call lasts about 0.1 s on two cores, so that Ctrl-C is served
WHITEN_LIMIT = 1e6, 1e3  # squared standard deviations, in float64 and in float32: costs 2e-10 and 1e-4 of a variance
# What float32 arithmetic must keep, its relative rounding being EPS32.
EPS32 = float(np.finfo(np.float32).eps)
MOST_NOISE = 2**-7  # standard deviations of a component, in a whitened row: 6e-6 of the mean log-likelihood at most
MOST_LOSS = 2**-8  # of a variance, in second moments: costs a quarter of its square, 4e-6 of the mean log-likelihood
FLOAT32_RANGE = 2.0**-64, 2.0**64  # of variances: squares of rows, weighted and summed, neither overflow nor vanish
NO_WEIGHT: Array = np.empty(0)
NO_LABELS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
NO_MASK: NDArray[np.bool_] = np.empty((0, 0), dtype=np.bool_)
NO_ROWS: Array = np.empty((0, 0))
NO_INDICES: NDArray[np.int64] = np.empty((0, 0), dtype=np.int64)


@cache
def tile_rows(K: int, D: int, itemsize: int = 8) -> int:
    """Points per tile: 1.5 KiB per row where K and D rows stay in the L2 cache; a multiple of 64."""
    most = 1536 // itemsize
    return min(most, max(64, 2**20 // itemsize // max(K, 4 * D) // 64 * 64))


def row_flops(K: int, D: int, form: int = FULL) -> int:
    """Work per row, with full covariances; of k-means, if only first moments are wanted."""
    return K * (3 * D + 10) if form == FIRST else K * (D * (D + 3) + (D + 1) * (D + 2) + 40)


@cache
def block_rows(K: int, D: int, form: int = FULL) -> int:
    """Rows per block: 1024, more where rows are cheap, fewer where they are dear; a power of two."""
    rows, flops = 1024, row_flops(K, D, form)
    while rows < 16384 and rows * flops < BLOCK_FLOPS[0]:
        rows *= 2
    while rows > 128 and rows * flops > BLOCK_FLOPS[1]:
        rows //= 2
    return rows


@cache
def slice_blocks(K: int, D: int, n_values: int, form: int = FULL) -> int:
    """Blocks per kernel call: a power of two, at least 2."""
    flops = block_rows(K, D, form) * row_flops(K, D, form)
    most = min(MAX_BLOCKS, SLICE_BYTES / (8 * n_values), SLICE_FLOPS / flops)
    return 1 << max(1, int(math.log2(most)))


class Layout:
    """A mixture as the kernels want it: contiguous, in the precision of the arithmetic, perhaps whitened."""

    def __init__(self, params: Params, dtype: Any, distances: bool = False, white: bool = False) -> None:
        self.dtype, self.origin = np.dtype(dtype), params.means
        with np.errstate(divide="ignore"):  # a component of weight 0 has log_norm -inf
            norm = np.zeros(len(params.means)) if distances else log_norm(params)
        means, factor, D = params.means, params.factor, params.means.shape[1]
        if params.noise:
            norm, means, factor = _with_noise(params.noise, norm, means, factor)
        self.centre, self.white = np.zeros(D, self.dtype), np.zeros((0, 0), self.dtype)
        if white:
            self.centre = centre_of(params).astype(self.dtype)
            self.white = np.ascontiguousarray(factor[0], self.dtype)
            means, factor = (means - self.centre) @ factor[0].T, np.ones((1, 1, 1))
        self.log_norm, self.means, self.factor = (
            np.ascontiguousarray(array, dtype=self.dtype) for array in (norm, means, factor)
        )
        if not white:  # what the kernel subtracts is what the statistics are about
            self.origin = self.means[: len(self.origin)].astype(np.float64)
        self.K, self.D = self.means.shape

    @property
    def arguments(self) -> tuple[NDArray[Any], ...]:
        """The kernels' arguments that describe the mixture."""
        return self.log_norm, self.means, self.factor, self.centre, self.white

    def scratch(self, n_blocks: int) -> NDArray[Any]:
        size = self.dtype.itemsize
        tile = tile_rows(self.K, self.D, size)
        shape = min(n_threads(), n_blocks), kernel.scratch_size(self.D, self.K, tile, size)
        return aligned(shape, self.dtype)


def _with_noise(noise: Noise, norm: Array, means: Array, factor: Array) -> tuple[Array, Array, Array]:
    """Noise as one more component, the last, whose precision is 0: its density is what its norm says, everywhere."""
    with np.errstate(divide="ignore"):
        norm = np.append(norm, np.log(noise.weight) + noise.log_density)
    each = np.broadcast_to(factor, (len(means), *factor.shape[1:]))
    return norm, np.append(means, means[:1], axis=0), np.append(each, np.zeros_like(each[:1]), axis=0)


def centre_of(params: Params) -> Array:
    """The mixture's mean."""
    return np.average(params.means, axis=0, weights=params.weights)


def may_whiten(params: Params, limit: float) -> bool:
    """Whether rows may be whitened about the mixture's mean once, instead of centred on each component's.

    That is for a full covariance that all components share. Relative to it, the second moments lose eps times the
    squared distance of the means from that centre (in standard deviations), and whitened rows eps times
    sum_j |W_ij| |mean_j - centre_j|: `limit` bounds both.
    """
    if params.factor.shape[0] > 1 or params.factor.shape[1] == 1 or len(params.means) == 1 or params.noise:
        return False
    away, factor = params.means - centre_of(params), params.factor[0].T
    return bool(max(((away @ factor) ** 2).sum(axis=1).max(), (np.abs(away) @ np.abs(factor)).max()) <= limit)


def may_use_float32(params: Params) -> bool:
    """Whether float32 arithmetic shows the narrowest direction of each component, in rows and in second moments.

    Rounding in y_i = sum_j W_ij (x_j - mean_j) has a standard deviation of about eps times the root of
    sum_j W_ij^2 (var_j + mean_j^2), as mean_j is rounded as well: MOST_NOISE bounds it. For second moments see
    `float32_shows`. At both bounds mean log-likelihoods agree with those of float64 to about 1e-5, where features are
    neither far from 0 nor strongly correlated to 1e-6.
    """
    variance = variances(params.covariances)
    noise = EPS32**2 * whitened(params.factor, variance + params.means**2)
    inside = (variance >= FLOAT32_RANGE[0]) & (variance <= FLOAT32_RANGE[1])
    return bool(noise.max() <= MOST_NOISE**2 and _keeps(params.factor, variance) and inside.all())


def float32_shows(stats: Stats, params: Params) -> bool:
    """Whether second moments that were summed in float32 show the covariances that an M-step made of them.

    These lose about eps32 of the moments of each feature (0.1 to 0.9 of that was measured), and so, of a variance along
    a direction W_i, eps32 times sum_j W_ij^2 m_j, m_j being the mean square of feature j about the mean of the pass.
    """
    mass = stats.s0 + nothing(stats)
    mass = mass.sum(keepdims=True) if len(stats.s2) == 1 else mass
    return _keeps(params.factor, variances(stats.s2) / mass[:, None] / (stats.s1.shape[1] // stats.s2.shape[-1]))


def _keeps(factor: Array, square: Array) -> bool:
    """Whether sums of squares in float32, of features of this mean square, keep the variances of a factor."""
    return bool(EPS32 * whitened(factor, square).max() <= MOST_LOSS)  # NaN and infinity are not kept


@dataclass(frozen=True)
class Sums:
    """What the kernel sums; additive, in the order of the rows.

    Blocks are summed to slices, and slices to all rows: so the bits are the same in whatever parts of no more than a
    slice rows come. The slices of a longer part begin with it (as those of a worker's partition do).

    Attributes
    ----------
    accumulator : Accumulator that made them
    layout : its mixture, for the dtype of the rows
    n_rows : int
    blocks : (n_blocks, n_values), of blocks that do not make up a slice yet
    slices : (n_values,), of the slices before, or None
    """

    accumulator: Accumulator
    layout: Layout
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
        """The sum over all rows, (n_values,)."""
        rest = self.blocks.sum(axis=0)
        return np.asarray(rest if self.slices is None else self.slices + rest)

    def stats(self) -> Stats:
        """The statistics of these rows."""
        return self.accumulator.stats(self.layout, self.total(), self.n_rows)


class Accumulator:
    """The fused pass: a function from a Block to its Stats.

    Float32 rows are worked on in float32 where `may_use_float32` holds (EM's passes, SOFT, alone): sums over more
    than a tile are float64 in any case. `Stats.eps` says which it was.

    Parameters
    ----------
    params : Params; for LABELS and RESP only the means count, as origin
    shape : canonical shape of the second moments wanted, default that of the covariances; (0, 0, 0) for none
    mode : SOFT (EM), HARD (each row to its most probable component), both within what a block's labels allow;
        LABELS (each row to its label, rows of unknown label left out) or RESP (a block's labels are then (n, K)
        responsibilities)
    distances : leave the components' weights and normalising constants out: k-means' assignment
    exact : float64 arithmetic, whatever the rows
    """

    def __init__(
        self,
        params: Params,
        shape: tuple[int, ...] | None = None,
        mode: int = SOFT,
        distances: bool = False,
        exact: bool = False,
    ) -> None:
        if mode in (LABELS, RESP) or distances:
            params = params._replace(noise=None)
        self.params, self.mode, self.distances, self.exact = params, mode, distances, exact
        self.shape = params.covariances.shape if shape is None else shape
        self.form = FIRST if self.shape[-2] == 0 else FULL if self.shape[-2] > 1 else DIAG
        K, D = params.means.shape
        work = FIRST if self.form == FIRST and mode in (HARD, LABELS) else FULL
        self.block_rows = block_rows(K, D, work)
        self.slice_rows = self.block_rows * slice_blocks(K, D, self.n_values(False), work)
        self._layouts: dict[np.dtype[Any], Layout] = {}

    def layout(self, dtype: np.dtype[Any]) -> Layout:
        """The mixture, for rows of a dtype."""
        if dtype not in self._layouts:
            single = dtype == np.float32 and self.mode == SOFT and not self.exact and may_use_float32(self.params)
            white = self.mode == SOFT and self.shape == self.params.factor.shape and not self.distances
            white = white and may_whiten(self.params, WHITEN_LIMIT[1 if single else 0])
            self._layouts[dtype] = Layout(self.params, np.float32 if single else np.float64, self.distances, white)
        return self._layouts[dtype]

    def n_values(self, white: bool) -> int:
        """Numbers that a block's statistics take in the kernel."""
        K, D = self.params.means.shape
        K += self.params.noise is not None
        rows = K * moments_rows(FIRST, D) + moments_rows(FULL, D) if white else K * moments_rows(self.form, D)
        return int(kernel.N_SCALARS + K + ROWS * rows)

    def __call__(self, block: Block) -> Stats:
        """The statistics of a block of rows."""
        return self.sums(block).stats()

    def sums(self, block: Block) -> Sums:
        """The same as a part of a sum; but for the last, blocks are multiples of `block_rows` rows."""
        layout = self.layout(block.X.dtype)
        n_blocks = -(-len(block.X) // self.block_rows)
        out = np.empty((n_blocks, self.n_values(layout.white.size > 0)))
        kernel.accumulate(
            n_blocks,
            block.X,
            *self._given(block),
            *layout.arguments,
            self.mode,
            self.form,
            self.block_rows,
            out,
            layout.scratch(n_blocks),
        )
        return Sums(self, layout, len(block.X), out)

    def _given(self, block: Block) -> tuple[Array, NDArray[np.int64], NDArray[np.bool_], Array]:
        """The kernel's arguments weight, labels, allowed and resp."""
        weight, given = NO_WEIGHT if block.weight is None else block.weight, block.labels
        if given is None and self.mode in (SOFT, HARD):
            return weight, NO_LABELS, NO_MASK, NO_ROWS
        if given is None:
            raise ValueError("rows without labels have no statistics of their labels")
        if self.mode == RESP:
            return weight, NO_LABELS, NO_MASK, given
        check_range(given, len(self.params.means), block.start)
        if self.mode == LABELS:
            given = certain(given)
            weight = np.where(given >= 0, 1.0 if block.weight is None else block.weight, 0.0)
            return weight, np.maximum(given, 0), NO_MASK, NO_ROWS
        if given.ndim == 1:
            return weight, given, NO_MASK, NO_ROWS
        if self.params.noise:  # a row may be noise if nothing is known of it
            given = np.column_stack([given, given.all(axis=1)])
        return weight, NO_LABELS, given, NO_ROWS

    def stats(self, layout: Layout, total: Array, n_rows: int) -> Stats:
        """The statistics that a pass under `layout` has summed up in `total` (n_values)."""
        K, D = layout.K, layout.D
        begin = kernel.N_SCALARS
        scalars, s0, sums = total[:begin], total[begin : begin + K], total[begin + K :].reshape(-1, ROWS)
        if layout.white.size > 0:
            s1, s2 = _unwhitened(layout, s0, sums)
        else:
            s1, s2 = unpacked(sums.reshape(K, -1, ROWS)[: len(layout.origin)], self.form, D)
            s2 = reduced(s2, self.shape)
        if self.mode in (LABELS, RESP):
            scalars[:] = np.nan
        if self.mode == HARD:
            scalars[0] = scalars[1]
        loglik, class_loglik, entropy = (float(v) for v in scalars)
        noise = self.params.noise and self.params.noise._replace(weight=float(s0[-1]))
        eps = EPS if layout.dtype == np.float64 else EPS32
        return Stats(loglik, class_loglik, entropy, s0[: len(s1)], s1, s2, layout.origin.copy(), n_rows, noise, eps)


def unpacked(sums: Array, form: int, D: int) -> tuple[Array, Array]:
    """s1 (K, D) and s2 (K, D|1, D) of the kernel's moments (K, rows, 4); s2 is (0, 0, 0) if there is none."""
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
    """Second moments (..., K, D|1, D) in the shape of the covariances that they are for."""
    if shape[-1] == 1:
        s2 = s2.sum(axis=-1, keepdims=True)
    return s2.sum(axis=-3, keepdims=True) if shape[-3] == 1 else s2


def _unwhitened(layout: Layout, s0: Array, sums: Array) -> tuple[Array, Array]:
    """s1 and s2 about the means, of first moments about the whitened means and second moments about the centre."""
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


class Scores(NamedTuple):
    """Outputs of scoring; those of size 0 are not computed.

    Attributes
    ----------
    density : (N,) float64, log density
    label : (N,) int64, most probable component
    resp : (N, K) float64, responsibilities
    joint : (N, K) float64, log weight + log density per component
    top_index, top_resp : (N, M) int64 and float64, the M largest responsibilities of each row, in descending order

    A noise component is one more, the last.
    """

    density: Array = NO_WEIGHT
    label: NDArray[np.int64] = NO_LABELS
    resp: Array = NO_ROWS
    joint: Array = NO_ROWS
    top_index: NDArray[np.int64] = NO_INDICES
    top_resp: Array = NO_ROWS

    @classmethod
    def empty(
        cls,
        N: int,
        K: int,
        density: bool = False,
        label: bool = False,
        resp: bool = False,
        joint: bool = False,
        top: int = 0,
    ) -> Scores:
        """Room for those wanted; `top` is M."""
        return cls(
            np.empty(N if density else 0),
            np.empty(N if label else 0, dtype=np.int64),
            np.empty((N if resp else 0, K)),
            np.empty((N if joint else 0, K)),
            np.empty((N if top else 0, top), dtype=np.int64),
            np.empty((N if top else 0, top)),
        )


class Scorer:
    """The E-step alone: fills a Scores, whose arrays belong to a source's rows, block by block; in float64.

    With `distances`, joint is minus half the squared distance of each row to each component.
    """

    def __init__(self, params: Params, scores: Scores = Scores(), distances: bool = False) -> None:  # noqa: B008
        if distances:
            params = params._replace(noise=None)
        white = not distances and may_whiten(params, WHITEN_LIMIT[0])
        self.layout, self.scores = Layout(params, np.float64, distances, white), scores
        self.block_rows = block_rows(self.layout.K, self.layout.D)
        self.slice_rows = self.block_rows * slice_blocks(self.layout.K, self.layout.D, 1)

    def __call__(self, block: Block) -> None:
        """Score a block."""
        rows = slice(block.start, block.start + len(block.X))
        self.fill(block.X, Scores._make(out[rows] for out in self.scores))

    def fill(self, X: NDArray[Any], scores: Scores) -> None:
        """Score rows (n, D) into arrays of n rows."""
        n_blocks = -(-len(X) // self.block_rows)
        kernel.score(n_blocks, X, *self.layout.arguments, self.block_rows, *scores, self.layout.scratch(n_blocks))
