"""A run in a real kernel: a class of the notebook, its edit, the bar, what results show, and Ctrl-C."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tools import missing, paths_with

ROOT = Path(__file__).parents[2]
GRID = {"bits": 4, "batch_size": 16, "hidden_size": 8}
KEYS = {"grid": GRID, "learning_rate": [0.1], "seeds": 2, "train": {"max_steps": 300}}
CELL = """\
from torch import nn
import torch, cellbench

class Mine(cellbench.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        h = torch.tanh(self.w(x) + self.u(h))
        return h, h
"""


class Kernel:
    """A kernel of this Python, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager: Any = KernelManager(kernel_name="python3")
        self.manager.kernel_spec.argv[0] = sys.executable
        environment = {**os.environ, "PYTHONPATH": paths_with(ROOT), "IPYTHONDIR": str(folder / "ipython")}
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self.client: Any = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def start(self, text: str) -> None:
        """Start a cell."""
        self.client.execute(text)

    def messages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the kind and the content of each message of the cell that runs, to its end."""
        while True:
            message = self.client.get_iopub_msg(timeout=300)
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            yield kind, content

    def run(self, text: str) -> list[tuple[str, dict[str, Any]]]:
        """Run a cell that raises nothing."""
        self.start(text)
        found = list(self.messages())
        errors = ["\n".join(content["traceback"]) for kind, content in found if kind == "error"]
        assert not errors, errors[0]
        return found

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def needs(package: str) -> None:
    """Skip a test without the extra `notebook`, which is too large to be a part of `test`; CI has it."""
    if not importlib.util.find_spec(package):
        missing(f"{package} of the extra notebook")


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel, which ends with the test."""
    needs("ipykernel")
    found = Kernel(tmp_path)
    yield found
    found.close()


def printed(found: list[tuple[str, dict[str, Any]]]) -> str:
    return "".join(content["text"] for kind, content in found if kind == "stream" and content["name"] == "stdout")


@pytest.mark.slow
def test_a_session(kernel: Kernel) -> None:
    """Defined, run, shown, edited and run again; two worker processes make the class from its text."""
    kernel.run(CELL)
    run = f"found = cellbench.run(cells=[Mine, 'lstm'], report=False, workers=2, **{KEYS!r})"
    first = kernel.run(run)
    bars = [content["data"]["text/html"] for kind, content in first if "display_data" in kind and "data" in content]
    assert "<progress" in bars[-1]
    assert "4 of 4 replicas are done; trained 4" in bars[-1]
    assert len([kind for kind, _ in first if kind == "display_data"]) == 1, "one bar, changed in place"
    (shown,) = [content["data"] for kind, content in kernel.run("found") if kind == "execute_result"]
    assert shown["text/plain"] == "<Results of notebook in results/notebook: 4 replicas, none missing>"
    assert "<table>" in shown["text/html"]
    assert "<td>Mine</td>" in shown["text/html"]
    assert "data:image/svg+xml;base64," in shown["text/html"]
    started = "print(*found.runs.sort_values(['label', 'seed']).started)"
    before = printed(kernel.run(started)).split()
    # the same class in a cell that is run once more, and other cells: nothing is trained
    kernel.run(CELL)
    kernel.run("unused = 3")
    kernel.run(run)
    assert printed(kernel.run(started)).split() == before
    # edited: it alone
    kernel.run(CELL.replace("torch.tanh", "torch.sigmoid"))
    kernel.run(run)
    after = printed(kernel.run(started)).split()
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True, True]
    kernel.run("model = found.model(label='Mine', seed=1)")
    assert printed(kernel.run("print(*model.predict(torch.zeros(5, 1, 2)).shape)")) == "5 1 1\n"
    (sound,) = [c["data"] for kind, c in kernel.run("cellbench.check(Mine)") if kind == "execute_result"]
    assert "laws hold" in sound["text/html"]


@pytest.mark.slow
def test_ctrl_c_leaves_a_store_to_go_on_with(kernel: Kernel) -> None:
    """Interrupted in the middle: an error in our words; the same cell again trains only what is missing."""
    keys = {**KEYS, "seeds": 10, "train": {"max_steps": 200}, "engine": "reference"}
    run = f"found = cellbench.run(cells=['lstm', 'rnn'], report=False, **{keys!r})"
    kernel.run("import cellbench")
    kernel.start(run)
    said, interrupted = [], False
    for kind, content in kernel.messages():
        shown = content["data"]["text/html"] if kind == "update_display_data" else ""
        if not interrupted and re.search(r"[1-9]\d*/20 replicas", shown):
            kernel.manager.interrupt_kernel()
            interrupted = True
        said += [content] if kind == "error" else []
    (error,) = said
    assert error["ename"] == "Interrupted"
    assert "what was trained is kept" in error["evalue"]
    kept = int(printed(kernel.run("print((cellbench.load('results/notebook').runs.status != 'missing').sum())")))
    assert 0 < kept < 20
    bars = [c["data"]["text/html"] for kind, c in kernel.run(run) if kind == "update_display_data"]
    assert f"20 of 20 replicas are done; trained {20 - kept}" in bars[-1]


@pytest.mark.slow
def test_the_notebook_of_the_documentation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs, and gives outputs of the kinds that the file has."""
    needs("ipykernel"), needs("nbclient")
    spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "docs/make_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PYTHONPATH", paths_with(ROOT))
    kept = json.loads((ROOT / "docs/notebook.ipynb").read_text())
    for new, old in zip(module.run()["cells"], kept["cells"], strict=True):
        assert new["source"] == "".join(old["source"])
        assert kinds(new) == kinds(old)


def kinds(cell: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(output["output_type"], sorted(output.get("data", {}))) for output in cell.get("outputs", [])]
