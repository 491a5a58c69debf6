"""SIGTERM and Ctrl-C, turned into one error that says what was lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cellbench.errors import Interrupted


class _Signalled(KeyboardInterrupt):
    """A class of its own: where KeyboardInterrupt itself passes an `exec` of text, Python ends by SIGINT at the end."""


class Interrupts:
    """The signals that came within a block.

    Attributes:
        said: what an interrupt means for the results, at the moment.
    """

    def __init__(self) -> None:
        self.said = "nothing was run"
        self._arrived = False

    def check(self) -> None:
        """Raise if a signal came: libraries may swallow what it raised first, as a bare `except:` does."""
        if self._arrived:
            raise _Signalled

    def interrupt(self, signum: int, frame: object) -> None:
        """Handle a signal."""
        self._arrived = True
        raise _Signalled


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Interrupt the block on SIGTERM as on Ctrl-C, within the main thread.

    A program that handles SIGINT in another way, or ignores it, goes on to do so.

    Raises:
        Interrupted: a signal came; the message is what `said` was then.
    """
    interrupts = Interrupts()
    before = {}
    if threading.current_thread() is threading.main_thread():
        ours = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            ours.append(signal.SIGINT)
        before = {number: signal.signal(number, interrupts.interrupt) for number in ours}
    try:
        yield interrupts
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {interrupts.said}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
