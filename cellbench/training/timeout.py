"""Ends a chunk that takes too long, in whatever Python code it stands."""

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
"""Seconds between looks at what is being interrupted, or is not yet because it imports."""
_PATIENCE = 8
"""How often a look finds an import and lets it go on."""
_AGAIN = 5
"""Seconds, and looks, after which what did hear the interrupt, and goes on, is interrupted again: time to clean up."""
_PROCESS = threading.Lock()
"""Held while a chunk trains in a thread: torch's generators, modules and imports belong to the whole process."""


class _Clock:
    """Of one block."""

    def __init__(self, within: CodeType) -> None:
        self.within = within
        self.over = self.ended = False
        """Whether the time is over; whether the block is."""
        self._imports = 0

    def strikes(self, frame: FrameType | None) -> bool:
        """The time is over: whether the code that stands at this frame is to be interrupted now.

        An import is let finish: interrupted halfway, torch's own would be left in pieces for the chunks after this one.
        """
        if self.ended:
            return False
        self.over = True
        if self._importing(frame) and self._imports < _PATIENCE:
            self._imports += 1
            return False
        return True

    def _importing(self, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code is not self.within:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False


@contextmanager
def limit(seconds: float, within: CodeType) -> Iterator[None]:
    """Raise Timeout in this block after so many seconds, and from it whatever the block makes of being interrupted.

    Code may swallow it (a bare `except:`, a `__del__`) or turn it into an error of its own (libraries do, around their
    imports): neither is the cell's failure, and what such a block returns was not trained undisturbed. What swallows it
    is interrupted again. This interrupts Python code, not a call that never returns to it; that is the executor's to
    end.

    Args:
        seconds: after which.
        within: of the function that the block belongs to.

    Raises:
        Timeout: the block took longer.
    """
    clock = _Clock(within)
    in_main = threading.current_thread() is threading.main_thread()
    with nullcontext() if in_main else _PROCESS:
        start, end = (_by_signal if in_main else _by_thread)(clock, seconds)
        try:
            try:
                start()
                yield
            finally:
                end()
        except Exception:
            if not clock.over:
                raise
        finally:  # the first may be interrupted as it begins
            end()
    if clock.over:
        raise Timeout


_Act = Callable[[], None]


def _by_signal(clock: _Clock, seconds: float) -> tuple[_Act, _Act]:
    """What starts the clock, and what ends it, as often as it is called."""

    def ring(signum: int, frame: FrameType | None) -> None:
        strikes = clock.strikes(frame)
        if not clock.ended:  # from now, for this may come long after the bell: code that never returns to Python waits
            signal.setitimer(signal.ITIMER_REAL, _AGAIN if strikes else _LOOK)
        if strikes:
            raise Timeout

    before = signal.signal(signal.SIGALRM, ring)

    def start() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def end() -> None:
        clock.ended = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    return start, end


def _by_thread(clock: _Clock, seconds: float) -> tuple[_Act, _Act]:
    """The same where no signal reaches: Dask's workers run tasks in threads."""
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
                # it is heard where Python goes on, maybe long after the throw: code that never returns to it waits
                heard += thrown is not None and (heard > 0 or here != thrown)
                if (thrown is None or heard > _AGAIN) and clock.strikes(frame):
                    throw(ctypes.c_ulong(me), ctypes.py_object(Timeout))
                    thrown, heard = here, 0

    def end() -> None:
        with turn:
            clock.ended = True
            throw(ctypes.c_ulong(me), None)  # one thrown just now and not raised yet
        ended.set()

    return threading.Thread(target=watch, daemon=True).start, end
