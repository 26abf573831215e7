"""Keep compiled kernels on disk, so that whatever fails there costs no more than the time to compile.

Where Numba finds no folder that it may write to (a package without write bits and no home, as in containers that run
as another user; no source files), ``njit(cache=True)`` raises RuntimeError, at import; a damaged file in that folder
raises whatever unpickling meets in it, in every process anew. With `cached` kernels are then compiled in memory, with
one warning, and a damaged file is replaced.
"""

import functools
import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

Function = Callable[..., Any]


class Sealed:
    """Adds a checksum to what Numba writes to its cache: a flipped bit in machine code would kill the process.

    It stands before a class of Numba's that turns compiled code into bytes, and back.
    """

    def reduce(self, compiled: Any) -> tuple[bytes, bytes]:
        code = dumps(super().reduce(compiled))  # type: ignore[misc]
        return hashlib.sha256(code).digest(), code

    def rebuild(self, target_context: Any, reduced: tuple[bytes, bytes]) -> Any:
        checksum, code = reduced
        if hashlib.sha256(code).digest() != checksum:
            raise ValueError("damaged")
        return super().rebuild(target_context, pickle.loads(code))  # type: ignore[misc]


class SealedFunction(Sealed, CompileResultCacheImpl):
    """A compiled function."""

    @staticmethod
    def is_for(found: Any, signature: Any) -> bool:
        """Tell whether what has been found is of this signature."""
        return bool(found.signature.args == normalize_signature(signature)[0])


def cached(key: Any = None, kind: type[Sealed] = SealedFunction, **options: Any) -> Callable[[Function], Any]:
    """Return `numba.njit` with a cache on disk; ``cache=True`` would raise where there is no place for one.

    `key` tells functions of one name apart that have the same source and signature; `kind` says what is kept of them.
    """

    def compile_later(function: Function) -> Any:
        dispatcher = numba.njit(**options)(function)
        if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            dispatcher._cache = Cache(function, key, kind)
        return dispatcher

    return compile_later


@functools.cache
def stamp() -> bytes:
    """Return a hash of all that compiled code is made from: a kernel is inlined from several files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


class _Files(FunctionCache):
    def __init__(self, function: Function, key: Any, kind: type[Sealed]) -> None:
        self._impl_class = kind
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._key = key
        self._cache_file._source_stamp = stamp()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return self._key, sig, codegen.magic_tuple()


class Cache(NullCache):
    """The cache of one function: on disk, or nowhere as soon as that has failed.

    It looks for the folder when the first kernel is needed: `import fastem` does nothing and says nothing.
    """

    def __init__(self, function: Function, key: Any, kind: Any) -> None:
        self._function, self._key, self._kind = function, key, kind

    @functools.cached_property
    def _files(self) -> Any:
        try:
            return _Files(self._function, self._key, self._kind)  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError) as error:  # Numba found no folder that it may write to, or no source
            return self._without_files(error)

    @property
    def cache_path(self) -> str | None:
        return self._files.cache_path  # type: ignore[no-any-return]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what is on disk; None if there is nothing sound: it is then compiled, and `save_overload` called."""
        try:
            found = self._files.load_overload(sig, target_context)
            if found is not None and not self._kind.is_for(found, sig):
                raise ValueError("damaged: the index has the name of another signature's file")
            return found
        except Exception:  # bytes that are damaged raise whatever unpickling meets in them
            try:
                self._files.flush()  # else saving would read the same index, and fail as well
            except OSError as error:
                self._files = self._without_files(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            self._files.save_overload(sig, data)
        except Exception as error:  # no space left, a folder that has gone: what is compiled works all the same
            self._files = self._without_files(error)

    def _without_files(self, error: Exception) -> NullCache:
        _warn_of_no_cache(f"{type(error).__name__}: {error}")
        return NullCache()


_warned = False


def _warn_of_no_cache(reason: str) -> None:
    """Warn once per process, however many kernels there are, and say what it costs."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled kernels cannot be kept on disk ({reason}): each process compiles them anew, which takes it "
            "4 to 10 s. Set the environment variable NUMBA_CACHE_DIR to a folder that this user may write to.",
            stacklevel=2,
        )
