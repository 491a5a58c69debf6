"""`cellbench show`: examples of a trained model, and the bytes of kept weights in a dry run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import cellbench
from cellbench.store import weights
from tests.helpers.cells import MINE
from tests.helpers.commands import Command


def test_show(command: Command, write: Callable[..., Path]) -> None:
    """Each example: what went in, what was asked, what came out, a mark at the first difference; the sums are right."""
    assert command("run", write(keep="weights"), "--quiet", "--workers", 1, "--no-report").status == 0
    ended = command("show", "results/tiny", "label=lstm,seed=1", "--examples", 20)
    assert ended.status == 0, ended.err
    head, count, *_ = ended.out.splitlines()
    assert head == "lstm at bits 4, batch 4, hidden 3, rate 0.05, seed 1"
    blocks = re.findall(
        r"example (\d+): (?:all right|first wrong at step (\d+))\n  inputs   (\d+)\n           (\d+)\n"
        r"  targets  (\d+)\n  outputs  (\d+)\n?(?:           ( *)\^)?",
        ended.out,
    )
    assert [int(number) for number, *_ in blocks] == list(range(20))
    for _, step, a, b, targets, outputs, gap in blocks:
        # least significant bit first, as the task draws them
        assert int(a[::-1], 2) + int(b[::-1], 2) == int(targets[::-1], 2)
        wrong = [i for i, (t, o) in enumerate(zip(targets, outputs, strict=True)) if t != o]
        assert (int(step) if step else None) == (wrong[0] if wrong else None)
        assert not wrong or len(gap) == wrong[0]
    mistaken = sum(bool(step) for _, step, *_ in blocks)
    assert count == f"{mistaken} of 20 examples have a wrong step."
    runs = cellbench.load("results/tiny").runs
    (accuracy,) = runs[(runs.label == "lstm") & (runs.seed == 1)].final_sequence_accuracy
    assert accuracy == pytest.approx(1 - mistaken / 20)
    only_wrong = command("show", "results/tiny", "label=lstm", "seed=1", "--wrong", "--examples", 20).out
    assert only_wrong.count("first wrong") == mistaken
    assert "all right" not in only_wrong


def test_show_faults(command: Command, write: Callable[..., Path]) -> None:
    """What is wrong and what to do, with exit status 2."""
    Path("mine.py").write_text(MINE)
    path = write(cells=[{"name": "mine", "factory": "mine.py:Mine"}])
    command("run", path, "--quiet", "--workers", 1, "--no-report")
    for arguments, said in (
        (["label=mine"], "which seed?"),
        (["mine"], "must be KEY=VALUE"),
        (["seed=1"], "--run-code in a terminal"),
    ):
        ended = command("show", "results/tiny", *arguments)
        assert ended.status == 2
        assert said in ended.err
    assert command("show", "nowhere", "label=x").status == 2
    assert command("show", "results/tiny", "seed=1", "--run-code").status == 0


def test_dry_run_says_how_much_is_kept(command: Command, write: Callable[..., Path]) -> None:
    """The bytes of the files that the run then writes."""
    said = command("run", write(keep="weights"), "--dry-run").out
    (kilobytes,) = re.findall(r"The weights that are kept take about (\d+) kB\.", said)
    found = cellbench.run(write(keep="weights"), report=False)
    size = sum(path.stat().st_size for path in (found.folder / weights.NAME).rglob("*.npz"))
    assert int(kilobytes) == round(size / 1e3)
    assert "weights" not in command("run", write(name="plain"), "--dry-run").out
