"""The replica's key: the contract between results and code.

A table in docs/results.md says what it holds and when it changes; each row has its test.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from cellbench.records.settings import Evaluate, Final, Pairs, Solved, Train, hashable, later, sha256_of

NUMBERS_VERSION = 1
"""Goes up only when a golden trajectory of the reference engine changes; then every replica is trained anew."""


@dataclass(frozen=True)
class ReplicaKey:
    """Everything that a replica is trained by.

    Two replicas with equal keys have equal numbers on the same engine and processor.

    Attributes:
        task, task_sources: the task's name, and the SHA-256 of its module's text.
        parameters, batch_size, size: the grid point.
        seed: selects the random streams of the data and of the initial weights.
        learning_rate: of the optimizer.
        max_steps, optimizer, clip_norm, stop_when_solved, optimizer_options, clip_value, schedule, warmup_steps,
            end_factor: of `Train`; its timeout is left out.
        evaluate, solved, final: these sections of the experiment, whole.
        cell, factory, options: which cell; its label is left out.
        cell_sources: SHA-256 of the text of the module that defines the cell, and of the local modules it imports.
        learn_initial_state, readout_hidden: the rest of the model.
        numbers_version: of cellbench.
        layers: how many of the cell are stacked.

    Fields that keys gained after results were stored are declared by `later`, in this class and in its parts.
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
    optimizer_options: Pairs = later(())  # noqa: RUF009
    clip_value: float | None = later(None)
    schedule: str = later("constant")
    warmup_steps: int = later(0)
    end_factor: float = later(0.0)
    layers: int = later(1)

    def text(self) -> str:
        """Write the key as canonical JSON, the text that is hashed.

        A field that came after the first version is left out while it holds its default.
        """
        return json.dumps(_as_mapping(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=repr)

    @classmethod
    def parse(cls, text: str) -> ReplicaKey:
        """Read the key back from its text.

        Raises:
            ValueError: the text is not that of a key.
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
        """Hash `text()`: the first half of its SHA-256, 32 hexadecimal digits."""
        return sha256_of(self.text())[:32]

    def train(self, timeout: float) -> Train:
        """Return how the replica is trained, with a timeout, which no key has."""
        own = {f.name: getattr(self, f.name) for f in fields(Train) if f.name != "timeout"}
        return Train(**own, timeout=timeout)

    def member(self, seed: int, learning_rate: float) -> ReplicaKey:
        """Copy this key with another seed and learning rate."""
        return replace(self, seed=seed, learning_rate=learning_rate)

    def family_text(self) -> str:
        """Write `text()` without seed and learning rate: the part that all replicas of a cell at a point share.

        The store keeps it for people to read.
        """
        return self.member(None, None).text()  # type: ignore[arg-type]

    def texts(self) -> Callable[[int, float], str]:
        """Return a function `(seed, learning_rate) -> text()` of this key; the rest is written only once."""
        # the text is cut at the two numbers: the parts around them are the same for every seed and rate
        marked = self.member("\x00seed", "\x00rate").text()  # type: ignore[arg-type]
        head, rest = marked.split(json.dumps("\x00rate"))
        middle, tail = rest.split(json.dumps("\x00seed"))
        # JSON writes a finite number as repr does, and repr takes a tenth of the time
        return lambda seed, learning_rate: f"{head}{learning_rate!r}{middle}{seed!r}{tail}"

    def digests(self) -> Callable[[int, float], str]:
        """Return a function `(seed, learning_rate) -> digest()` of this key."""
        text = self.texts()
        return lambda seed, learning_rate: sha256_of(text(seed, learning_rate))[:32]


def _as_mapping(record: Any) -> dict[str, Any]:
    """Turn a record and the records in it into mappings, without later fields that hold their defaults."""
    kept = {}
    for each in fields(record):
        value = getattr(record, each.name)
        if not (each.metadata.get("later") and value == each.default):
            kept[each.name] = _as_mapping(value) if is_dataclass(value) else value
    return kept


def family_of(text: str) -> str:
    """Name a family by the first 16 hexadecimal digits of the SHA-256 of its text."""
    return sha256_of(text)[:16]
