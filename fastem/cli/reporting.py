"""Warnings and errors as lines on standard error, and exit statuses."""

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from numba.core.event import Event, Listener, install_listener

from fastem.sources.rows import WHO_TAKES_GAPS

OPTIONS_FOR_GAPS = "fit and select fit such rows with --missing, and leave them out with --drop-incomplete."
# Errors of a full disk. If they name no file, they are of standard output.
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class CompileNotice(Listener):
    """Prints once, on a terminal, that kernels are compiled: the first command on a machine waits for that."""

    def __init__(self) -> None:
        self.said = not sys.stderr.isatty()

    def on_start(self, event: Event) -> None:
        """See Listener."""
        if not self.said:
            self.said = True
            say("", "compiling kernels for this processor, about 5 s, once ...")

    def on_end(self, event: Event) -> None:
        """See Listener."""


@contextmanager
def reporting() -> Iterator[None]:
    """Turn each warning into one line on standard error, and an error into one line and an exit status."""
    with warnings.catch_warnings(), install_listener("numba:compile", CompileNotice()):
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            yield
            sys.stdout.flush()  # if the reader of a pipe has gone, the error comes here and not when Python ends
        except BrokenPipeError:
            raise  # typer ends quietly
        except KeyboardInterrupt:
            typer.echo("fastem: interrupted", err=True)
            raise typer.Exit(130) from None
        except (ValueError, OSError, ImportError, MemoryError) as error:
            say("error", error)
            raise typer.Exit(1) from None


def say(kind: str, what: Warning | Exception | str) -> None:
    """Print a message as one line on standard error, after a kind such as "error" unless that is empty."""
    text = (str(what) or type(what).__name__).replace(WHO_TAKES_GAPS, OPTIONS_FOR_GAPS)
    if isinstance(what, OSError) and (what.filename or what.errno in FULL):
        text = f"{what.filename or 'standard output'}: {what.strerror}"
    before = f"fastem: {kind}: " if kind else "fastem: "
    # By print, since a progress bar makes room for what is printed; typer.echo writes across it.
    print(before + printable(" ".join(text.split())), file=sys.stderr)


def printable(text: str) -> str:
    """Return text whose control characters, which a terminal would obey, are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
