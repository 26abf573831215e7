"""Compile ahead: the kernels that fits and scores need, into Numba's cache on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.jit import cache_folder, check_dtypes, launch
from fastem.kernels.mixture import accumulate, score

# Kernel, rows, arithmetic. Fits of float32 rows work in float64 too: on a sample, for k-means, and in float64
# arithmetic where float32 would not do.
FLOAT64 = (accumulate, "float64", "float64"), (score, "float64", "float64")
FLOAT32 = (accumulate, "float32", "float32"), (accumulate, "float32", "float64"), (score, "float32", "float64")
NEEDED = {"float64": FLOAT64, "float32": FLOAT64 + FLOAT32}


class Warmup(NamedTuple):
    """What `warmup` returns.

    Attributes
    ----------
    seconds : float, how long it took
    folder : Path or None
        where the compiled kernels are kept for later processes; None if they could not be: they last for this process
    """

    seconds: float
    folder: Path | None


def warmup(dtypes: Iterable[Any] = ("float64", "float32"), progress: Callable[[int, int], Any] | None = None) -> Warmup:
    """Compile all kernels now, or load them from Numba's cache, so that no later call has to.

    For an installation, a container image, a service's start. The cache belongs to a kind of processor and to a
    folder that the later processes can write to as well (else Numba looks for another): run this as the user who
    will fit, or set NUMBA_CACHE_DIR.

    Parameters
    ----------
    dtypes : of the rows that will come, "float64", "float32" or both
    progress : called as ``progress(done, total)``, at first with 0 done and after each of the functions to compile

    Returns
    -------
    Warmup

    Raises
    ------
    ValueError
        for other dtypes

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
