"""Each task says what plain Python says: its integers, `eval`, a stack, a dictionary, loops over one example."""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import cellbench_tasks
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cellbench.conformance import TaskSubject, task_checks
from cellbench.model import Objective
from cellbench.streams import Stream
from cellbench.task import Task
from cellbench.training.drawn import draw

Answers = list[Any]
"""One answer per step; None where nothing is asked."""


def registered() -> dict[str, dict[str, Any]]:
    tasks: dict[str, dict[str, Any]] = {}
    cellbench_tasks.register_tasks(register=lambda **task: tasks.update({task["name"]: task}))
    return tasks


def made(name: str) -> Task:
    module, _, attribute = registered()[name]["factory"].partition(":")
    task: Task = getattr(importlib.import_module(module), attribute)()
    return task


def parity(symbols: list[Any]) -> Answers:
    return [symbols[: i + 1].count(1) % 2 for i in range(len(symbols))]


def walk(symbols: list[Any]) -> Answers:
    return [(symbols[: i + 1].count(1) - symbols[: i + 1].count(2)) % 5 for i in range(len(symbols))]


def expression(symbols: list[Any]) -> Answers:
    text = ["01234+-*"[s] for s in symbols]
    return [eval("".join(text[: i + 1])) % 5 if i % 2 == 0 else None for i in range(len(text))]


def reverse(symbols: list[Any]) -> Answers:
    string = [s for s in symbols if s != 2]
    return [None] * len(string) + list(reversed(string))


def odds_first(symbols: list[Any]) -> Answers:
    string = [s for s in symbols if s != 2]
    return [None] * len(string) + string[::2] + string[1::2]


def sequential_sum(symbols: list[Any]) -> Answers:
    text = "".join("01+="[s] for s in symbols)
    a, b = text[: text.index("=")].split("+")
    places = max(len(a), len(b)) + 1
    total = int(a[::-1], 2) + int(b[::-1], 2)
    answers: Answers = [None] * text.index("=") + [int(bit) for bit in reversed(f"{total:0{places}b}")]
    return answers + [None] * (len(text) - len(answers))


def signed_sum(symbols: list[Any]) -> Answers:
    a, b = (sum(1 << i for i, pair in enumerate(symbols) if pair[which] == 1) for which in (0, 1))
    assert all(number in (-1, 1) for pair in symbols for number in pair)
    return [(a + b) >> i & 1 for i in range(len(symbols))]


def copied(symbols: list[Any]) -> Answers:
    go = symbols.index(9)
    items = [s for s in symbols if s < 8]
    assert symbols == [*items, *[8] * (go - len(items)), 9, *[8] * len(items)]
    return [8] * (len(symbols) - len(items)) + items


def marked_sum(symbols: list[Any]) -> Answers:
    marked = [number for number, mark in symbols if mark]
    assert len(marked) == 2
    assert {mark for _, mark in symbols} <= {0, 1}
    return [None] * (len(symbols) - 1) + [0.5 + sum(marked) / 4]


def brackets(symbols: list[Any]) -> Answers:
    answers: Answers = []
    stack: list[int] = []
    for s in symbols:
        if s < 2:
            stack.append(s)
        else:
            assert stack.pop() == s - 2
        answers.append(stack[-1] if stack else 2)
    assert not stack
    return answers


def recalled(symbols: list[Any]) -> Answers:
    first = next(i for i in range(0, len(symbols), 2) if i + 1 == len(symbols) or not 16 <= symbols[i + 1] < 32)
    known = dict(zip(symbols[:first:2], symbols[1:first:2], strict=True))
    later = symbols[first:]
    assert sorted(s for s in later if s != 32) == sorted(known)
    assert len(set(known.values())) == len(known)
    return [None] * first + [known[s] - 16 if s != 32 else None for s in later]


def flip_flop(symbols: list[Any]) -> Answers:
    answers: Answers = []
    memory = None
    for instruction, bit in zip(symbols[::2], symbols[1::2], strict=True):
        memory = bit if instruction == 2 else memory
        answers += [memory if instruction == 3 else None, None]
        assert instruction != 3 or bit == memory
    assert symbols[0] == 2
    assert symbols[-2] == 3
    return answers


CASES: dict[str, tuple[Callable[[list[Any]], Answers], list[dict[str, Any]]]] = {
    "parity_check": (parity, [{"length": 1}, {"length": 9}]),
    "cycle_navigation": (walk, [{"length": 1}, {"length": 9}]),
    "modular_arithmetic": (expression, [{"numbers": 1}, {"numbers": 2}, {"numbers": 7}]),
    "reverse_string": (reverse, [{"length": 1}, {"length": 6}]),
    "odds_first": (odds_first, [{"length": 1}, {"length": 6}, {"length": 7}]),
    "binary_addition_sequential": (sequential_sum, [{"length": 3}, {"length": 8}, {"length": 80}]),
    "binary_addition_signed": (signed_sum, [{"bits": 2}, {"bits": 9}]),
    "copying_memory": (copied, [{"items": 1, "delay": 1}, {"items": 4, "delay": 7}]),
    "adding_problem": (marked_sum, [{"length": 2}, {"length": 7}]),
    "dyck2": (brackets, [{"pairs": 1}, {"pairs": 2}, {"pairs": 20}]),
    "associative_recall": (
        recalled,
        [{"pairs": 1, "spread": 1}, {"pairs": 3, "spread": 4}, {"pairs": 16, "spread": 1}],
    ),
    "flip_flop": (flip_flop, [{"instructions": 2, "ignore": 0.8}, {"instructions": 30, "ignore": 0.5}]),
}
POINTS = [(name, at) for name, (_, points) in CASES.items() for at in points]


def drawn(name: str, parameters: dict[str, Any], examples: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Draw inputs, targets and mask, each step of bits and numbers with its one number as that number."""
    inputs, targets, *mask = made(name).batch(Stream("test", name, count=examples), examples, parameters)
    targets = targets.reshape(inputs.shape[:2])
    return inputs, targets, np.asarray(mask[0]) if mask else np.ones(targets.shape, np.uint8)


def test_every_task_has_a_case() -> None:
    """And every case a task."""
    assert list(CASES) == list(registered())


@pytest.mark.parametrize(("name", "parameters"), POINTS)
def test_answers(name: str, parameters: dict[str, Any]) -> None:
    """Of the inputs alone, plain Python finds every answer, and where one is asked for."""
    inputs, targets, mask = drawn(name, parameters, 200)
    tokens = made(name).tokens
    assert (inputs.ndim == 2) == tokens
    if tokens:
        assert 0 <= inputs.min() <= inputs.max() < made(name).input_size
    for i in range(200):
        answers = CASES[name][0](inputs[:, i].tolist())
        assert [a is not None for a in answers] == mask[:, i].tolist()
        asked = [i for i, a in enumerate(answers) if a is not None]
        assert targets[asked, i].tolist() == pytest.approx([answers[a] for a in asked], abs=1e-6)


def outputs(answers: Answers, task: Task) -> NDArray[Any]:
    """Write answers as the raw outputs that a perfect model would give; where nothing is asked, as nonsense."""
    asked = [a if a is not None else 0 for a in answers]
    if task.kind == "classes":
        return np.where(np.eye(task.output_size)[asked] > 0, 5.0, -5.0)
    return np.array(asked, float)[:, None] if task.kind == "numbers" else 10.0 * np.array(asked, float)[:, None] - 5


@pytest.mark.parametrize("name", CASES)
def test_the_exact_solver_scores_everything(name: str) -> None:
    """Plain Python's answers, through the harness's own drawing and scoring, are all right; one wrong one is not."""
    task, solve = made(name), CASES[name][0]
    parameters = CASES[name][1][-1]
    examples = 50
    drawn = draw(task, name, Stream("final", count=examples), examples, parameters)
    inputs = task.batch(Stream("final", count=examples), examples, parameters)[0]
    answers = [solve(inputs[:, i].tolist()) for i in range(examples)]
    logits = np.stack([outputs(each, task) for each in answers], axis=1)
    objective = Objective(task.kind, task.tolerance)

    def scores() -> tuple[float, float]:
        mask = None if drawn.mask is None else torch.from_numpy(drawn.mask)[None]
        targets = torch.from_numpy(np.asarray(drawn.targets, float if task.kind != "classes" else np.int64))
        _, right, whole = objective.scores(torch.from_numpy(logits)[None], targets[None], mask)
        return float(right[0]), float(whole[0])

    assert scores() == (1.0, 1.0)
    first = next(t for t, a in enumerate(answers[0]) if a is not None)
    logits[first, 0] = -logits[first, 0] if task.kind != "numbers" else 9.0
    asked = sum(a is not None for each in answers for a in each)
    assert scores() == (pytest.approx(1 - 1 / asked), pytest.approx(1 - 1 / examples))


@pytest.mark.parametrize("name", CASES)
def test_laws(name: str) -> None:
    """Every law that a run asks before it trains holds, at the parameters of the cases."""
    subject = TaskSubject(name, tuple(CASES[name][1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskSubject, "task", lambda self: made(self.name))  # installed or not
        assert [law.name for law in task_checks if law.quick and not law(subject).ok] == []


@pytest.mark.parametrize(("name", "parameters"), POINTS)
def test_rows(name: str, parameters: dict[str, Any]) -> None:
    """Row i is the same however many are drawn, and from wherever drawing begins."""
    task = made(name)
    whole = task.batch(Stream("rows", count=20), 20, parameters)
    part = task.batch(Stream("rows", start=7, count=5), 5, parameters)
    for all_, some in zip(whole, part, strict=True):
        assert np.array_equal(all_[:, 7:12], some)


def seen(name: str, parameters: dict[str, Any], window: int, examples: int = 60_000) -> float:
    """Learn the best answer to what the last steps show, and which they are, from one half; its share in the other."""
    inputs, targets, mask = drawn(name, parameters, examples)
    half = examples // 2
    votes: dict[Any, Counter[Any]] = defaultdict(Counter)
    right = asked = 0
    for t in range(len(inputs)):
        shown = inputs[max(0, t - window + 1) : t + 1]
        for example in range(examples):
            if mask[t, example]:
                what = (t, shown[:, example].tobytes())
                if example < half:
                    votes[what][targets[t, example]] += 1
                else:
                    asked += 1
                    if votes[what]:
                        right += votes[what].most_common(1)[0][0] == targets[t, example]
    return right / asked


REFERENCES = [
    # the name of a reference, and how many steps it sees
    ("parity_check", {"length": 8}, "sees this bit only", 1),
    ("parity_check", {"length": 8}, "sees the last 4", 4),
    ("cycle_navigation", {"length": 8}, "sees this move only", 1),
    ("cycle_navigation", {"length": 8}, "sees the last 4", 4),
    ("modular_arithmetic", {"numbers": 5}, "sees the last operator and number", 2),
    ("reverse_string", {"length": 4}, "sees the last 4", 4),
    ("odds_first", {"length": 5}, "sees the last 5", 5),
    ("binary_addition_sequential", {"length": 7}, "always 0", 1),
    ("copying_memory", {"items": 3, "delay": 4}, "remembers no symbol", 1),
    ("associative_recall", {"pairs": 2, "spread": 2}, "chance", 1),
    ("flip_flop", {"instructions": 6, "ignore": 0.6}, "sees the last 1", 3),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters", "reference", "window"), REFERENCES)
def test_references(name: str, parameters: dict[str, Any], reference: str, window: int) -> None:
    """A table of what the last steps showed and what was right then is as good as the reference says, and no better."""
    expected = made(name).reference_accuracies(parameters)[reference]
    assert seen(name, parameters, window) == pytest.approx(expected, abs=0.01)


def test_references_of_dyck() -> None:
    """The best predictor that sees one symbol, without its number, counted over all well-nested strings."""
    for pairs in (1, 2, 3, 4):
        votes: dict[int, Counter[int]] = defaultdict(Counter)
        inputs, targets, _ = drawn("dyck2", {"pairs": pairs}, 50_000)
        for symbol, answer in zip(inputs.ravel().tolist(), targets.ravel().tolist(), strict=True):
            votes[symbol][answer] += 1
        best = sum(answers.most_common(1)[0][1] for answers in votes.values()) / inputs.size
        assert best == pytest.approx(
            made("dyck2").reference_accuracies({"pairs": pairs})["sees this symbol only"], abs=0.01
        )


def test_dyck_is_uniform() -> None:
    """Every string of 3 pairs comes as often as every other: 5 shapes, 8 choices of kinds."""
    inputs, _, _ = drawn("dyck2", {"pairs": 3}, 40_000)
    counts = Counter(tuple(string) for string in inputs.T.tolist())
    assert len(counts) == 40
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 80  # chi-square of 39: 80 in 1 of 10,000


def test_references_of_adding() -> None:
    """Shares of drawn answers within the tolerance of 0.5, and of a guess that knows the last number if marked."""
    inputs, targets, _ = drawn("adding_problem", {"length": 6}, 200_000)
    references = made("adding_problem").reference_accuracies({"length": 6})
    answer, (number, mark) = targets[-1], inputs[-1].T
    assert np.mean(abs(answer - 0.5) <= 0.04) == pytest.approx(references["always 0.5"], abs=0.005)
    guess = 0.5 + np.where(mark == 1, number / 4, 0)
    assert np.mean(abs(answer - guess) <= 0.04) == pytest.approx(references["sees the last step only"], abs=0.005)


def test_queries_come_soon() -> None:
    """Places of queries follow numpy's own draws without replacement, as the original's do."""
    _, _, mask = drawn("associative_recall", {"pairs": 2, "spread": 4}, 20_000)
    p = np.arange(1, 9) ** (0.01 - 1)
    generator = np.random.default_rng(0)
    expected = np.zeros(8)
    for _ in range(20_000):
        expected[generator.choice(8, size=2, replace=False, p=p / p.sum())] += 1
    assert mask[4:].mean(axis=1) == pytest.approx(expected / 20_000, abs=0.015)


def test_sums_of_every_kind() -> None:
    """Sequential addition draws zero, leading zeros, every division of its symbols, and every pair of numbers."""
    inputs, _, _ = drawn("binary_addition_sequential", {"length": 4}, 4_000)
    texts = Counter("".join("01+="[s] for s in string[:4]) for string in inputs.T.tolist())
    assert len(texts) == 16
    assert "0+00" in texts
    assert min(texts.values()) > 180
