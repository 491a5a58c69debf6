"""What sqlite keeps beside a store while it writes: a killed run's is played back, and never into another file."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from cellbench.errors import StoreError
from cellbench.executors.dispatch import Finished
from cellbench.running import run as run_experiment
from cellbench.store import folder as folders
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import exports

KILLED = """
import os, signal, sys
from pathlib import Path
from cellbench.store import folder
from cellbench.store.store import Store

if sys.argv[2] == "network":
    folder.NETWORK |= {line.split()[2].partition(".")[0] for line in open("/proc/mounts")}
with Store(Path(sys.argv[1]), write=True) as store:
    for _ in range(2):
        with store.transaction() as db:
            if sys.argv[3] == "half":
                db.execute("PRAGMA cache_size = 2")
                db.execute("UPDATE curve SET loss = 7")
                db.execute("DELETE FROM replica")
                os.kill(os.getpid(), signal.SIGKILL)
            db.execute("INSERT OR REPLACE INTO engine VALUES ('none', 'stack', '')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(folder: str, on: str, when: str) -> set[str]:
    """Killed while it writes this store, on a network file system or here; what sqlite leaves beside it."""
    ended = subprocess.run([sys.executable, "-c", KILLED, folder, on, when], check=False)
    assert ended.returncode == -signal.SIGKILL
    return {path.name.removeprefix("runs.sqlite") for path in Path(folder).glob("runs.sqlite-*")}


def keys(path: str) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {key for (key,) in db.execute("SELECT key FROM replica")}


@pytest.mark.parametrize("ask", ["run", "status", "report", "verify", "merge"])
def test_killed_on_a_network_file_system(ask: str, command: Command) -> None:
    """There a journal says how to undo what was half written; whoever comes next does, though it only reads."""
    run_experiment(TINY, "whole")
    shutil.copytree("whole", "results/tiny")
    assert killed("results/tiny", "network", "half") == {"-journal"}
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    arguments = {"run": ["tiny.yaml"], "merge": ["out", "results/tiny"]}.get(ask, ["results/tiny"])
    ended = command(ask, *arguments)
    assert ended.status == 0, ended.err
    assert keys("results/tiny/runs.sqlite") == keys("whole/runs.sqlite")
    run_experiment(TINY, "results/tiny")
    assert exports(Path("results/tiny")) == exports(Path("whole"))


@pytest.mark.parametrize(("on", "when"), [("network", "half"), ("here", "half"), ("here", "between")])
def test_set_aside_with_what_is_beside_it(on: str, when: str) -> None:
    """--fresh after a kill: the old store is whole, and its journal is not played into the new one."""
    run_experiment(TINY, "out")
    old = keys("out/runs.sqlite")
    killed("out", on, when)
    run_experiment({**TINY, "seeds": [7]}, "out", fresh=True)
    run_experiment({**TINY, "seeds": [7]}, "whole")
    assert exports(Path("out")) == exports(Path("whole"))
    assert keys("out/runs-1.sqlite") == old
    assert not keys("out/runs.sqlite") & old


@pytest.mark.parametrize(("on", "when"), [("network", "half"), ("here", "between")])
def test_a_store_is_removed_by_hand(on: str, when: str) -> None:
    """What is left beside it belongs to no store, least of all to the next; it is kept, under another name."""
    run_experiment({**TINY, "seeds": [7]}, "whole")
    run_experiment(TINY, "out")
    left = killed("out", on, when)
    assert left
    os.unlink("out/runs.sqlite")
    run_experiment({**TINY, "seeds": [7]}, "out")
    assert exports(Path("out")) == exports(Path("whole"))
    assert not [name for name in left if Path(f"out/runs.sqlite{name}").exists()]
    run_experiment(TINY, "out", fresh=True)
    assert keys("out/runs-2.sqlite") == keys("whole/runs.sqlite")


def test_merged_over_a_killed_run(command: Command) -> None:
    """OUT may be what was killed: its journal goes with it."""
    run_experiment(TINY, "whole")
    for folder in ("a", "out"):
        shutil.copytree("whole", folder)
    killed("out", "network", "half")
    assert command("merge", "out", "a").status == 0
    assert exports(Path("out")) == exports(Path("whole"))
    assert not list(Path("out").glob("runs.sqlite-*"))


def test_what_is_refused_sets_nothing_aside(command: Command) -> None:
    """--fresh with a run that cannot be: the results stay where they are."""
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert command("run", "tiny.yaml", "--workers", 1).status == 0
    assert command("run", "tiny.yaml", "--workers", 1, "--fresh", "--only", "seed=99").status == 2
    assert not Path("results/tiny/runs-1.sqlite").exists()
    assert "Nothing to train" in command("run", "tiny.yaml", "--workers", 1).err


def test_a_dry_run_afresh(command: Command) -> None:
    """It says what --fresh would train: everything."""
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert command("run", "tiny.yaml", "--workers", 1).status == 0
    assert "nothing to train" in command("run", "tiny.yaml", "--dry-run").out.lower()
    assert "nothing to train" not in command("run", "tiny.yaml", "--dry-run", "--fresh").out.lower()


@pytest.mark.parametrize("gone", ["out/runs.sqlite", "out"])
def test_a_store_is_removed_while_it_is_written(gone: str) -> None:
    """The run ends and says so, rather than to train into a file without a name; run again, it is whole."""

    def remove(event: object) -> None:
        if isinstance(event, Finished) and Path(gone).exists():
            shutil.rmtree(gone) if gone == "out" else os.unlink(gone)

    with pytest.raises(StoreError, match="was removed during the run"):
        run_experiment(TINY, "out", on_event=remove)
    run_experiment(TINY, "whole")
    run_experiment(TINY, "out")
    assert exports(Path("out")) == exports(Path("whole"))


MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//me@server/share on {place} (smbfs, nodev, nosuid, mounted by me)
/dev/disk4 on {place}/local disk (apfs, local)
"""


def test_a_network_is_seen_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /proc/mounts: what its command `mount` prints is read; without both nothing is known."""
    monkeypatch.setattr(folders, "MOUNTS", tmp_path / "nothere")
    share = tmp_path / "my share (1)"
    program = tmp_path / "bin" / "mount"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{MACOS.format(place=share)}END\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert folders.on_network(share / "results")
    assert not folders.on_network(share / "local disk" / "results")
    assert not folders.on_network(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not folders.on_network(share)
