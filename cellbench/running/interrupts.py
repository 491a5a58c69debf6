"""SIGTERM and Ctrl-C as one error, which says what was kept."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from cellbench.errors import Interrupted


class _Signalled(KeyboardInterrupt):
    """An interrupt. A class of our own: after a KeyboardInterrupt in `exec`, Python ends by SIGINT at exit."""


class Interrupts:
    """The signals that arrived during a block.

    Attributes:
        said: what an interrupt at this moment means for the results.
    """

    def __init__(self) -> None:
        self.said = "nothing was run"
        self._arrived = False

    def check(self) -> None:
        """Raise if a signal arrived: a bare `except:` in a library may have swallowed the first exception."""
        if self._arrived:
            raise _Signalled

    def interrupt(self, signum: int, frame: object) -> None:
        """Remember the signal, and raise."""
        self._arrived = True
        raise _Signalled


@contextmanager
def _unsaid() -> Iterator[None]:
    """Within this block, let an interrupt that no code could catch go without a traceback.

    A signal may arrive while an object is finalized: Python then prints what was raised, and goes on. It is remembered.
    """
    before = sys.unraisablehook

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, _Signalled):
            before(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        if sys.unraisablehook is hook:
            sys.unraisablehook = before


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Interrupt the block on SIGTERM as on Ctrl-C, if it runs in the main thread.

    A program that has its own handler of SIGINT, or ignores it, keeps that.

    Raises:
        Interrupted: a signal arrived; the message contains `said` as it was then.
    """
    interrupts = Interrupts()
    before = {}
    if threading.current_thread() is threading.main_thread():
        ours = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            ours.append(signal.SIGINT)
        before = {number: signal.signal(number, interrupts.interrupt) for number in ours}
    try:
        with _unsaid() if before else nullcontext():
            yield interrupts
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {interrupts.said}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
