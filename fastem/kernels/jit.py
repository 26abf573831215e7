"""Run kernels on threads: the only module that knows the hazards of Numba's.

A kernel is written once, as a serial *worker* ``worker(task, n_tasks, *args)`` that handles blocks
``task, task + n_tasks, ...`` of a slice and writes each block's result to a place of its own. So the bits do
not depend on how many workers there are, or on what runs them:

- a `prange` over workers (`@njit(parallel=True)`), the normal way;
- a pool of Python threads over the same worker (it releases the GIL), where a parallel kernel cannot run: in a
  forked child (GNU OpenMP kills it), on the workqueue layer (it aborts the process when two threads enter, and
  the user may have parallel kernels too), when a second Python thread enters while the first is inside, and where
  the kernel is not Numba's (`fastem.kernels.prebuilt`);
- a plain call, where there is only one task.

There is one task for each millisecond of work, up to the number of threads and of blocks; see `count_tasks`.

Workers take 10 to 22 plain arguments, which a call packs into a *frame*: so one launcher serves all kernels. (One for
each signature took half a second of the compiler's time.) Named tuples of arrays would read better in the calls from
Python; measured, they lose: a writable array does not convert to a read-only type inside a tuple, so that each
combination of flags would be another compilation, and a call costs 17 us instead of 6.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import llvmlite.binding
import numba
import numpy as np
from numba import njit, prange, types
from numba.core.compiler_lock import global_compiler_lock

from fastem.kernels import prebuilt
from fastem.kernels.cache import Sealed, SealedFunction, cached
from fastem.kernels.compiler import HELPER, KERNEL, LAUNCHER, PACKER
from fastem.kernels.memory import FRAME, ROWS_OF_EITHER, frame_size, getter, put
from fastem.kernels.shared import SealedKernel
from fastem.kernels.signals import held_back

THREAD_FLOPS: Final = 5e7  # the work of 0.5 to 1 ms, as `fastem.passes.sizes.work` counts it

Function = Callable[..., Any]

log = logging.getLogger("fastem")
_entry, _compiling = threading.Lock(), threading.RLock()  # a signal's handler may fit while its thread compiles
_forked = False
_pool: ThreadPoolExecutor | None = None


# They are in the order in which Numba takes them: ours, its compiler's, LLVM's (which finalizers take alone), and the
# one for starting its threads.
_LOCKS: Final[tuple[Any, ...]] = (
    _compiling,
    global_compiler_lock,
    llvmlite.binding.ffi.lib._lock,
    numba.np.ufunc.parallel._backend_init_thread_lock,
)


def _before_fork() -> None:
    """Wait for threads that compile or load kernels: else a lock that they hold stays closed in the child for ever."""
    for lock in _LOCKS:
        lock.__enter__()


def _after_fork() -> None:
    for lock in reversed(_LOCKS):
        lock.__exit__(None, None, None)


def _after_fork_in_child() -> None:
    global _forked, _pool
    _forked, _pool = True, None
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def launch(entry: Function, n_tasks: int, frame: np.ndarray) -> None:
    """Run each task of a kernel, in parallel: the one function with a `prange`, compiled once for all kernels."""
    for task in prange(n_tasks):
        entry(np.intp(task), n_tasks, frame)


class Compiled(NamedTuple):
    """A kernel for one dtype of the rows and one of the arithmetic.

    Attributes
    ----------
    pack : function ``pack(*args)``
        Returns a frame that holds the arguments of a call.
    entry : function ``entry(task, n_tasks, frame)``
        Runs one task.
    jitted : bool
        Whether Numba compiled `entry`, so that compiled code can call it.
    """

    pack: Function
    entry: Function
    jitted: bool = True


def _compile(
    function: Function,
    options: dict[str, Any],
    signature: types.Type,
    key: Any = None,
    kind: type[Sealed] = SealedFunction,
) -> Any:
    """Return a dispatcher with one signature, to which arguments are converted (the layout of X, for one).

    It never compiles another, whatever it is called with and from however many threads.
    """
    dispatcher, collecting, since = cached(key, kind, **options)(function), gc.isenabled(), time.perf_counter()
    gc.disable()  # a compiler makes millions of objects, and all are in use: a tenth of its time
    try:
        with held_back():
            dispatcher.compile(signature)
    finally:
        if collecting:
            gc.enable()
    dispatcher.disable_compile()
    verb = "loaded" if getattr(dispatcher.stats, "cache_hits", None) else "compiled"
    log.info("%s %s in %.2f s", verb, function.__name__, time.perf_counter() - since)
    return dispatcher


def launcher() -> Function:
    """Return `launch`, compiled on first use."""
    with _compiling:
        return _launcher()


@cache
def _launcher() -> Function:
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return launch
    entry = types.FunctionType(types.void(types.intp, types.intp, FRAME))
    return _compile(launch, LAUNCHER, types.void(entry, types.intp, FRAME))  # type: ignore[no-any-return]


@cache
def _packer(kinds: tuple[types.Type, ...]) -> Function:
    """Return the function that makes frames of arguments of these types; kernels whose types are the same share it."""

    def pack(frame, *arguments):  # type: ignore[no-untyped-def]
        put(frame, arguments)

    packer = _compile(pack, PACKER, types.void(FRAME, types.StarArgTuple(kinds)), "pack")
    size = frame_size(kinds)

    def pack_frame(*arguments: Any) -> np.ndarray:
        frame = np.empty(size, np.int64)
        packer(frame, *arguments)
        return frame

    return pack_frame


class Kernel:
    """A worker, compiled on first use, for float64 or float32 arithmetic; one compilation serves rows of both dtypes.

    Every array of rows converts to the type of X in a kernel: C, F, strided, read-only and unaligned ones.

    Parameters
    ----------
    worker : function ``worker(task, n_tasks, X, *args)``
        The last argument is its scratch memory, whose dtype is that of the arithmetic.
    args : function
        Returns the types of ``*args``, given the Numba type of the arithmetic.
    """

    def __init__(self, worker: Function, args: Callable[[Any], Sequence[types.Type]], name: str) -> None:
        self.worker, self.args, self.name = worker, args, name
        self._compiled: dict[tuple[Any, Any], Compiled] = {}
        self._entries: dict[Any, Function] = {}

    def compiled(self, rows: Any, real: Any) -> Compiled:
        """Return the kernel for a dtype of the rows and one of the arithmetic."""
        key = rows, real
        if key not in self._compiled:
            with _compiling:
                if key not in self._compiled:
                    self._compiled[key] = self._compile(*key)
        return self._compiled[key]

    def _compile(self, rows: Any, real: Any) -> Compiled:
        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return Compiled(lambda *args: args, lambda task, n_tasks, args: self.worker(task, n_tasks, *args))
        kinds = ROWS_OF_EITHER.copy(dtype=numba.from_dtype(rows)), *self.args(numba.from_dtype(real))
        found = prebuilt.find(self.name, real)
        if found is not None:
            return Compiled(prebuilt.packer(kinds), found, jitted=False)
        if real not in self._entries:
            self._entries[real] = self._compile_entry((ROWS_OF_EITHER, *kinds[1:]))
        return Compiled(_packer(kinds), self._entries[real])

    def _compile_entry(self, kinds: tuple[types.Type, ...]) -> Function:
        worker, get = njit(**HELPER)(self.worker), getter(types.Tuple(kinds))

        def entry(task, n_tasks, frame):  # type: ignore[no-untyped-def]
            worker(task, n_tasks, *get(frame))

        entry.__name__ = entry.__qualname__ = self.name
        signature = types.void(types.intp, types.intp, FRAME)
        return _compile(entry, KERNEL, signature, (self.name, kinds), SealedKernel)  # type: ignore[no-any-return]

    def __call__(self, X: np.ndarray, *args: Any) -> None:
        """Run over the blocks of the rows `X`, in as many tasks as the scratch memory, the last argument, has rows."""
        pack, entry, jitted = self.compiled(X.dtype, args[-1].dtype)
        n_tasks, frame = len(args[-1]), pack(X, *args)
        if n_tasks <= 1:
            entry(0, 1, frame)
        elif jitted and not _forked and _layer() != "workqueue" and _entry.acquire(blocking=False):
            try:
                launcher()(entry, n_tasks, frame)
            except TypeError as error:
                # Ctrl-C while Numba unpickles the entry's signature: it calls on without that argument.
                if "missing 1 required positional argument: 'sig'" not in str(error):
                    raise
                raise KeyboardInterrupt from None
            finally:
                _entry.release()
        else:
            # A frame has addresses alone. After Ctrl-C tasks go on to their end, so that they must own the arrays.
            _run_in_pool(lambda task, owned=(X, args): entry(task, n_tasks, frame), n_tasks)  # type: ignore[misc]


def cache_folder(function: Any) -> str | None:
    """Return the folder where Numba keeps a compiled function for other processes; None if it is not kept."""
    return function.stats.cache_path if hasattr(function, "stats") else None  # without JIT it is a plain function


def count_tasks(n_blocks: int, flops: float) -> int:
    """Return in how many tasks a call of a kernel does `n_blocks` blocks that are this much work together.

    A thread that does less than about a millisecond saves little, and its core may be taken: where other threads spin,
    as those of OpenBLAS do for 0.1 s after a matrix product, a call that enters all threads waits 10 ms for its last.
    """
    most = min(n_blocks, int(flops / THREAD_FLOPS))
    return min(most, n_threads()) if most > 1 else 1


def n_threads() -> int:
    """Return how many threads a kernel may use: `numba.set_num_threads`, else NUMBA_NUM_THREADS, else the cores."""
    return int(numba.get_num_threads())


@contextmanager
def threads(most: int | None) -> Iterator[None]:
    """Let the kernels that this Python thread calls use at most `most` threads; None sets no bound.

    It never raises the number: a fit that asks for 16 runs on a machine of 4, and where joblib allows 1.
    """
    if most is None:
        yield
        return
    before = n_threads()
    try:
        numba.set_num_threads(min(most, before))
        yield
    finally:
        numba.set_num_threads(before)


def _layer() -> str:
    """Return the name of Numba's threading layer; `n_threads` has started it."""
    return str(numba.threading_layer())  # type: ignore[attr-defined]


def _run_in_pool(run: Callable[[int], None], n_tasks: int) -> None:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, thread_name_prefix="fastem")  # type: ignore[attr-defined]
    for done in [_pool.submit(run, task) for task in range(n_tasks)]:
        done.result()


def check_dtypes(dtypes: Iterable[Any]) -> list[str]:
    """Return the names of dtypes; raise a ValueError if rows in kernels cannot have one of them."""
    try:
        names = [np.dtype(dtype).name for dtype in ([dtypes] if isinstance(dtypes, str) else dtypes)]
    except TypeError:
        names = []
    if not names or not set(names) <= {"float64", "float32"}:
        raise ValueError(f"dtypes must be 'float64', 'float32' or both; got {dtypes!r}")
    return names
