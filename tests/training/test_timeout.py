"""The time limit of a chunk: what it interrupts, what it leaves alone, and that nothing of it is left behind."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

import cellbench
from cellbench.cell import Cell
from cellbench.engines import OPTIMIZERS, Refused, lanes
from cellbench.model import Blueprint
from cellbench.plugins import Timeout
from cellbench.training.timeout import limit
from tests.helpers.cells import DEAF, FAILING, HANGING, MISTAKE
from tests.helpers.commands import Command


def in_main(block: Callable[[], object]) -> object:
    return block()


def in_a_thread(block: Callable[[], object]) -> object:
    """As Dask's workers run chunks."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(block()))
    thread.start()
    thread.join()
    return found[0]


def in_main_without_a_timer(block: Callable[[], object]) -> object:
    """As on Windows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("signal.setitimer")
        patch.delattr("signal.SIGALRM")
        return block()


@pytest.fixture(params=[in_main, in_main_without_a_timer, in_a_thread])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], object]], object]:
    found: Callable[[Callable[[], object]], object] = request.param
    return found


def outside_python(seconds: float) -> None:
    """So long in C, without the interpreter's lock, as a compiled cell trains."""
    begun = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(100_000 * seconds / (time.perf_counter() - begun)))


@pytest.mark.slow
def test_what_cleans_up_is_left_to_it(run: Callable[[Callable[[], object]], object]) -> None:
    """The interrupt is heard late, where C returns; how long it was due does not shorten the time to clean up."""

    def block() -> bool:
        cleaned = False
        try:
            with limit(0.2, block.__code__):
                try:
                    outside_python(1.6)
                    time.sleep(5)
                finally:
                    [time.sleep(0.01) for _ in range(150)]
                    cleaned = True
        except Timeout:
            return cleaned
        return False

    assert run(block)


def test_nothing_is_left_behind(run: Callable[[Callable[[], object]], object]) -> None:
    """However short the time is, the interrupt comes inside or not at all, and no thread goes on watching."""
    before = set(threading.enumerate())  # not how many: one of an earlier test may end meanwhile

    def block() -> int:
        ended = 0
        for _ in range(1000):
            try:
                with limit(1e-9, block.__code__):
                    pass
            except Timeout:
                ended += 1
        [time.sleep(0.01) for _ in range(150)]
        return ended

    assert run(block)
    assert not set(threading.enumerate()) - before


class Interrupted(Cell):
    """Makes of the first interrupt what libraries make of one around their imports."""

    heard = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if get_proxy_mode() is not None and not Interrupted.heard:
            try:
                [time.sleep(0.01) for _ in range(1000)]
            except BaseException:
                Interrupted.heard = True
                raise ImportError("no module") from None
        h = torch.tanh(self.linear(torch.cat([x, state], 1)))
        return h, h


@pytest.mark.slow
# the time may be over while a library opens a file, which then nobody closes
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_an_interrupt_left_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that could not be traced since the time was over is traced the next time."""
    monkeypatch.setenv("CELLBENCH_CACHE", str(tmp_path))
    blueprint = Blueprint(Interrupted, "interrupted", (), 2, 4, 1)

    def prepare() -> str:
        engine = lanes.prepare(blueprint, optimizer=OPTIMIZERS["adam"], clip_norm=None)
        return engine.name

    with pytest.raises(Timeout), limit(3, prepare.__code__), suppress(Refused):
        prepare()
    assert Interrupted.heard
    assert prepare() == "lanes"


def test_a_cell_that_hangs(command: Command, write: Callable[..., Path]) -> None:
    """A chunk that takes longer than train.timeout is failed by the machine, named as missing, and tried again."""
    Path("bad.py").write_text(HANGING)
    path = write(cells=[{"name": "bad", "factory": "./bad.py:Failing"}], train={"max_steps": 100, "timeout": 1})
    ended = command("run", path, "--workers", 1)
    runs = cellbench.load("results/tiny").runs
    assert ended.status == 1
    assert set(runs.cause) == {"machine"}
    assert "train.timeout" in Path("results/tiny/failures.txt").read_text()
    assert "0 done" in command("status", "results/tiny").out


@pytest.mark.slow
def test_a_cell_that_hears_no_interrupt(command: Command, write: Callable[..., Path]) -> None:
    """Neither does a swallowed timeout go on, nor does what the cell makes of it count as the cell's failure."""
    Path("deaf.py").write_text(DEAF)
    path = write(cells=[{"name": "deaf", "factory": "./deaf.py:Failing"}], train={"max_steps": 100, "timeout": 1})
    command("run", path, "--workers", 1)
    runs = cellbench.load("results/tiny").runs
    assert set(runs.cause) == {"machine"}
    assert "train.timeout" in Path("results/tiny/failures.txt").read_text()


SLOW_LIBRARY = "import time\n\n[time.sleep(0.01) for _ in range(500)]\nwhole = True\n"
LAZY = FAILING.replace(MISTAKE, "import slow_library").replace("Failing", "Late").replace("calls > 60", "calls > 400")


@pytest.mark.slow
def test_a_timeout_during_an_import(
    command: Command, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library is not left half imported, in pieces for every chunk after: its import ends, then the chunk does.

    Found in CI: a timeout during torch's own lazy imports made the chunks after it fail, as if by their cells.
    """
    Path("libraries").mkdir()
    Path("libraries/slow_library.py").write_text(SLOW_LIBRARY)
    Path("cell.py").write_text(LAZY)
    monkeypatch.syspath_prepend(os.path.abspath("libraries"))
    cells = [{"name": "late", "factory": "./cell.py:Late"}]
    command("run", write(cells=cells, train={"max_steps": 100, "timeout": 3}), "--workers", 1)
    runs = cellbench.load("results/tiny").runs
    assert "train.timeout" in Path("results/tiny/failures.txt").read_text()
    assert set(runs.cause) == {"machine"}
    assert sys.modules["slow_library"].whole
