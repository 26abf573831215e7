"""Mixtures inside your own compiled loops: a density per particle, pixel or cell, and statistics of what passes by.

`pack` turns Params into plain arrays, a `Mixture`, that code compiled by Numba takes as an argument. In such code

- ``log_density(mixture, x)`` is the log density at one point, an array or a tuple of D floats;
- ``responsibilities(mixture, x, resp)`` fills resp (K,) and returns the log density;
- ``accumulate_point(mixture, x, weight, sums, scratch)`` adds a weighted point to statistics, and returns the log
  density;
- ``accumulate_block(mixture, X, weight, sums, scratch)`` adds rows X (n, D), at the speed of a fit; weight (n,)
  float64, or (0,) if every weight is 1.

These functions allocate no memory, so they run in your `prange` as they are. Statistics need a row of `buffers` per
iteration of the `prange` (or per thread). float32 mixtures and points are worked on in float32; statistics are always
float64. The functions are for valid input: they check nothing, not even D.

Compile your functions with ``cache=True``: ``accumulate_block`` adds seconds to their compilation. Numba notices a
change in their own file, but not in the files of what they call: after an upgrade of fastem, remove their cached code
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
from fastem.model.given import check_gaussian
from fastem.model.matrices import Array
from fastem.model.params import Params
from fastem.model.stats import Stats
from fastem.passes.layout import KernelMixture
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
    log_norm : (K,) float64 or float32
        Log weight + log normalising constant of each component.
    means : (K, D) float64 or float32
    factor : (K|1, D|1, D|1) float64 or float32
        Precision factor, as in `fastem.Params`.

    See Also
    --------
    pack : makes a Mixture of Params

    Examples
    --------
    >>> import fastem
    >>> from fastem import embed
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> embed.pack(params).means
    array([[0.],
           [3.]])
    """

    log_norm: NDArray[Any]
    means: NDArray[Any]
    factor: NDArray[Any]


def pack(params: Params, dtype: DTypeLike = np.float64) -> Mixture:
    """Turn Params into a Mixture, which the kernels of this module take.

    Parameters
    ----------
    params : Params
        For instance what `fastem.make_params` returns, or ``model.params_`` of a fitted GaussianMixture.
    dtype : dtype, default float64
        Precision of the arithmetic, float64 or float32. float32 is for components of comparable width not far from 0.

    Returns
    -------
    Mixture

    Raises
    ------
    ValueError
        If parameters do not fit together, or for another dtype.

    See Also
    --------
    to_stats : the way back, from what was summed to statistics
    fastem.make_params : makes Params of weights, means and covariances

    Examples
    --------
    >>> import fastem
    >>> from fastem import embed
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> embed.pack(params, "float32").factor.dtype
    dtype('float32')
    """
    check_gaussian(params)
    (name,) = check_dtypes([np.dtype(dtype).name])
    layout = KernelMixture(params, name)
    return Mixture(layout.log_norm, layout.means, layout.factor)


def buffers(mixture: Mixture, n: int) -> tuple[Array, NDArray[Any]]:
    """Return memory for `accumulate_point` and `accumulate_block`.

    Parameters
    ----------
    mixture : Mixture
    n : int
        How many rows: one for each iteration of a `prange`, or for each thread.

    Returns
    -------
    sums : (n, m) float64
        Rows of statistics, zero. Rows are apart by a cache line or more, so that threads do not wait for each other.
    scratch : (n, l) float64 or float32, as the mixture
        Memory to work in.

    See Also
    --------
    to_stats : statistics, from the sum over the rows of `sums`

    Examples
    --------
    >>> import fastem
    >>> from fastem import embed
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> sums, scratch = embed.buffers(embed.pack(params), 4)
    >>> len(sums), len(scratch), float(sums.sum())
    (4, 4, 0.0)
    """
    K, D = mixture.means.shape
    form, dtype = FULL if mixture.factor.shape[1] > 1 else DIAG, mixture.means.dtype
    size, line = scratch_size(D, K, tile_rows(K, D, dtype.itemsize), dtype.itemsize), CACHE_LINE // dtype.itemsize
    sums = aligned((n, -(-n_values(K, D, form) // 8) * 8 + 8), np.float64)
    return sums, aligned((n, size + -(-(K + padded(D)) // line) * line), dtype)


def to_stats(params: Params, mixture: Mixture, sums: Array, n_rows: int) -> Stats:
    """Return statistics, as `fastem.accumulate` does, for `fastem.m_step`.

    Parameters
    ----------
    params : Params
        What was packed.
    mixture : Mixture
        What `pack` made of it.
    sums : (m,) float64
        The sum over the rows of statistics of `buffers`.
    n_rows : int
        How many points of positive weight were added.

    Returns
    -------
    Stats

    See Also
    --------
    fastem.m_step : parameters, from statistics
    fastem.accumulate : the same for all rows of an array, a file or another source

    Examples
    --------
    >>> import fastem
    >>> from fastem import embed
    >>> params = fastem.make_params([0.5, 0.5], [[0.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> mixture = embed.pack(params)
    >>> sums, scratch = embed.buffers(mixture, 1)
    >>> for x in (0.0, 3.0):
    ...     _ = embed.accumulate_point(mixture, (x,), 1.0, sums[0], scratch[0])
    >>> embed.to_stats(params, mixture, sums.sum(axis=0), n_rows=2).s0
    array([1., 1.])
    """
    accumulator = Accumulator(params)
    layout = KernelMixture(params, mixture.means.dtype)
    return accumulator.stats(layout, np.array(sums[: accumulator.n_values(white=False)]), n_rows)
