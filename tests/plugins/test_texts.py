"""Modules from stored text: what a file imports from beside it is what runs, early or late; once per process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cellbench.errors import CellError
from cellbench.plugins import sources

LATE = """\
import importlib
from importlib import import_module
from torch import nn
from cellbench import Cell


class Base(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.i, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def forward(self, x, h):
        h = self.mix(self.i(x), self.h(h))
        return h, h


class InForward(Base):
    def mix(self, a, b):
        from mixing import mix
        return mix(a, b)


class InInit(Base):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        import parts.gates as gates
        self.mix = gates.mix


class ByName(Base):
    def mix(self, a, b):
        return importlib.import_module("mixing").mix(a, b)


class ByNameTaken(Base):
    def mix(self, a, b):
        return import_module("parts.gates").mix(a, b)


class FromPackage(Base):
    def mix(self, a, b):
        from parts import gates
        return gates.mix(a, b)


class Relative(Base):
    def mix(self, a, b):
        from parts.deep import again
        return again.mix(a, b)


class InAThread(Base):
    def mix(self, a, b):
        from concurrent.futures import ThreadPoolExecutor

        def work():
            import mixing
            return mixing.mix(a, b)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()
"""
MIX = "import torch\n\n\ndef mix(a, b):\n    return torch.tanh(a + {} * b)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cell's file with modules beside it, in packages with and without an __init__.py."""
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "mixing.py").write_text(MIX.format(2.0))
    deep = tmp_path / "parts" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "parts" / "__init__.py").write_text('"""Says nothing."""\n')
    (tmp_path / "parts" / "gates.py").write_text(MIX.format(2.0))
    (deep / "__init__.py").write_text("from ..gates import mix as from_above\n")
    (deep / "again.py").write_text("def mix(a, b):\n    from . import from_above\n    return from_above(a, b)\n")
    return tmp_path


def numbers(factory: Any) -> torch.Tensor:
    torch.manual_seed(0)
    cell = factory(2, 3)
    x = torch.ones(4, 2)
    out: torch.Tensor = cell(x, torch.ones(4, 3))[0]
    assert torch.equal(out, torch.tanh(cell.i(x) + 2.0 * cell.h(torch.ones(4, 3))))
    return out


NAMES = ["InForward", "InInit", "ByName", "ByNameTaken", "FromPackage", "Relative", "InAThread"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_beside_is_what_runs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever and however it is imported, wherever the process is, and whatever else bears its name."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for other in ("mixing.py", "parts.py"):
        (elsewhere / other).write_text(MIX.format(-1000.0))
    texts = sources.of_file(folder / "late.py")
    assert {s.module for s in texts} == {
        "late.py", "mixing.py", "parts/__init__.py", "parts/gates.py", "parts/deep/__init__.py", "parts/deep/again.py"
    }  # fmt: skip
    monkeypatch.syspath_prepend(str(elsewhere))
    import mixing  # type: ignore[import-not-found]

    before = {*sys.modules, "cellbench.cell"}
    try:
        numbers(sources.load(texts, name))
        assert sys.modules["mixing"] is mixing
        assert {name for name in set(sys.modules) - before if not name.startswith("_cellbench_")} <= {
            "concurrent", "concurrent.futures", "concurrent.futures.thread"
        }  # fmt: skip
    finally:
        sys.modules.pop("mixing", None)


def test_two_versions_live_side_by_side(folder: Path) -> None:
    """An edited sibling is another cell, and the one that was made before keeps its own, also late."""
    old = sources.load(sources.of_file(folder / "late.py"), "InForward")
    cell = old(2, 3)
    (folder / "mixing.py").write_text(MIX.format(-7.0))
    new = sources.load(sources.of_file(folder / "late.py"), "InForward")(2, 3)
    x, h = torch.ones(1, 2), torch.ones(1, 3)
    for made, factor in ((cell, 2.0), (new, -7.0)):
        assert torch.equal(made(x, h)[0], torch.tanh(made.i(x) + factor * made.h(h)))


def test_a_text_is_run_once_per_process(folder: Path) -> None:
    """However many cells of a file are made, and a library that it registers is registered once."""
    (folder / "once.py").write_text(
        "import torch\nimport counting\nlibrary = torch.library.Library('cellbench_once', 'DEF')\n"
        "library.define('twice(Tensor x) -> Tensor')\ncounting.seen.append(1)\n\n\ndef a(i, h): ...\ndef b(i, h): ...\n"
    )
    (folder / "counting.py").write_text("seen = []\n")
    texts = sources.of_file(folder / "once.py")
    first, again, other = (sources.load(texts, name) for name in ("a", "a", "b"))
    assert first is again
    assert other.__globals__ is first.__globals__
    assert first.__globals__["counting"].seen == [1]


def test_a_text_that_raised_is_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is not remembered."""
    (folder / "moody.py").write_text(
        "import os\nif 'MOODY' in os.environ: raise OSError('not now')\ndef a(i, h): ...\n"
    )
    texts = sources.of_file(folder / "moody.py")
    monkeypatch.setenv("MOODY", "1")
    with pytest.raises(CellError, match=r"moody\.py: importing it raised OSError: not now"):
        sources.load(texts, "a")
    monkeypatch.delenv("MOODY")
    assert callable(sources.load(texts, "a"))


def test_a_package_is_run_before_what_is_in_it(folder: Path) -> None:
    """Its __init__.py belongs to the cell if it says anything."""
    for name, text in (("quiet", "# nothing\n"), ("loud", "FACTOR = 3\n")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
        (folder / name / "inner.py").write_text("X = 1\n")
    (folder / "both.py").write_text("import quiet.inner\nimport loud.inner\n\n\ndef a(i, h):\n    return loud.FACTOR\n")
    texts = sources.of_file(folder / "both.py")
    assert [s.module for s in texts] == ["both.py", "quiet/inner.py", "loud/__init__.py", "loud/inner.py"]
    assert sources.load(texts, "a")(1, 1) == 3


def test_a_file_may_be_called_as_a_library_is(folder: Path) -> None:
    """`import random` in random.py is Python's."""
    (folder / "random.py").write_text("import random\n\n\ndef a(i, h):\n    return random.Random(3).random()\n")
    factory = sources.load(sources.of_file(folder / "random.py"), "a")
    assert 0 < factory(1, 1) < 1


def test_a_module_that_is_not_there(folder: Path) -> None:
    """A missing module beside a package that is there is missing, as Python says it."""
    (folder / "lost.py").write_text("import parts.gates\n\n\ndef a(i, h):\n    import parts.nothing\n")
    factory = sources.load(sources.of_file(folder / "lost.py"), "a")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'parts\.nothing' beside the cell's file"):
        factory(1, 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("\ufeff# Zustände\nX = 1\n".encode(), "# Zustände\nX = 1\n"),
        (b"# -*- coding: latin-1 -*-\n# Zust\xe4nde\nX = 1\n", "# -*- coding: latin-1 -*-\n# Zustände\nX = 1\n"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\nX = '\x80'\n",
         "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\nX = '€'\n"),
        (b"X = 1\r\nY = 2\r", "X = 1\nY = 2\n"),
    ],
    ids=["mark", "latin", "cp1252", "lines"],
)  # fmt: skip
def test_texts_are_read_as_python_reads_them(content: bytes, text: str, tmp_path: Path) -> None:
    """Byte order marks, coding lines and ends of lines; the cell can be run."""
    (tmp_path / "cell.py").write_bytes(content + b"\ndef a(i, h):\n    return X\n")
    texts = sources.of_file(tmp_path / "cell.py")
    assert texts[0].text.startswith(text)
    assert sources.load(texts, "a")(1, 1)


@pytest.mark.parametrize("content", [b"# coding: nonsense\n", b"X = '\xff'\n"])
def test_what_python_cannot_read_is_said(content: bytes, tmp_path: Path) -> None:
    """Bad input, with the file's name."""
    (tmp_path / "cell.py").write_bytes(content)
    with pytest.raises(CellError, match=r"cell\.py cannot be read as Python reads it"):
        sources.of_file(tmp_path / "cell.py")
