"""Sizes of tiles, blocks and slices of rows: they depend on the mixture's shape alone, and so do the bits."""

from __future__ import annotations

import math
from functools import cache

from fastem.kernels.micro import FIRST, FULL

# The order of summation is a function of (K, D, shape of s2) alone, so that bits depend on nothing else. Rows fall
# on an absolute grid of blocks; each block sums into memory of its own; blocks are added in order, then slices.
BLOCK_FLOPS = 2e6, 1.5e9  # a block is worth a thread (50 us) and leaves work for others
MAX_BLOCKS = 256  # per slice
SLICE_BYTES = 256 << 20  # cap on the blocks' statistics
SLICE_FLOPS = 1.6e10  # a kernel call lasts about 0.1 s on two cores, so that Ctrl-C is served


@cache
def tile_rows(K: int, D: int, itemsize: int = 8) -> int:
    """Return the points of a tile: 1.5 KiB per row where K and D rows stay in the L2 cache; a multiple of 64."""
    most = 1536 // itemsize
    return min(most, max(64, 2**20 // itemsize // max(K, 4 * D) // 64 * 64))


def row_flops(K: int, D: int, form: int = FULL) -> int:
    """Return the work per row in flops: with full covariances, or of k-means if `form` is FIRST."""
    return K * (3 * D + 10) if form == FIRST else K * (D * (D + 3) + (D + 1) * (D + 2) + 40)


def work(n_rows: int, K: int, D: int, form: int, white: bool = False) -> float:
    """Return the work of a pass in flops, of which a thread does 25 to 110 in a nanosecond: what threads are worth.

    Here each row has a cost of its own, components with variances alone cost less than those with matrices, and so
    does one matrix for all components, with which rows are whitened. The sizes of blocks have nothing of this.
    """
    if form == FULL and not white:
        return float(n_rows * (100 + row_flops(K, D)))
    flops = row_flops(K, D, FIRST) if form == FIRST else K * (6 * D + 40)
    return float(n_rows * (100 + flops + (3 * D * D if white else 0)))


@cache
def block_rows(K: int, D: int, form: int = FULL) -> int:
    """Return the rows of a block: 1024, more where rows are cheap, fewer where they are dear; a power of two."""
    rows, flops = 1024, row_flops(K, D, form)
    while rows < 16384 and rows * flops < BLOCK_FLOPS[0]:
        rows *= 2
    while rows > 128 and rows * flops > BLOCK_FLOPS[1]:
        rows //= 2
    return rows


@cache
def slice_blocks(K: int, D: int, n_values: int, form: int = FULL) -> int:
    """Return the blocks of a kernel call: a power of two, at least 2."""
    flops = block_rows(K, D, form) * row_flops(K, D, form)
    most = min(MAX_BLOCKS, SLICE_BYTES / (8 * n_values), SLICE_FLOPS / flops)
    return 1 << max(1, int(math.log2(most)))


# Where the statistics of all components exceed PHASE_BYTES, they leave the L2 cache between two tiles of rows, and a
# pass has two phases (`fastem.kernels.phases`), by chunks of rows whose responsibilities are kept.
PHASE_BYTES = 4 << 20
PHASE_COMPONENTS = 4  # at least; the second phase has no more tasks than components
CHUNK_ROWS, LEAST_CHUNK_ROWS, CHUNK_BYTES = 2048, 256, 64 << 20  # most and fewest rows; of responsibilities
TOGETHER_BYTES = 512 << 10  # of the components that are done together in the second phase


def takes_phases(K: int, n_values: int) -> bool:
    """Tell whether a pass with full covariances has two phases, by how many numbers its statistics are."""
    return K >= PHASE_COMPONENTS and 8 * n_values > PHASE_BYTES


def chunk_rows(K: int) -> int:
    """Return the rows of a chunk, a power of two."""
    return max(LEAST_CHUNK_ROWS, min(CHUNK_ROWS, 1 << int(math.log2(CHUNK_BYTES / (8 * K)))))


def chunk_tile_rows(D: int, itemsize: int = 8) -> int:
    """Return the points of a tile in two phases, a power of two: 1 KiB per row, or half of it beyond 512 rows."""
    return (1024 if D <= 512 else 512) // itemsize


def components_together(D: int) -> int:
    """Return how many components are done together in the second phase."""
    return max(1, TOGETHER_BYTES // (8 * D * D))
