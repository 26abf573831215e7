"""Mixtures inside your own compiled loops: a density per particle, pixel or cell, and statistics of what passes by.

`pack` turns Params into plain arrays, a `Mixture`, that code compiled by Numba takes as an argument. In such code

- ``log_density(mixture, x)`` is the log density at one point, an array or a tuple of D floats;
- ``responsibilities(mixture, x, resp)`` fills resp (K,) and returns the log density;
- ``accumulate_point(mixture, x, weight, sums, scratch)`` adds a weighted point to statistics, and returns the log
  density;
- ``accumulate_block(mixture, X, weight, sums, scratch)`` adds rows X (n, D), at the speed of a fit; weight (n,)
  float64, or (0,) for none.

None allocates, so they run in your `prange` as they are; statistics need a row of `buffers` per iteration of the
`prange` (or per thread). float32 mixtures and points are worked on in float32, statistics are float64 always. They
are for valid input: nothing is checked, of D in particular.

Compile your functions with ``cache=True``: ``accumulate_block`` adds seconds to their compilation. Numba notices a
change in their own file, not in that of what they call: after an upgrade of fastem, remove their cached code
(``__pycache__/*.nbi``).

Examples
--------
>>> import numpy as np, fastem
>>> from fastem import embed
>>> from numba import njit, prange
>>> @njit(parallel=True)
... def pass_over(mixture, X, density, sums, scratch):
...     n_blocks = len(sums)
...     for b in prange(n_blocks):
...         for i in range(b, len(X), n_blocks):
...             density[i] = embed.accumulate_point(mixture, X[i], 1.0, sums[b], scratch[b])
>>> X, _ = fastem.load_faithful()
>>> params = fastem.make_params([0.5, 0.5], [[2.0, 50.0], [4.0, 80.0]], [[[1.0, 0.0], [0.0, 50.0]]] * 2)
>>> mixture, density = embed.pack(params), np.empty(len(X))
>>> sums, scratch = embed.buffers(mixture, 8)
>>> pass_over(mixture, X, density, sums, scratch)
>>> bool(np.allclose(density, fastem.log_density(X, params)))
True
>>> stats = embed.to_stats(params, mixture, sums.sum(axis=0), n_rows=len(X))
>>> fastem.m_step(stats).means.round(1)
array([[ 2. , 54.3],
       [ 4.3, 79.9]])
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastem.kernels.jit import check_dtypes
from fastem.kernels.lanes import CACHE_LINE, aligned
from fastem.kernels.micro import DIAG, FULL, padded
from fastem.kernels.mixture import n_values, scratch_size
from fastem.kernels.points import accumulate_block, accumulate_point, log_density, responsibilities
from fastem.model.given import check_params
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.layout import KernelMixture as Layout
from fastem.passes.sizes import tile_rows
from fastem.passes.sums import Accumulator

__all__ = [
    "Mixture",
    "accumulate_block",
    "accumulate_point",
    "buffers",
    "log_density",
    "pack",
    "responsibilities",
    "to_stats",
]


class Mixture(NamedTuple):
    """A mixture as compiled code takes it, contiguous and of one dtype; a noise component is one more, the last.

    Attributes
    ----------
    log_norm : (K,) log weight + log normalising constant
    means : (K, D)
    factor : (K|1, D|1, D|1) precision factor, as in Params
    """

    log_norm: NDArray[Any]
    means: NDArray[Any]
    factor: NDArray[Any]


def pack(params: Params, dtype: DTypeLike = np.float64) -> Mixture:
    """Parameters for the kernels of this module.

    Parameters
    ----------
    params : Params, for instance of `fastem.make_params`, or ``model.params_`` of a fitted GaussianMixture
    dtype : float64 or float32, of the arithmetic. float32 is for components of comparable width not far from 0

    Returns
    -------
    Mixture

    Raises
    ------
    ValueError
        for parameters that do not fit together, or another dtype
    """
    check_params(params)
    (name,) = check_dtypes([np.dtype(dtype).name])
    layout = Layout(params, name)
    return Mixture(layout.log_norm, layout.means, layout.factor)


def buffers(mixture: Mixture, n: int) -> tuple[Array, NDArray[Any]]:
    """Memory for `accumulate_point` and `accumulate_block`: n rows of statistics, zero, and n of scratch.

    Rows are apart by a cache line or more, so that threads do not wait for each other. `to_stats` takes the sum of the
    statistics' rows.
    """
    K, D = mixture.means.shape
    form, dtype = FULL if mixture.factor.shape[1] > 1 else DIAG, mixture.means.dtype
    size, line = scratch_size(D, K, tile_rows(K, D, dtype.itemsize), dtype.itemsize), CACHE_LINE // dtype.itemsize
    sums = aligned((n, -(-n_values(K, D, form) // 8) * 8 + 8), np.float64)
    return sums, aligned((n, size + -(-(K + padded(D)) // line) * line), dtype)


def to_stats(params: Params, mixture: Mixture, sums: Array, n_rows: int) -> Stats:
    """Statistics as `fastem.accumulate` returns them, for `fastem.m_step`.

    Parameters
    ----------
    params : Params, what was packed
    mixture : Mixture, as it was packed
    sums : (n,) float64, the sum of the rows of `buffers` that were added to
    n_rows : int, how many points of positive weight were

    Returns
    -------
    Stats
    """
    accumulator = Accumulator(params)
    layout = Layout(params, mixture.means.dtype)
    return accumulator.stats(layout, np.array(sums[: accumulator.n_values(white=False)]), n_rows)
