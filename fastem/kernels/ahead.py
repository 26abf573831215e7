"""Compile the kernels that fits and scores need ahead of time, into Numba's cache on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels import assignment, groups, mixture, patterns, phases, student
from fastem.kernels.jit import Kernel, cache_folder, check_dtypes, launcher

# Each has a kernel and its arithmetic for float32 rows; for float64 rows it is float64.
Needed = tuple[tuple[Kernel, str], ...]
EM: Needed = (mixture.accumulate_soft, "float32"), (mixture.accumulate_soft, "float64")
START: Needed = (mixture.accumulate_labelled, "float64"), (mixture.score_spheres, "float64")
CALLS: dict[str, Needed] = {
    "fit": EM + START,
    "predict": tuple((k, "float64") for k in (mixture.score_all, mixture.score_spheres, mixture.score_white_spheres)),
    "large": ((phases.respond, "float32"), (phases.respond, "float64"), (phases.gather, "float32")),
    "labels": (
        *((mixture.accumulate_within, real) for real in ("float32", "float64")),
        *((kernel, "float64") for kernel in (mixture.accumulate_hard, mixture.accumulate_given)),
    ),
    "missing": tuple(
        (kernel, "float64")
        for kernel in (patterns.accumulate_soft, patterns.accumulate_within, patterns.accumulate_hard, patterns.score)
    ),
    "kmeans": (*START, (assignment.assign, "float64"), (assignment.two_nearest, "float64")),
    "student": tuple((kernel, "float64") for kernel in (student.accumulate, student.score)),
    "fit_many": tuple((kernel, "float64") for kernel in (groups.fit, groups.accumulate, groups.score)),
}
DOUBLE = groups.fit, groups.accumulate, groups.score  # rows of many fits are float64, whatever they were


class Warmup(NamedTuple):
    """What `warmup` returns.

    Attributes
    ----------
    seconds : float
        How long it took.
    folder : Path or None
        Where the compiled kernels are kept for later processes. None: they could not be kept, and last as long as this
        process; or there were none to compile.
    prebuilt : bool
        Whether the package fastem-kernels has all that was asked for, so that there was nothing to compile.

    See Also
    --------
    warmup : returns it
    """

    seconds: float
    folder: Path | None
    prebuilt: bool = False


def warmup(
    dtypes: Iterable[Any] = ("float64", "float32"),
    progress: Callable[[int, int], Any] | None = None,
    calls: Iterable[str] = tuple(CALLS),
) -> Warmup:
    """Compile all kernels now, or load them from Numba's cache, so that no later call has to.

    Call it when you install fastem, build a container image, or start a service. The cache is for one kind of
    processor, and in a folder that later processes must be able to write to as well (else Numba looks for another
    folder): run this as the user who will fit, or set NUMBA_CACHE_DIR.

    Parameters
    ----------
    dtypes : str or iterable of dtypes, default ("float64", "float32")
        Dtypes of the rows that will come: float64, float32 or both.
    progress : callable, optional
        Called as ``progress(done, total)``, at first with 0 done, then after each kernel that is compiled.
    calls : str or iterable of str, default all
        What will be called: "fit", "predict" (and other scores), "kmeans" (`KMeans`), "large" (fits of full
        covariances of which K D^2 is more than half a million), "labels" (fits with labels or ``assignment="hard"``,
        statistics of given responsibilities), "missing" (fits and scores of rows with missing values), "student"
        (`StudentMixture`, beside "fit"), "fit_many" (and the scores of its mixtures).

    Returns
    -------
    Warmup

    Raises
    ------
    ValueError
        For other dtypes or calls.

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
    needed = list(find_needed(check_dtypes(dtypes), check_calls(calls)))
    folders: list[str | None] = []
    for done, (kernel, rows, real) in enumerate(needed):
        if progress is not None:
            progress(done, len(needed))
        compiled = kernel.compiled(np.dtype(rows), np.dtype(real))
        if compiled.jitted:
            folders.append(cache_folder(compiled.entry))
    if folders:
        launcher()
    if progress is not None:
        progress(len(needed), len(needed))
    folder = None if None in folders or not folders else Path(str(folders[0]))
    return Warmup(time.perf_counter() - since, folder, prebuilt=not folders)


def check_calls(calls: Iterable[str]) -> list[str]:
    """Return the names of calls; raise a ValueError for one that is not known."""
    names = [calls] if isinstance(calls, str) else list(calls)
    if not names or not set(names) <= set(CALLS):
        raise ValueError(f"calls must be of {', '.join(map(repr, CALLS))}; got {calls!r}")
    return names


def find_needed(dtypes: list[str], calls: list[str]) -> dict[tuple[Kernel, str, str], None]:
    """Return kernels, the dtype of rows and that of arithmetic, each once, in the order in which calls need them.

    Fits of float32 rows need float64 too: for a sample, for k-means, and for passes where float32 would not do.
    """
    needed = [pair for call in calls for pair in CALLS[call]]
    found = [(kernel, "float64", "float64") for kernel, _ in needed]
    if "float32" in dtypes:
        found += [(kernel, "float32", real) for kernel, real in needed if kernel not in DOUBLE]
    return dict.fromkeys(found)
