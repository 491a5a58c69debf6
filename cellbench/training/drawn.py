"""What a task drew, as engines take it: checked, and tokens as one-hot vectors. All batches and sets are drawn here.

A task that breaks its own contract would be trained on something else without a word: class numbers as bits, or
examples of which nothing counts.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import CellbenchError, TaskError
from cellbench.plugins import place_of
from cellbench.streams import Stream
from cellbench.task import Floats, Parameters, Task, answers_per_step, one_hot
from cellbench.wording import described

Mask = NDArray[np.bool_]


class Drawn(NamedTuple):
    """Examples as engines take them.

    Attributes:
        inputs: shape (time, examples, input_size).
        targets: shape (time, examples, output_size), float32; classes: shape (time, examples), int64.
        mask: shape (time, examples): which steps count; None where all do.
    """

    inputs: Floats
    targets: NDArray[Any]
    mask: Mask | None


def draw(
    task: Task, name: str, stream: Stream, examples: int, parameters: Parameters, difficulty: int | None = None
) -> Drawn:
    """Draw examples of a task, and check them.

    Args:
        task, name: the task, and its registered name.
        stream: randomness for exactly these examples.
        examples: how many.
        parameters: the grid parameters.
        difficulty: of all examples, or None for the task's own mixture.

    Raises:
        TaskError: what was drawn is not what the task declares, or its code raised.
    """
    method = "batch" if difficulty is None else "batch_of_difficulty"
    at = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
    where = f"task {name} ({_where(task)}): {method} at {at or 'no parameters'}"
    try:
        if difficulty is None:
            found: Any = task.batch(stream, examples, parameters)
        else:
            found = task.batch_of_difficulty(stream, examples, parameters, difficulty)
    except (CellbenchError, MemoryError):
        raise
    except Exception as error:  # the task's own code: no cell is to blame
        place = place_of(error)
        line = f"\n{place.text()}" if place is not None else ""
        raise TaskError(f"{where} raised {described(error, 400)}{line}") from error
    try:
        return taken(task, found, examples)
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None


def taken(task: Task, found: Any, examples: int) -> Drawn:
    """Take what `batch` or `batch_of_difficulty` returned.

    Args:
        task: what drew it.
        found: what was returned.
        examples: how many were asked for.

    Raises:
        TaskError: it is not what the task declares; the message says what was found and what was expected.
    """
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        got = f"a tuple of {len(found)}" if isinstance(found, tuple) else f"a {type(found).__name__}"
        raise TaskError(f"it returned {got}, expected (inputs, targets) or (inputs, targets, mask)")
    for what, array in zip(("inputs", "targets", "the mask"), found, strict=False):
        if not isinstance(array, np.ndarray):
            raise TaskError(f"{what}: {type(array).__name__}, expected an array of numpy")
    inputs = _inputs(task, found[0], examples)
    time = len(inputs)
    targets = _targets(task, found[1], time, examples)
    return Drawn(inputs, targets, _mask(found[2], time, examples) if len(found) == 3 else None)


def example_bytes(task: Task, parameters: Parameters) -> int:
    """Compute the bytes of one example: inputs and targets together."""
    target = 8 if task.kind == "classes" else 4 * answers_per_step(task.kind, task.output_size)
    return task.length(parameters) * (4 * task.input_size + target)


def answers_of(task: Task, parameters: Parameters) -> int | None:
    """Count the answers of one example; None if the task has a mask, since it may leave other steps in each example."""
    found = task.batch(Stream("size", count=1), 1, parameters)
    return None if len(found) == 3 else len(found[0]) * answers_per_step(task.kind, task.output_size)


def _inputs(task: Task, given: NDArray[Any], examples: int) -> Floats:
    if task.tokens:
        _whole(given, "inputs", "tokens = True")
        _shape(given, "inputs", (None, examples))
        _range(given, "inputs", task.input_size, "tokens", "input_size")
        return one_hot(given, task.input_size)
    if given.ndim == 2 and given.dtype.kind in "iu":
        raise TaskError(f"inputs: whole numbers of shape {given.shape}. If they are tokens, declare `tokens = True`")
    _shape(given, "inputs", (None, examples, task.input_size))
    return _real(given, "inputs")


def _targets(task: Task, given: NDArray[Any], time: int, examples: int) -> NDArray[Any]:
    if task.kind == "classes":
        _whole(given, "targets", 'kind = "classes"')
        _shape(given, "targets", (time, examples))
        _range(given, "targets", task.output_size, "classes", "output_size")
        return given.astype(np.int64, copy=False)
    _shape(given, "targets", (time, examples, task.output_size))
    targets = _real(given, "targets")
    if task.kind == "bits" and not ((targets == 0) | (targets == 1)).all():
        other = targets[(targets != 0) & (targets != 1)][0]
        raise TaskError(
            f'targets: {other:g}, expected bits, 0 or 1. For class numbers declare `kind = "classes"`, for real '
            'numbers `kind = "numbers"`'
        )
    return targets


def _mask(given: NDArray[Any], time: int, examples: int) -> Mask | None:
    _shape(given, "the mask", (time, examples))
    mask = given.astype(bool)
    if not np.array_equal(mask, given):
        raise TaskError(f"the mask: {given[mask != given].flat[0]}, expected 0 or 1")
    if mask.all():
        return None
    empty = ~mask.any(axis=0)
    if empty.any():
        raise TaskError(f"the mask: example {int(empty.argmax())} has no step that counts; each needs one at least")
    return mask


def _shape(given: NDArray[Any], what: str, expected: tuple[int | None, ...]) -> None:
    if given.ndim != len(expected) or any(e not in (None, g) for g, e in zip(given.shape, expected, strict=True)):
        wanted = ", ".join("time" if size is None else str(size) for size in expected)
        raise TaskError(f"{what}: shape {given.shape}, expected ({wanted})")
    if not len(given):
        raise TaskError(f"{what}: no step at all")


def _whole(given: NDArray[Any], what: str, declared: str) -> None:
    if given.dtype.kind not in "iu":
        raise TaskError(f"{what}: {given.dtype}, expected whole numbers (int64), as `{declared}` says")


def _range(given: NDArray[Any], what: str, count: int, kind: str, named: str) -> None:
    wrong = (given < 0) | (given >= count)
    if wrong.any():
        raise TaskError(f"{what}: {given[wrong].flat[0]}, expected {kind} from 0 to {count - 1} ({named} is {count})")


def _real(given: NDArray[Any], what: str) -> Floats:
    if given.dtype.kind not in "fiub":
        raise TaskError(f"{what}: {given.dtype}, expected float32")
    numbers = given.astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        raise TaskError(f"{what}: a number that is not finite")
    return numbers


def _where(task: Task) -> str:
    """Name the file that a task is written in, or its module where there is none."""
    try:
        return inspect.getsourcefile(type(task)) or type(task).__module__
    except TypeError:
        return type(task).__module__
