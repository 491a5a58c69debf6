"""Where cells are trained: a card that is asked for, one that is not there, and both ways timed.

No card is here: `cpu:0`, the CPU by another name, goes the way of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cellbench.engines import OPTIMIZERS, Choice, choose, footprint
from cellbench.errors import CellError
from cellbench.experiment import Experiment, load
from cellbench.model import blueprint_of
from cellbench.planning import devices, lay_out, prepare
from cellbench.planning.chunks import chunks
from cellbench.plugins import registry
from cellbench.records import Chunk
from cellbench.terminal.progress import introduction
from cellbench.training.worker import work
from tests.helpers.commands import TINY, Command

CARD = "cpu:0"
WIDE: dict[str, Any] = {**TINY, "cells": ["rnn"], "engine": "auto", "seeds": 50, "learning_rate": [0.05, 0.01]}

NO_CARD = pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a card here")


def loaded(keys: dict[str, Any]) -> Experiment:
    return load(keys, registry())


def chunk_of(experiment: Experiment, choice: Choice) -> Chunk:
    return chunks(experiment, lay_out(experiment), {"rnn": choice}, frozenset())[0]


def choosing(experiment: Experiment, asked: list[tuple[str, str]]) -> Callable[[str, str], Choice]:
    """What a plan chooses by: engines that are made ready, each call noted."""

    def choose_on(wanted: str, where: str) -> Choice:
        asked.append((wanted, where))
        plan = blueprint_of(experiment.cells[0], 3, experiment.task)
        return choose(wanted, [plan], OPTIMIZERS["adam"], 1.0, device=where)

    return choose_on


@NO_CARD
def test_a_card_that_is_not_there_ends_the_run(write: Callable[..., Path], command: Command) -> None:
    """Exit 2 before anything is trained: file, line and key, what torch says, what to do."""
    file = write(device="cuda")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("device:"))
    for words in (["run", file], ["run", file, "--dry-run"]):
        ended = command(*words)
        assert ended.status == 2
        assert f"{file}:{line}" in ended.err
        assert f"device: cuda is asked for, but torch {torch.__version__}" in ended.err
        assert "leave `device` out to train on the CPU" in ended.err
        assert "Traceback" not in ended.err
        assert not Path("results").exists()
    ended = command("run", write(), "--set", "device=cuda")
    assert ended.status == 2
    assert "--set device=cuda" in ended.err


def test_lanes_and_a_card(write: Callable[..., Path], command: Command) -> None:
    """A fault with the line of the engine; a device that there is none of is one too."""
    file = write(device="cuda", engine="lanes")
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("engine:"))
    ended = command("run", file)
    assert ended.status == 2
    assert f"{file}:{line}" in ended.err
    assert "engine: lanes computes on the CPU alone" in ended.err
    ended = command("run", write(device="gpu"))
    assert ended.status == 2
    assert "device: is 'gpu': expected cpu, cuda or mps" in ended.err


def test_mps_trains_on_the_cpu(write: Callable[..., Path], command: Command) -> None:
    """It says so, and gives the same replicas, by key and number: no key has a device."""
    ended = command("run", write(device="mps"), "--workers", 1)
    assert ended.status == 0, ended.err
    assert "device: mps trains on the CPU" in ended.err
    ended = command("run", write(), "--workers", 1)
    assert ended.status == 0
    assert "up to date" in ended.err


def test_both_ways_are_timed_and_the_reason_says_how_fast() -> None:
    """The faster one trains; each way was tried at its own width, with real training."""
    experiment = loaded(WIDE)
    asked: list[tuple[str, str]] = []
    widths: list[tuple[str, str, int]] = []

    def chunk(choice: Choice) -> Chunk:
        found = chunk_of(experiment, choice)
        widths.append((choice.engine, choice.device, len(found.replicas)))
        return found

    choice = devices.choose_on(CARD, "auto", choosing(experiment, asked), chunk)
    assert asked == [("auto", CARD), ("auto", "cpu")]
    assert widths[0] == ("stack", CARD, 100)
    assert widths[1][1] == "cpu"
    first, second = choice.reason.split("; ")[-2:]
    assert first.startswith("stack on the card trains ")
    assert second.startswith(f"{widths[1][0]} on ")
    rates = [int(said.split(" trains ")[1].split(" ")[0].replace(",", "")) for said in (first, second)]
    assert all(rate > 0 for rate in rates)
    assert choice.device == (CARD if rates[0] >= rates[1] else "cpu")


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [
        ("cpu", "auto", [("auto", "cpu")]),
        (CARD, "stack", [("stack", CARD)]),
        (CARD, "reference", [("reference", CARD)]),
        (CARD, "lanes", [("lanes", "cpu")]),  # a cell whose stored results come from it goes on with it
    ],
)
def test_what_is_asked_for_by_name_is_not_timed(device: str, wanted: str, expected: Sequence[tuple[str, str]]) -> None:
    """An engine by its name, and the CPU, leave nothing to choose."""
    asked: list[tuple[str, str]] = []

    def never(choice: Choice) -> Chunk:
        raise AssertionError(choice)

    choice = devices.choose_on(device, wanted, choosing(loaded(WIDE), asked), never)
    assert asked == expected
    assert choice.device == expected[0][1]


def test_a_way_that_fails_is_not_taken() -> None:
    """A card on which a trial fails leaves the CPU, and the reason says so."""
    experiment = loaded(WIDE)

    def chunk(choice: Choice) -> Chunk:
        found = chunk_of(experiment, choice)
        # a worker on which the engine refuses
        return replace(found, engine="lanes") if choice.device == CARD else found

    choice = devices.choose_on(CARD, "auto", choosing(experiment, []), chunk)
    assert choice.device == "cpu"
    assert (
        "stack on the card failed (the engine lanes refuses the cell on this worker: it computes on the CPU alone)"
        in choice.reason
    )


def test_a_cell_that_computes_on_the_cpu_is_trained_there() -> None:
    """With a true reason, which has the cell's own line."""
    Path("mine.py").write_text(ON_THE_CPU)
    experiment = loaded({**WIDE, "cells": [{"name": "mine", "factory": "./mine.py:Mine"}]})
    choice = devices.choose_on(CARD, "auto", choosing(experiment, []), lambda choice: chunk_of(experiment, choice))
    assert choice.device == "cpu"
    assert choice.reason.startswith("not on the card: mine.py:Mine: no engine can carry it: not stack: a tensor on the")
    line = next(n for n, text in enumerate(ON_THE_CPU.splitlines(), 1) if "tanh" in text)
    assert re.search(rf"meets one on the card \(<mine.py \w+>:{line}: h = torch.tanh\(", choice.reason)


def test_no_engine_at_all() -> None:
    """Then a run ends with the reasons, as on the CPU."""

    def none(wanted: str, where: str) -> Choice:
        raise CellError(f"no engine can carry it on {where}")

    with pytest.raises(CellError, match=r"on cpu$"):
        devices.choose_on(CARD, "auto", none, lambda choice: chunk_of(loaded(WIDE), choice))


def test_chunks_on_a_card_are_as_wide_as_its_memory() -> None:
    """Hundreds of small replicas in one stack; fewer where each takes more; every replica in one chunk."""
    experiment = loaded({**WIDE, "seeds": 600, "grid": {"bits": [4, 200], "batch_size": [4, 64], "hidden_size": 32}})
    found = chunks(experiment, lay_out(experiment), {"rnn": Choice("stack", "", CARD)}, frozenset())
    widest: dict[tuple[Any, int], int] = {}
    for chunk in found:
        at = chunk.point.parameters[0][1], chunk.point.batch_size
        widest[at] = max(widest.get(at, 0), len(chunk.replicas))
        assert chunk.device == CARD
    assert widest[4, 4] == footprint.MOST
    assert 1 <= widest[200, 64] < widest[200, 4] < widest[4, 4]
    assert sum(len(chunk.replicas) for chunk in found) == 4 * 1200


def test_a_chunk_on_a_card_has_the_outcomes_of_the_cpu() -> None:
    """Losses to rounding, and the device with each outcome, which a replica of the CPU does not have in its row."""
    experiment = loaded({**WIDE, "seeds": 4})
    here, there = (work(chunk_of(experiment, Choice("stack", "", device))) for device in ("cpu", CARD))
    assert {outcome.device for outcome in here} == {"cpu"}
    assert {outcome.device for outcome in there} == {CARD}
    assert [outcome.key for outcome in here] == [outcome.key for outcome in there]
    for one, other in zip(here, there, strict=True):
        assert other.traceback == ""
        assert [p.loss for p in one.curve] == pytest.approx([p.loss for p in other.curve], abs=1e-5)


def test_what_is_about_to_be_trained_names_the_card() -> None:
    """Beside the engine, before training; without a card nothing is said of the device."""
    experiment = loaded({**WIDE, "engine": "stack"})
    planned = prepare(experiment, Path("out"))
    assert "Engines: rnn by stack" in introduction(planned)
    on_card = replace(planned, engines={"rnn": Choice("stack", "stack on the card trains 1 step per second", "cuda")})
    assert "Engines: rnn by stack on cuda" in introduction(on_card)
    assert "  rnn by stack on cuda: stack on the card trains 1 step per second" in introduction(on_card)


ON_THE_CPU = """import numpy as np
import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        shift = torch.from_numpy(np.ones(self.hidden_size, np.float32))
        h = torch.tanh(self.linear(torch.cat([x, state], dim=1)) + shift)
        return h, h
"""


SHORT_OF_MEMORY = """import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        if x.shape[0] == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        h = torch.tanh(self.linear(torch.cat([x, state], dim=1)))
        return h, h
"""


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("OutOfMemoryError", "not enough memory to train one replica of mine"),
        ("AcceleratorError", "the card failed, and the next run tries again: "),
    ],
)
def test_what_a_card_cannot_do_is_the_machines_fault(
    raised: str, said: str, write: Callable[..., Path], command: Command
) -> None:
    """A plain word, and the next run tries it again; no cell is blamed."""
    Path("mine.py").write_text(SHORT_OF_MEMORY.replace("OutOfMemoryError", raised))
    file = write(
        cells=[{"name": "mine", "factory": "./mine.py:Mine"}], grid={"bits": 4, "batch_size": 7, "hidden_size": 3}
    )
    ended = command("run", file, "--workers", 1, "--trust")
    assert ended.status == 1
    failures = Path("results/tiny/failures.txt").read_text()
    assert said in failures
    assert "CUDA out of memory" in failures
