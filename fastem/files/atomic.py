"""Writing files whole or not at all, and checking that outputs replace neither inputs nor each other."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, which never removes a file that is open
    fcntl = None  # type: ignore[assignment]

_TOKEN_BYTES = 4  # random bytes in the name of a temporary file
_NAME_BYTES = 255 - 2 - 2 * _TOKEN_BYTES  # of its name: beside two dots and the token, in what file systems allow


def given_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gives; raise a TypeError or a ValueError for what is none."""
    try:
        found = Path(path)
    except TypeError:
        raise TypeError(f"expected a path, as a str or a pathlib.Path; got {path!r:.60}") from None
    if not str(path) or "\0" in str(path):
        raise ValueError(f"expected the path of a file; got {str(path)!r}")
    return found


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` and rename it to `path` once it is written and on disk.

    If `path` exists, the new file has its permissions; if it is a symbolic link, the file behind it is replaced. The
    temporary file is locked while it is written: a file without a lock is left from a process that was killed, and the
    next write to `path` removes it. An OSError names `path`.
    """
    target = Path(os.path.realpath(path))
    own = _start_of_temporaries(target)
    try:
        _remove_orphans(target)
        temporary, stream = _open_temporary(target)
        try:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            if fcntl is None:
                stream.close()  # Windows renames no open file
            os.replace(temporary, target)
        finally:
            with suppress(OSError):  # a full disk has been reported by then
                stream.close()
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None or not str(error.filename or own).startswith(own):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _start_of_temporaries(target: Path) -> str:
    """Return how the paths of the temporary files of `target` begin; the token follows."""
    return str(target.with_name(f".{os.fsdecode(os.fsencode(target.name)[:_NAME_BYTES])}."))


def _open_temporary(target: Path) -> tuple[Path, IO[bytes]]:
    """Create a file beside `target`, with its permissions, and lock it."""
    while True:
        path = Path(_start_of_temporaries(target) + secrets.token_hex(_TOKEN_BYTES))
        stream = path.open("xb")
        # Before the file is locked, another process may take it for an orphan and remove it.
        if _lock(stream) is not False and path.exists():
            break
        stream.close()
    if target.exists():
        path.chmod(stat.S_IMODE(target.stat().st_mode))
    return path, stream


def _remove_orphans(target: Path) -> None:
    """Remove the temporary files of `target` that killed processes have left."""
    start = Path(_start_of_temporaries(target)).name
    for path in target.parent.glob(f"{glob.escape(start)}{'[0-9a-f]' * (2 * _TOKEN_BYTES)}"):
        with suppress(OSError):
            if fcntl is None:
                path.unlink()  # Windows removes no open file
            else:
                with path.open("rb") as stream:
                    if _lock(stream):
                        path.unlink()


def _lock(stream: IO[bytes]) -> bool | None:
    """Lock an open file and return True.

    Return False if another process has locked it, and None if this file system or platform has no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def check_distinct(outputs: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Raise ValueError if an output, by the name of its option, would replace an input or another output."""
    taken: dict[str, Path] = {}
    sources = list(inputs)
    for name, path in outputs.items():
        if path is None:
            continue
        for source in sources:
            if _same(path, source):
                raise ValueError(f"{name} {path} would replace the input {source}: name another file")
            if path.suffix == ".parquet" and source.is_dir() and source.resolve() in path.resolve().parents:
                raise ValueError(f"{name} {path} would be a part of the input {source}: name a file elsewhere")
        for other, file in taken.items():
            if _same(path, file):
                raise ValueError(f"{other} and {name} are the same file, {path}: name two")
        taken[name] = path


def _same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to the same file, through links too; the file may not exist yet."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
