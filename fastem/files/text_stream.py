"""Files of text as streams of bytes: unpacked, and as pyarrow takes them."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fastem.files.text_layout import TextLayout

READ_BYTES = 1 << 20  # of a file, read at a time


@contextmanager
def open_text(
    path: Path, layout: TextLayout | None = None, count: Callable[[int], None] = lambda n: None
) -> Iterator[IO[bytes]]:
    """Open a file and unpack it; `count` is told of every read how many bytes of the file it took.

    With a layout, the stream is one that pyarrow takes: in UTF-8, with one delimiter between two cells.
    """
    with path.open("rb", buffering=0) as file:
        stream: Any = io.BufferedReader(_Chunks(_read_pieces(file, count)), READ_BYTES)
        try:
            if path.suffix.lower() == ".gz":
                stream = gzip.GzipFile(fileobj=stream)
            if layout is not None and (layout.delimiter == " " or layout.encoding in ("utf-16", "utf-32")):
                stream = io.BufferedReader(_Chunks(_rewrite(stream, layout)), READ_BYTES)
            yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: a damaged .gz file ({error})") from error


def _read_pieces(file: IO[bytes], count: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the bytes of a file, and tell `count` how many."""
    while piece := file.read(READ_BYTES):
        count(len(piece))
        yield piece


def _rewrite(stream: IO[bytes], layout: TextLayout) -> Iterator[bytes]:
    """Yield a file of text in UTF-8, with one blank for each run of them if these separate the cells."""
    decode, rest = codecs.getincrementaldecoder(layout.encoding)("replace").decode, ""
    while piece := stream.read(READ_BYTES):
        lines, end, rest = (rest + decode(piece)).rpartition("\n")
        yield ((squeeze_blanks(lines) if layout.delimiter == " " else lines) + end).encode()
    rest += decode(b"", True)
    yield (squeeze_blanks(rest) if layout.delimiter == " " else rest).encode()


def squeeze_blanks(text: str) -> str:
    """Return text with one blank for each run of blanks and tabs, and none at either end of a line."""
    return re.sub(r"(?m)^ | $| (?=\r)", "", re.sub(r"[ \t]+", " ", text))


class _Chunks(io.RawIOBase):
    """The bytes of an iterable of chunks, as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.rest = iter(chunks), memoryview(b"")

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase."""
        while not self.rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return 0
            self.rest = memoryview(chunk)
        n = min(len(buffer), len(self.rest))
        buffer[:n], self.rest = self.rest[:n], self.rest[n:]
        return n
