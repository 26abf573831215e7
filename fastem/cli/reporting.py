"""Warnings and errors as lines on standard error, and exit statuses."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def reporting() -> Iterator[None]:
    """Turn each warning into one line on standard error, and an error into one line and an exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            yield
            sys.stdout.flush()  # a reader that has gone shows here, not when Python ends
        except BrokenPipeError:
            raise  # typer ends quietly
        except KeyboardInterrupt:
            typer.echo("fastem: interrupted", err=True)
            raise typer.Exit(130) from None
        except (ValueError, OSError, ImportError, MemoryError) as error:
            say("error", error)
            raise typer.Exit(1) from None


def say(kind: str, what: Warning | Exception | str) -> None:
    """Print one line on standard error, whatever the message."""
    text = str(what) or type(what).__name__
    if isinstance(what, OSError) and what.filename:
        text = f"{what.filename}: {what.strerror}"
    typer.echo(f"fastem: {kind}: {' '.join(text.split())}", err=True)
