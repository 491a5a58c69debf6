"""Trained models of a results folder: from weights that were kept, else trained again; and what they answer."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.errors import CellbenchError, StoreError
from cellbench.model import Model
from cellbench.model.weights import fill, pack, tensors_of, unpack
from cellbench.plugins import discover
from cellbench.records import TaskSpec, is_own
from cellbench.store import Store, weights
from cellbench.store.replica import StoredReplica
from cellbench.store.replica import outcome as stored_outcome
from cellbench.training.again import Again, is_from_file
from cellbench.wording import printable

SAME_LOSS = 1e-4
"""How much the final loss of kept weights may differ from the stored one, as a share: engines differ in rounding."""
SAME_ACCURACY = 1e-3
"""How much the final bit accuracy may differ."""


@dataclass(frozen=True)
class Found:
    """A stored replica whose model can be had.

    Attributes:
        folder: the results folder.
        stored: the replica.
        again: the same, ready to be made or trained.
    """

    folder: Path
    stored: StoredReplica
    again: Again

    def model(self) -> Model:
        """Return the trained model, in `eval()` mode: with the weights that were kept if they are right, else trained.

        Raises:
            CellbenchError: it cannot be trained here.
        """
        return self._kept() or self._trained()

    def _kept(self) -> Model | None:
        """Make the model from the weights that were kept; None if there are none, or they give another final loss.

        So weights that are damaged, or of a cell that holds more than tensors, are not used.
        """
        content = weights.read(self.folder, self.stored.outcome.key)
        if content is None:
            return None
        model = self.again.initial()
        try:
            # twice the size of the model itself: a stranger's file may unpack to more than memory holds
            fill(model, unpack(content, 2 * len(pack(tensors_of(model))) + 10_000))
        except ValueError:
            return None
        return model.eval() if self._is_right(model) else None

    def _trained(self) -> Model:
        model = self.again.model()
        if not self._is_right(model):
            now, then = self.again.score(model)[0], self.stored.outcome.final_loss
            unlike = "".join(f"; {line}" for line in self.again.unlike)
            warnings.warn(
                f"{self.stored.place} was trained again here and ended on other numbers: its final loss is {now:.4g}, "
                f"stored is {then:.4g}{unlike}. `cellbench verify {self.folder}` compares more.",
                stacklevel=4,
            )
        return model

    def _is_right(self, model: Model) -> bool:
        """Tell whether a model has the final loss and accuracy that are stored."""
        loss, accuracy = self.again.score(model)
        then = self.stored.outcome
        return math.isclose(loss, then.final_loss or 0.0, rel_tol=SAME_LOSS, abs_tol=1e-6) and math.isclose(
            accuracy, then.final_bit_accuracy or 0.0, abs_tol=SAME_ACCURACY
        )


def find(folder: Path, key: str, *, run_code: bool) -> Found:
    """Find the replica of a key, and get ready to make its model.

    Args:
        folder: the results folder.
        key: of a planned replica.
        run_code: whether the text of a cell or task from a file, as the folder holds it, may be run.

    Raises:
        CellbenchError: it did not end with trained weights, its cell is not installed, or its text may not be run.
    """
    with Store(folder, write=False) as store:
        experiment, texts = store.experiment(), store.sources()
        if key not in store.done():
            raise CellbenchError(f"the replica is not trained yet, or a machine's failure ended it: run {folder} again")
        stored = stored_outcome(store, key)
    if stored.outcome.status == "failed":
        raise CellbenchError(f"{stored.place} failed in the cell's own code; {folder}/failures.txt has the traceback")
    if stored.outcome.final_loss is None:
        raise CellbenchError(f"{stored.place} diverged at step {stored.outcome.diverged_at}: it has no final weights")
    with store.reading():  # the store is closed; this explains a key that cannot be read
        replica_key = stored.key()
        run = [*replica_key.cell_sources] if is_from_file(stored.label, experiment["resolved"]) else []
        task = replica_key.task_sources if is_own(replica_key.task) else ()
        for sha in (*replica_key.cell_sources, *task):
            if sha not in texts or texts[sha].sha256 != sha:
                raise StoreError(f"{folder} does not hold the text that {stored.label} was trained with")
        if task and not TaskSpec(replica_key.task, tuple(texts[sha] for sha in task)).arrays:
            run += task
        if run and not run_code:
            names = ", ".join(printable(texts[sha].module)[:80] for sha in run)
            raise CellbenchError(
                f"the model of {stored.label} is made by code that {folder} holds ({names}). If you trust the folder, "
                "allow it: run_code=True in Python, --run-code in a terminal. To read the code first: "
                f"cellbench verify {folder} --sources OUT"
            )
        task_path = str(experiment["facts"].get("task_path", ""))
        again = Again(stored, experiment["resolved"], texts, discover(), task_path)
    return Found(folder, stored, again)


@dataclass(frozen=True)
class Examples:
    """What a trained model answers to the examples of its final evaluation.

    Attributes:
        place: which replica, in words.
        inputs: shape (time, examples, input_size); tokens: shape (time, examples).
        targets, outputs: shape (time, examples, output_size), zeros and ones, or numbers; classes: (time, examples).
        mask: shape (time, examples): which steps count; None where all do.
        tolerance: how far an output may be from its target.
    """

    place: str
    inputs: NDArray[Any]
    targets: NDArray[Any]
    outputs: NDArray[Any]
    mask: NDArray[np.bool_] | None = None
    tolerance: float = 0.0

    @property
    def first_wrong(self) -> NDArray[np.int64]:
        """The first wrong step of each example, from 0; -1 if all are right. Shape (examples,)."""
        right = np.abs(self.outputs - self.targets) <= self.tolerance
        wrong = ~right.reshape(*right.shape[:2], -1).all(axis=2)
        if self.mask is not None:
            wrong &= self.mask
        return np.where(wrong.any(axis=0), wrong.argmax(axis=0), -1)

    def text(self, count: int = 3, *, wrong: bool = False) -> str:
        """Write some examples, time from left to right.

        Args:
            count: how many.
            wrong: whether to choose among those with a wrong step.
        """
        first = self.first_wrong
        chosen = np.flatnonzero(first >= 0)[:count] if wrong else np.arange(min(count, len(first)))
        mistaken = int((first >= 0).sum())
        lines = [self.place, f"{mistaken:,} of {len(first):,} examples have a wrong step."]
        for number in chosen.tolist():
            at = int(first[number])
            lines += ["", f"example {number}: {'all right' if at < 0 else f'first wrong at step {at}'}"]
            counts = None if self.mask is None else self.mask[:, number]
            lines += _rows(self.inputs[:, number], self.targets[:, number], self.outputs[:, number], counts, at)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Examples of {self.place}: {int((self.first_wrong >= 0).sum()):,} of {len(self.first_wrong):,} wrong>"


def _rows(
    inputs: NDArray[Any],
    targets: NDArray[Any],
    outputs: NDArray[Any],
    counts: NDArray[np.bool_] | None,
    wrong: int,
) -> list[str]:
    """Write one example: a row per input, target and output, all columns of one width, a mark at the first wrong step.

    Args:
        inputs: shape (time, input_size), or tokens (time,).
        targets, outputs: shape (time, output_size), or classes (time,).
        counts: shape (time,): the steps at which targets and outputs are written; all if it is None.
        wrong: the step to mark, or -1.
    """
    named = []
    for name, rows in (("inputs", inputs), ("targets", targets), ("outputs", outputs)):
        shown = np.ones(len(rows), bool) if counts is None or name == "inputs" else counts
        named += [
            (name, [f"{x:.3g}" if show else "." for x, show in zip(feature, shown, strict=True)])
            for feature in rows.reshape(len(rows), -1).T
        ]
    width = max(len(text) for _, row in named for text in row)
    gap = " " if width > 1 else ""
    lines, last = [], ""
    for name, row in named:
        lines.append(f"  {name if name != last else '':<8} {gap.join(text.rjust(width) for text in row)}")
        last = name
    if wrong >= 0:
        lines.append(f"  {'':<8} {' ' * (wrong * (width + len(gap)) + width - 1)}^")
    return lines


def examples(found: Found) -> Examples:
    """Let a replica's model answer the examples of its final evaluation."""
    model = found.model()
    inputs, targets, mask = found.again.examples()
    outputs = model.predict(inputs)
    assert isinstance(outputs, np.ndarray)
    tolerance = model.objective.tolerance if model.objective.kind == "numbers" else 0.0
    shown = inputs.argmax(axis=2) if model.tokens else inputs
    return Examples(found.stored.place, shown, targets, outputs, mask, tolerance)
