"""A task made of arrays: a file with inputs, targets and perhaps a mask, of which examples are drawn by the stream.

Examples are the first axis. A part of them is trained on, another gives the learning curve, and a third, which is held
out to the end, the final evaluation. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import TaskError
from cellbench.records import Source, TaskSpec
from cellbench.streams import Stream
from cellbench.task import Batch, Kind, Parameters, Task
from cellbench.wording import one_line

Array = NDArray[Any]
Part = Mapping[str, Array]
"""`inputs` and `targets` and perhaps `mask`, with as many examples each."""

NAMES = ("inputs", "targets", "mask")
TEST = "test_"
"""Begins the names of arrays that hold the held-out examples."""
SHARE = 10
"""One in so many examples is for the learning curve, and as many are held out, unless the file has its own."""
_DRAWN = 1
"""The version of the rule by which examples are drawn and divided; it is in the key."""


def read(path: Path) -> TaskSpec:
    """Read what a file of arrays holds: names, types, shapes and hashes, which go into the key.

    Raises:
        TaskError: it cannot be read, or does not hold a task; the message names the array.
    """
    held = _opened(path)
    divided(held, path.name)
    facts = {name: [a.dtype.str, list(a.shape), _hash(a)] for name, a in sorted(held.items())}
    text = json.dumps({"drawn": _DRAWN, "arrays": facts}, indent=1) + "\n"
    return TaskSpec(f"{path.name}:arrays", (Source(path.name, text),), str(path))


def _hash(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _opened(path: Path) -> dict[str, Array]:
    """Read all arrays of a file that a task has, checked one by one."""
    if not path.is_file():
        raise TaskError(f"no such file: {path}")
    known = {"kind", *NAMES, *(f"{TEST}{name}" for name in NAMES)}
    try:
        # opened here: numpy leaves a file open that it cannot read
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            unknown = sorted(set(file.files) - known)
            if unknown:
                raise TaskError(f"{path.name} holds {unknown[0]!r}; a file of arrays holds {', '.join(sorted(known))}")
            held = {name: np.asarray(file[name]) for name in file.files}
    except MemoryError:
        raise TaskError(f"{path.name} does not fit in memory") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise TaskError(f"{path.name} cannot be read as arrays (numpy.savez writes them): {one_line(error)}") from None
    for name in ("inputs", "targets"):
        if name not in held:
            raise TaskError(
                f"{path.name} holds no {name}; write it by numpy.savez({path.name!r}, inputs=..., targets=...)"
            )
    if f"{TEST}inputs" in held and f"{TEST}targets" not in held:
        raise TaskError(f"{path.name} holds {TEST}inputs without {TEST}targets")
    return held


def kind_of(held: Mapping[str, Array], name: str) -> Kind:
    """Find what the answers are: as the file says by `kind`, else by the type of its targets.

    Raises:
        TaskError: it says something else, or the targets are neither truth values nor numbers.
    """
    if "kind" in held:
        said = str(held["kind"]) if held["kind"].ndim == 0 else ""
        for kind in ("bits", "classes", "numbers"):
            if said == kind:
                return kind
        raise TaskError(f"{name}: kind is {said[:40]!r}; it is bits, classes or numbers")
    letter = held["targets"].dtype.kind
    if letter not in "biuf":
        raise TaskError(f"{name}: targets are of the type {held['targets'].dtype}; give truth values or numbers")
    return "bits" if letter == "b" else "numbers" if letter == "f" else "classes"


@dataclass(frozen=True)
class _Given:
    """One part as the file has it.

    Attributes:
        inputs, targets, mask: its arrays.
        kind: what the answers are.
        file: the file's name, for messages.
        prefix: of the arrays' names: `test_` for the file's own held-out part.
    """

    inputs: Array
    targets: Array
    mask: Array | None
    kind: Kind
    file: str
    prefix: str = ""

    def part(self) -> dict[str, Array]:
        """Bring the arrays into the shapes (examples, time, ...); one target of an example is that of its last step.

        Raises:
            TaskError: an array has another shape, or values that it cannot have; the message names it.
        """
        inputs = self._inputs()
        examples, time = inputs.shape[:2]
        mask = self.mask
        if mask is not None and mask.shape != (examples, time):
            raise self._fault(
                "mask", f"the shape {mask.shape}", f"{(examples, time)}, the examples and steps of inputs"
            )
        targets = self.targets
        if targets.shape == (examples,):
            targets = np.repeat(targets[:, None], time, axis=1)
            last = np.zeros((examples, time), np.bool_)
            last[:, -1] = True
            mask = last if mask is None else mask
        if self.kind == "classes":
            if targets.shape != (examples, time):
                raise self._fault("targets", f"the shape {targets.shape}", f"({examples}, {time}) or ({examples},)")
            if targets.dtype.kind not in "biu" or targets.min() < 0:
                raise self._fault("targets", "other values", "classes: whole numbers from 0 on")
            targets = targets.astype(np.int64)
        else:
            targets = targets[:, :, None] if targets.shape == (examples, time) else targets
            if targets.ndim != 3 or targets.shape[:2] != (examples, time) or targets.shape[2] == 0:
                expected = f"({examples}, {time}, outputs), ({examples}, {time}) or ({examples},)"
                raise self._fault("targets", f"the shape {self.targets.shape}", expected)
            if self.kind == "bits" and not ((targets == 0) | (targets == 1)).all():
                raise self._fault("targets", "other values", "bits: 0 or 1")
            targets = targets.astype(np.float32)
            if not np.isfinite(targets).all():
                raise self._fault("targets", "values that are not finite", "numbers")
        return {"inputs": inputs, "targets": targets, **({} if mask is None else {"mask": mask != 0})}

    def _inputs(self) -> Array:
        inputs = self.inputs
        tokens = inputs.dtype.kind in "iu" and inputs.ndim == 2
        if inputs.dtype.kind not in "biuf" or not (tokens or inputs.ndim == 3) or 0 in inputs.shape:
            expected = "numbers (examples, time, features), or whole numbers (examples, time) for tokens"
            raise self._fault("inputs", f"the shape {inputs.shape} and the type {inputs.dtype}", expected)
        if tokens and inputs.min() < 0:
            raise self._fault("inputs", f"the token {inputs.min()}", "tokens: whole numbers from 0 on")
        if not tokens and not np.isfinite(inputs).all():
            raise self._fault("inputs", "values that are not finite", "numbers")
        return inputs.astype(np.int64 if tokens else np.float32)

    def _fault(self, which: str, found: str, expected: str) -> TaskError:
        return TaskError(f"{self.file}: {self.prefix}{which} has {found}; expected {expected}")


def divided(held: Mapping[str, Array], name: str) -> dict[str, Part]:
    """Divide the examples into those to train on (`data`), for the learning curve (`evaluation`), held out (`final`).

    The file's own `test_inputs` and `test_targets` are held out; else it is the last tenth, in an order of the stream.

    Raises:
        TaskError: the arrays are no task; the message names the array.
    """
    kind = kind_of(held, name)
    whole = _Given(held["inputs"], held["targets"], held.get("mask"), kind, name).part()
    examples, own = len(whole["inputs"]), f"{TEST}inputs" in held
    if examples < (2 if own else 3):
        raise TaskError(f"{name} holds {examples} examples, too few to hold some out")
    # sorting uniform numbers by row gives an order that does not depend on numpy's own generators
    order = np.argsort(Stream("arrays", count=examples).uniform(1)[:, 0], kind="stable")
    size = max(1, examples // SHARE)
    if own:
        given = (held[f"{TEST}inputs"], held[f"{TEST}targets"], held.get(f"{TEST}mask"))
        test = _Given(*given, kind, name, TEST).part()
        for one in NAMES:
            shapes = [part[one].shape[1:] if one in part else None for part in (whole, test)]
            if shapes[0] != shapes[1]:
                raise TaskError(f"{name}: {TEST}{one} is not shaped like {one}, the number of examples aside")
    else:
        test = {one: a[order[-size:]] for one, a in whole.items()}
        order = order[:-size]
    return {
        "data": {one: a[order[:-size]] for one, a in whole.items()},
        "evaluation": {one: a[order[-size:]] for one, a in whole.items()},
        "final": test,
    }


class Arrays(Task):
    """A task of arrays in a file: examples are drawn with replacement, each part of the file for its own purpose.

    Args:
        path: the file.
        expected: what it held when it was read first.

    Raises:
        TaskError: the file is gone, or holds something else by now.
    """

    parameters: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path, expected: Source) -> None:
        if read(path).sources[0] != expected:
            raise TaskError(
                f"{path} does not hold the arrays any more that the results are from; put them back, or run under "
                "another name"
            )
        held = _opened(path)
        self._parts = divided(held, path.name)
        own = [*self._parts.values()]
        inputs, targets = [p["inputs"] for p in own], [p["targets"] for p in own]
        self.kind = kind_of(held, path.name)  # type: ignore[misc]
        self.tokens = inputs[0].ndim == 2  # type: ignore[misc]
        self.input_size = 1 + int(max(a.max() for a in inputs)) if self.tokens else inputs[0].shape[2]  # type: ignore[misc]
        classes = self.kind == "classes"
        self.output_size = 1 + int(max(a.max() for a in targets)) if classes else targets[0].shape[2]  # type: ignore[misc]

    def check_parameter(self, name: str, value: object) -> None:
        """Refuse every name: arrays have no parameters."""
        raise ValueError("arrays have no parameters")

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw examples with replacement, of the part that the stream's purpose asks for; see `Task.batch`."""
        part = self._parts.get(stream.purpose, self._parts["data"])
        chosen = stream.integers(1, 0, len(part["inputs"]))[:, 0]
        drawn = [np.ascontiguousarray(part[name][chosen].swapaxes(0, 1)) for name in NAMES if name in part]
        return (drawn[0], drawn[1], drawn[2]) if len(drawn) == 3 else (drawn[0], drawn[1])

    def length(self, parameters: Parameters) -> int:
        """Return the steps of every example."""
        return int(self._parts["data"]["inputs"].shape[1])
