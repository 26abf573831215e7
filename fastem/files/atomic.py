"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def _require_pyarrow(path: Path | str) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{path}: parquet files need pyarrow: pip install "fastem[parquet]"') from error


def check_output(path: Path, endings: tuple[str, ...]) -> None:
    """Raise ValueError if a file with one of the endings could not be written here."""
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path}: expected a file ending in {_alternatives(endings)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder '{path.parent}' does not exist")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path}: cannot be written here")
    if path.suffix.lower() == ".parquet":
        _require_pyarrow(path)


def _alternatives(endings: tuple[str, ...]) -> str:
    return endings[0] if len(endings) == 1 else f"{', '.join(endings[:-1])} or {endings[-1]}"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` and rename it to `path` once it is written and on disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
