"""A process that does calls for another one, each under a time limit, and is replaced when it hangs or dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

SPAWN = multiprocessing.get_context("spawn")
START = 120.0  # seconds that a process may take to import what it needs


class LostError(RuntimeError):
    """No answer came; the message says why: a hang, or how the process died."""


class Worker:
    """Calls of one function in a process of its own, which stays for the next call.

    Parameters
    ----------
    function : of picklable arguments and values, at the top of a module; an exception that it raises is a death
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.process: Any = None

    def ask(self, *args: Any, limit: float) -> Any:
        """What the function returns; LostError if that takes longer than `limit` seconds, or the process dies."""
        if self.process is None:
            self._start()
        with contextlib.suppress(OSError):  # dead already: the answer will not come
            self.pipe.send(args)
        return self._answer(limit)

    def stop(self) -> None:
        """End the process; the next question starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None

    def _start(self) -> None:
        self.pipe, there = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(there, self.function), daemon=True)
        self.process.start()
        there.close()
        self._answer(START)

    def _answer(self, limit: float) -> Any:
        try:
            if self.pipe.poll(limit):
                return self.pipe.recv()
            why = f"no answer within {limit:g} s"
        except (EOFError, OSError):
            self.process.join(10)
            code = self.process.exitcode
            why = f"process killed by {signal.Signals(-code).name}" if code and code < 0 else f"process ended: {code}"
        self.stop()
        raise LostError(why)


def _serve(pipe: Any, function: Callable[..., Any]) -> None:
    pipe.send(None)  # all is imported
    while True:
        pipe.send(function(*pipe.recv()))
