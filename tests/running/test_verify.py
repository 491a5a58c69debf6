"""Verifying: what was stored is trained again and must be the same; what was changed is found and named."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellbench.records import ReplicaKey, Source
from cellbench.running import run as run_experiment
from cellbench.running.verify import verify
from tests.helpers.cells import FAILING, MINE
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import exports, trained

CELLS: dict[str, Any] = {
    **TINY,
    "cells": ["rnn", {"name": "mine", "label": "of a file", "factory": "./mycell.py:Mine"}],
    "learning_rate": [0.05, 1e6],
}


def change(statement: str) -> Path:
    """A copy with one statement run on its store."""
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree("out", "copy")
    with closing(sqlite3.connect("copy/runs.sqlite")) as db, db:
        assert db.execute(statement).rowcount > 0, statement
    return Path("copy")


CHANGES = {
    "UPDATE curve SET loss = loss + 1e-12 WHERE step = 10": "first at step 10: loss",
    "UPDATE replica SET final_loss = 0.5": "first in its final_loss: 0.5 stored",
    "UPDATE replica SET status = 'solved' WHERE status = 'censored'": "first in its status: 'solved' stored",
    "UPDATE evaluation SET bit_accuracy = 0.25 WHERE position = 1": "final evaluation by bits 6: bit_accuracy 0.25",
    "DELETE FROM evaluation WHERE position = 2": "final evaluation",
    "DELETE FROM curve WHERE step = 20": "points stored, ",
    "UPDATE source SET text = replace(text, 'tanh', 'relu') WHERE module = 'mycell.py'": "the stored text of mycell.py",
    "UPDATE family SET key_text = replace(key_text, '\"max_steps\":20', '\"max_steps\":21')": "its stored key hashes",
    "UPDATE experiment SET resolved = replace(resolved, '\"hold\": 2', '\"hold\": 3')": "solved.hold 2, ",
    "UPDATE plan SET hidden_size = 900000": "its row has hidden_size 900000, which is not of the size 'hidden 3'",
    "UPDATE replica SET engine = 'choice'": "its row has the engine 'choice', and there are lanes, stack, reference",
    "UPDATE plan SET learning_rate = 0.5 WHERE learning_rate < 1": "its row or the experiment 0.5",
}


def test_verify(command: Command) -> None:
    """The stored text of a cell is enough; every kind of change of the store is found; exit 0 and 1."""
    Path("mycell.py").write_text(MINE)
    run_experiment(CELLS, "out", report=False)
    Path("mycell.py").unlink()
    ended = command("verify", "out", "--choice", 5, "--run-code")
    assert ended.status == 0, ended.out
    assert ended.out.splitlines()[0] == "The environment is the same as that of the results."
    assert "Trained 8 of 8 replicas again, and compared " in ended.out
    assert ": bit for bit.\nNo difference." in ended.out
    for statement, said in CHANGES.items():
        ended = command("verify", change(statement), "--run-code")
        assert ended.status == 1, statement
        headline, difference = ended.out.splitlines()[-2:]
        assert headline.startswith(("1 replica trained again differs, first ", "The store contradicts itself"))
        replica, what = re.split(r"(?<=seed [01]): ", difference)
        assert said in f"{headline} {what}", ended.out
        assert replica.startswith(("  rnn at bits 4, ", "  of a file at bits 4, "))
    assert command("verify", "nowhere").status == 2


EVERYTHING = {
    "optimizer": "rmsprop", "momentum": 0.5, "weight_decay": 0.01, "schedule": "cosine", "warmup_steps": 5,
    "end_factor": 0.1, "clip_value": 0.2, "stop_when_solved": True, "max_steps": 30,
}  # fmt: skip
OWN = {"optimizer": "torch.optim.NAdam", "eps": 1e-6, "optimizer_options": {"betas": [0.8, 0.9]}, "max_steps": 20}


@pytest.mark.parametrize(("engine", "train"), [("lanes", EVERYTHING), ("stack", EVERYTHING), ("auto", OWN)])
def test_verify_with_all_that_training_takes(engine: str, train: dict[str, Any], command: Command) -> None:
    """Run in parts, killed and gone on with, or at once: the same; trained again from the key alone, bit for bit."""
    experiment = {**TINY, "cells": ["rnn"], "engine": engine, "train": train}
    run_experiment({**experiment, "seeds": [0]}, "parts", report=False)
    assert trained(experiment, "parts") == [("rnn", 1)]
    run_experiment(experiment, "out")
    assert exports(Path("out")) == exports(Path("parts"))
    ended = command("verify", "out")
    assert (ended.status, "bit for bit" in ended.out) == (0, True), ended.out
    assert f"{train['optimizer']} (" in Path("out/summary.md").read_text().partition("gradients clipped")[0]
    if engine == "lanes":
        altered = "UPDATE experiment SET resolved = json_set(resolved, '$.train.momentum', 0.6)"
        assert "its key has optimizer_options (('momentum', 0.5)," in command("verify", change(altered)).out


def test_verify_elsewhere(command: Command) -> None:
    """What differs in the environment comes first, and numbers are then compared to a tolerance."""
    run_experiment({**TINY, "cells": ["rnn"], "seeds": 1}, "out", report=False)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET isa = 'vax'")
        db.execute("UPDATE experiment SET environment = json_set(environment, '$.packages.torch', '1.0')")
        db.execute("UPDATE curve SET loss = loss + 1e-4")
        db.execute("UPDATE curve SET sequence_accuracy = sequence_accuracy + 0.01 WHERE step = 10")
    ended = command("verify", "out")
    lines = ended.out.splitlines()
    assert ended.status == 0, ended.out
    assert lines[0].startswith("differs: torch: 1.0 then, ")
    assert lines[1].startswith("differs: trained by: isa vax then, ")
    assert ": to the tolerance (losses differ by at most 0.0001)" in lines[2]
    found = verify(change("UPDATE curve SET loss = loss + 0.06 WHERE step = 15"))
    assert (found.at, ": loss " in found.difference) == ("at step 15", True)
    found = verify(change("UPDATE curve SET sequence_accuracy = 0.9 WHERE step = 10"))
    assert (found.at, ": sequence_accuracy 0.9 stored" in found.difference) == ("at step 10", True)


def test_verify_what_a_card_trained(command: Command) -> None:
    """It is trained again on the CPU: verify says which device it was, and compares to the tolerance."""
    run_experiment({**TINY, "cells": ["rnn"], "seeds": 1}, "out", report=False)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        assert db.execute("SELECT DISTINCT device FROM replica").fetchall() == [(None,)]
        db.execute("UPDATE replica SET device = 'NVIDIA H100'")
        db.execute("UPDATE curve SET loss = loss + 1e-4")
    ended = command("verify", "out")
    assert ended.status == 0, ended.out
    assert ended.out.startswith("differs: trained by: device NVIDIA H100 then, cpu now\n")
    assert ": to the tolerance (losses differ by at most 0.0001)" in ended.out
    found = verify(change("UPDATE curve SET loss = loss + 0.06 WHERE step = 15"))
    assert (found.at, ": loss " in found.difference) == ("at step 15", True)


def test_verify_with_another_text_of_a_plugin(command: Command) -> None:
    """A plugin whose text is no longer that of the results is named; a failure by the cell is verified too."""
    Path("bad.py").write_text(FAILING.replace("calls > 60", "calls > 0"))
    run_experiment(
        {**TINY, "cells": ["rnn", {"name": "bad", "factory": "./bad.py:Failing"}], "seeds": 1}, "out", report=False
    )
    found = verify(Path("out"), allow=lambda code: True)
    assert (found.exact, found.difference) == (2, "")
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        # a store as another version of the built-in cells' module would have made it
        key, seed, rate, text = db.execute(
            "SELECT key, seed, learning_rate, key_text FROM replica JOIN family USING (family) "
            """WHERE key_text LIKE '%"cell":"rnn"%'"""
        ).fetchone()
        old = ReplicaKey.parse(text).member(seed, rate)
        source = Source("cellbench.cells.rnn", "# an older text")
        new = replace(old, cell_sources=(source.sha256,))
        db.execute("INSERT INTO source VALUES (?, ?, ?)", (source.sha256, source.module, source.text))
        for table in ("plan", "replica"):
            db.execute(f"UPDATE {table} SET key = ? WHERE key = ?", (new.digest(), key))
        db.execute("UPDATE family SET key_text = ? WHERE key_text = ?", (new.family_text(), text))
    ended = command("verify", "out", "--run-code")
    assert ended.status == 0
    assert ended.out.startswith("differs: the cell rnn: the installed text (cellbench ")
    assert "1 bit for bit, 1 to the tolerance" in ended.out


MARKED = "from pathlib import Path\n" + MINE.replace("    return", "    Path('ran.txt').touch()\n    return")
"""A cell that leaves a file whenever it is made; its module is run once per process."""


def texts() -> dict[str, str]:
    """The files, made for this test's folder: a process keeps a text that it has run."""
    return {name: f"import beside\n{MARKED}# {name} of {Path.cwd()}\n" for name in ("mine.py", "other.py")} | {
        "beside.py": "WIDTH = 1\n"
    }


@pytest.fixture
def marked() -> None:
    """The folder of a stranger: one cell of an installed plugin, two of files, which share a module."""
    for name, text in texts().items():
        Path(name).write_text(text)
    files = [{"name": name, "factory": f"./{name}.py:Mine"} for name in ("mine", "other")]
    # by another process, as a stranger would: this one has then run none of the texts
    Path("out.yaml").write_text(yaml.safe_dump({**TINY, "name": "out", "cells": ["rnn", *files], "seeds": 1}))
    words = [sys.executable, "-m", "cellbench", "run", "out.yaml", "--results", ".", "--no-report", "--workers", "1"]
    subprocess.run(words, check=True, capture_output=True)
    for path in Path().glob("*.*"):
        path.unlink()


def listed(module: str) -> str:
    text = texts()[module]
    return f"{module} ({len(text)} bytes, SHA-256 {hashlib.sha256(text.encode()).hexdigest()})"


@pytest.mark.usefixtures("marked")
@pytest.mark.slow
def test_whose_code_is_said_before_it_is_run(command: Command) -> None:
    """Without a terminal and without --run-code no text of a folder is run; what would be is listed, with its hash."""
    ended = command("verify", "out")
    assert ended.status == 2
    assert "Nothing was run: out holds the code of cells from files" in ended.err
    assert "--sources OUT" in ended.err
    for line in (
        "  rnn: cellbench.cells.rnn:rnn of cellbench 0",
        f"  mine: mine.py:Mine of a file, as the folder holds it:\n    {listed('mine.py')}",
        listed("beside.py"),
    ):
        assert line in ended.err
    assert not Path("ran.txt").exists()
    listing = command("verify", "out", "--list")
    assert (listing.status, listing.out in ended.err) == (0, True)
    assert not Path("ran.txt").exists()
    assert command("verify", "out", "--run-code").status == 0
    assert Path("ran.txt").exists()


@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize(("typed", "status"), [("yes\n", 0), ("y\n", 0), ("no\n", 2), ("\n", 2), ("\x04", 2)])
@pytest.mark.slow
def test_it_asks_on_a_terminal(typed: str, status: int, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A yes goes on; anything else, the end of input included, stops before the first text is run."""
    master, slave = os.openpty()
    with os.fdopen(master, "w") as keys, os.fdopen(slave, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        keys.write(typed)
        keys.flush()
        ended = command("verify", "out")
    assert "Run the code that out holds, as yourself?" in ended.err
    assert (ended.status, Path("ran.txt").exists()) == (status, status == 0), ended.err


def test_it_does_not_ask_where_all_is_installed(command: Command) -> None:
    """Code of plugins that are installed here is named, and run without a question."""
    run_experiment({**TINY, "cells": ["rnn"], "seeds": 1}, "out", report=False)
    ended = command("verify", "out")
    assert ended.status == 0
    assert "  rnn: cellbench.cells.rnn:rnn of cellbench " in ended.err
    assert "Run the code" not in ended.err


@pytest.mark.usefixtures("marked")
@pytest.mark.slow
def test_sources_are_written_out(command: Command) -> None:
    """Each text once, under names that stay in the folder whatever the author called them; nothing is overwritten."""
    ended = command("verify", "out", "--sources", "texts")
    assert ended.status == 0
    written = {path.name.partition("-")[2]: path.read_text() for path in Path("texts").iterdir()}
    assert written == texts()
    assert all(f"Wrote {path}" in ended.out for path in Path("texts").iterdir())
    refused = command("verify", "out", "--sources", "texts")
    assert (refused.status, "--sources texts: the folder is not empty" in refused.err) == (2, True)
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE source SET module = '../../up.py' WHERE module = 'mine.py'")
        db.execute("UPDATE source SET module = '/tmp/' || char(27) || '.py' WHERE module = 'beside.py'")
    assert command("verify", "out", "--sources", "more/texts").status == 0
    names = sorted(path.name.partition("-")[2] for path in Path("more/texts").iterdir())
    assert names == [".._.._up.py", "_tmp_.py", "other.py"]
    assert not Path("ran.txt").exists()


@pytest.mark.usefixtures("marked")
@pytest.mark.slow
def test_a_text_that_is_not_stored(command: Command) -> None:
    """A folder without a text that it was trained with, or with another in its place: said, and nothing is run."""
    for statement in ("DELETE FROM source WHERE module = 'beside.py'", "UPDATE source SET text = 'x'"):
        change(statement)
        for words in (["--list"], ["--sources", "texts"], ["--run-code"]):
            ended = command("verify", "copy", *words)
            assert ended.status in (1, 2), (statement, words)
    assert not Path("ran.txt").exists()
    assert not Path("texts").exists()
