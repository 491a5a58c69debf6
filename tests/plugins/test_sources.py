"""The text that a cell's numbers depend on: what Python's own modulefinder finds, and cells made from it alone."""

from __future__ import annotations

import modulefinder
import shutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cellbench.errors import CellError
from cellbench.plugins import Entry, registry, sources
from cellbench.records import Source

FOLDERS: dict[str, dict[str, str]] = {
    "alone": {"cell.py": "import math\nfrom torch import nn\n"},
    "itself": {"cell.py": "import cell\n"},
    "a sibling": {"cell.py": "import beside\n", "beside.py": "", "other.py": ""},
    "a sibling of a sibling": {"cell.py": "import a\n", "a.py": "from b import x\n", "b.py": "import a\nx = 1\n"},
    "a name of one": {"cell.py": "from beside import thing\n", "beside.py": "thing = 1\n", "thing.py": ""},
    "a package": {"cell.py": "import pack\n", "pack/__init__.py": "", "pack/more.py": ""},
    "a module of a package": {"cell.py": "from pack import more\n", "pack/__init__.py": "", "pack/more.py": ""},
    "one deeper": {
        "cell.py": "import pack.deep.more\n",
        "pack/__init__.py": "",
        "pack/deep/__init__.py": "from . import more\nfrom .. import other\n",
        "pack/deep/more.py": "from ..other import x\n",
        "pack/other.py": "x = 1\n",
    },
    "in a function": {"cell.py": "def f():\n    from beside import x\n", "beside.py": "x = 1\n"},
    "in a branch": {"cell.py": "try:\n    import beside\nexcept ImportError:\n    import absent\n", "beside.py": ""},
    "everything of it": {"cell.py": "from beside import *\n", "beside.py": "import more\n", "more.py": ""},
}


def written(files: dict[str, str]) -> Path:
    """Write the files; the first is the cell's."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return Path(next(iter(files))).absolute()


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_the_modules_beside_a_file(kind: str) -> None:
    """The file first, then those of its folder that Python would import with it, each once, with its text.

    A package that is only on the way to a module is left out, as it always was: keys that are stored depend on it.
    """
    path = written(FOLDERS[kind])
    finder = modulefinder.ModuleFinder(path=[str(path.parent)])
    finder.run_script(str(path))
    expected = {Path(m.__file__).relative_to(path.parent).as_posix() for m in finder.modules.values() if m.__file__}
    first, *rest = sources.of_file(path)
    assert first == Source("cell.py", FOLDERS[kind]["cell.py"])
    on_the_way = {f"{Path(name).parent}/__init__.py" for name in expected} - {s.module for s in rest}
    assert {s.module for s in rest} == expected - {"cell.py"} - (on_the_way if kind == "one deeper" else set())
    assert len(rest) == len({s.module for s in rest})
    assert all(s.text == FOLDERS[kind][s.module] for s in rest)


@pytest.mark.parametrize("text", ["def (", "\0", "x = " + "(" * 10_000, ""])
def test_a_text_that_is_no_python(text: str) -> None:
    """It is kept as it is; the import itself will say what is wrong with it."""
    assert sources.of_file(written({"cell.py": text})) == (Source("cell.py", text),)


def entry(factory: str) -> Entry:
    return Entry("mine", factory, "", "", {}, "cellbench-mine", "1.2")


def test_a_registered_cell_s_own_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plugin's package what its module imports; neither its other modules nor what is not its own."""
    written(
        {
            "mine_plugin/cell.py": "from . import parts\nfrom .. import x\nimport json, torch, other_plugin\n",
            "mine_plugin/parts.py": "from mine_plugin.deep import y\n",
            "mine_plugin/deep/__init__.py": "y = 1\n",
            "mine_plugin/unused.py": "",
            "mine_plugin/__init__.py": "",
            "other_plugin.py": "",
        }
    )
    monkeypatch.syspath_prepend(Path.cwd())
    found = [source.module for source in sources.of_entry(entry("mine_plugin.cell:Cell"))]
    assert found[0] == "mine_plugin.cell"
    assert sorted(found) == ["mine_plugin", "mine_plugin.cell", "mine_plugin.deep", "mine_plugin.parts"]
    assert "mine_plugin.cell" not in sys.modules, "the module itself is not imported"


def test_a_built_in_cell_has_its_own_text_alone() -> None:
    """cellbench's other modules are the contract, which the version of the numbers guards."""
    for name in ("rnn", "lstm", "gru"):
        (found,) = sources.of_entry(registry().cells[name])
        assert found.module == f"cellbench.cells.{name}"
        assert found.text == (Path(sys.modules["cellbench"].__path__[0]) / f"cells/{name}.py").read_text()


def test_a_factory_that_is_nowhere() -> None:
    """The plugin and the module are named."""
    with pytest.raises(
        CellError, match=r"mine \(from cellbench-mine 1\.2\): its factory's module 'absent\.cell' does not"
    ):
        sources.of_entry(entry("absent.cell:Cell"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import numpy, torch.nn, cellbench, os.path\n", []),
        ("import scipy.special as s, einops\n", ["einops", "scipy"]),
        ("from scipy import special\nfrom . import x\nfrom .y import z\n", ["scipy"]),
        ("def f():\n    import einops\n", ["einops"]),
        ("import beside, pack.more\n", []),
        ("def (", []),
    ],
)
def test_libraries_that_a_text_imports(text: str, found: list[str]) -> None:
    """By their top names, sorted: not Python's own, not ours, not the cell's own files."""
    texts = [Source("cell.py", text), Source("beside.py", ""), Source("pack/more.py", "")]
    assert sources.libraries(texts) == found


CELL = """\
import beside
import pack.deep.less
from pack import more


def Mine():
    return beside.x, more.x, pack.deep.less.x


def Late():
    raise KeyError(x)
"""


def kept(x: int, *, face: bool) -> tuple[Source, ...]:
    """A cell with a sibling and a package, with or without an `__init__`, as text; there is no file of it any more."""
    files = {"cell.py": CELL, "beside.py": f"x = {x}", "pack/more.py": f"x = {x}", "pack/deep/less.py": f"x = {x}"}
    path = written(
        {f"here/{name}": text for name, text in files.items()} | ({"here/pack/__init__.py": ""} if face else {})
    )
    found = sources.of_file(path)
    shutil.rmtree("here")
    return found


@pytest.mark.parametrize("face", [True, False])
def test_a_cell_from_its_text(face: bool) -> None:
    """No file is read; two texts of the same modules live side by side; nothing is left among the program's modules."""
    before = set(sys.modules)
    first, second = (sources.load(kept(x, face=face), "Mine") for x in (1, 2))
    assert (first(), second(), first()) == ((1, 1, 1), (2, 2, 2), (1, 1, 1))
    assert {name for name in set(sys.modules) - before if not name.startswith("_cellbench_")} == set()


@pytest.mark.parametrize("face", [True, False])
@pytest.mark.parametrize("name", ["beside", "pack", "pack.more", "pack.deep"])
def test_the_program_s_own_modules_are_not_mixed_in(name: str, face: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the same name that the program has is neither taken for the cell's nor replaced by it."""
    theirs: Any = ModuleType(name)
    theirs.more = theirs.deep = "not the cell's"
    monkeypatch.setitem(sys.modules, name, theirs)
    assert sources.load(kept(3, face=face), "Mine")() == (3, 3, 3)
    assert sys.modules[name] is theirs


def test_a_traceback_shows_the_author_s_line() -> None:
    """Though the file is gone."""
    late = sources.load(kept(4, face=True), "Late")
    with pytest.raises(NameError) as caught:
        late()
    assert "raise KeyError(x)" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef (", r"cell\.py line 2: importing it raised SyntaxError"),
        ("raise SystemExit(3)", r"cell\.py: importing it raised Exits: SystemExit\(3\)"),
        ("import absent", r"cell\.py: importing it raised ModuleNotFoundError: No module named 'absent'"),
        ("class Other: ...\nMine = 3", r"cell\.py has no class or function 'Mine'\. It defines: Other"),
        ("", r"cell\.py has no class or function 'Mine'\. It defines: no class"),
    ],
)
def test_a_text_that_gives_no_cell(text: str, said: str) -> None:
    """What is wrong, and in which file; nothing but an error of ours comes out."""
    with pytest.raises(CellError, match=said):
        sources.load([Source("cell.py", text)], "Mine")
