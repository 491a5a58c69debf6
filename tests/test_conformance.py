"""Each check passes on sound cells, and fails on a cell made to fail it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellbench import Cell, CellbenchError, State
from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.conformance import LAWS, OBSERVATIONS, Check, Result, Subject, checks, observations
from cellbench.conformance.report import Findings, check_cell, line, report, subject_of
from tests.helpers import awkward


class Sound(Cell):
    """h' = tanh(W x + U h + b): what the broken cells below are made from."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.linear = nn.Linear(input_size + hidden_size, hidden_size)

    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.linear(torch.cat([x, state], dim=1)))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state)
        return h, h


class NoInitialState(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.module = nn.RNNCell(input_size, hidden_size)


class Raises(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise RuntimeError("not today")


class ReturnsOneTensor(Sound):
    def forward(self, x: Tensor, state: State) -> Any:
        return self.next(x, state)


class ClaimsAnotherOutput(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.output_size = hidden_size - 1

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state)
        return torch.cat([h[:, :-1], h[:, :1]], dim=1), h


class HalfPrecisionState(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.float())
        return h, h.to(torch.float16)


class StateHasNoBatch(Sound):
    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.expand(len(x), self.hidden_size))
        return h, h[0]


class ChangesNesting(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state[0] if isinstance(state, tuple) else state)
        return h, (h,)


class Grows(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state[:, : self.hidden_size])
        return h, torch.cat([h, state], dim=1)


class RemembersByItself(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.last = torch.zeros(1, hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state + 0.1 * self.last.mean())
        self.last = h.detach()
        return h, h


class MixesSequences(Sound):
    """Keeps a memory of its own, emptied at a state of zeros: only sequences taken in turns show it."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if not bool(state.any()):
            self.own = state
        self.own = self.next(x, self.own)
        return self.own, self.own.detach() + 1e-3


class DropsUnits(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return nn.functional.dropout(super().next(x, state), 0.5)


class WritesIntoItsState(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.clone())
        state.mul_(0.5)
        return h, h


class CountsItsCalls(Sound):
    calls: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        self.calls += 1
        return super().forward(x, state)


class SubtractsTheBatchMean(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, state - 1e-4 * state.mean(dim=0))


class KnowsTheBatchSize(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x / len(x), state)


class HasAnUnusedWeight(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.spare = nn.Parameter(torch.ones(3))


class HasADeadWeight(HasAnUnusedWeight):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, state) + 0 * self.spare.sum()


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1.01 * gradients[0]


class HasAWrongGradient(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        doubled: Tensor = _Doubled.apply(super().next(x, state))  # type: ignore[no-untyped-call]
        return doubled


class IsFloat32Only(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        weight = self.linear.weight.float()
        return torch.tanh(torch.cat([x, state], dim=1).to(torch.float32) @ weight.T + self.linear.bias.float())


class Explodes(Sound):
    def next(self, x: Tensor, state: Tensor) -> Tensor:
        return super().next(x, state) + 1.1 * state + 0.01


class DrawsByItself(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        noise = np.random.default_rng(int.from_bytes(os.urandom(4), "little")).normal(size=hidden_size)
        self.linear.bias.data += torch.from_numpy(noise).float()


class CannotBePickled(Sound):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.squash = lambda x: torch.tanh(x)


class SharesWeightsWithItsCopies(Sound):
    def __deepcopy__(self, memo: dict[int, Any]) -> SharesWeightsWithItsCopies:
        return self


class ForgetsItsInitialState(Sound):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.next(x, state.detach())
        return h, h


class StartsByBatchSize(Sound):
    def initial_state(self, batch_size: int) -> State:
        return torch.full((batch_size, self.hidden_size), 1.0 / batch_size)


BROKEN: list[tuple[str, type[nn.Module], str]] = [
    ("is-made", NoInitialState, r"has no initial_state\(batch_size\)"),
    ("is-made", Raises, "raised RuntimeError: not today"),
    ("is-made", ReturnsOneTensor, r"forward returned Tensor, not \(output, state\)"),
    ("shapes", ClaimsAnotherOutput, r"the output has shape \(1, 8\), not \(1, 7\)"),
    ("shapes", HalfPrecisionState, "holds torch.float16"),
    ("shapes", StateHasNoBatch, r"initial_state\(1\) holds a tensor of shape \(8,\)"),
    ("state-keeps-its-shape", ChangesNesting, "step 1 at batch 1 turns a state nested"),
    ("state-keeps-its-shape", Grows, r"turns a state of shape \(1, 8\) into \(1, 16\)"),
    ("remembers-only-in-the-state", RemembersByItself, "twice, gives two answers"),
    ("remembers-only-in-the-state", DropsUnits, "twice, gives two answers"),
    ("remembers-only-in-the-state", MixesSequences, "taken in turns give other answers"),
    ("changes-nothing-in-place", WritesIntoItsState, "changes the state in place"),
    ("changes-nothing-in-place", CountsItsCalls, "changes the cell in place"),
    ("examples-are-independent", SubtractsTheBatchMean, "changes when the other examples do"),
    ("batch-size-does-not-matter", KnowsTheBatchSize, "in a batch of 7 differ by up to"),
    ("gradients-reach-every-parameter", HasAnUnusedWeight, "no gradient reaches spare"),
    ("gradients-reach-every-parameter", HasADeadWeight, "the gradient is 0 at spare"),
    ("gradients-agree-with-differences", HasAWrongGradient, "the gradient is .*, and off by"),
    ("finite-after-1000-steps", Explodes, r"is not finite by step \d+"),
    ("weights-follow-the-stream", DrawsByItself, "linear.bias differs between two cells made from one stream"),
    ("pickles-and-copies", SharesWeightsWithItsCopies, "a deep copy of the cell shares its weights"),
    ("initial-state-can-be-learnt", ForgetsItsInitialState, "no gradient reaches the initial state"),
    ("initial-state-can-be-learnt", StartsByBatchSize, r"initial_state\(3\) is not initial_state\(1\) three times"),
    ("engines", ReturnsOneTensor, "not even the reference engine carries it: raised"),
    ("sizes", Raises, "not today"),
    ("initialisation", NoInitialState, "has no initial_state"),
    ("learns-addition", ReturnsOneTensor, "not even the reference engine carries it"),
]
BY_NAME: dict[str, Check] = {check.name: check for check in checks}


def readme_table() -> ModuleType:
    """plugins/readme_table.py, which belongs to no package."""
    path = Path(__file__).parents[1] / "plugins" / "readme_table.py"
    spec = importlib.util.spec_from_file_location("readme_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = readme_table()


@pytest.mark.parametrize(("name", "cell", "says"), BROKEN, ids=[f"{n}-{c.__name__}" for n, c, _ in BROKEN])
def test_fails_on_a_cell_made_to_fail_it(name: str, cell: type[nn.Module], says: str) -> None:
    result = BY_NAME[name](Subject(cell))
    assert result.status == "fail"
    assert not result.ok
    assert re.search(says, result.message), result.message
    assert "\n" not in result.message


def test_every_check_is_shown_to_fail() -> None:
    assert {name for name, _, _ in BROKEN} == set(BY_NAME)
    assert len(BY_NAME) == len(checks) == len(LAWS) + len(OBSERVATIONS)


@pytest.mark.parametrize("check", LAWS, ids=str)
@pytest.mark.parametrize("factory", [rnn, lstm, gru, Sound], ids=lambda f: f.__name__)
def test_sound_cells_keep_the_laws(factory: Any, check: Check) -> None:
    result = check(Subject(factory))
    assert result.status == "pass", result.message


def test_a_cell_that_cannot_be_copied_is_sound() -> None:
    """Nothing of cellbench copies or pickles a cell: one that cannot be skips that law, and says why."""
    result = BY_NAME["pickles-and-copies"](Subject(CannotBePickled))
    assert (result.status, result.ok) == ("skip", True)
    assert "a pickle cannot be made, and nothing here needs one" in result.message
    for factory in awkward.UNCOPIED:
        for check in LAWS:
            found = check(Subject(factory))
            assert found.ok, (factory, check, found.message)


@pytest.mark.parametrize("factory", [awkward.Normed, awkward.spectral, awkward.Centred, awkward.Dropped])
def test_training_and_evaluation_may_differ(factory: Any) -> None:
    """Dropout and running statistics break no law: what a cell gives is checked as it is evaluated."""
    for check in LAWS:
        result = check(Subject(factory))
        assert result.ok, (check, result.message)


def test_a_cell_of_float32_alone_skips_the_differences() -> None:
    result = BY_NAME["gradients-agree-with-differences"](Subject(IsFloat32Only))
    assert (result.status, result.ok) == ("skip", True)
    assert "float32" in result.message


def test_options_reach_the_factory() -> None:
    result = BY_NAME["initialisation"](Subject(lstm, {"forget_bias": 5.0}))
    assert result.data["bias_mean"]["module.bias_ih"][1] == 5.0


def test_spectral_radius_of_a_rotation_scaled() -> None:
    assert observations.spectral_radius(torch.tensor([[0.0, -0.5], [0.5, 0.0]])) == pytest.approx(0.5)


def test_the_step_s_jacobian_is_that_of_its_equations() -> None:
    cell = Subject(Sound).cell()
    found = observations.step_jacobian(cell, 2)
    weights = cell.state_dict()
    bias, recurrent = weights["linear.bias"], weights["linear.weight"][:, 2:]
    torch.testing.assert_close(found, (1 - torch.tanh(bias) ** 2)[:, None] * recurrent)


def test_sizes_stand_beside_lstm() -> None:
    result = BY_NAME["sizes"](Subject(rnn))
    hidden, inputs = observations.HIDDEN, 2
    expected = hidden * (inputs + hidden + 2) + hidden + 1
    assert result.data["cell"]["parameters"] == expected
    assert result.data["lstm"]["state"] == 2 * hidden
    assert f"parameters {expected:,} (lstm " in result.message


def test_engines_names_what_carries_the_cell() -> None:
    class NeedsItsOwnLoop(Sound):
        def next(self, x: Tensor, state: Tensor) -> Tensor:
            return super().next(x, state) * (1.0 if float(x.detach().sum()) > -1e9 else 0.5)

    result = BY_NAME["engines"](Subject(NeedsItsOwnLoop))
    assert result.status == "note"
    assert result.data["engines"] == ["reference"]
    assert "not stack: " in result.message


def test_learning_is_reported_and_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "STEPS", 5)
    result = BY_NAME["learns-addition"](Subject(rnn))
    assert result.status == "note"
    assert "not solved within 5 steps on any of 5 rates" in result.message
    assert set(result.data["steps_to_solved"].values()) == {None}


@pytest.mark.slow
def test_lstm_learns_addition() -> None:
    result = BY_NAME["learns-addition"](Subject(lstm))
    assert "solved within 1,000 steps on" in result.message


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that need no engine: is-made and one more law."""
    monkeypatch.setattr("cellbench.conformance.report.checks", (LAWS[0], BY_NAME["gradients-reach-every-parameter"]))


@pytest.mark.usefixtures("quick")
def test_report_prints_a_line_a_check(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    said: list[str] = []
    assert check_cell(f"{path}:Mine", echo=said.append)
    assert [text.split()[:2] for text in said[:-1]] == [
        ["pass", "is-made"],
        ["pass", "gradients-reach-every-parameter"],
    ]
    assert said[-1] == "Mine: all 2 laws hold"


@pytest.mark.usefixtures("quick")
def test_report_counts_broken_laws_and_gives_json() -> None:
    whole = report(Subject(HasAnUnusedWeight, name="spare"))
    assert not whole.passed
    assert whole.verdict == "spare: 1 of 2 laws broken"
    parsed = json.loads(whole.json())
    assert (parsed["cell"], parsed["passed"]) == ("spare", False)
    assert [c["status"] for c in parsed["checks"]] == ["pass", "fail"]
    assert all(c["law"] and c["shows"] for c in parsed["checks"])


@pytest.mark.usefixtures("quick")
def test_without_a_cell_the_rest_is_skipped() -> None:
    whole = report(Subject(NoInitialState))
    assert [result.status for _, result in whole.found] == ["fail", "skip"]
    assert line(*whole.found[1]).endswith("there is no cell to check")


def test_a_cell_is_found_by_name_or_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert str(subject_of("mine.py:Mine")) == "Mine"
    with pytest.raises(CellbenchError, match=r"no file other\.py"):
        subject_of("other.py:Mine")
    with pytest.raises(CellbenchError, match="no class or function 'Other'"):
        subject_of("./mine.py:Other")
    with pytest.raises(CellbenchError, match="no cell named 'lstn'"):
        subject_of("lstn")


def found_of(**results: Result) -> tuple[tuple[Check, Result], ...]:
    """What a report holds when every law passes, but for these."""
    return tuple((c, results.get(c.name.replace("-", "_"), Result("pass" if c.law else "note"))) for c in checks)


def test_a_row_of_the_table_says_how_soon_it_solved() -> None:
    found = found_of(
        engines=Result("note", "", {"engines": ["stack", "reference"]}),
        sizes=Result("note", "", {"cell": {"parameters": 1234, "state": 16, "multiply_adds": 900}}),
        learns_addition=Result("note", "", {"steps_to_solved": {0.01: 300, 0.1: 90, 0.3: None}}),
    )
    expected = "| mine | 13 of 13 | stack, reference | 1,234 | 16 | 900 | 2 of 5 rates, soonest at step 90 |"
    assert table.row("mine", Findings(Subject(rnn), found)) == expected


def test_a_row_of_the_table_names_broken_laws_and_what_was_not_solved() -> None:
    data = {"steps_to_solved": {0.1: None}, "max_steps": 1000, "best_sequence_accuracy": {0.1: 0.25, 0.3: 0.5}}
    found = found_of(
        shapes=Result("fail", "no"), engines=Result("fail", "no"), learns_addition=Result("note", "", data)
    )
    row = table.row("mine", Findings(Subject(rnn), found))
    assert row.startswith("| mine | 12 of 13, not shapes | none |  |  |  |")
    assert row.endswith("| not within 1,000 steps; sequence accuracy 0.50 |")


def test_the_table_is_written_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(table, "table", lambda distribution: f"table of {distribution}")
    monkeypatch.setattr("sys.argv", ["conformance", "cellbench-mine", "--write", str(path)])
    for _ in range(2):
        table.main()
    assert path.read_text() == f"before\n{table.BEGIN}\ntable of cellbench-mine\n{table.END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(SystemExit, match="has no lines"):
        table.main()


def test_the_table_wants_a_distribution_that_is_installed() -> None:
    with pytest.raises(SystemExit, match="no cells from cellbench-nothing"):
        table.table("cellbench-nothing")


MINE = """
import torch
from cellbench import Cell


class Mine(Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, state):
        h = torch.tanh(self.linear(torch.cat([x, state], dim=1)))
        return h, h
"""
