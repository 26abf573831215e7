"""From a block of rows and a mixture to statistics or scores: allocate, lay out, call the kernel."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem._jit import n_threads
from fastem.covariance import log_norm
from fastem.kernels import mixture as kernel
from fastem.kernels.mixture import HARD, LABELS, RESP, SOFT
from fastem.model import Array, Params, Stats
from fastem.sources import Block

__all__ = ["HARD", "LABELS", "RESP", "SOFT", "Accumulator", "Scorer", "Scores"]

# The order of summation is a function of (K, D, shape of s2) alone, so that bits depend on nothing else. Rows fall
# on an absolute grid of blocks; each block sums into memory of its own; blocks are added in order, then slices.
BLOCK_FLOPS = 2e6, 1.5e9  # a block is worth a thread (50 us) and leaves work for others
MAX_BLOCKS = 256  # per slice
SLICE_BYTES = 256 << 20  # cap on the blocks' statistics
SLICE_FLOPS = 1.6e10  # a kernel call lasts about 0.1 s on two cores, so that Ctrl-C is served
NO_WEIGHT: Array = np.empty(0)
NO_LABELS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
NO_ROWS: Array = np.empty((0, 0))


def tile_rows(K: int, D: int) -> int:
    """Points per tile: 192 where K x tile and D x tile stay in the L2 cache (64 and 256 are up to a fifth slower)."""
    return min(192, max(32, 2**17 // max(K, 4 * D) // 32 * 32))


def row_flops(K: int, D: int) -> int:
    """Work per row, with full covariances."""
    return K * (D * (D + 3) + (D + 1) * (D + 2) + 40)


def block_rows(K: int, D: int) -> int:
    """Rows per block: 1024, more where rows are cheap, fewer where they are dear; a power of two."""
    rows, flops = 1024, row_flops(K, D)
    while rows < 16384 and rows * flops < BLOCK_FLOPS[0]:
        rows *= 2
    while rows > 128 and rows * flops > BLOCK_FLOPS[1]:
        rows //= 2
    return rows


def slice_blocks(K: int, D: int, n_values: int) -> int:
    """Blocks per kernel call: a power of two, at least 2."""
    flops = block_rows(K, D) * row_flops(K, D)
    most = min(MAX_BLOCKS, SLICE_BYTES / (8 * n_values), SLICE_FLOPS / flops)
    return 1 << max(1, int(math.log2(most)))


class _Layout:
    """A mixture as the kernels want it: contiguous float64, full forms padded to a multiple of 4."""

    def __init__(self, params: Params, shape: tuple[int, ...], distances: bool) -> None:
        with np.errstate(divide="ignore"):  # a component of weight 0 has log_norm -inf
            self.log_norm = np.zeros(len(params.means)) if distances else np.ascontiguousarray(log_norm(params))
        self.means = np.ascontiguousarray(params.means, dtype=np.float64)
        self.factor = _padded(params.factor)
        self.K, self.D = self.means.shape
        P = kernel.padded(self.D)
        self.shape = (shape[0], P, P) if shape[-2] > 1 else shape

    def scratch(self, n_blocks: int) -> Array:
        n_tasks = min(n_threads(), n_blocks)
        return np.zeros(kernel.scratch_shape(n_tasks, self.D, self.K, tile_rows(self.K, self.D)))


def _padded(factor: Array) -> Array:
    D = factor.shape[-1]
    if factor.shape[-2] == 1 or D % 4 == 0:
        return np.ascontiguousarray(factor)
    padded = np.zeros((len(factor), kernel.padded(D), kernel.padded(D)))
    padded[:, :D, :D] = factor
    return padded


class Accumulator:
    """The fused pass: a function from a Block to its Stats.

    Parameters
    ----------
    params : Params; for LABELS and RESP only the means count, as origin
    shape : canonical shape of the second moments wanted, default that of the covariances; (0, 0, 0) for none
    mode : SOFT (EM), HARD (each row to its most probable component), LABELS or RESP (as given)
    given : (N,) int64 labels or (N, K) responsibilities, for LABELS and RESP
    distances : leave the components' weights and normalising constants out: k-means' assignment
    """

    def __init__(
        self,
        params: Params,
        shape: tuple[int, ...] | None = None,
        mode: int = SOFT,
        given: NDArray[Any] | None = None,
        distances: bool = False,
    ) -> None:
        self.shape = params.covariances.shape if shape is None else shape
        self.layout, self.mode, self.given = _Layout(params, self.shape, distances), mode, given
        K, D = self.layout.K, self.layout.D
        self.n_values = kernel.N_SCALARS + K + K * D + int(np.prod(self.layout.shape))
        self.block_rows = block_rows(K, D)
        self.slice_rows = self.block_rows * slice_blocks(K, D, self.n_values)

    def __call__(self, block: Block) -> Stats:
        """The statistics of a block."""
        layout, rows = self.layout, slice(block.start, block.start + len(block.X))
        n_blocks = -(-len(block.X) // self.block_rows)
        out = np.empty((n_blocks, self.n_values))
        kernel.accumulate(
            n_blocks,
            block.X,
            NO_WEIGHT if block.weight is None else block.weight,
            NO_LABELS if self.mode != LABELS or self.given is None else self.given[rows],
            NO_ROWS if self.mode != RESP or self.given is None else self.given[rows],
            layout.log_norm,
            layout.means,
            layout.factor,
            self.mode,
            layout.shape,
            self.block_rows,
            out,
            layout.scratch(n_blocks),
        )
        return self._stats(out.sum(axis=0), len(block.X))

    def _stats(self, total: Array, n_rows: int) -> Stats:
        K, D = self.layout.K, self.layout.D
        begin = kernel.N_SCALARS
        scalars, s0, s1 = total[:begin], total[begin : begin + K], total[begin + K : begin + K + K * D]
        s2 = total[begin + K + K * D :].reshape(self.layout.shape)
        if self.shape[-2] > 1:
            lower = np.tril(s2[:, :D, :D])
            s2 = lower + np.tril(lower, -1).swapaxes(-1, -2)
        if self.mode in (LABELS, RESP):
            scalars[:] = np.nan
        if self.mode == HARD:
            scalars[0] = scalars[1]
        loglik, class_loglik, entropy = (float(v) for v in scalars)
        return Stats(loglik, class_loglik, entropy, s0, s1.reshape(K, D), s2, self.layout.means.copy(), n_rows)


class Scores(NamedTuple):
    """Outputs of scoring; those of size 0 are not computed.

    Attributes
    ----------
    density : (N,) float64, log density
    label : (N,) int64, most probable component
    resp : (N, K) float64, responsibilities
    joint : (N, K) float64, log weight + log density per component
    """

    density: Array = NO_WEIGHT
    label: NDArray[np.int64] = NO_LABELS
    resp: Array = NO_ROWS
    joint: Array = NO_ROWS


class Scorer:
    """The E-step alone: fills a Scores, whose arrays belong to a source's rows, block by block.

    With `distances`, joint is minus half the squared distance of each row to each component.
    """

    def __init__(self, params: Params, scores: Scores, distances: bool = False) -> None:
        self.layout, self.scores = _Layout(params, params.factor.shape, distances), scores
        self.block_rows = block_rows(self.layout.K, self.layout.D)
        self.slice_rows = self.block_rows * slice_blocks(self.layout.K, self.layout.D, 1)

    def __call__(self, block: Block) -> None:
        """Score a block."""
        layout, rows = self.layout, slice(block.start, block.start + len(block.X))
        n_blocks = -(-len(block.X) // self.block_rows)
        kernel.score(
            n_blocks,
            block.X,
            layout.log_norm,
            layout.means,
            layout.factor,
            self.block_rows,
            *(out[rows] for out in self.scores),
            layout.scratch(n_blocks),
        )
