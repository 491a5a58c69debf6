"""The tutorial's files and commands, run in order in one folder; what it shows of their output is what they print."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Step:
    """A file to write (its path and text), or a command to run (its line and what it prints)."""

    kind: str
    what: str
    text: str


def steps() -> list[Step]:
    found = []
    for language, block in re.findall(r"```(python|console)\n(.*?)```", TUTORIAL, re.DOTALL):
        if language == "python":
            first, _, text = block.partition("\n")
            found.append(Step("file", first.removeprefix("# "), text))
        else:
            for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                line, _, printed = command.partition("\n")
                found.append(Step("command", line, printed))
    return found


def test_shows_the_hello_plugin_as_it_is() -> None:
    (shown,) = [s for s in steps() if s.what.startswith("plugins/")]
    assert shown.text == (ROOT / shown.what).read_text(encoding="utf-8")


def test_goes_from_an_idea_to_fresh_seeds() -> None:
    commands = [s.what for s in steps() if s.kind == "command"]
    for word in (
        "check leaky.py",
        "new --experiment",
        "--cell",
        "compare",
        "new leaky --from",
        "pip install",
        "pytest",
        "list",
    ):
        assert any(word in command for command in commands)
    assert "seeds=100-" in commands[-1], "it ends with the confirmation"


QUICKER = "--set train.max_steps=20 --set engine=reference"


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path) -> None:
    """As they stand, but for runs of 20 steps and a few seeds, and a pip that needs no network."""
    site = tmp_path / "site"
    paths = [str(site), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1", "COLUMNS": "100"}
    python, here = shlex.quote(sys.executable), tmp_path / "here"
    here.mkdir()
    for step in steps():
        if step.kind == "file":
            if not step.what.startswith("plugins/"):
                path = here / step.what
                assert path.parent.is_dir(), f"{step.what} has no folder yet"
                path.write_text(step.text, encoding="utf-8")
            continue
        line = step.what
        if line.startswith("cellbench "):
            line = f"{python} -m {line}"
            if " run " in line or " compare " in line:
                line = f"{line.replace('100-139', '100-102')} {QUICKER}"
                line += "" if "seeds" in line else " --set seeds=2"
        elif line.startswith("pip install -e "):
            line = f"{python} -m pip install -q --no-deps --no-build-isolation --target {site} ./cellbench-leaky"
        elif line.startswith("pytest "):
            line = f"{python} -m {line} -p no:cacheprovider"
        done = subprocess.run(line, shell=True, cwd=here, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        if not step.what.startswith("pip "):
            matches = doctest.OutputChecker().check_output(step.text, done.stdout, doctest.ELLIPSIS)
            assert matches, f"{line}\nprinted\n{done.stdout}\nand the tutorial shows\n{step.text}"
    assert (here / "results" / "leaky-confirmed" / "summary.md").is_file()
