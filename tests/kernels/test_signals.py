"""Ctrl-C while a compiler runs: what llvmlite would free twice is whole before Python raises."""

import signal
import threading

import pytest

from fastem.kernels.signals import held_back


def test_an_interrupt_comes_after_the_body():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(True)
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ZeroDivisionError), held_back():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_other_handlers_have_nothing_to_hold_back():
    def body():
        with held_back():
            done.append(signal.getsignal(signal.SIGINT))

    done = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        body()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == [before, signal.SIG_IGN]
