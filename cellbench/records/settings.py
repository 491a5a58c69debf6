"""What an experiment asks for, as it travels to the workers: points, settings, cells with their text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cellbench.records.optimizers import folded, unfolded

Value = int | float | str
"""A value of a grid parameter."""
Pairs = tuple[tuple[str, Any], ...]
"""A mapping as pairs, so that the record is hashable and its order is fixed."""

LAYERS = "layers"
"""The axis of a grid that stacks every cell. A parameter of a task may bear this name; then it is the task's."""

CPU = "cpu"
"""The device that needs no card, and the default."""

TUNED = "tuned"
"""What an experiment's facts call the choice of options that a planned cell stands for."""

MOST_LAYERS = 100
"""The most layers that a cell may be stacked to."""

MOST_EVALUATIONS = 100_000
"""The most points that a learning curve may have."""


def later(default: Any) -> Any:
    """Declare a field that the keys of stored results do not have: a key leaves it out while it holds its default."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True)
class Point:
    """A grid point.

    Attributes:
        parameters: the task's grid parameters, in the task's order.
        batch_size: examples per step.
        size: `hidden 20` or `budget 2000`; cells of the same size are compared with each other.
        layers: of every cell here, where they are an axis of the grid; None: each cell has its own number.
    """

    parameters: Pairs
    batch_size: int
    size: str
    layers: int | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The coordinates that a plan has by name: the task's parameters, and the layers where they are an axis."""
        return {**dict(self.parameters), **({} if self.layers is None else {LAYERS: self.layers})}


@dataclass(frozen=True)
class Train:
    """How a replica is trained.

    Attributes:
        max_steps: the budget: the most updates per replica.
        optimizer: a name in `HYPERPARAMETERS`, or the path of a class in torch.optim.
        clip_norm: the greatest gradient norm left alone; None: no clipping.
        stop_when_solved: whether a replica stops at the evaluation that completes `hold`.
        timeout: seconds a chunk may take; not part of the key.
        optimizer_options: the optimizer's hyperparameters that do not hold their defaults, by torch.optim's names.
        clip_value: the greatest number of a gradient left alone; None: no clipping.
        schedule: how the learning rate goes on after the warm-up: `constant`, `linear` or `cosine`.
        warmup_steps: over so many steps the learning rate rises linearly.
        end_factor: the share of the learning rate that a schedule falls to.
    """

    max_steps: int
    optimizer: str
    clip_norm: float | None
    stop_when_solved: bool
    timeout: float
    optimizer_options: Pairs = later(())  # noqa: RUF009
    clip_value: float | None = later(None)
    schedule: str = later("constant")
    warmup_steps: int = later(0)
    end_factor: float = later(0.0)

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> Train:
        """Read the section `train`, as a file or the store has it; keys that came later may be missing."""
        known = {f.name: section[f.name] for f in fields(cls) if f.name in section}
        return cls(**{**known, "optimizer_options": pairs(folded(section).items())})

    def section(self) -> dict[str, Any]:
        """Write the section `train`, without later keys that hold their defaults; the inverse of `read`."""
        gone = {f.name for f in fields(self) if f.metadata.get("later") and getattr(self, f.name) == f.default}
        names = [f.name for f in fields(self) if f.name not in {*gone, "optimizer_options"}]
        options = unfolded(self.optimizer, dict(self.optimizer_options))
        return {**{name: getattr(self, name) for name in names}, **options}

    def updates(self) -> Train:
        """Copy what updates of weights depend on; the rest, and a budget that no schedule needs, get fixed values."""
        steps = self.max_steps if self.schedule != "constant" else 1
        return replace(self, max_steps=steps, stop_when_solved=False, timeout=0.0)

    def keyed(self) -> dict[str, Any]:
        """Return what numbers depend on: all but the timeout, by the names of a key's fields."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "timeout"}


@dataclass(frozen=True)
class Evaluate:
    """When the learning curve is measured, and on how many examples."""

    every: int
    growth: float
    examples: int

    def steps(self, max_steps: int) -> tuple[int, ...]:
        """Lay out the steps at which the learning curve is measured.

        The first is `every`; each next one comes `every * max(1, round(t * growth / every))` later; the last is
        max_steps.

        >>> Evaluate(every=5, growth=0.05, examples=256).steps(200)[-6:]
        (150, 160, 170, 180, 190, 200)

        Raises:
            ValueError: `every` or `max_steps` is below 1, or `growth` is negative; or there would be more than
                MOST_EVALUATIONS.
        """
        every, growth = self.every, self.growth
        if every < 1 or max_steps < 1 or growth < 0:
            raise ValueError("every and max_steps must be at least 1, growth at least 0")
        steps: list[int] = []
        t = every
        while t < max_steps:
            if len(steps) == MOST_EVALUATIONS:
                raise ValueError(
                    f"asks for more than {MOST_EVALUATIONS:,} evaluations per replica: raise `every` or `growth`"
                )
            steps.append(t)
            t += every * max(1, round(t * growth / every))
        return (*steps, max_steps)


@dataclass(frozen=True)
class Solved:
    """The rule for solved: `hold` consecutive evaluations with `metric` at or above `threshold`."""

    metric: str
    threshold: float
    hold: int


@dataclass(frozen=True)
class Final:
    """The evaluation of trained models.

    Attributes:
        examples: how many per evaluation.
        values: for some of the task's parameters, the values to evaluate at in addition to the trained one.
        difficulty: whether to measure by the task's difficulty too, on a quarter of the examples per difficulty.
        hardest: whether to measure the hardest difficulties also at the largest of `values`, on an eighth of the
            examples per difficulty.
    """

    examples: int
    values: tuple[tuple[str, tuple[Value, ...]], ...]
    difficulty: bool
    hardest: bool = later(False)

    def hardest_at(self, difficulty: str | None) -> dict[str, tuple[str, int]]:
        """Name the evaluations by a task's hardest difficulties at the largest value of each parameter.

        Args:
            difficulty: its name, or None if the task has none.

        Returns:
            The parameter and its value by the evaluations' name.

        >>> Final(500, (("length", (8, 256)),), True, hardest=True).hardest_at("depth")
        {'depth_at_length_256': ('length', 256)}
        """
        if not self.hardest or difficulty is None:
            return {}
        whole = {name: [v for v in values if type(v) is int] for name, values in self.values}
        return {f"{difficulty}_at_{name}_{max(v)}": (name, max(v)) for name, v in whole.items() if v}


@dataclass(frozen=True)
class Source:
    """The text of a module that the replica's numbers may depend on.

    Attributes:
        module: its dotted name, or for a cell or task from a file its path relative to that file's folder.
        text: the whole text.
    """

    module: str
    text: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text in UTF-8, in hexadecimal."""
        return sha256_of(self.text)


@dataclass(frozen=True)
class TaskSpec:
    """A task of the user's own, with all that a worker needs to make it.

    Attributes:
        name: `mytask.py:Parity` for a class, `data.npz:arrays` for arrays: in the key and in the names of streams.
        sources: the text that defines the class first, then the local modules it imports; of arrays, one text that says
            what they are.
        path: the file, for messages; arrays are read from it. Not part of the key.
    """

    name: str
    sources: tuple[Source, ...] = field(repr=False)
    path: str = ""

    @property
    def attribute(self) -> str:
        """The name of the class."""
        return self.name.rpartition(":")[2]

    @property
    def arrays(self) -> bool:
        """Whether it is a task of arrays."""
        return len(self.sources) == 1 and self.sources[0].module.endswith(".npz")


def is_own(task: str) -> bool:
    """Tell by its name whether a task is of the user's own; no registered name has a colon.

    >>> is_own("mytask.py:Parity"), is_own("binary_addition")
    (True, False)
    """
    return ":" in task


@dataclass(frozen=True)
class Settings:
    """The settings that all replicas of an experiment share.

    Attributes:
        task: its registered name, or the name of one of the user's own.
        train, evaluate, solved, final: these sections of the experiment.
        own: what workers make a task of the user's own from; None for a registered one.
    """

    task: str
    train: Train
    evaluate: Evaluate
    solved: Solved
    final: Final
    own: TaskSpec | None = None


@dataclass(frozen=True)
class CellSpec:
    """A cell as an experiment asks for it, with all that a worker needs to make it.

    Attributes:
        label: the name in tables; not part of the key.
        name: the registered name, or the name given to a cell from a file.
        factory: `package.module:Class` for a registered cell, `mycell.py:MyCell` for one from a file.
        options: passed to the factory, defaults included.
        learn_initial_state: whether the initial state is trained.
        readout_hidden: units of one more layer before the readout, or None.
        sources: the defining module's text first, then the local modules it imports.
        from_file: whether the worker makes the cell from `sources`, rather than from a plugin that is installed.
        provider: `distribution version` of the plugin, for messages; not part of the key.
        layers: how many of the cell are stacked.
    """

    label: str
    name: str
    factory: str
    options: Pairs = ()
    learn_initial_state: bool = False
    readout_hidden: int | None = None
    sources: tuple[Source, ...] = field(default=(), repr=False)
    from_file: bool = False
    provider: str = ""
    layers: int = 1

    @property
    def digest(self) -> str:
        """Hash everything that defines the cell, except its label: 32 hexadecimal digits of a SHA-256."""
        facts = {k: v for k, v in asdict(self).items() if k not in ("label", "provider", "sources")}
        if self.layers == 1:
            del facts["layers"]  # as digests were before there were layers
        text = json.dumps([facts, [s.sha256 for s in self.sources]], sort_keys=True, default=repr)
        return sha256_of(text)[:32]


def sha256_of(text: str) -> str:
    """Hash a text in UTF-8 with SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def pairs(mapping: Iterable[tuple[str, Any]]) -> Pairs:
    """Sort a mapping's items by key, with lists turned into tuples."""
    return tuple(sorted((str(k), hashable(v)) for k, v in mapping))


def hashable(value: Any) -> Any:
    """Turn lists into tuples and mappings into pairs, at any depth."""
    if isinstance(value, dict):
        return pairs(value.items())
    if isinstance(value, list | tuple):
        return tuple(hashable(v) for v in value)
    return value
