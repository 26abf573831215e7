"""The E-step alone: from a block of rows and a mixture to arrays of scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import mixture as kernel
from fastem.kernels.micro import DIAG, FULL
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.passes.layout import WHITEN_LIMIT, KernelMixture, may_whiten
from fastem.passes.sizes import block_rows, slice_blocks
from fastem.sources.blocks import Block


class Scores(NamedTuple):
    """Arrays that scoring fills, as the kernel takes them: an output that is not wanted has no rows.

    Attributes
    ----------
    density : (N,) float64
        Log density.
    label : (N,) int64
        Most probable component.
    resp : (N, K) float64
        Responsibilities.
    joint : (N, K) float64
        Log weight + log density of each component.
    top_index, top_resp : (N, M) int64 and float64
        The M largest responsibilities of each row, in descending order, and their components.

    With a noise component K is one more, and noise is the last.
    """

    density: Array
    label: NDArray[np.int64]
    resp: Array
    joint: Array
    top_index: NDArray[np.int64]
    top_resp: Array

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
        """Return arrays for N rows and the outputs that are wanted; `top` is M."""
        return cls(
            np.empty(N if density else 0),
            np.empty(N if label else 0, dtype=np.int64),
            np.empty((N if resp else 0, K)),
            np.empty((N if joint else 0, K)),
            np.empty((N if top else 0, top), dtype=np.int64),
            np.empty((N if top else 0, top)),
        )


class Scorer:
    """The E-step alone, in float64: it fills arrays of scores, block by block.

    Parameters
    ----------
    params : Params
    distances : bool, default False
        Leave the components' weights and normalising constants out: `Scores.joint` is then minus half the squared
        distance of each row to each component.

    Attributes
    ----------
    whitens : bool
        Whether the kernel can whiten rows.
    """

    whitens = True

    def __init__(self, params: Params, *, distances: bool = False) -> None:
        if distances:
            params = params._replace(noise=None)
        white = self.whitens and not distances and may_whiten(params, WHITEN_LIMIT[0])
        self.layout = KernelMixture(params, np.float64, distances, white)
        self.block_rows = block_rows(self.layout.K, self.layout.D)
        self.slice_rows = self.block_rows * slice_blocks(self.layout.K, self.layout.D, 1)

    def fill(self, block: Block, scores: Scores) -> None:
        """Score the rows of a block into arrays of as many rows."""
        X, layout = block.X, self.layout
        n_blocks, form = -(-len(X) // self.block_rows), FULL if layout.factor.shape[1] > 1 else DIAG
        kernel.score(X, *layout.arguments, self.block_rows, *scores, layout.scratch(len(X), n_blocks, form))
