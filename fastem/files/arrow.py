"""Functions around pyarrow, which is imported when a file needs it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

GIVEN_BACK = 5.0  # seconds: longest wait for threads of pyarrow that hold a stream; most let go within a millisecond


def require_pyarrow(path: Path | str, extra: str) -> None:
    """Raise an ImportError that names the extra to install if there is no pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{path}: to read and write such files pyarrow is needed: pip install "fastem[{extra}]"'
        ) from error


def copy_column(column: Any, out: NDArray[np.float64]) -> None:
    """Copy the numbers of an Arrow array to `out`; a null becomes NaN.

    (The array's `to_numpy` would import pandas, if that is installed: 30 MB.)
    """
    kind, part = np.dtype(column.type.to_pandas_dtype()), slice(column.offset, column.offset + len(column))
    bitmap, data = column.buffers()
    if kind.kind == "b":
        out[:] = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[part]
    else:
        out[:] = np.frombuffer(data, kind)[part]
    if column.null_count:
        out[np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[part] == 0] = np.nan


class LentStream:
    """A stream that pyarrow's threads read; `held` gets weak references to all that they hold: itself, and each piece.

    A thread of pyarrow that lets go of an object of Python while Python ends aborts the process: status 134. So none
    may hold one when reading ends, and `CSVStreamingReader.close` waits for no thread. Objects of this class and its
    pieces run no Python when they are freed: once the references to them are dead, their thread is done with Python.
    """

    closed = False

    def __init__(self, stream: IO[bytes], held: list[weakref.ref[Any]]) -> None:
        held.append(weakref.ref(self))
        self.read = partial(_read_piece, stream, held)  # no method: the traceback of its errors would hold `self`

    def close(self) -> None:
        """End the use of the stream, which whoever opened it closes."""
        self.closed = True


def _read_piece(stream: IO[bytes], held: list[weakref.ref[Any]], n: int) -> memoryview:
    """Return at most n bytes."""
    piece = memoryview(stream.read(n))
    held[1:] = [ref for ref in held[1:] if ref() is not None] + [weakref.ref(piece)]
    return piece


def read_batches(stream: IO[bytes], **options: Any) -> Generator[Any, None, None]:
    """Yield what `pyarrow.csv.open_csv` reads; when that ends, also by an error, no thread holds the stream."""
    from pyarrow import csv

    held: list[weakref.ref[Any]] = []
    lent: Any = LentStream(stream, held)
    try:
        with csv.open_csv(lent, **options) as reader:
            yield from reader
    finally:
        reader = lent = None  # an error's traceback would hold them
        until = time.monotonic() + GIVEN_BACK
        while any(ref() is not None for ref in held) and time.monotonic() < until:
            time.sleep(0.001)
