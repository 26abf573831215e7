"""Ctrl-C while a compiler runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back Ctrl-C until the body has ended: llvmlite, interrupted between two lines, frees a module twice.

    Of six processes that got Ctrl-C again and again while kernels compiled, three ended by a segmentation fault.
    Signals reach the main thread alone, so that others have nothing to hold back; a handler that is not Python's stays.
    """
    handler, held = signal.getsignal(signal.SIGINT), list[tuple[Any, Any]]()
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    signal.signal(signal.SIGINT, lambda *given: held.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[0])
