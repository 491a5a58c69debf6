"""A helper on the path that is neither beside a cell's file nor installed: `run` names it, and names nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.cells import MINE
from tests.helpers.commands import Command


def test_named(command: Command, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module, a package and a folder without `__init__.py`, wherever in the text they are imported."""
    away = tmp_path / "away"
    for name in ("stray_one.py", "stray_two/__init__.py", "stray_three/part.py", "project/stray_four.py"):
        (away / name).parent.mkdir(parents=True, exist_ok=True)
        (away / name).write_text("X = 1\n")
    # a project that is installed as it is
    info = away / "four-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: four\nVersion: 1\n")
    url = {"url": (away / "project").as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    monkeypatch.syspath_prepend(away)
    monkeypatch.syspath_prepend(away / "project")
    Path("beside.py").write_text("import stray_one\n")
    Path("mine.py").write_text(
        "import beside, stray_four, scipy, yaml, json\n"
        + MINE.replace("    return", "    import stray_two\n    import stray_three.part\n    return")
    )
    ended = command("run", write(cells=["rnn", {"name": "mine", "factory": "./mine.py:Mine"}]), "--workers", 1)
    assert ended.status == 0
    said = {line.split(" imports ")[1].split(" from ")[0] for line in ended.err.splitlines() if " imports " in line}
    assert said == {"stray_one", "stray_two", "stray_three"}
    assert f"mine imports stray_one from {away / 'stray_one.py'}, which belongs to no installed" in ended.err
