"""Ends a chunk that takes too long, whatever Python code it is running."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import CodeType, FrameType

from cellbench.plugins import Timeout

_LOOK = 1.0
"""Seconds between two looks at code that is importing, or that was interrupted."""
_PATIENCE = 8
"""How many looks may find an import and let it go on."""
_AGAIN = 5
"""Interrupted code has this many seconds (or looks) to clean up; if it then goes on, it is interrupted again."""
_PROCESS = threading.Lock()
"""Held while a chunk trains in a thread: torch's generators, modules and imports belong to the whole process."""


class _Clock:
    """The time limit of one block.

    Attributes:
        within: the code of the function that the block belongs to.
        over: whether the time is up.
        ended: whether the block has ended.
    """

    def __init__(self, within: CodeType) -> None:
        self.within = within
        self.over = self.ended = False
        self._imports = 0

    def strikes(self, frame: FrameType | None) -> bool:
        """Note that the time is up, and return whether to interrupt the code at this frame now.

        An import may finish first: one of torch's, interrupted halfway, would break the chunks after this one.
        """
        if self.ended:
            return False
        self.over = True
        if self._importing(frame) and self._imports < _PATIENCE:
            self._imports += 1
            return False
        return True

    def _importing(self, frame: FrameType | None) -> bool:
        """Return whether the block's code at this frame is in the middle of an import."""
        while frame is not None and frame.f_code is not self.within:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False


@contextmanager
def limit(seconds: float, within: CodeType) -> Iterator[None]:
    """Interrupt this block after some seconds, and raise Timeout from it, whatever the block does about it.

    Code may swallow the interrupt (a bare `except:`, a `__del__`) or turn it into another error (libraries do, around
    their imports). Neither is a failure of the cell, and numbers computed after it cannot be trusted. Code that
    swallows the interrupt is interrupted again. Only Python code is interrupted; the executor ends a call that never
    returns to Python.

    Args:
        seconds: how long the block may take.
        within: the code of the function that the block belongs to.

    Raises:
        Timeout: the block took longer.
    """
    clock = _Clock(within)
    in_main = threading.current_thread() is threading.main_thread()
    by_signal = in_main and hasattr(signal, "setitimer")  # Windows has none
    # signals reach the main thread alone, which trains without other threads beside it
    with nullcontext() if in_main else _PROCESS:
        start, end = (_by_signal if by_signal else _by_thread)(clock, seconds)
        try:
            try:
                start()
                yield
            finally:
                end()
        except Exception:
            if not clock.over:
                raise
        finally:  # once more: an interrupt may have stopped the first call
            end()
    if clock.over:
        raise Timeout


_Act = Callable[[], None]


def _by_signal(clock: _Clock, seconds: float) -> tuple[_Act, _Act]:
    """Interrupt by SIGALRM. Returns a function that starts the clock, and one that ends it, once or several times."""

    def ring(signum: int, frame: FrameType | None) -> None:
        strikes = clock.strikes(frame)
        if not clock.ended:  # counted from now: Python handles a signal only when a call into C returns
            signal.setitimer(signal.ITIMER_REAL, _AGAIN if strikes else _LOOK)
        if strikes:
            raise Timeout

    before = signal.signal(signal.SIGALRM, ring)

    def start() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def end() -> None:
        # first of all: a signal that comes between these lines must not interrupt them
        clock.ended = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    return start, end


def _by_thread(clock: _Clock, seconds: float) -> tuple[_Act, _Act]:
    """Interrupt a thread that signals do not reach: Dask's workers run tasks in threads, and Windows has no timer.

    Returns as `_by_signal`.
    """
    me = threading.get_ident()
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    turn, ended = threading.Lock(), threading.Event()

    def watch() -> None:
        wait = seconds
        thrown: tuple[int, int] | None = None
        heard = 0
        while not ended.wait(wait):
            wait = _LOOK
            with turn:
                frame = sys._current_frames().get(me)
                here = (id(frame), frame.f_lasti if frame else 0)
                # the throw was heard once the code has moved on; a call into C hears it only when it returns
                heard += thrown is not None and (heard > 0 or here != thrown)
                if (thrown is None or heard > _AGAIN) and clock.strikes(frame):
                    throw(ctypes.c_ulong(me), ctypes.py_object(Timeout))
                    thrown, heard = here, 0

    def end() -> None:
        with turn:
            clock.ended = True
            throw(ctypes.c_ulong(me), None)  # take back one that was thrown and not raised yet
        ended.set()

    return threading.Thread(target=watch, daemon=True).start, end
