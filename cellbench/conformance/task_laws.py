"""The laws that every task must keep: its numbers come from the stream alone, and are what it declares.

A task that breaks one gives results that cannot be paired or repeated, or that are trained on something else than it
says. Each law says in its message what it tried, or how it is broken.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.conformance.subject import Broken, Check
from cellbench.conformance.task_subject import Point, TaskSubject, likely_line, line_that_draws, made
from cellbench.errors import TaskError
from cellbench.model import generator_states, set_generators
from cellbench.plugins import place_of
from cellbench.records import TaskSpec
from cellbench.streams import Stream
from cellbench.training.drawn import Drawn, draw
from cellbench.wording import described

EXAMPLES = 12
"""How many are drawn for most laws."""
SECONDS = 120.0
"""The most time that a worker may take to import what it needs and to draw."""

Found = str | tuple[str, Mapping[str, Any]]


def task_law(shows: str, *, quick: bool = True) -> Callable[[Callable[[TaskSubject], Found]], Check]:
    """Make a function a law of tasks, under its own name; see `cellbench.conformance.law.law`."""

    def make(run: Callable[[TaskSubject], Found]) -> Check:
        return Check(run.__name__.replace("_", "-"), True, shows, run, quick)

    return make


def _stream(*, start: int = 0, count: int = EXAMPLES, seed: int = 0) -> Stream:
    return Stream("data", "conformance", seed, start=start, count=count)


def _arrays(drawn: Any) -> list[NDArray[Any]]:
    """List what a task returned as arrays."""
    return [np.asarray(array) for array in drawn]


def _same(a: Iterable[NDArray[Any]], b: Iterable[NDArray[Any]]) -> bool:
    left, right = list(a), list(b)
    return len(left) == len(right) and all(np.array_equal(x, y) for x, y in zip(left, right, strict=True))


def _each(points: Sequence[Point]) -> str:
    return " and ".join(map(_at, points))


def _at(point: Point) -> str:
    said = ", ".join(f"{name} {value}" for name, value in point.items())
    return f"at {said}" if said else "without parameters"


@task_law("inputs, targets and mask have the types, ranges and shapes that the task declares, at every point")
def draws_what_it_declares(subject: TaskSubject) -> Found:
    task = subject.task()
    kept: list[str] = []
    for point in subject.points:
        try:
            count = 64 if point in subject.few else 3  # an example without a step that counts may be rare
            drawn = draw(task, subject.name, _stream(count=count), count, point)
            one = draw(task, subject.name, _stream(count=1), 1, point)
        except TaskError as error:
            # the message begins with the task's name and file, and ends with the line, which the report says by itself
            said = str(error).partition("\n")[0]
            place = place_of(error) or subject.begins()
            raise Broken(said[said.index("batch at") :] if "batch at" in said else said, place) from None
        if len(one.inputs) != len(drawn.inputs):
            raise Broken(
                f"{_at(point)} one example has {len(one.inputs)} steps, and {count} drawn together have "
                f"{len(drawn.inputs)}: the length depends on how many are drawn",
                subject.begins(),
            )
        steps = task.length(point)
        if steps != len(drawn.inputs):
            raise Broken(f"length() is {steps} {_at(point)}, and examples have {len(drawn.inputs)} steps")
        kept.append(f"{_at(point)}: inputs {drawn.inputs.shape}, targets {drawn.targets.shape}{_masked(drawn)}")
    return "; ".join(kept[:3]) + (f"; and {len(kept) - 3} points more" if len(kept) > 3 else "")


def _masked(drawn: Drawn) -> str:
    return "" if drawn.mask is None else f", {float(drawn.mask.mean()):.0%} of steps count"


@task_law("the generators of Python, numpy and torch are left alone")
def leaves_generators_alone(subject: TaskSubject) -> Found:
    for point in subject.few:
        task = subject.task()
        before = generator_states()
        task.batch(_stream(), EXAMPLES, point)
        touched = [name for name, state in generator_states().items() if state != before[name]]
        if touched:
            raise Broken(
                f"{' and '.join(touched)} generator was drawn from, which other code shares: take all randomness from "
                "the stream (stream.bits, stream.integers, stream.uniform)",
                line_that_draws(lambda t=task, p=point: t.batch(_stream(), EXAMPLES, p)),  # type: ignore[misc]
            )
    return f"none was drawn from by batches of {EXAMPLES}"


_SAME = "the same task"


@task_law("the same stream gives the same batch, whatever was drawn before and whatever the generators hold")
def draws_from_the_stream_alone(subject: TaskSubject) -> Found:
    task = subject.task()
    for point in subject.few:
        set_generators("conformance", "first")
        first = _arrays(task.batch(_stream(), EXAMPLES, point))
        task.batch(_stream(seed=1), EXAMPLES, point)
        set_generators("conformance", "second")
        with tempfile.TemporaryDirectory() as elsewhere, chdir(elsewhere):  # the working folder is none of its business
            for other, who in ((task, _SAME), (task, _SAME), (subject.task(), "the task made anew")):
                if not _same(first, _arrays(other.batch(_stream(), EXAMPLES, point))):
                    raise Broken(
                        f"two batches of one stream differ {_at(point)} ({who}), so cells would be compared on "
                        "different data: take all randomness from the stream",
                        likely_line(subject),
                    )
    return f"four batches of {EXAMPLES} are equal {_each(subject.few)}"


@task_law("another stream gives other examples")
def depends_on_the_stream(subject: TaskSubject) -> Found:
    point = subject.points[0]
    task, count = subject.task(), 64
    drawn = [_arrays(task.batch(_stream(count=count, seed=seed), count, point)) for seed in range(3)]
    if _same(drawn[0], drawn[1]) and _same(drawn[0], drawn[2]):
        raise Broken(
            f"three streams give the same {count} examples {_at(point)}, so every seed would train on the same data",
            likely_line(subject),
        )
    return f"{count} examples of three streams differ"


@task_law("example i of a stream is the same however many are drawn, and wherever drawing begins")
def rows_do_not_depend_on_the_number(subject: TaskSubject) -> Found:
    task = subject.task()
    for point in subject.few:
        whole = _arrays(task.batch(_stream(), EXAMPLES, point))
        for start, count in ((0, 1), (0, 5), (5, EXAMPLES - 5), (EXAMPLES - 1, 1)):
            part = _arrays(task.batch(_stream(start=start, count=count), count, point))
            if not _same(part, (array[:, start : start + count] for array in whole)):
                raise Broken(
                    f"{_at(point)}, {count} of {EXAMPLES} examples (from example {start} on) change when they are "
                    "drawn without the others: use row i of what the stream gives for example i alone",
                    likely_line(subject),
                )
    return f"parts of {EXAMPLES} examples are what they are in the whole"


@task_law("examples of a given difficulty are what the task declares, and have exactly this difficulty")
def difficulty_is_exact(subject: TaskSubject) -> Found:
    task = subject.task()
    if task.difficulty is None:
        return "the task has no difficulty, and nothing was asked"
    asked = measured = 0
    for point in subject.few:
        for difficulty in task.difficulties(point):
            try:
                draw(task, subject.name, _stream(), EXAMPLES, point, difficulty)
            except TaskError as error:
                said = str(error).partition("\n")[0]
                raise Broken(said, place_of(error) or subject.begins("batch_of_difficulty")) from None
            batch = task.batch_of_difficulty(_stream(), EXAMPLES, point, difficulty)
            whole = _arrays(batch)
            part = task.batch_of_difficulty(_stream(start=5, count=3), 3, point, difficulty)
            if not _same(_arrays(part), (array[:, 5:8] for array in whole)):
                raise Broken(
                    f"{task.difficulty} {difficulty} {_at(point)}: an example depends on how many are drawn",
                    subject.begins("batch_of_difficulty"),
                )
            asked += 1
            found = task.measured_difficulty(batch)
            if found is None:
                continue
            measured += 1
            wrong = np.asarray(found)[np.asarray(found) != difficulty]
            if len(wrong):
                raise Broken(
                    f"{task.difficulty} {difficulty} {_at(point)}: an example has {wrong[0]}",
                    subject.begins("batch_of_difficulty"),
                )
    if asked and not measured:
        return (
            f"{asked} sets are as declared; whether {task.difficulty} is exact, only measured_difficulty() could tell"
        )
    return f"every example of {measured} sets of {EXAMPLES} has exactly its {task.difficulty}"


def digest_of(name: str, own: TaskSpec | None, point: Point) -> str:
    """Draw a batch and hash it; what a worker runs."""
    found = hashlib.sha256()
    for array in _arrays(made(name, own).batch(_stream(), EXAMPLES, point)):
        found.update(f"{array.dtype} {array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@task_law("a worker process makes the task from its text and draws the same batch", quick=False)
def works_in_a_worker(subject: TaskSubject) -> Found:
    point = dict(subject.points[0])
    here = digest_of(subject.name, subject.own, point)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        try:
            there = workers.submit(digest_of, subject.name, subject.own, point).result(timeout=SECONDS)
        except Exception as error:
            raise Broken(f"a worker raised {described(error, 300)}") from None
    if here != there:
        raise Broken(
            "a worker draws another batch: take all randomness from the stream, and nothing from the process",
            likely_line(subject),
        )
    return f"a new process draws the same {EXAMPLES} examples"


def example(subject: TaskSubject) -> Found:
    """Show the first example at the first point."""
    task, point = subject.task(), subject.points[0]
    inputs, targets, *mask = (array[:, 0] for array in _arrays(task.batch(_stream(count=1), 1, point)))
    shown = [f"inputs {_row(inputs)}", f"targets {_row(targets)}", *(f"mask {_row(m.astype(int))}" for m in mask)]
    return f"{_at(point)}: {'; '.join(shown)}"


def _row(array: NDArray[Any], most: int = 16) -> str:
    """Write the steps of one example: a number each, or several in brackets."""
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    steps = [
        f"{step:g}" if np.ndim(step) == 0 else f"({' '.join(f'{x:g}' for x in step)})" for step in array[:most].tolist()
    ]
    return " ".join([*steps, *(["..."] if len(array) > most else [])])


def references(subject: TaskSubject) -> Found:
    """List the accuracies of simple predictors that the task knows of."""
    found = dict(subject.task().reference_accuracies(subject.points[0]))
    said = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items())
    return (
        f"{_at(subject.points[0])}: {said or 'none is given; reference_accuracies() would say what chance is'}",
        found,
    )


LAWS: tuple[Check, ...] = (
    draws_what_it_declares,
    leaves_generators_alone,
    draws_from_the_stream_alone,
    depends_on_the_stream,
    rows_do_not_depend_on_the_number,
    difficulty_is_exact,
    works_in_a_worker,
)
"""In the order of the report."""

QUICK: tuple[Check, ...] = tuple(law for law in LAWS if law.quick)
"""Asked of every task before anything is trained on it."""

OBSERVATIONS: tuple[Check, ...] = (
    Check("example", False, "the first example", example),
    Check("reference-accuracies", False, "what simple predictors reach", references),
)
