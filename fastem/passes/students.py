"""Passes under a mixture of t distributions: the pass and the scores of `fastem.kernels.student`, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem.kernels import student
from fastem.kernels.micro import DIAG, FULL
from fastem.kernels.mixture import SOFT
from fastem.model.matrices import Array
from fastem.model.student import StudentParams, StudentStats
from fastem.passes.layout import KernelMixture
from fastem.passes.scorer import Scorer, Scores
from fastem.passes.sums import Accumulator, Sums
from fastem.sources.blocks import Block


class StudentAccumulator(Accumulator):
    """The fused pass: rows count by their responsibility times what they count for in a t distribution."""

    def layout(self, dtype: np.dtype[Any]) -> KernelMixture:
        """Return the mixture, which is in float64 whatever the rows."""
        return self._layouts.setdefault(dtype, KernelMixture(self.params, np.float64))

    def n_values(self, white: bool) -> int:
        """Return how many values a block's statistics are in the kernel."""
        K, D = self.params.means.shape
        return student.n_sums(K, D, self.form)

    def sums(self, block: Block) -> Sums:
        """Return the statistics of a block, to be added: only the last block may end within `block_rows` rows."""
        layout, n_blocks = self.layout(block.X.dtype), -(-len(block.X) // self.block_rows)
        out = np.empty((n_blocks, self.n_values(False)))
        weight, labels, allowed, *_ = self.given(block).arguments()
        scratch = layout.scratch(len(block.X), n_blocks, self.work, student.tails_size)
        mixture = layout.log_norm, layout.means, layout.factor, layout.dof
        student.accumulate(block.X, weight, labels, allowed, *mixture, self.form, self.block_rows, out, scratch)
        return Sums(self, layout, len(block.X), out)

    def stats(self, layout: KernelMixture, total: Array, n_rows: int) -> StudentStats:
        """Return the statistics that a pass has summed up in `total`; the sums of r and of r t come last."""
        tails = total[-2 * layout.K :].reshape(2, layout.K)
        stats = super().stats(layout, total[: -2 * layout.K], n_rows)
        assert layout.dof is not None
        return StudentStats(**vars(stats) | {"s0": tails[0]}, mass=stats.s0, tail=tails[1], dof=layout.dof)


class StudentScorer(Scorer):
    """The E-step alone."""

    whitens = False

    def fill(self, block: Block, scores: Scores) -> None:
        """Score the rows of a block into arrays of as many rows."""
        X, layout = block.X, self.layout
        form = FULL if layout.factor.shape[1] > 1 else DIAG
        scratch = layout.scratch(len(X), -(-len(X) // self.block_rows), form, student.tails_size)
        student.score(X, layout.log_norm, layout.means, layout.factor, layout.dof, self.block_rows, *scores, scratch)


def student_accumulator(
    params: StudentParams,
    shape: tuple[int, ...] | None = None,
    mode: int = SOFT,
    *,
    distances: bool = False,
    **options: Any,
) -> Accumulator:
    """Return what sums up rows under t distributions; rows whose components are known count as under Gaussians."""
    kind = StudentAccumulator if mode == SOFT and not distances else Accumulator
    return kind(params, shape, mode, distances=distances, **options)


def student_scorer(params: StudentParams, *, distances: bool = False) -> Scorer:
    """Return what scores rows under t distributions; distances are those of the scale matrices."""
    return Scorer(params, distances=True) if distances else StudentScorer(params)
