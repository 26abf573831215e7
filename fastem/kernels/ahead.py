"""Compile the kernels that fits and scores need ahead of time, into Numba's cache on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.jit import cache_folder, check_dtypes, launch
from fastem.kernels.mixture import accumulate, score

# Each has a kernel, the dtype of rows and the dtype of arithmetic. Fits of float32 rows need float64 too: for a sample,
# for k-means, and for passes where float32 arithmetic would not do.
FLOAT64 = (accumulate, "float64", "float64"), (score, "float64", "float64")
FLOAT32 = (accumulate, "float32", "float32"), (accumulate, "float32", "float64"), (score, "float32", "float64")
NEEDED = {"float64": FLOAT64, "float32": FLOAT64 + FLOAT32}


class Warmup(NamedTuple):
    """What `warmup` returns.

    Attributes
    ----------
    seconds : float
        How long it took.
    folder : Path or None
        Where the compiled kernels are kept for later processes. None: they could not be kept, and last as long as this
        process.

    See Also
    --------
    warmup : returns it
    """

    seconds: float
    folder: Path | None


def warmup(dtypes: Iterable[Any] = ("float64", "float32"), progress: Callable[[int, int], Any] | None = None) -> Warmup:
    """Compile all kernels now, or load them from Numba's cache, so that no later call has to.

    Call it when you install fastem, build a container image, or start a service. The cache is for one kind of
    processor, and in a folder that later processes must be able to write to as well (else Numba looks for another
    folder): run this as the user who will fit, or set NUMBA_CACHE_DIR.

    Parameters
    ----------
    dtypes : str or iterable of dtypes, default ("float64", "float32")
        Dtypes of the rows that will come: float64, float32 or both.
    progress : callable, optional
        Called as ``progress(done, total)``, at first with 0 done, then after each function that is compiled.

    Returns
    -------
    Warmup

    Raises
    ------
    ValueError
        For other dtypes.

    See Also
    --------
    GaussianMixture : without a warm-up, its first fit compiles what it needs

    Examples
    --------
    >>> import fastem
    >>> ready = fastem.warmup(["float64"])
    >>> fastem.warmup(["float64"]).seconds < 0.1
    True
    """
    since = time.perf_counter()
    needed = dict.fromkeys(one for name in check_dtypes(dtypes) for one in NEEDED[name])
    total = 2 * len(needed)
    folders: list[str | None] = []
    for kernel, rows, real in needed:
        for function in (kernel.worker, launch):
            if progress is not None:
                progress(len(folders), total)
            folders.append(cache_folder(kernel.compiled(function, np.dtype(rows), np.dtype(real))))
    if progress is not None:
        progress(total, total)
    folder = None if None in folders else Path(str(folders[0]))
    return Warmup(time.perf_counter() - since, folder)
