"""What a cell is written against: the adapters for modules of one step, and for those that take whole sequences."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cellbench
from cellbench import SequenceCell, TorchCell
from cellbench.cell import WholeSequencesAlone
from cellbench.conformance.laws import LAWS
from cellbench.conformance.observations import OBSERVATIONS
from cellbench.conformance.subject import Subject
from cellbench.engines import Refused
from cellbench.errors import CellError
from cellbench.model import Blueprint, measure
from tests.helpers.commands import Command
from tests.helpers.oracle import ENGINES, blueprint, data, plain_loop, started


def test_torch_cell_finds_the_number_of_states() -> None:
    """TorchCell tells h from (h, c), and says what it tried when neither fits."""
    assert TorchCell(nn.GRUCell(2, 3)).states == 1
    assert TorchCell(nn.LSTMCell(2, 3)).states == 2
    linear = nn.Linear(2, 3)
    linear.input_size, linear.hidden_size = 2, 3  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"neither h nor \(h, c\)"):
        TorchCell(linear)


def deep_lstm(input_size: int, hidden_size: int) -> SequenceCell:
    return SequenceCell(nn.LSTM(input_size, hidden_size, num_layers=2))


def gru_batch_first(input_size: int, hidden_size: int) -> SequenceCell:
    return SequenceCell(nn.GRU(input_size, hidden_size, batch_first=True))


def elman(input_size: int, hidden_size: int) -> SequenceCell:
    return SequenceCell(nn.RNN(input_size, hidden_size, nonlinearity="relu", bias=False))


CONVOLUTION = """\
import torch
from torch import nn


class Convolution(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.inner = nn.Conv1d(input_size, hidden_size, 4)

    def forward(self, x):
        return torch.relu(self.inner(nn.functional.pad(x.transpose(1, 2), (3, 0)))).transpose(1, 2)
"""
ADAPTED = """

from cellbench import SequenceCell

def adapted(input_size, hidden_size): return SequenceCell({made}, input_size, batch_first=True)
""".format(made="Convolution(input_size, hidden_size)")
exec(CONVOLUTION, made := {"__name__": __name__})
Convolution: Any = made["Convolution"]


def convolution(input_size: int, hidden_size: int) -> SequenceCell:
    """The four last inputs, without a state that goes from one call to the next."""
    return SequenceCell(Convolution(input_size, hidden_size), input_size, batch_first=True)


class OnSequences(nn.Module):
    """What a user would write: the module and a linear readout, in one call each."""

    def __init__(self, module: nn.Module, readout: nn.Module, batch_first: bool) -> None:
        super().__init__()
        self.module, self.readout, self.batch_first = module, readout, batch_first

    def forward(self, x: Tensor) -> Tensor:
        answer = self.module(x.transpose(0, 1) if self.batch_first else x)
        outputs = answer[0] if isinstance(answer, tuple) else answer
        logits: Tensor = self.readout(outputs.transpose(0, 1) if self.batch_first else outputs)
        return logits


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "factory",
    [convolution, *(pytest.param(f, marks=pytest.mark.slow) for f in (deep_lstm, gru_batch_first, elman))],
)
def test_whole_sequences_are_a_plain_loop(factory: Callable[..., SequenceCell], engine: str) -> None:
    """Losses are those of the module and a readout in a plain loop, to 1e-6; lanes needs a step, and says so."""
    plan, given = blueprint(factory), data(steps=25)
    replicas = started(engine, plan, 2)
    if isinstance(replicas, Refused):
        assert (engine, factory) == ("lanes", convolution), replicas
        assert str(replicas).startswith("its module takes whole sequences alone, and lanes compiles one step")
        return
    assert (engine, factory) != ("lanes", convolution)
    found = replicas.advance(*given, np.zeros(2, np.int64)).losses
    for seed in range(2):
        model = copy.deepcopy(plan.build("oracle", seed))
        oracle = OnSequences(model.cell.module, model.readout, model.cell.batch_first)
        np.testing.assert_allclose(found[seed], plain_loop(oracle, given), atol=1e-6)


@pytest.mark.parametrize("factory", [deep_lstm, gru_batch_first, elman])
def test_a_state_that_is_carried(factory: Callable[..., SequenceCell]) -> None:
    """Single steps, and a sequence in two parts, give the outputs of the whole; the state has the batch first."""
    cell, x = factory(2, 5), torch.randn(9, 4, 2)
    assert cell.carries
    state = cell.initial_state(4)
    whole, last = cell.sequence(x, state)
    assert whole.shape == (9, 4, cell.output_size) == (9, 4, 5)
    for one in (cell, copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        state = one.initial_state(4)
        outputs = []
        for step in x[:4]:
            output, state = one(step, state)
            outputs.append(output)
        rest, after = one.sequence(x[4:], state)
        torch.testing.assert_close(torch.cat([torch.stack(outputs), rest]), whole)
        for a, b in zip(torch.utils._pytree.tree_leaves(after), torch.utils._pytree.tree_leaves(last), strict=True):
            assert a.shape[0] == 4
            torch.testing.assert_close(a, b)


def test_a_state_that_is_not_carried() -> None:
    """There is none, and none can be learnt; a step is refused, laws of steps are not asked; any length goes."""
    cell = convolution(2, 5)
    assert not cell.carries
    assert cell.initial_state(3) == ()
    for time in (1, 40):
        assert cell.sequence(torch.zeros(time, 3, 2), ())[0].shape == (time, 3, 5)
    with pytest.raises(WholeSequencesAlone, match="Convolution takes whole sequences alone"):
        cell(torch.zeros(3, 2), ())
    with pytest.raises(CellError, match="learn_initial_state: its module takes whole sequences and carries no state"):
        blueprint(convolution, learn_initial_state=True).build("p", 0)
    statuses = {check.name: check(Subject(convolution)).status for check in (*LAWS, *OBSERVATIONS)[:-1]}
    assert (statuses["weights-follow-the-stream"], statuses["sizes"]) == ("pass", "note")
    assert "fail" not in statuses.values()


@pytest.mark.parametrize("engine", [pytest.param("lanes", marks=pytest.mark.slow), *ENGINES[1:]])
def test_it_is_a_cell_like_others(engine: str) -> None:
    """Its initial state is learnt, and it is stacked by the harness: losses are those of the same cell of one step."""

    def step_by_step(input_size: int, hidden_size: int) -> TorchCell:
        cell, layer = TorchCell(nn.GRUCell(input_size, hidden_size)), nn.GRU(input_size, hidden_size)
        with torch.no_grad():
            for name, weight in cell.module.named_parameters():
                weight.copy_(getattr(layer, f"{name}_l0"))
        return cell

    def layer(input_size: int, hidden_size: int) -> SequenceCell:
        nn.GRUCell(input_size, hidden_size)  # draws as the other does
        return SequenceCell(nn.GRU(input_size, hidden_size))

    given = data(steps=12)
    one, two = (Blueprint(f, "same", (), 2, 6, 1, layers=2, learn_initial_state=True) for f in (step_by_step, layer))
    losses = [started(engine, plan, 2).advance(*given, np.zeros(2, np.int64)).losses for plan in (one, two)]
    np.testing.assert_allclose(*losses, atol=1e-6)
    sizes = [measure(plan.build("p", 0), 2) for plan in (one, two)]
    assert sizes[0] == sizes[1]


class Peeks(nn.Module):
    """Attention without a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SequenceCell(Convolution(2, 3)), "Convolution does not say its input_size"),
        (
            lambda: SequenceCell(Convolution(2, 3), 2),
            "an example's output depends on other examples. batch_first is False",
        ),
        (lambda: SequenceCell(nn.GRU(2, 3), batch_first=True), "batch_first is True: does it take the time first"),
        (lambda: SequenceCell(nn.LSTM(2, 3, bidirectional=True)), "LSTM: an output depends on later steps"),
        (lambda: SequenceCell(Peeks(), 4), "Peeks: an output depends on later steps"),
        (lambda: SequenceCell(nn.GRU(2, 3), 7), r"GRU does not take inputs of shape \(time, batch, 7\)"),
        (lambda: SequenceCell(nn.Flatten(), 2), "Flatten returns outputs of shape"),
        (lambda: SequenceCell(nn.GRUCell(2, 3)), "GRUCell does not take inputs"),
    ],
)
def test_what_is_no_cell(make: Callable[[], object], said: str) -> None:
    """Modules that see the future, mix examples, or take something else: the message says what was tried."""
    with pytest.raises(TypeError, match=said):
        make()


def test_without_the_adapter(command: Command, write: Callable[..., Path]) -> None:
    """A module alone is refused with what to write; written so, it is trained, and the laws of steps are not asked."""
    Path("mymod.py").write_text(CONVOLUTION)
    path = write(engine="auto")
    ended = command("run", path, "--cell", "./mymod.py:Convolution", "--workers", 1)
    assert ended.status == 2
    said = " ".join(ended.err.split())
    for line in ADAPTED.strip().splitlines():
        assert line in said, ended.err
    assert "then give mymod.py:adapted" in said
    Path("mymod.py").write_text(CONVOLUTION + ADAPTED)
    assert command("run", path, "--cell", "./mymod.py:adapted", "--workers", 1).status == 0
    runs = cellbench.load("results/tiny+adapted").runs
    mine = runs[runs.label == "adapted"]
    assert (set(mine.engine), set(mine.state), set(mine.status)) == ({"stack"}, {0}, {"censored"})


@pytest.mark.parametrize(
    ("factory", "written"),
    [
        (nn.GRUCell, "def adapted(input_size, hidden_size): return TorchCell(GRUCell(input_size, hidden_size))"),
        (nn.GRU, "def adapted(input_size, hidden_size): return SequenceCell(GRU(input_size, hidden_size))"),
        (nn.Bilinear, "Subclass cellbench.Cell, or wrap a module of torch's conventions"),
    ],
)
def test_the_adapter_that_fits_is_named(factory: Any, written: str) -> None:
    """By what the module takes: one step, a sequence, or neither."""
    options = (("out_features", 3),) if factory is nn.Bilinear else ()
    with pytest.raises(CellError) as refused:
        Blueprint(factory, f"mine.py:{factory.__name__}", options, 2, 6, 1).build("p", 0)
    assert written in str(refused.value)
