"""The call of the kernel that fits a mixture to each group of rows, from starts that are given or that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastem.estimators.groups.partition import Partition, make_scratch, split_calls
from fastem.kernels import groups as kernel
from fastem.kernels.lanes import aligned
from fastem.model.matrices import Array, pivot_tolerance
from fastem.model.remedies.eigenvalue_floor import EigenvalueFloor
from fastem.model.remedies.reg_covar import RegCovar
from fastem.model.result import Status
from fastem.passes.sizes import row_flops

CODES = {
    kernel.CONVERGED: Status.CONVERGED,
    kernel.MAX_ITER: Status.MAX_ITER,
    kernel.DEGENERATE: Status.DEGENERATE,
    kernel.TOO_FEW_ROWS: Status.TOO_FEW_ROWS,
}
Settings = tuple[RegCovar | EigenvalueFloor, float, int]  # the remedy, tol and max_iter
STATUSES = np.array([CODES[code] for code in range(len(CODES))], dtype=object)  # by the kernel's code


def run_fits(
    parts: Partition,
    X: NDArray[Any],
    weight: Array | None,
    uniforms: Array,
    given: int,
    mixtures: Sequence[Array],
    options: Settings,
    results: tuple[NDArray[Any], ...],
) -> None:
    """Fit the mixtures of all groups, by kernel calls of about 0.1 s.

    Parameters
    ----------
    parts, X, weight : the rows (N, D) by group, and their weights (N,) or None
    uniforms : (G, U) random numbers for k-means
    given : int, which parts of the starts are given: a sum of constants of the kernel
    mixtures : weights, means, covariances and factors of all groups, which are filled
    options : the remedy, tol and max_iter
    results : status, n_iter and bound of all groups, which are filled
    """
    (_, K, D), shape, (remedy, tol, max_iter) = mixtures[1].shape, mixtures[2].shape[1:], options
    reg_covar, floor = (remedy.reg_covar, 0.0) if isinstance(remedy, RegCovar) else (0.0, remedy.floor)
    X, weights = parts.by_group(X), np.empty(0) if weight is None else parts.by_group(weight)
    nearest = np.empty(len(X) if uniforms.size else 0)
    flops = row_flops(K, D) * min(max_iter + 1, 30)
    for g in split_calls(parts.bounds, flops):
        bounds = parts.bounds[g.start : g.stop + 1]
        scratch = make_scratch(bounds, K, D, flops)
        kernel.fit(
            X,
            weights,
            bounds,
            uniforms[g],
            given,
            *(array[g] for array in mixtures),
            float(reg_covar),
            float(floor),
            pivot_tolerance(D, reg_covar + floor),
            float(tol),
            min(max_iter, np.iinfo(np.int64).max),  # a larger one is no int64, as which the kernel takes it
            *(array[g] for array in results),
            nearest,
            aligned((len(scratch), kernel.state_size(K, D, shape)), np.float64),
            scratch,
        )
