"""Verifying: what was stored is trained again and must be the same; what was changed is found and named."""

from __future__ import annotations

import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellbench.records import ReplicaKey, Source
from cellbench.running import run as run_experiment
from cellbench.running.verify import verify
from tests.helpers.cells import FAILING, MINE
from tests.helpers.commands import TINY, Command

CELLS: dict[str, Any] = {
    **TINY,
    "cells": ["rnn", {"name": "mine", "label": "of a file", "factory": "./mycell.py:Mine"}],
    "learning_rate": [0.05, 1e6],
}


def change(statement: str) -> Path:
    """A copy with one statement run on its store."""
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree("out", "copy")
    with sqlite3.connect("copy/runs.sqlite") as db:
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
    "UPDATE plan SET learning_rate = 0.5 WHERE learning_rate < 1": "its row or the experiment 0.5",
}


def test_verify(command: Command) -> None:
    """The stored text of a cell is enough; every kind of change of the store is found; exit 0 and 1."""
    Path("mycell.py").write_text(MINE)
    run_experiment(CELLS, "out", report=False)
    Path("mycell.py").unlink()
    ended = command("verify", "out", "--choice", 5)
    assert ended.status == 0, ended.out
    assert ended.out.splitlines()[0] == "The environment is the same as that of the results."
    assert "Trained 8 of 8 replicas again, and compared " in ended.out
    assert ": bit for bit.\nNo difference." in ended.out
    for statement, said in CHANGES.items():
        ended = command("verify", change(statement))
        assert ended.status == 1, statement
        headline, difference = ended.out.splitlines()[-2:]
        assert headline.startswith(("1 replica trained again differs, first ", "The store contradicts itself"))
        replica, what = re.split(r"(?<=seed [01]): ", difference)
        assert said in f"{headline} {what}", ended.out
        assert replica.startswith(("  rnn at bits 4, ", "  of a file at bits 4, "))
    assert command("verify", "nowhere").status == 2


def test_verify_elsewhere(command: Command) -> None:
    """What differs in the environment comes first, and numbers are then compared to a tolerance."""
    run_experiment({**TINY, "cells": ["rnn"], "seeds": 1}, "out", report=False)
    with sqlite3.connect("out/runs.sqlite") as db:
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


def test_verify_with_another_text_of_a_plugin(command: Command) -> None:
    """A plugin whose text is no longer that of the results is named; a failure by the cell is verified too."""
    Path("bad.py").write_text(FAILING.replace("calls > 60", "calls > 0"))
    run_experiment(
        {**TINY, "cells": ["rnn", {"name": "bad", "factory": "./bad.py:Failing"}], "seeds": 1}, "out", report=False
    )
    found = verify(Path("out"))
    assert (found.exact, found.difference) == (2, "")
    with sqlite3.connect("out/runs.sqlite") as db:
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
    ended = command("verify", "out")
    assert ended.status == 0
    assert ended.out.startswith("differs: the cell rnn: the installed text (cellbench ")
    assert "1 bit for bit, 1 to the tolerance" in ended.out
