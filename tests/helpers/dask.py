"""A Dask scheduler and workers, as their commands start them on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def process(*arguments: str, ready: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A command of Dask's and what stood after `ready` in its line; ended with its children."""
    started = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    drain: threading.Thread | None = None
    try:
        assert started.stderr is not None
        said = []
        for line in started.stderr:
            said.append(line)
            if ready in line:
                break
        else:
            pytest.fail("".join(said))
        drain = threading.Thread(target=started.stderr.read)  # a full pipe would stop it
        drain.start()
        yield line.partition(ready)[2].split()[0], started
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        if drain is not None:
            drain.join()
        started.communicate()


@contextmanager
def scheduler(*more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", *more)
    with process("scheduler", *options, ready="Scheduler at:") as (address, started):
        yield address, started


def worker(address: str, *options: str, **environment: str) -> Any:
    options = ("--nthreads", "1", "--no-dashboard", "--death-timeout", "30", *options)
    return process("worker", address, "--host", "127.0.0.1", *options, ready="Registered to:", **environment)
