"""What a run records of its surroundings, and the commands that it offers to type again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench import environment
from cellbench.plugins import discover
from tests.helpers.tools import missing

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_cores_are_those_that_this_process_may_use() -> None:
    """Bound to one core, it has one; it never has more than it is bound to."""
    assert 1 <= environment.usable_cores() <= len(os.sched_getaffinity(0))
    code = (
        "import os; from cellbench.environment import usable_cores\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(usable_cores())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "1\n"


def test_it_describes_what_is_installed() -> None:
    """Every requirement of pyproject.toml with its version, in that order, Dask's included; plain data."""
    found = environment.describe(discover())
    assert json.loads(json.dumps(found)) == found
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [
        text.partition(">=")[0] for text in (*project["dependencies"], *project["optional-dependencies"]["dask"])
    ]
    try:
        importlib.metadata.version("cryptography")
    except importlib.metadata.PackageNotFoundError:
        missing("cryptography, which the extra dask asks for,")
    assert found["packages"] == {name: importlib.metadata.version(name) for name in required}
    assert list(found["packages"]) == required
    assert found["cellbench"] == importlib.metadata.version("cellbench")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"] == os.uname().machine
    assert found["broken"] == [str(plugin) for plugin in discover().broken]


def test_it_is_described_without_torch() -> None:
    """`cellbench info` answers at once: nothing that is dear is imported."""
    code = (
        "import sys; from cellbench.environment import describe; from cellbench.plugins import discover\n"
        "describe(discover()); print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"


def test_the_commit_of_the_checkout() -> None:
    """What git itself says, empty where this is no checkout."""
    git = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    code = (
        "from cellbench.environment import describe; from cellbench.plugins import discover\n"
        "print(describe(discover())['commit'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    said = said.removesuffix("-dirty")
    assert git.startswith(said)
    assert bool(said) == (ROOT / ".git").exists()


WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), max_size=4)


@given(WORDS)
def test_what_was_typed_can_be_typed_again(words: list[str]) -> None:
    """The shell's own splitting gives the arguments back, --fresh left out; only a run of ours is offered again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/usr/bin/cellbench", "run", *words, "--fresh"])
        typed = environment.command_line()
        assert shlex.split(typed) == ["cellbench", "run", *words, "--fresh"]
        assert shlex.split(environment.resume()) == ["cellbench", "run", *words]
        assert environment.again(typed) == environment.resume()
        patch.setattr(sys, "argv", ["/x/cellbench/__main__.py", "run", *words])
        typed = environment.command_line()
        assert shlex.split(environment.again(typed)) == ["python", "-m", "cellbench", "run", *words]


@pytest.mark.parametrize(
    "command", ["", "cellbench", "cellbench merge out a", "rm -rf ~", "cellbench 'run", "cellbench; cellbench run x"]
)
def test_a_stored_command_that_is_no_run(command: str) -> None:
    """Whatever else a store holds is never offered to be typed."""
    assert environment.again(command) == "cellbench run EXPERIMENT"
