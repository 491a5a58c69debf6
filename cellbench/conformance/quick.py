"""What is asked of a cell before anything of it is trained: a step and a gradient at each hidden size, the quick laws.

All of it takes some hundredths of a second. `cellbench check` asks the other laws too.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import torch

from cellbench.conformance.laws import LAWS
from cellbench.conformance.subject import Broken, Check, Subject, leaves, near, step
from cellbench.conformance.texts import text_of
from cellbench.errors import CellbenchError
from cellbench.model import Blueprint, blueprint_of, one_thread, takes_steps
from cellbench.plugins import Place, Timeout, contained, kept, place_of
from cellbench.records import STEP, Answer, CellSpec, Law, Source
from cellbench.task import Task
from cellbench.training.timeout import limit
from cellbench.wording import described, one_line

QUICK: tuple[Check, ...] = tuple(check for check in LAWS if check.quick)

_STEPS, _BATCH = 8, 5
"""Steps and examples of the first gradient; no other size of a cell is likely to be 5."""


def takes_a_step(blueprint: Blueprint) -> None:
    """Take the first steps of a model and compute a gradient.

    Raises:
        Broken: an output, a state, the loss or a gradient is not finite.
        Exception: whatever the cell's own code raises.
    """
    model = blueprint.build("first step")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 2, (_STEPS, _BATCH, blueprint.input_size), generator=generator).float()
    with torch.no_grad():
        state = model.initial_state(_BATCH)
        for number, x in enumerate(inputs if takes_steps(model.cell) else (), 1):
            output, state = step(model.cell, x, state)
            for what, tensors in (("output", [output]), ("state", leaves(state))):
                if not all(bool(t.isfinite().all()) for t in tensors):
                    raise Broken(f"the {what} is not finite at step {number}")
    logits = model(inputs)
    wanted = blueprint.objective.example(_STEPS, _BATCH, blueprint.output_size, generator)
    value = blueprint.objective.loss(logits, wanted)
    value.backward()  # type: ignore[no-untyped-call]
    if not bool(value.isfinite()):
        raise Broken(f"the loss after {_STEPS} steps is {float(value)}")
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            raise Broken(f"the gradient of {name} is not finite")


@lru_cache(maxsize=1)
def laws() -> dict[str, Law]:
    """Return what is asked, by name, in order.

    The text of a law is that of the function that asks it, and a hash of all that this function uses in this room: a
    law that judges otherwise than yesterday is another law.
    """
    first = (STEP, "steps at each hidden size have finite outputs, states, loss and gradients", takes_a_step)
    asked: list[tuple[str, str, Any]] = [first, *((check.name, check.shows, check.run) for check in QUICK)]
    return {
        name: Law(name, shows, Source(f"{ask.__module__}:{ask.__name__}", text_of(ask))) for name, shows, ask in asked
    }


def versions() -> tuple[str, str]:
    """Return the versions of torch and of cellbench, on which answers depend."""
    return torch.__version__, importlib.metadata.version("cellbench")


def ask(cell: CellSpec, task: Task, hidden_sizes: Sequence[int], seconds: float = 60.0) -> list[Answer]:
    """Ask a cell for a step at each hidden size, smallest first, then the quick laws at the smallest.

    Where the cell cannot take a finite step at some size, no other law is asked; nor is one when the time is over.

    Args:
        cell, task: whose first steps are taken.
        hidden_sizes: of the cell.
        seconds: how long all of it may take.
    """
    found: list[Answer] = []
    with suppress(Timeout), limit(seconds, ask.__code__), one_thread():
        for answer in _answers(cell, task, sorted(set(hidden_sizes))):
            found.append(answer)
    return found


def _answers(cell: CellSpec, task: Task, sizes: Sequence[int]) -> Iterator[Answer]:
    steps = [_step(cell, task, size) for size in sizes]
    yield from steps
    if all(answer.status == "pass" for answer in steps):
        factory = blueprint_of(cell, sizes[0], task).factory
        subject = Subject(factory, dict(cell.options), cell.label, task.input_size, sizes[0], cell.provider)
        for check in QUICK:
            with kept(cell.factory):
                result = check(subject)
            message = result.message if result.status != "pass" else ""
            yield _answer(check.name, sizes[0], result.status, message, _where(result.place))


def _step(cell: CellSpec, task: Task, hidden_size: int) -> Answer:
    try:
        with contained(), kept(cell.factory):
            takes_a_step(blueprint_of(cell, hidden_size, task))
    except Broken as broken:
        return _answer(STEP, hidden_size, "fail", one_line(broken, 400))
    except Exception as error:
        # what ours wraps is told in the words of the error that caused it
        cause = error.__cause__ if isinstance(error, CellbenchError) and error.__cause__ is not None else error
        said = one_line(cause, 400) if isinstance(cause, CellbenchError) else described(cause, 400)
        return _answer(STEP, hidden_size, "raised", said, _where(near(place_of(error), cell.provider)))
    return _answer(STEP, hidden_size, "pass")


def _answer(law: str, hidden_size: int, status: str, message: str = "", place: str = "") -> Answer:
    return Answer(laws()[law], hidden_size, *versions(), status, message, place)  # type: ignore[arg-type]


def _where(place: Place | None) -> str:
    """Write a place in lines; nothing if there is none."""
    return place.text() if place is not None else ""
