"""The replica's key: the contract between results and code.

What it holds, and when it changes, is a table in docs/results.md; each row has its test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from cellbench.records.settings import Evaluate, Final, Pairs, Solved, hashable, sha256_of

NUMBERS_VERSION = 1
"""Raised only when a golden trajectory of the reference engine changes; then every replica is trained anew."""


@dataclass(frozen=True)
class ReplicaKey:
    """All that a replica sees. Two replicas with equal keys have equal numbers on the same engine and processor.

    Attributes:
        task, task_sources: the task's name, and the SHA-256 of its module's text.
        parameters, batch_size, size: the grid point.
        seed: names the data's and the initial weights' streams.
        learning_rate: of the optimizer.
        max_steps, optimizer, clip_norm, stop_when_solved: from `train`; not its timeout.
        evaluate, solved, final: whole.
        cell, factory, options: which cell; not its label.
        cell_sources: SHA-256 of the text of the module that defines the cell, and of the local modules it imports.
        learn_initial_state, readout_hidden: the rest of the model.
        numbers_version: of cellbench.

    What a key gained after results were stored is declared by `later`, in this class or in its parts.
    """

    task: str
    task_sources: tuple[str, ...]
    parameters: Pairs
    batch_size: int
    size: str
    seed: int
    learning_rate: float
    max_steps: int
    optimizer: str
    clip_norm: float | None
    stop_when_solved: bool
    evaluate: Evaluate
    solved: Solved
    final: Final
    cell: str
    factory: str
    options: Pairs
    cell_sources: tuple[str, ...]
    learn_initial_state: bool
    readout_hidden: int | None
    numbers_version: int = NUMBERS_VERSION

    def text(self) -> str:
        """Write the key as canonical JSON: what is hashed. A later field is left out while it holds its default."""
        return json.dumps(_told(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=repr)

    @classmethod
    def parse(cls, text: str) -> ReplicaKey:
        """The key that has this text.

        Raises:
            ValueError: it is not the text of a key.
        """
        try:
            raw = {name: hashable(value) for name, value in json.loads(text).items() if not isinstance(value, dict)}
            whole = json.loads(text)
            final = {name: hashable(value) for name, value in whole["final"].items()}
            key = cls(
                **{
                    **raw,
                    "evaluate": Evaluate(**whole["evaluate"]),
                    "solved": Solved(**whole["solved"]),
                    "final": Final(**final),
                }
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        if key.text() != text:
            raise ValueError("written otherwise")
        return key

    def digest(self) -> str:
        """32 hexadecimal digits: the first half of the SHA-256 of `text()`."""
        return sha256_of(self.text())[:32]

    def member(self, seed: int, learning_rate: float) -> ReplicaKey:
        """This key with those two."""
        return replace(self, seed=seed, learning_rate=learning_rate)

    def family_text(self) -> str:
        """`text()` with neither seed nor learning rate: what the replicas of a cell at a point share.

        It is kept in the store, for people to read.
        """
        return self.member(None, None).text()  # type: ignore[arg-type]

    def texts(self) -> Callable[[int, float], str]:
        """`(seed, learning_rate) -> text()` of this key with those two: the rest is written out once."""
        # both numbers stand in the text as JSON writes them, between parts that no seed or rate changes
        marked = self.member("\x00seed", "\x00rate").text()  # type: ignore[arg-type]
        head, rest = marked.split(json.dumps("\x00rate"))
        middle, tail = rest.split(json.dumps("\x00seed"))
        # JSON writes a finite number as repr does, which takes a tenth of the time
        return lambda seed, learning_rate: f"{head}{learning_rate!r}{middle}{seed!r}{tail}"

    def digests(self) -> Callable[[int, float], str]:
        """`(seed, learning_rate) -> digest()` of this key with those two."""
        text = self.texts()
        return lambda seed, learning_rate: sha256_of(text(seed, learning_rate))[:32]


def _told(record: Any) -> dict[str, Any]:
    """Turn a record into a mapping, and the records in it, without later fields that hold their defaults."""
    told = {}
    for each in fields(record):
        value = getattr(record, each.name)
        if not (each.metadata.get("later") and value == each.default):
            told[each.name] = _told(value) if is_dataclass(value) else value
    return told


def family_of(text: str) -> str:
    """16 hexadecimal digits that stand for a family: of the SHA-256 of its text."""
    return sha256_of(text)[:16]
