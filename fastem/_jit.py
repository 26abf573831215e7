"""Every JIT option, and how a kernel reaches its threads: the only module that knows about Numba's hazards.

A kernel is written once, as a serial *worker* ``worker(task, n_tasks, *args)`` that handles blocks
``task, task + n_tasks, ...`` of a slice and writes each block's result to a place of its own. So the bits do
not depend on how many workers there are, or on what runs them:

- a `prange` over workers (`@njit(parallel=True)`), the normal way;
- a pool of Python threads over the same worker (it releases the GIL), where a parallel kernel cannot run:
  in a forked child (GNU OpenMP kills it) and when a second Python thread enters while the first is inside
  (the workqueue layer aborts the process);
- a plain call, where there is one block only.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numba
import numpy as np
from numba import types

# Contraction and reassociation let LLVM use FMA and vector sums; NaN and infinity keep their meaning
# ('nnan' and 'ninf' are never set), because overflow and collapse are detected by them.
FAST: Final = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS: Final[dict[str, Any]] = dict(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
# For helpers whose rounding tricks 'reassoc' would fold away ((x + M) - M); flags survive inlining.
EXACT: Final[dict[str, Any]] = OPTIONS | dict(fastmath={"contract"})
PARALLEL: Final[dict[str, Any]] = OPTIONS | dict(parallel=True)

_entry, _compiling = threading.Lock(), threading.Lock()
_forked = False
_pool: ThreadPoolExecutor | None = None


def _after_fork() -> None:
    global _forked, _pool, _compiling
    _forked, _pool, _compiling = True, None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def rows(dtype: type) -> types.Array:
    """The type of X in a kernel: any layout, read-only, unaligned.

    Every array converts to it, so that one compilation serves C, F, strided, read-only and unaligned input.
    """
    return types.Array(numba.from_dtype(np.dtype(dtype)), 2, "A", readonly=True, aligned=False)


class Kernel:
    """A worker with its `prange` twin, compiled on first use for float64 or float32 rows.

    Parameters
    ----------
    worker : dispatcher of ``worker(task, n_tasks, X, *args)``
    parallel : dispatcher of ``parallel(n_tasks, X, *args)``, a `prange` over `worker`
    args : Numba types of ``*args``
    """

    def __init__(self, worker: Any, parallel: Any, args: Sequence[types.Type]) -> None:
        self.worker, self.parallel, self.args = worker, parallel, tuple(args)

    def _ready(self, dispatcher: Any, n_ints: int, dtype: Any) -> Any:
        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return dispatcher
        signature = (*(types.intp,) * n_ints, rows(dtype), *self.args)
        if signature not in dispatcher.overloads:
            with _compiling:
                for one in (self.worker, self.parallel):  # the parallel kernel compiles the worker again
                    one.disable_compile(False)
                dispatcher.compile(signature)
                for one in (self.worker, self.parallel):  # later calls convert to what is there
                    one.disable_compile(bool(one.signatures))
        return dispatcher

    def __call__(self, n_blocks: int, X: np.ndarray, *args: Any) -> None:
        """Run over `n_blocks` blocks of the rows `X`, with as many threads as Numba is set to use."""
        n_tasks = min(n_threads(), n_blocks)
        if n_tasks <= 1:
            self._ready(self.worker, 2, X.dtype)(0, 1, X, *args)
        elif not _forked and _entry.acquire(blocking=False):
            try:
                self._ready(self.parallel, 1, X.dtype)(n_tasks, X, *args)
            finally:
                _entry.release()
        else:
            worker = self._ready(self.worker, 2, X.dtype)
            _run_in_pool(lambda task: worker(task, n_tasks, X, *args), n_tasks)


def n_threads() -> int:
    """How many threads a kernel may use: `numba.set_num_threads`, else NUMBA_NUM_THREADS, else the cores."""
    return int(numba.get_num_threads())


def _run_in_pool(run: Callable[[int], None], n_tasks: int) -> None:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, thread_name_prefix="fastem")  # type: ignore[attr-defined]
    for done in [_pool.submit(run, task) for task in range(n_tasks)]:
        done.result()
