"""Run the pass in two phases, where the statistics of all components do not stay in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem.kernels import phases
from fastem.kernels.jit import count_tasks
from fastem.kernels.lanes import aligned
from fastem.kernels.micro import FULL, padded
from fastem.kernels.mixture import SOFT
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.layout import KernelMixture
from fastem.passes.sizes import chunk_rows, chunk_tile_rows, components_together, takes_phases, work
from fastem.passes.sums import Accumulator, Sums
from fastem.sources.blocks import Block


class PhasedAccumulator(Accumulator):
    """The fused pass in two phases, by chunks of rows; parameters as of `Accumulator`."""

    def __init__(self, params: Params, shape: tuple[int, ...] | None, mode: int, **options: Any) -> None:
        super().__init__(params, shape, mode, **options)
        self.block_rows = self.slice_rows = chunk_rows(params.n_columns)

    def sums(self, block: Block) -> Sums:
        """Return the statistics of a block, to be added: only the last block may end within `block_rows` rows."""
        layout, size = self.layout(block.X.dtype), self.block_rows
        out = np.zeros((-(-len(block.X) // size), self.n_values(False)))
        for start, sums in zip(range(0, len(block.X), size), out, strict=True):
            self._add(block.take(slice(start, start + size)), layout, sums)
        return Sums(self, layout, len(block.X), out)

    def _add(self, chunk: Block, layout: KernelMixture, sums: Array) -> None:
        """Add the rows of a chunk to statistics (n_values)."""
        K, D, real, n_rows = layout.K, layout.D, layout.dtype, len(chunk.X)
        tile, together = chunk_tile_rows(D, real.itemsize), components_together(D)
        n_tiles, flops = -(-n_rows // tile), work(n_rows, K, D, FULL) / 2
        points, resp = (aligned((n_tiles, n * tile), real) for n in (padded(D), K))
        heads, size = np.empty((n_tiles, phases.N_HEADS)), phases.phase_size(D, K, tile, real.itemsize)
        weight, labels, allowed, _ = self.given(chunk).arguments()
        first, second = (aligned((count_tasks(n, flops), size), real) for n in (n_tiles, -(-K // together)))
        mixture = layout.log_norm, layout.means, layout.factor
        phases.respond(chunk.X, weight, labels, allowed, *mixture, points, resp, heads, first)
        phases.gather(heads, points, resp, weight, layout.means, together, sums, second)


def accumulator(params: Params, shape: tuple[int, ...] | None = None, mode: int = SOFT, **options: Any) -> Accumulator:
    """Return what sums up complete rows under a Gaussian mixture; parameters as of `Accumulator`."""
    made = Accumulator(params, shape, mode, **options)
    own = mode == SOFT and made.form == FULL and made.shape[0] > 1  # what all components share is summed once
    if own and takes_phases(len(params.means), made.n_values(False)):
        return PhasedAccumulator(params, shape, mode, **options)
    return made
