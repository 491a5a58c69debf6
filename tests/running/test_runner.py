"""The main job, on tiny experiments: what is trained when, what is stored, what fails and how."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cellbench
from cellbench.records import ReplicaKey
from cellbench.running import Event, Stage
from cellbench.running import run as run_experiment
from cellbench.store import VOLATILE
from cellbench.store.schema import OLDEST, VERSION
from tests.helpers import tasks
from tests.helpers.cells import FAILING, MINE, MISTAKE
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import exports, reseal, trained

ALL = {("rnn", 0), ("rnn", 1), ("lstm", 0), ("lstm", 1)}
WHEN: dict[str, tuple[dict[str, Any], set[tuple[str, int]]]] = {
    # the row of docs/results.md: changed keys, and what is trained then
    "the same again": ({}, set()),
    "a new label": ({"cells": [{"name": "rnn", "label": "elman"}, "lstm"]}, set()),
    "a cell dropped": ({"cells": ["lstm"]}, set()),
    "a cell added": ({"cells": ["rnn", "lstm", "gru"]}, {("gru", 0), ("gru", 1)}),
    "a seed added": ({"seeds": 3}, {("rnn", 2), ("lstm", 2)}),
    "a learning rate added": ({"learning_rate": [0.05, 0.2]}, ALL),
    "a grid value added": ({"grid": {"bits": [4, 5], "batch_size": 4, "hidden_size": 3}}, ALL),
    "a larger max_steps": ({"train": {"max_steps": 25}}, ALL),
    "layers added to the grid": ({"grid": {**TINY["grid"], "layers": [1, 2]}}, ALL),  # those of two layers alone
    "a cell stacked": (
        {"cells": ["rnn", {"name": "lstm", "label": "lstm", "layers": 2}]},
        {("lstm", 0), ("lstm", 1)},
    ),
    "another option": ({"cells": ["rnn", {"name": "lstm", "options": {"forget_bias": 1}}]}, {("lstm", 0), ("lstm", 1)}),
    "another baseline, report or timeout": (
        {"baseline": "rnn", "report": {"ratio_of_interest": 2}, "train": {"max_steps": 20, "timeout": 60}},
        set(),
    ),
}


@pytest.mark.parametrize("row", list(WHEN))
@pytest.mark.slow
def test_what_happens_when(row: str) -> None:
    """After a change, exactly the replicas that the change concerns are trained."""
    assert set(trained(TINY)) == ALL
    keys, expected = WHEN[row]
    got = trained({**TINY, **keys})
    assert set(got) == expected
    assert len(got) == len(set(got)) == len(expected)


def test_what_happens_when_a_label_stands_for_the_same() -> None:
    """Two labels for one cell share its replicas: trained once, shown twice, and told to be identical."""
    twice = {**TINY, "cells": ["lstm", {"name": "lstm", "label": "again"}]}
    assert trained(twice) == [("lstm", 0), ("lstm", 1)]
    runs = cellbench.load("out").runs
    first, second = (
        runs[runs.label == label].drop(columns="label").reset_index(drop=True) for label in ("lstm", "again")
    )
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.slow
def test_layers_are_a_part_of_the_experiment(command: Command) -> None:
    """By the grid, for all cells or for one, two layers are the same replicas; parts are merged, and verified."""
    grid = {**TINY["grid"], "layers": [2, 1]}
    assert len(trained({**TINY, "grid": grid}, "both")) == 8
    assert len(trained({**TINY, "grid": grid}, "only", report=False, only={"layers": ["2"]})) == 4
    assert len(trained({**TINY, "grid": grid}, "other", report=False, only={"layers": ["1"]})) == 4
    assert command("merge", "merged", "only", "other").status == 0
    assert len(trained({**TINY, "layers": 2}, "all")) == 4
    assert len(trained({**TINY, "grid": {**grid, "layers": 2}}, "alone", report=False)) == 4
    cells = [{"name": "rnn", "layers": 2}, "lstm", {"name": "lstm", "layers": 2}]
    assert len(trained({**TINY, "cells": cells}, "each")) == 6
    both, merged, deep, each = (cellbench.load(folder).runs for folder in ("both", "merged", "all", "each"))
    numbers = ["key", "cell", "seed", "parameters", "state", "multiply_adds", "final_loss", "final_bit_accuracy"]
    pd.testing.assert_frame_equal(both[[*numbers, "layers"]], merged[[*numbers, "layers"]])
    two = both[both.layers == 2][numbers].reset_index(drop=True)
    pd.testing.assert_frame_equal(two, deep[numbers])
    pd.testing.assert_frame_equal(two, each[each.label.str.endswith(" layers=2")][numbers].reset_index(drop=True))
    assert list(dict.fromkeys(each.label)) == ["rnn layers=2", "lstm", "lstm layers=2"]
    assert "layers" not in deep
    # one layer is what it always was, and the report says of what depth a cell is
    one = both[both.layers == 1][numbers].reset_index(drop=True)
    trained(TINY, "plain")
    pd.testing.assert_frame_equal(one, cellbench.load("plain").runs[numbers])
    said = {folder: Path(folder, "summary.md").read_text() for folder in ("both", "all", "each", "plain")}
    assert "bits=4, layers=2, batch 4, hidden 3" in said["both"]
    assert "gradients clipped to norm 1, 2 layers." in said["all"]
    assert not any("layers" in said[folder].split("\n\n")[1] for folder in ("both", "each", "plain"))
    ended = command("verify", "both", "--sample", 20)
    assert "bit for bit.\nNo difference." in ended.out
    ended = command("show", "both", "label=lstm,layers=2,seed=1")
    assert ended.status == 0
    assert "layers 2" in ended.out


@pytest.mark.parametrize("report", [True, False])
def test_a_run_says_that_it_reports_if_it_does(report: bool) -> None:
    """The last thing that is said is the report, or nothing is said of one."""
    events: list[Event] = []
    run_experiment(TINY, "out", report=report, on_event=events.append)
    said = [event.text for event in events if isinstance(event, Stage)]
    assert (said[-1] == "all trained; the report is being made") == report
    assert any("report" in text for text in said) == report


def test_what_happens_when_a_cell_file_is_edited() -> None:
    """An edited file, or an edited module beside it, trains that cell alone; even a comment counts."""
    Path("mycell.py").write_text("import helper\n" + MINE)
    Path("helper.py").write_text("X = 1\n")
    tiny = {**TINY, "cells": ["rnn", {"name": "mine", "factory": "./mycell.py:Mine"}]}
    assert set(trained(tiny)) == {("rnn", 0), ("rnn", 1), ("mine", 0), ("mine", 1)}
    assert trained(tiny) == []
    Path("mycell.py").write_text("import helper\n" + MINE + "# a comment\n")
    assert set(trained(tiny)) == {("mine", 0), ("mine", 1)}
    Path("helper.py").write_text("X = 2\n")
    assert set(trained(tiny)) == {("mine", 0), ("mine", 1)}
    Path("unrelated.py").write_text("X = 2\n")
    assert trained(tiny) == []


def test_what_happens_when_a_task_file_is_edited() -> None:
    """An edited file trains every cell; even a comment counts."""
    tasks.write()
    assert set(trained(tasks.TINY, report=False)) == ALL
    assert trained(tasks.TINY, report=False) == []
    tasks.write(tasks.PARITY + "# a comment\n")
    assert set(trained(tasks.TINY, report=False)) == ALL


def test_what_happens_when_arrays_are_changed() -> None:
    """Another number trains every cell; the same numbers, packed otherwise, train none."""
    inputs = np.random.default_rng(0).integers(0, 3, (30, 4))
    tiny = {**tasks.TINY, "task": "./data.npz", "grid": {"batch_size": 4, "hidden_size": 3}}
    np.savez("data.npz", inputs=inputs, targets=inputs)
    assert set(trained(tiny, report=False)) == ALL
    np.savez_compressed("data.npz", targets=inputs, inputs=inputs)
    assert trained(tiny, report=False) == []
    np.savez("data.npz", inputs=inputs, targets=2 - inputs)
    assert set(trained(tiny, report=False)) == ALL


def test_what_happens_when_a_value_is_added_to_tune() -> None:
    """The settings with that value are trained; a cell that had these options before is not trained again."""
    plain = {**TINY, "cells": [{"name": "lstm", "options": {"forget_bias": 1.0}}]}
    assert len(trained(plain, report=False)) == 2
    tuned = {**TINY, "cells": [{"name": "lstm", "tune": {"options.forget_bias": [0.0, 1.0]}}]}
    assert len(trained(tuned, report=False)) == 2, "those with a forget bias of 1 were there"
    more = {**TINY, "cells": [{"name": "lstm", "tune": {"options.forget_bias": [0.0, 1.0, 2.0]}}]}
    assert {label for label, _ in trained(more, report=False)} == {"lstm forget_bias=2.0"}


def test_what_happens_on_an_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version trains nothing; another numbers_version trains everything."""
    trained(TINY)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    assert trained(TINY) == []
    numbers_version, *later = ReplicaKey.__init__.__defaults__ or ()
    monkeypatch.setattr(ReplicaKey.__init__, "__defaults__", (numbers_version + 1, *later))
    assert set(trained(TINY)) == ALL


@pytest.mark.parametrize(("version", "age"), [(OLDEST - 1, "an older"), (VERSION + 1, "a newer")])
def test_what_happens_with_another_schema(version: int, age: str, command: Command, write: Callable[..., Path]) -> None:
    """A store of a schema that is not read is refused, and named; --fresh keeps it beside."""
    assert command("run", write(), "--workers", 1).status == 0
    with closing(sqlite3.connect("results/tiny/runs.sqlite")) as db, db:
        db.execute(f"PRAGMA user_version = {version}")
    again = command("run", write(), "--workers", 1)
    assert (again.status, f"was written by {age} cellbench (schema {version}" in again.err) == (2, True)
    assert command("run", write(), "--workers", 1, "--fresh").status == 0
    with closing(sqlite3.connect("results/tiny/runs-1.sqlite")) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)


def test_what_happens_with_another_engine(command: Command, write: Callable[..., Path]) -> None:
    """Stored results of one engine are not gone on with another in silence: exit 2 and the two ways out."""
    assert command("run", write(), "--workers", 1).status == 0
    again = command("run", write(seeds=3), "--workers", 1, "--set", "engine=stack")
    assert again.status == 2
    assert "--set engine=reference" in again.err
    assert "--fresh" in again.err
    assert command("run", write(seeds=3), "--workers", 1).status == 0
    fresh = command("run", write(seeds=3), "--workers", 1, "--set", "engine=stack", "--fresh")
    assert fresh.status == 0
    assert set(cellbench.load("results/tiny").runs.engine) == {"stack"}
    assert Path("results/tiny/runs-1.sqlite").exists()


SCALED = (
    MINE
    + """

class Scaled(TorchCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(nn.RNNCell(input_size, hidden_size))

    def forward(self, x, state):
        return super().forward(x if self.training else 0 * x, state)
"""
)


def stored_by_version_1(*, differs: bool) -> dict[str, Any]:
    """Store a cell that is in evaluation what it is in training, or is not, as version 1 of the engines did."""
    Path("mycell.py").write_text(SCALED)
    tiny = {**TINY, "cells": ["rnn", {"name": "mine", "factory": f"./mycell.py:{'Scaled' if differs else 'Mine'}"}]}
    trained(tiny)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET engine_version = NULL")
    reseal(Path("out"))
    return tiny


def test_what_happens_when_an_earlier_version_of_an_engine_trained_it_wrongly() -> None:
    """Those replicas are trained, once."""
    tiny = stored_by_version_1(differs=True)
    assert trained(tiny) == [("mine", 0), ("mine", 1)]
    assert trained(tiny) == []


def test_what_happens_when_an_earlier_version_of_an_engine_trained_it_rightly() -> None:
    """Nothing is trained."""
    assert trained(stored_by_version_1(differs=False)) == []


def test_what_happens_on_another_machine() -> None:
    """Results of another instruction set stay; the column says which."""
    trained(TINY)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET isa = 'vax', compiler = 'other'")
    reseal(Path("out"))
    assert trained(TINY) == []
    assert set(cellbench.load("out").runs.isa) == {"vax"}


def test_what_happens_on_another_device() -> None:
    """Results of a card stay; the store says which replica is whose, and one line counts them."""
    trained(TINY)
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        db.execute("UPDATE replica SET device = 'NVIDIA H100', isa = 'sm_90' WHERE seed = 0")
    reseal(Path("out"))
    assert trained(TINY) == []
    with closing(sqlite3.connect("out/runs.sqlite")) as db, db:
        assert set(db.execute("SELECT seed, device FROM replica")) == {(0, "NVIDIA H100"), (1, None)}
    lines = Path("out/summary.md").read_text().splitlines()
    (said,) = [line for line in lines if "computed by NVIDIA H100" in line]
    assert "2 by reference" in said


def test_every_row_of_what_happens_when_has_its_test() -> None:
    """Each row of the table in docs/results.md is a test of this file, and each of these tests a row."""
    text = (Path(__file__).parents[2] / "docs/results.md").read_text()
    table = text.split("| what happens | what is trained by the next run |")[1].split("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    named = re.findall(r"def test_what_happens_(?:when|on|with)_(\w+)\(", Path(__file__).read_text())
    assert set(rows) == set(WHEN) | {n.replace("_", " ") for n in named}


def test_every_planned_replica_has_one_row(command: Command, write: Callable[..., Path]) -> None:
    """runs.csv has a row a planned replica, also for those that were left out with --only."""
    assert command("run", write(), "--workers", 1, "--only", "cell=rnn,seed=0").status == 0
    runs = cellbench.load("results/tiny").runs
    assert len(runs) == 4
    assert list(runs.status).count("missing") == 3
    said = command("status", "results/tiny").out
    assert "4 replicas planned, 1 done" in said
    assert "Not complete." in said
    assert command("run", write(), "--workers", 1).status == 0
    assert "Complete." in command("status", "results/tiny").out


def test_one_worker_is_two_workers() -> None:
    """The exports are the same from one process and from two, whatever ended first."""
    grid = {"bits": [4, 5], "batch_size": 4, "hidden_size": 3}
    run_experiment({**TINY, "grid": grid, "engine": "stack"}, "one")
    run_experiment({**TINY, "grid": grid, "engine": "stack"}, "two", workers=2)
    assert exports(Path("one")) == exports(Path("two"))


@pytest.mark.parametrize("stop", [True, False])
def test_curves_and_outcomes_fit_together(stop: bool) -> None:
    """Steps to solved can be read off the stored curve by the rule, and a censored replica never counts as solved."""
    settings = {
        **TINY, "cells": ["rnn"], "seeds": 4, "grid": {"bits": 4, "batch_size": 16, "hidden_size": 8},
        "learning_rate": [0.003, 0.1], "train": {"max_steps": 200, "stop_when_solved": stop}, "engine": "stack",
        "solved": {"threshold": 0.95},
    }  # fmt: skip
    results = run_experiment(settings, "out")
    runs, curves = results.runs, results.curves
    assert {"solved", "censored"} <= set(runs.status)
    for run in runs.itertuples():
        curve = curves[(curves.seed == run.seed) & (curves.learning_rate == run.learning_rate)]
        above = (curve.sequence_accuracy >= 0.95).to_numpy()
        steps = curve.step.to_numpy()
        hits = [s for s, a, b in zip(steps, above, above[1:], strict=False) if a and b]
        if run.status == "solved":
            assert run.steps_to_solved == hits[0]
            assert run.examples_to_solved == 16 * hits[0]
            assert run.target_bits_to_solved == 4 * 16 * hits[0]
            assert run.final_step == (steps[list(steps).index(hits[0]) + 1] if stop else 200)
        else:
            assert run.status == "censored"
            assert not hits
            assert pd.isna(run.steps_to_solved)
            assert run.final_step == 200
        assert steps[-1] == run.final_step


def test_a_diverged_replica_is_recorded() -> None:
    """Learning rate 1e6: diverged, accuracies 0, and the neighbours' numbers are those without it."""
    both = run_experiment({**TINY, "learning_rate": [0.05, 1e6], "engine": "stack"}, "both").runs
    alone = run_experiment({**TINY, "engine": "stack"}, "alone").runs
    lost = both[both.learning_rate == 1e6]
    assert set(lost.status) == {"diverged"}
    assert (lost.diverged_at > 0).all()
    assert set(lost.final_sequence_accuracy) == {0.0}
    kept = both[both.learning_rate == 0.05].reset_index(drop=True)
    names = [c for c in kept.columns if c not in VOLATILE]
    pd.testing.assert_frame_equal(kept[names], alone[names])


def test_a_cell_that_raises(command: Command, write: Callable[..., Path]) -> None:
    """Its replicas are failed by the cell, the traceback is kept once, the rest goes on, exit 1; failures count."""
    Path("bad.py").write_text(FAILING)
    path = write(cells=["rnn", {"name": "bad", "factory": "./bad.py:Failing"}], baseline="rnn")
    ended = command("run", path, "--workers", 1)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "2 replicas failed: results/tiny/failures.txt" in ended.err
    runs = cellbench.load("results/tiny").runs
    assert set(runs[runs.label == "bad"].status) == {"failed"}
    assert set(runs[runs.label == "bad"].cause) == {"cell"}
    assert set(runs[runs.label == "rnn"].status) == {"censored"}
    text = Path("results/tiny/failures.txt").read_text()
    assert text.count("the author's own mistake") >= 1
    assert text.count("2 replicas of bad failed") == 1
    assert MISTAKE in text, "the author's line is shown"


def test_a_second_run_at_the_same_time_is_refused(command: Command, write: Callable[..., Path]) -> None:
    """While a run holds the folder, another is told so and ends with 2."""
    from cellbench.store import locked

    with locked(Path("results/tiny")):
        ended = command("run", write(), "--workers", 1)
    assert ended.status == 2
    assert "in use by another cellbench run" in ended.err


def test_an_unvmappable_cell_trains_by_reference(command: Command, write: Callable[..., Path]) -> None:
    """`engine: auto` takes what carries the cell, and the run says which and why."""
    shutil.copy(Path(__file__).parents[1] / "helpers" / "cells.py", "odd.py")
    for name, why in (("Branching", "data-dependent"), ("Item", ".item()")):
        path = write(f"{name}.yaml", name=name, engine="auto", cells=[{"name": "odd", "factory": f"./odd.py:{name}"}])
        ended = command("run", path, "--workers", 1)
        assert ended.status == 0
        assert "odd by reference" in ended.err
        assert "not stack: vmap" in ended.err, why
        assert set(cellbench.load(f"results/{name}").runs.engine) == {"reference"}


def test_cell_option(command: Command, write: Callable[..., Path]) -> None:
    """`--cell` joins the experiment under a name of its own; edited and run again, it alone is trained."""
    Path("mycell.py").write_text(MINE)
    first = command("run", write(), "--workers", 1, "--cell", "./mycell.py:Mine")
    assert first.status == 0
    assert "tiny+Mine: 6 replicas, 0 of them done" in first.err
    Path("mycell.py").write_text(MINE.replace('"tanh"', '"relu"'))
    again = command("run", write(), "--workers", 1, "--cell", "./mycell.py:Mine")
    assert "tiny+Mine: 6 replicas, 4 of them done" in again.err
    assert "Mine" in again.out


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("mycell.py", "must be FILE:CLASS"),
        ("./nothere.py:Mine", "no such file"),
        ("./mycell.py:Other", "has no class or function 'Other'. It defines: Real"),
        ("./broken.py:Mine", "broken.py line 1: importing it raised SyntaxError"),
    ],
)
def test_cell_option_faults(option: str, said: str, command: Command, write: Callable[..., Path]) -> None:
    """A cell file that cannot be used is a fault, not a traceback."""
    Path("mycell.py").write_text("class Real: ...\n")
    Path("broken.py").write_text("def (\n")
    ended = command("run", write(), "--cell", option)
    assert (ended.status, said in ended.err) == (2, True), ended.err


def test_a_finished_run_trains_nothing(command: Command, write: Callable[..., Path]) -> None:
    """Running again says that there is nothing to train, and prints the same answer; so does `report`."""
    first = command("run", write(), "--workers", 1)
    before = exports(Path("results/tiny"))
    again = command("run", write(), "--workers", 1)
    assert "Nothing to train: every replica is done." in again.err
    assert again.out == first.out
    assert command("report", "results/tiny").status == 0
    assert exports(Path("results/tiny")) == before


@pytest.mark.slow
def test_dry_run(command: Command, write: Callable[..., Path]) -> None:
    """What would be done: points, replicas, engines, a time; and nothing is written."""
    ended = command("run", write(engine="auto"), "--dry-run")
    assert ended.status == 0
    assert "tiny: 4 replicas, 0 of them done" in ended.out
    assert "Points: 1. Cells: 2." in ended.out
    assert re.search(r"rnn: (lanes|stack)", ended.out)
    assert re.search(r"About \d+ s on one core", ended.out)
    assert not Path("results").exists()


def test_shards_are_parts() -> None:
    """Each replica belongs to exactly one of three shards."""
    parts = [trained({**TINY, "seeds": 4}, f"s{i}", shard=(i, 3)) for i in (1, 2, 3)]
    assert sorted(p for part in parts for p in part) == sorted((c, s) for c in ("rnn", "lstm") for s in range(4))
    assert all(parts)


def test_quiet_and_no_control_characters(command: Command, write: Callable[..., Path]) -> None:
    """Not on a terminal there are no control characters; --quiet says nothing but the result; it fits 100 columns."""
    ended = command("run", write(), "--workers", 1)
    assert "\x1b" not in ended.out + ended.err
    assert max(map(len, ended.out.splitlines())) <= 100
    assert command("run", write(name="q"), "--workers", 1, "--quiet").err == ""


BROKEN = {
    "factory": 'def Bad(input_size, hidden_size):\n    raise ValueError("no weights today")\n',
    "first step": MINE.replace("def Mine", "def Good") + "\n\nclass Bad(nn.Module):\n"
    "    def __init__(self, input_size, hidden_size):\n"
    "        super().__init__()\n        self.hidden_size = hidden_size\n"
    "    def initial_state(self, batch_size):\n        import torch\n        return torch.zeros(batch_size, 3)\n"
    '    def forward(self, x, state):\n        raise ValueError("no weights today")\n',
    "no module": "def Bad(input_size, hidden_size):\n    return 3\n",
}


@pytest.mark.parametrize("where", list(BROKEN))
@pytest.mark.parametrize("size", ["hidden_size", "parameter_budget"])
def test_a_cell_that_cannot_start_stops_no_other(
    where: str, size: str, command: Command, write: Callable[..., Path]
) -> None:
    """Broken in the factory or in its first step, a cell's replicas are failed with its traceback; the rest goes on."""
    Path("bad.py").write_text(BROKEN[where])
    grid = {"bits": 4, "batch_size": 4, size: 60}
    path = write(cells=["rnn", {"name": "bad", "factory": "./bad.py:Bad"}], baseline="rnn", grid=grid, engine="auto")
    ended = command("run", path, "--workers", 1)
    assert ended.status == 1, ended.err
    assert "Traceback" not in ended.err
    runs = cellbench.load("results/tiny").runs
    assert set(runs[runs.label == "bad"].status) == {"failed"}
    assert set(runs[runs.label == "bad"].cause) == {"cell"}
    assert runs[runs.label == "bad"].parameters.isna().all(), "what cannot be made cannot be measured"
    written = Path("results/tiny/runs.csv").read_text()
    assert not re.search(r"rnn,rnn,4,4,[^,]*,\d+,\d+\.0,", written), "counts stay whole"
    assert "failed" not in set(runs[runs.label == "rnn"].status)
    failures = Path("results/tiny/failures.txt").read_text()
    assert "bad.py" in failures
    assert ("no weights today" in failures) or where == "no module"
    assert "bad cannot start" in ended.err


def test_an_option_that_the_factory_does_not_take(command: Command, write: Callable[..., Path]) -> None:
    """An option of no use is bad input, found before anything is run."""
    ended = command("run", write(cells=[{"name": "lstm", "options": {"forget_bais": 1}}]), "--workers", 1)
    assert ended.status == 2
    assert "cells[0].options: lstm takes no option 'forget_bais'. Did you mean forget_bias?" in ended.err
    assert not Path("results").exists()
