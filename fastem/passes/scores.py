"""Score rows under a mixture: densities, labels, responsibilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.kernels import mixture as kernel
from fastem.kernels import student
from fastem.kernels.micro import DIAG, FULL
from fastem.model.given import check_params
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.student import StudentParams
from fastem.passes.layout import WHITEN_LIMIT, KernelMixture, may_whiten
from fastem.passes.sizes import block_rows, slice_blocks
from fastem.sources.blocks import Block, Source, rows_at_once
from fastem.sources.opening import find_source
from fastem.sources.parts import local_rows


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
    """

    def __init__(self, params: Params, *, distances: bool = False) -> None:
        if distances:
            params = params._replace(noise=None)
        white = not distances and not isinstance(params, StudentParams) and may_whiten(params, WHITEN_LIMIT[0])
        self.layout = KernelMixture(params, np.float64, distances, white)
        self.block_rows = block_rows(self.layout.K, self.layout.D)
        self.slice_rows = self.block_rows * slice_blocks(self.layout.K, self.layout.D, 1)

    def fill(self, X: NDArray[Any], scores: Scores) -> None:
        """Score rows (n, D) into arrays of n rows."""
        n_blocks, layout = -(-len(X) // self.block_rows), self.layout
        form = FULL if layout.factor.shape[1] > 1 else DIAG
        if layout.dof is not None:
            scratch = layout.scratch(len(X), n_blocks, form, student.tails_size)
            mixture = layout.log_norm, layout.means, layout.factor, layout.dof
            student.score(X, *mixture, self.block_rows, *scores, scratch)
            return
        scratch = layout.scratch(len(X), n_blocks, form)
        kernel.score(X, *self.layout.arguments, self.block_rows, *scores, scratch)


def log_density(X: ArrayLike, params: Params) -> Array:
    """Return the log density of a mixture at each row.

    Parameters
    ----------
    X : (N, D) array-like, or what `fastem.as_source` takes
        The rows, float64 or float32; others are converted to float64.
    params : Params

    Returns
    -------
    (N,) float64
        -inf where the density underflows under every component.

    Raises
    ------
    ValueError
        If rows or parameters are not finite or do not fit together.

    See Also
    --------
    GaussianMixture.score_samples : the same for a fitted model
    accumulate : statistics of the rows for `m_step`, and their summed log density
    fastem.embed.log_density : the same at one point, in your own compiled code

    Examples
    --------
    >>> import fastem
    >>> params = fastem.make_params([1.0], [[0.0]], [[[1.0]]])
    >>> fastem.log_density([[0.0], [2.0]], params).round(3)
    array([-0.919, -2.919])
    """
    check_params(params)
    source = find_source(X, n_features=params.means.shape[1])
    return score(source, params, density=True).density


def score(source: Source, params: Params, *, distances: bool = False, **wanted: Any) -> Scores:
    """Return the scores of all rows of a source; `wanted` as in `Scores.empty`, `distances` as in `Scorer`."""
    source, K = local_rows(source), len(params.means) if distances else params.n_columns
    scores = Scores.empty(source.n_rows, K, **wanted)
    scorer = Scorer(params, distances=distances)

    def fill(block: Block) -> None:
        rows = slice(block.start, block.start + len(block.X))
        scorer.fill(block.X, Scores._make(out[rows] for out in scores))

    source.for_each(fill, scorer.slice_rows, scorer.block_rows)
    return scores


def mean_density(source: Source, params: Params) -> tuple[float, float]:
    """Return the weighted mean of the rows' log densities, and the sum of the weights."""
    scorer = Scorer(params)

    def add(block: Block) -> Array:
        X, weight = block.present()[1:3]  # 0 times -inf would be NaN
        scores = Scores.empty(len(X), 0, density=True)
        scorer.fill(X, scores)
        if weight is None:
            return np.array([scores.density.sum(), len(X)])
        return np.array([(weight * scores.density).sum(), weight.sum()])

    total, sum_w = source.reduce(add, rows_at_once(source.n_features))
    return float(total / sum_w), float(sum_w)
