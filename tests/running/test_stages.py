"""Runs in stages: what is trained when, what each look says, and the same report however a run came about."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import cellbench
from cellbench.running import run as run_experiment
from tests.helpers.commands import Command
from tests.helpers.dask import scheduler, worker
from tests.helpers.runs import exports, go, stored, trained

STAGED: dict[str, Any] = {
    "name": "staged",
    "cells": ["lstm", "rnn", "gru"],
    "engine": "auto",
    "grid": {"bits": 2, "batch_size": 8, "hidden_size": [6, 12]},
    "seeds": {"from": 5, "to": 20},
    "learning_rate": [0.05],
    "train": {"max_steps": 500},
    "evaluate": {"every": 5, "examples": 64},
    "final": {"examples": 20, "bits": [6], "difficulty": False},
}
"""One cell is decided at a look before the last, one later or not at all."""


def changed(**keys: Any) -> dict[str, Any]:
    return {**STAGED, **keys}


def seeds_of(got: list[tuple[str, int]]) -> dict[str, int]:
    """How many seeds of each cell were trained."""
    return {label: len({seed for name, seed in got if name == label}) for label, _ in got}


def main(folder: str | Path) -> pd.DataFrame:
    """The verdict's row of each cell."""
    frame = pd.read_csv(Path(folder) / "comparisons.csv")
    frame = frame[(frame["metric"] == "steps") & (frame["scope"] == "all") & (frame["at"] == "tuned")]
    return frame.set_index("cell")


def notices(experiment: Any, folder: str, **keys: Any) -> list[str]:
    said: list[str] = []
    run_experiment(
        experiment, folder, on_event=lambda event: said.append(event.text) if hasattr(event, "text") else None, **keys
    )
    return [line for line in said if line.startswith(("look ", "stage ", "  "))]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staged experiment, run to its end in one process."""
    folder = tmp_path_factory.mktemp("whole") / "staged"
    run_experiment(STAGED, folder, report=False)
    from cellbench.results import write

    write(folder, charts=False)
    return folder


def test_only_what_is_open_is_trained_on(whole: Path) -> None:
    """Each cell has the seeds of the look at which it was decided; the baseline has the most."""
    rows, runs = main(whole), pd.read_csv(whole / "runs.csv")
    seeds = runs.groupby("label")["seed"].nunique()
    assert rows["look"].nunique() > 1, rows["verdict"]  # else this experiment tests nothing
    for cell, row in rows.iterrows():
        assert seeds[str(cell)] == row["seeds"]
    assert seeds["lstm"] == rows["seeds"].max()
    assert (runs["status"] != "missing").all()
    assert set(rows["looks"]) == {3}
    assert rows["share"].to_numpy() == pytest.approx(0.25)


def test_the_same_again_trains_nothing(whole: Path, tmp_path: Path) -> None:
    """A second run of a finished plan, and its report, are the same."""
    assert go(STAGED, "out") == exports(whole)
    assert trained(STAGED, "out", report=False) == []
    assert go(STAGED, "out") == exports(whole)


def test_each_look_is_told(tmp_path: Path) -> None:
    """A line for each look: what is decided, who is trained next, which seeds, how many replicas."""
    lines = notices(STAGED, "out", report=False)
    heads = [line for line in lines if line.startswith("look")]
    first = main_of("out", 1)
    assert heads[0].startswith(f"look 1 of 3, 5 seeds: {first} of 2 decided")
    assert "Stage 2: lstm, rnn and gru, seeds 5 to 9, 30 replicas, about " in heads[0]
    assert any(" open: " in line and "of at most 20 seeds" in line for line in lines)
    assert "Stage" not in heads[-1]
    # told once more when the run goes on, and nothing is to be trained
    assert notices(STAGED, "out", report=False)[0].startswith(heads[-1][:20])


def main_of(folder: str, look: int) -> int:
    """How many comparisons were decided by a look."""
    from cellbench.results import write

    write(Path(folder), charts=False)
    rows = main(folder)
    undecided = rows["verdict"].str.startswith(("no difference", "open", "cannot tell: the", "too few"))
    return int(((rows["look"] <= look) & ~undecided).sum())


@pytest.mark.parametrize("workers", [2])
def test_worker_processes_give_the_same_report(whole: Path, workers: int) -> None:
    """The stages share one pool of workers."""
    assert go(STAGED, "out", workers=workers) == exports(whole)


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_report(whole: Path) -> None:
    """Each stage is handed to the same cluster."""
    with scheduler() as (address, _), worker(address), worker(address):
        assert go(STAGED, "out", executor="dask", scheduler=address) == exports(whole)


@pytest.mark.slow
def test_shards_stop_at_the_look_and_are_merged(whole: Path, command: Command, write: Callable[..., Path]) -> None:
    """Two shards train their part of each stage; merged and run again they give the report of one run."""
    path = write("staged.yaml", **STAGED)
    folders = ["a", "b"]
    for turn in range(1, 4):
        for number, place in enumerate(folders, 1):
            ended = command("run", path, "--shard", f"{number}/2", "--results", place, "--workers", 1)
            assert ended.status == 0, ended.err
        if turn == 1:
            assert "stage 1 is not complete: 12 of 30 replicas; merge, and run again" in ended.err
        merged = command("merge", f"m{turn}/staged", *(f"{place}/staged" for place in folders))
        assert merged.status == 0, merged.err
        # the next stage begins from what was merged, on each machine
        for number in (1, 2):
            command("merge", f"{turn}-{number}/staged", f"m{turn}/staged")
        folders = [f"{turn}-1", f"{turn}-2"]
    ended = command("run", path, "--results", "m3", "--workers", 1)
    assert ended.status == 0
    ours, theirs = exports(Path("m3/staged")), exports(whole)
    assert {name: ours[name] for name in ("comparisons.csv", "summary.csv", "runs.csv")} == {
        name: theirs[name] for name in ("comparisons.csv", "summary.csv", "runs.csv")
    }


def kill_after(path: Path, replicas: int, folder: Path) -> int:
    """Run in a process of its own, and kill it when so many replicas are stored; returns how many there were."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cellbench", "run", str(path), "--results", str(folder.parent), "--no-report",
         "--workers", "1", "--quiet"],
        stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    until = time.monotonic() + 120
    while stored(folder) < replicas and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return stored(folder)


def killed_at(whole: Path, moments: list[int], path: Path) -> None:
    """Kill at each moment, report in between, go on, and compare the last report with that of a run in peace."""
    folder = Path("killed/staged")
    seen = {kill_after(path, moment, folder) for moment in moments}
    assert len(seen) > len(moments) // 2  # not always at the same moment
    assert min(seen) < stored(whole)
    assert go(STAGED, folder) == exports(whole)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_report(whole: Path, write: Callable[..., Path]) -> None:
    """Killed in the first stage, between and after looks: the looks are replayed, nothing is remembered."""
    killed_at(whole, [1, 40, 70], write("staged.yaml", **STAGED))


@pytest.mark.rare
@pytest.mark.slow
def test_killed_at_twenty_moments(whole: Path, write: Callable[..., Path]) -> None:
    """One run, killed twenty times on its way."""
    total = stored(whole)
    killed_at(whole, [1 + i * (total - 1) // 20 for i in range(20)], write("staged.yaml", **STAGED))


@pytest.mark.slow
def test_a_report_in_the_middle_of_a_stage(whole: Path) -> None:
    """Part of the second stage is in: the numbers are those of the first look, and the report says how far it is."""
    run_experiment(STAGED, "first", report=False, only={"seed": ["0", "1", "2", "3", "4"]})
    run_experiment(STAGED, "middle", report=False, only={"seed": ["0", "1", "2", "3", "4", "5", "6"]})
    from cellbench.results import write

    for folder in ("first", "middle"):
        write(Path(folder), charts=False)
    first, middle = main("first"), main("middle")
    pd.testing.assert_frame_equal(first, middle)
    assert set(first["verdict"]) & {"open"}
    assert "stage 2: 2 of 5 seeds in, not looked at" in Path("middle/summary.md").read_text()
    assert go(STAGED, "middle") == exports(whole)


def test_a_raised_cap_goes_on_and_undoes_nothing() -> None:
    """`to` raised: what was decided stays; what was not has one more look, with half of the share that was kept."""
    narrow = {"ratio_of_interest": 1.1}
    go(changed(seeds={"from": 5, "to": 10}, report=narrow), "out")
    before = main("out")
    raised = changed(seeds={"from": 5, "to": 20}, report=narrow)
    got = trained(raised, "out", report=False)
    go(raised, "out")
    after = main("out")
    decided = ~before["verdict"].str.startswith(("no difference", "cannot tell: the"))
    assert decided.any(), before["verdict"]
    assert not decided.all(), before["verdict"]
    columns = ["ratio", "ratio_low", "ratio_high", "p", "p_holm", "look", "share", "seeds"]
    pd.testing.assert_frame_equal(before.loc[decided, columns], after.loc[decided, columns])
    assert set(before["share"].round(6)) == {0.333333}
    for cell in before.index[~decided]:
        assert after.loc[cell, ["look", "looks", "seeds"]].tolist() == [3, 3, 20]
        assert after.loc[cell, "share"] == pytest.approx(1 / 6)
        assert {seed for label, seed in got if label == cell} == set(range(10, 20))


def test_a_lowered_cap_makes_no_looks_above_it(whole: Path) -> None:
    """`to` lowered: the shares of the first plan stay."""
    run_experiment(STAGED, "out", report=False, only={"seed": ["0", "1", "2", "3", "4"]})
    lowered = changed(seeds={"from": 5, "to": 10})
    go(lowered, "out")
    rows = main("out")
    assert set(rows["looks"]) == {2}
    assert rows["share"].to_numpy() == pytest.approx(0.25)
    assert pd.read_csv("out/runs.csv")["seed"].max() < 10


@pytest.mark.slow
def test_the_first_look_may_not_change_once_it_is_made(
    whole: Path, command: Command, write: Callable[..., Path]
) -> None:
    """`from` changed after the first look: exit 2, nothing is lost, and --fresh starts anew."""
    path = write("staged.yaml", **STAGED)
    run_experiment(STAGED, "results/staged", report=False)
    other = write("other.yaml", **changed(seeds={"from": 6, "to": 20}))
    before = stored(Path("results/staged"))
    ended = command("run", other)
    assert ended.status == 2
    assert stored(Path("results/staged")) == before
    assert "was 5 when the first look was made; only `to` may change. `--fresh` starts anew" in ended.err
    assert "other.yaml:" in ended.err
    assert "Traceback" not in ended.err
    assert command("run", path, "--workers", 1).status == 0
    assert command("run", other, "--fresh", "--workers", 1).status == 0


def test_the_first_look_may_change_before_it_is_made() -> None:
    """A plan that was interrupted in its first stage was no look."""
    run_experiment(STAGED, "out", report=False, only={"seed": ["0", "1"]})
    other = changed(seeds={"from": 6, "to": 20})
    run_experiment(other, "out", report=False)
    assert trained(other, "out", report=False) == []


def test_a_cell_added_has_its_own_looks_from_the_first(whole: Path) -> None:
    """It is trained to the first look, and on; Holm is over one comparison more."""
    go(STAGED, "out")
    more = changed(cells=["lstm", "rnn", "gru", {"name": "gru", "label": "v2", "options": {"bias": False}}])
    got = trained(more, "out", report=False)
    assert {("v2", seed) for seed in range(5)} <= set(got)
    go(more, "out")
    assert "3 comparisons" in Path("out/summary.md").read_text()
    runs = pd.read_csv("out/runs.csv")
    assert runs[runs["label"] == "v2"]["seed"].nunique() == main("out").loc["v2", "seeds"]


@pytest.mark.parametrize(
    "keys",
    [
        {"baseline": "gru"},
        {"report": {"ratio_of_interest": 1.5}},
        {"solved": {"threshold": 0.95}},
        {"learning_rate": [0.1]},
        {"grid": {"bits": 3, "batch_size": 8, "hidden_size": [8, 12]}},
    ],
    ids=lambda keys: next(iter(keys)),
)
@pytest.mark.slow
def test_another_question_starts_anew(keys: dict[str, Any]) -> None:
    """Looks start from the first, with all shares, and a footnote counts the other settings."""
    run_experiment(STAGED, "out", report=False, only={"seed": ["0", "1", "2", "3", "4"]})
    other = changed(**keys)
    go(other, "out")
    rows = main("out")
    assert rows["share"].to_numpy() == pytest.approx(0.25)
    assert set(rows["looks"]) == {3}
    assert "the same seeds were looked at 1 time with other settings" in Path("out/summary.md").read_text()


@pytest.mark.slow
def test_fixed_seeds_then_a_plan_say_what_that_costs() -> None:
    """The fixed look counts 1: 0.05 (1 + 3 / 4) when it is one of the plan's numbers of seeds, as here twice."""
    run_experiment(changed(seeds=5), "out", report=False)
    go(STAGED, "out")
    said = Path("out/summary.md").read_text()
    assert (
        "5 seeds had been looked at before the plan was made: the chance of a false verdict is at most 8 %, not 5 %"
    ) in said


@pytest.mark.slow
def test_seeds_added_by_hand_are_counted() -> None:
    """5 seeds, then 10, then 20: claims of the third say whether they hold as a third look."""
    for seeds in (5, 10, 20):
        go(changed(seeds=seeds), "out")
    rows = main("out")
    said = " ".join(rows["verdict"]) + Path("out/summary.md").read_text()
    claims = rows["verdict"].str.startswith(("faster", "slower", "slightly", "equivalent", "depends"))
    assert claims.any(), rows["verdict"]
    assert "if looked at once" in said or "also as look 3" in said
    # a plain number of seeds without earlier looks stays what it was
    go(changed(seeds=20), "alone")
    alone = main("alone")
    assert "look" not in " ".join(alone["verdict"])
    columns = ["ratio", "ratio_low", "ratio_high", "p", "p_holm", "seeds_needed"]
    pd.testing.assert_frame_equal(rows[columns], alone[columns])


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")], ids="".join)
@pytest.mark.slow
def test_plans_of_merged_folders_are_united(command: Command, order: tuple[str, str]) -> None:
    """The first plan by time holds, whatever the order of the folders, and the widest is shown."""
    run_experiment(changed(seeds={"from": 5, "to": 10}), "a", report=False)
    time.sleep(1.1)  # experiments have their time to a second
    run_experiment(STAGED, "b", report=False)
    assert command("merge", "c", *order).status == 0
    run_experiment(STAGED, "a", report=False)
    go(STAGED, "a")
    merged, raised = main("c"), main("a")
    assert set(merged["looks"]) == {3}
    assert set(merged["share"].round(6)) <= {0.333333, 0.166667}
    pd.testing.assert_frame_equal(merged, raised)


def test_folders_with_another_first_look_are_not_merged(command: Command) -> None:
    """They are no parts of one experiment."""
    run_experiment(changed(seeds={"from": 5, "to": 10}), "a", report=False)
    run_experiment(changed(seeds={"from": 6, "to": 20}), "b", report=False)
    refused = command("merge", "c", "a", "b")
    assert refused.status == 2
    assert "seeds is" in refused.err


def test_dry_run_says_the_stage_and_the_worst_case(command: Command, write: Callable[..., Path]) -> None:
    """The first stage, and what all stages would cost if nothing were decided."""
    ended = command("run", write("staged.yaml", **STAGED), "--dry-run")
    assert "Stage 1: 30 replicas. About " in ended.out
    assert "If nothing were decided, all stages: 120 replicas, about " in ended.out
    assert not Path("results").exists()


def test_status_counts_what_the_stages_asked_for(whole: Path, command: Command) -> None:
    """A finished plan is complete, though not every seed up to the cap was trained."""
    said = command("status", whole).out
    assert "Complete." in said
    assert f"{stored(whole):,} replicas planned, {stored(whole):,} done" in said
    assert "comparisons decided, at " in said
    assert f"{stored(whole):,} of at most 120 replicas" in repr(cellbench.load(whole))


@pytest.mark.slow
def test_until_decided_on_the_command_line(command: Command, write: Callable[..., Path]) -> None:
    """The file's number of seeds becomes the first look, eight times it the cap; other seeds are refused."""
    grid = {"bits": [2, 3], "batch_size": 8, "hidden_size": [8, 12]}
    path = write("tiny.yaml", **changed(seeds=6, grid=grid))
    said = command("run", path, "--until-decided", "--dry-run").out
    assert "Stage 1: 72 replicas." in said
    assert "all stages: 576 replicas" in said
    few = write("few.yaml", **changed(seeds=6, grid={"bits": 2, "batch_size": 8, "hidden_size": 3}))
    assert "Stage 1: 60 replicas." in command("run", few, "--until-decided", "--dry-run").out
    refused = command("run", write("list.yaml", **changed(seeds="3-9")), "--until-decided")
    assert refused.status == 2
    assert "--until-decided  seeds: is '3-9'" in refused.err


def test_fixed_seeds_end_with_how_to_add_more(command: Command, write: Callable[..., Path]) -> None:
    """Where a comparison is left undecided, and only there; a staged run says nothing of it."""
    path = write("fixed.yaml", **changed(name="fixed", seeds=5))
    said = command("run", path, "--workers", 1).err
    first, _, rest = said.partition("To add seeds until decided (up to 160, about ")[2].partition("\n")
    assert first.endswith("):")
    assert rest.splitlines()[0] == f"  cellbench run {path} --workers 1 --until-decided"
    part = command("run", path, "--workers", 1, "--only", "cell=rnn", "--results", "part")
    assert part.status == 0
    assert "To add seeds" not in part.err, "a part is completed first"
    staged = command("run", write("staged.yaml", **changed(seeds={"from": 5, "to": 8})), "--workers", 1)
    assert "To add seeds" not in staged.err


def test_folders_with_unlike_plans_have_no_common_report(whole: Path, command: Command) -> None:
    """Looks with unlike shares cannot be read as one; the same plan can."""
    run_experiment(changed(name="fixed", seeds=5), "fixed", report=False)
    refused = command("report", whole, "fixed", "--to", "both")
    assert refused.status == 2
    assert "seeds: {'from': 5, 'to': 20}" in refused.err


def test_an_altered_plan_is_refused(whole: Path, tmp_path: Path) -> None:
    """A store that claims a plan of a billion seeds says so, and reads nothing."""
    import shutil

    shutil.copytree(whole, "bad")
    with closing(sqlite3.connect("bad/runs.sqlite")) as db, db:
        db.execute("UPDATE experiment SET resolved = replace(resolved, '\"to\": 20', '\"to\": 1000000000')")
    with pytest.raises(cellbench.errors.StoreError, match=r"resolved\.seeds"):
        cellbench.load("bad")


def test_a_notebooks_keys_take_a_plan() -> None:
    """`seeds={"from": 5, "to": 20}` in Python is what it is in a file."""
    keys = {name: value for name, value in STAGED.items() if name != "seeds"}
    found = cellbench.run(keys, "out", seeds={"from": 5, "to": 20}, quiet=True)
    assert set(found.comparisons["looks"].dropna()) == {3}
    assert yaml.safe_dump(found.report.experiment["resolved"]["seeds"]) == "from: 5\nto: 20\n"


def test_tuned_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All choices of a tuned cell have the seeds of its look; another cap goes on, another first look is refused."""
    monkeypatch.chdir(tmp_path)
    tuned = {"name": "lstm", "tune": {"options.forget_bias": [0.0, 1.0], "learning_rate": [0.05]}}
    two = changed(cells=[tuned, "gru"], learning_rate=[0.02, 0.05], grid={**STAGED["grid"], "hidden_size": 6})
    found = run_experiment(two, "out", workers=1, report=False)
    seeds = found.runs.groupby(["label", "options"], dropna=False)["seed"].nunique()
    assert set(found.runs["label"]) == {"lstm", "gru"}
    assert seeds["lstm"].nunique() == 1, "one choice has more seeds than the other"
    look = int(found.comparisons.query("metric == 'steps' and scope == 'all' and at == 'tuned'")["look"].iloc[0])
    assert look >= 1
    again = run_experiment(two, "out", workers=1, report=False)
    pd.testing.assert_frame_equal(again.comparisons, found.comparisons)
    assert again.runs["started"].tolist() == found.runs["started"].tolist(), "something was trained again"
    further = changed(**{**two, "seeds": {"from": 5, "to": 40}})
    assert run_experiment(further, "out", workers=1, report=False).runs["seed"].max() in (4, 9, 19, 39)
    with pytest.raises(cellbench.errors.CellbenchError, match="was 5 when the first look was made"):
        run_experiment(changed(**{**two, "seeds": {"from": 6, "to": 40}}), "out", workers=1)


def test_a_cell_tried_at_fewer_settings_is_looked_at(tmp_path: Path) -> None:
    """Nothing is missing of a cell that has fewer settings than another: its stages end as any others do."""
    told = {"name": "lstm", "tune": {"options.forget_bias": [0, 1]}}
    keys = changed(cells=["rnn", told], baseline="rnn", tuning_budget="any", seeds={"from": 5, "to": 10})
    keys |= {"grid": {"bits": 2, "batch_size": 8, "hidden_size": 6}, "train": {"max_steps": 20}}
    said = notices(keys, str(tmp_path / "unequal"), report=False)
    assert said == ["look 1 of 2, 5 seeds: 1 of 1 decided (cannot tell 1)."]
