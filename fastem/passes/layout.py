"""Prepare a mixture for the kernels: contiguous, in the precision of the arithmetic, perhaps whitened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.kernels import mixture as kernel
from fastem.kernels.jit import count_tasks
from fastem.kernels.lanes import aligned
from fastem.model.matrices import Array
from fastem.model.params import Params, Terms
from fastem.passes.sizes import tile_rows, work

WHITEN_LIMIT = 1e6, 1e3  # squared standard deviations, in float64 and in float32: costs 2e-10 and 1e-4 of a variance


class KernelMixture:
    """A mixture as the kernels take it: contiguous, in the precision of the arithmetic, perhaps whitened.

    Parameters
    ----------
    params : Params
    dtype : dtype of the arithmetic, float64 or float32
    distances : bool, default False
        Leave the components' weights and normalising constants out.
    white : bool, default False
        Let the kernel whiten rows; see `may_whiten`.

    Attributes
    ----------
    dof : (K,) float64 or None
        The degrees of freedom of t components; None: components are Gaussian.
    """

    def __init__(self, params: Params, dtype: Any, distances: bool = False, white: bool = False) -> None:
        self.dtype, self.origin = np.dtype(dtype), params.means
        whole = Terms(np.zeros(len(params.means)), params.means, params.factor) if distances else params.terms()
        norm, means, factor, self.dof = whole
        D = means.shape[1]
        self.centre, self.white = np.zeros(D, self.dtype), np.zeros((0, 0), self.dtype)
        if white:
            self.centre = centre_of(params).astype(self.dtype)
            self.white = np.ascontiguousarray(factor[0], self.dtype)
            means, factor = (means - self.centre) @ factor[0].T, np.ones((1, 1, 1))
        self.log_norm, self.means, self.factor = (
            np.ascontiguousarray(array, dtype=self.dtype) for array in (norm, means, factor)
        )
        if not white:  # what the kernel subtracts is what the statistics are about
            self.origin = self.means[: len(self.origin)].astype(np.float64, copy=False)
        self.K, self.D = self.means.shape

    @property
    def arguments(self) -> tuple[NDArray[Any], ...]:
        """Return the kernels' arguments that describe the mixture."""
        return self.log_norm, self.means, self.factor, self.centre, self.white

    def scratch(
        self, n_rows: int, n_blocks: int, form: int, size: Callable[[int, int, int, int], int] = kernel.scratch_size
    ) -> NDArray[Any]:
        """Return the memory that the tasks of a call work in, a row for each.

        `form` is that of the work per row; `size` returns the size of a row for D, K, the rows of a tile and itemsize.
        """
        K, D, itemsize = self.K, self.D, self.dtype.itemsize
        n_tasks = count_tasks(n_blocks, work(n_rows, K, D, form, self.white.size > 0))
        return aligned((n_tasks, size(D, K, tile_rows(K, D, itemsize), itemsize)), self.dtype)


def centre_of(params: Params) -> Array:
    """Return the mean of the mixture."""
    weights = params.weights
    return np.asarray((params.means * weights[:, None]).sum(axis=0) / weights.sum())  # np.average takes 15 us


def may_whiten(params: Params, limit: float) -> bool:
    """Tell whether rows may be whitened once, about the mean of the mixture, instead of centred on each component.

    This needs a full covariance that all components share. The second moments then lose, relative to it, eps times the
    squared distance of the means from that centre (in standard deviations), and whitened rows lose eps times
    sum_j |W_ij| |mean_j - centre_j|: `limit` bounds both.
    """
    if params.factor.shape[0] > 1 or params.factor.shape[1] == 1 or len(params.means) == 1 or params.noise:
        return False
    away, factor = params.means - centre_of(params), params.factor[0].T
    return bool(max(((away @ factor) ** 2).sum(axis=1).max(), (np.abs(away) @ np.abs(factor)).max()) <= limit)
