"""What a task drew: taken as it is declared, or refused with what was found and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cellbench.errors import TaskError
from cellbench.streams import Stream
from cellbench.task import Task
from cellbench.training.drawn import draw
from tests.helpers.kinds import TASKS, Echo, Last, Mean, Parity

TIME, EXAMPLES = 4, 3


def of(task: Task, *arrays: Any) -> Any:
    """Draw from a task of this class whose batch returns these arrays."""
    made = type("Made", (type(task),), {"batch": lambda self, *_: arrays if len(arrays) != 1 else arrays[0]})()
    return draw(made, "made", Stream("t", count=EXAMPLES), EXAMPLES, {"length": TIME})


TOKENS = np.arange(12).reshape(TIME, EXAMPLES) % 5
ONES = np.ones((TIME, EXAMPLES), np.int64)
BITS = np.ones((TIME, EXAMPLES, 1), np.float32)
NUMBERS = np.full((TIME, EXAMPLES, 2), 0.5, np.float32)


def test_tokens_become_one_hot() -> None:
    """Inputs of tokens are float32 vectors with a single 1, classes are int64."""
    inputs, targets, mask = of(Echo(), TOKENS.astype(np.int8), TOKENS.astype(np.uint16))
    assert inputs.dtype == np.float32
    assert targets.dtype == np.int64
    assert inputs.shape == (TIME, EXAMPLES, 5)
    assert np.array_equal(inputs.argmax(axis=2), TOKENS)
    assert set(inputs.sum(axis=2).flat) == {1.0}
    assert mask is None


@pytest.mark.parametrize("name", TASKS)
def test_sound_tasks_are_taken(name: str) -> None:
    """What sound tasks of every kind draw passes, and keeps its numbers."""
    task = TASKS[name]
    drawn = draw(task, name, Stream("t", count=9), 9, {"length": 5})
    given = task.batch(Stream("t", count=9), 9, {"length": 5})
    assert np.array_equal(drawn.targets, given[1].astype(drawn.targets.dtype))
    assert (drawn.mask is None) == (len(given) == 2)


@pytest.mark.parametrize(
    ("task", "arrays", "says"),
    [
        (
            Parity(),
            (BITS, 7 * BITS),
            r'targets: 7, expected bits, 0 or 1\. For class numbers declare `kind = "classes"`',
        ),
        (Parity(), (BITS, BITS[:, :, 0]), r"targets: shape \(4, 3\), expected \(4, 3, 1\)"),
        (Parity(), (BITS,), r"it returned a ndarray, expected \(inputs, targets\)"),
        (Parity(), (BITS, BITS, ONES, ONES), "it returned a tuple of 4"),
        (Parity(), (BITS.tolist(), BITS), "inputs: list, expected an array of numpy"),
        (Parity(), (BITS * np.nan, BITS), "inputs: a number that is not finite"),
        (Parity(), (BITS[:, :2], BITS), r"inputs: shape \(4, 2, 1\), expected \(time, 3, 1\)"),
        (Parity(), (BITS[:0], BITS[:0]), "inputs: no step at all"),
        (Parity(), (ONES, BITS), "If they are tokens, declare `tokens = True`"),
        (Parity(), (BITS.astype(str), BITS), "inputs: <U32, expected float32"),
        (Echo(), (TOKENS, TOKENS + 1), r"targets: 5, expected classes from 0 to 4 \(output_size is 5\)"),
        (Echo(), (TOKENS - 1, TOKENS), r"inputs: -1, expected tokens from 0 to 4 \(input_size is 5\)"),
        (Echo(), (TOKENS, TOKENS.astype(np.float32)), "targets: float32, expected whole numbers"),
        (Echo(), (TOKENS.astype(np.float32), TOKENS), "inputs: float32, expected whole numbers"),
        (Last(), (TOKENS, TOKENS, 2 * ONES), "the mask: 2, expected 0 or 1"),
        (Last(), (TOKENS, TOKENS, ONES[:2]), r"the mask: shape \(2, 3\), expected \(4, 3\)"),
        (Last(), (TOKENS, TOKENS, ONES * np.array([1, 0, 1])), "the mask: example 1 has no step that counts"),
        (Mean(), (NUMBERS, NUMBERS * np.inf), "targets: a number that is not finite"),
    ],
)
def test_what_is_not_declared_is_refused(task: Task, arrays: Any, says: str) -> None:
    """Each fault names the task, its file, the parameters, what was found and what was expected."""
    with pytest.raises(TaskError, match=says) as raised:
        of(task, *arrays)
    assert str(raised.value).startswith("task made (")
    assert "batch at length=4:" in str(raised.value)
