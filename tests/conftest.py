"""Fixtures for everybody: one thread, a folder of its own for each test, the command line as a function."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

# what helpers assert is explained as in tests
pytest.register_assert_rewrite("tests.helpers")

from tests.helpers.commands import TINY, Command, Ended  # noqa: E402  # rewritten first

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a background job of a shell without job control ignores Ctrl-C, and so would all that these tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in an empty folder, with one torch thread and without colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in tests draw nothing, which takes seconds; a test marked `charts` draws."""
    if request.node.get_closest_marker("charts") is None:
        monkeypatch.setattr("cellbench.report.report.draw", lambda gather, *_: nullcontext(gather()))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("run", "x.yaml")`: the console script within this process; a traceback fails the test."""
    from cellbench.cli import main

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["cellbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(name="x", seeds=3)`: the tiny experiment with other keys, as a file."""

    def make(file: str = "tiny.yaml", **keys: Any) -> Path:
        path = tmp_path / file
        path.write_text(yaml.safe_dump({**TINY, **keys}, sort_keys=False))
        return path

    return make
