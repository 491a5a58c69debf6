"""Hold what the reported experiment planned, as plain data, and name its points and axes in words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from cellbench.summary.plans import Past, Stages
from cellbench.wording import share_right

Value: TypeAlias = int | float | str
"""A value of an axis of the grid: a number, or a size such as `hidden 20`."""

OPTIONS = "options"
"""The column that tells the options apart that a cell was tried with; it is there only where options are tuned."""

PICKED_OPTIONS = "picked_options"
"""The column of summary.csv that has the options of the setting that is picked, beside `picked`, its rate."""


class Setting(NamedTuple):
    """What a cell is tried at: a choice of its tuned options, in words (empty: none is tuned), and a learning rate."""

    options: str
    rate: float

    @property
    def text(self) -> str:
        """The setting in words.

        >>> Setting("forget_bias=1", 0.01).text, Setting("", 0.01).text
        ('forget_bias=1 at 0.01', '0.01')
        """
        return f"{self.options} at {self.rate:.10g}" if self.options else f"{self.rate:.10g}"


Point: TypeAlias = tuple[Value, ...]
"""A grid point: one value per axis, in the order of `Design.axes`."""

_SIZE_WORDS = {"hidden": "hidden_size", "budget": "parameter_budget"}


@dataclass(frozen=True)
class Design:
    """The plan of the reported experiment."""

    name: str
    task: str
    labels: tuple[str, ...]
    """Cells by label, in file order."""
    baseline: str | None
    """The label asked for; `None`: lstm if present, else the first."""
    axes: tuple[str, ...]
    """The columns that make a point, the task's parameters first, for example ("bits", "batch_size", "size")."""
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    max_steps: int
    evaluation_steps: tuple[int, ...]
    metric: str
    threshold: float
    hold: int
    stop_when_solved: bool
    final_examples: int
    ratio_of_interest: float = 1.25
    pairs: str = "baseline"
    """`baseline`: each cell against the baseline; `all`: every pair."""
    versions: Mapping[str, str] = field(default_factory=dict)
    engine_reasons: Mapping[str, str] = field(default_factory=dict)
    """By label: the engine that trained a cell and why no faster one did, where that is so."""
    optimizer: str = "adam"
    optimizer_options: tuple[tuple[str, object], ...] = ()
    """The optimizer's hyperparameters that do not hold their defaults."""
    schedule: str = "constant"
    warmup_steps: int = 0
    end_factor: float = 0.0
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    command: str = "cellbench run EXPERIMENT"
    """The command that was typed, for the one that a report suggests."""
    broken_laws: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By label: the laws that a cell breaks, in words, and how."""
    trusted: bool = False
    """Whether cells that break a law get the usual verdicts."""
    own: tuple[str, ...] = ()
    """The labels of the cells that come from a file: the user's own."""
    stages: Stages | None = None
    """The plan of seeds until decided; `None`: the seeds are fixed."""
    past: tuple[Past, ...] = ()
    """Earlier experiments of the same store that asked the same question, in order."""
    elsewhere: int = 0
    """How many other questions were asked of the same seeds in the same store; counted where seeds are staged."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """By label: how many of a cell are stacked, where layers are no axis; 1 for the cells that are not here."""
    kind: str = ""
    """What the task's answers are: `classes` or `numbers`; empty for bits."""
    tolerance: float = 0.0
    """How far a number may be from its target and count as right."""
    settings: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    """By label: what a cell with a `tune` is tried at, as in `Setting`; the others are tried at `learning_rates`."""

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels: at least one cell is needed")
        if self.baseline is not None and self.baseline not in self.labels:
            raise ValueError(f"baseline: {self.baseline!r} is not among the labels {', '.join(self.labels)}")
        if self.pairs not in ("baseline", "all"):
            raise ValueError(f"pairs: found {self.pairs!r}, expected 'baseline' or 'all'")
        if not self.ratio_of_interest > 1:
            raise ValueError(f"ratio_of_interest: found {self.ratio_of_interest!r}, expected a number above 1")

    @property
    def against(self) -> str:
        """The baseline's label."""
        if self.baseline is not None:
            return self.baseline
        return "lstm" if "lstm" in self.labels else self.labels[0]

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of all cells, ascending."""
        return tuple(sorted({setting.rate for label in self.labels for setting in self.tried(label)}))

    def tried(self, label: str) -> tuple[Setting, ...]:
        """List what a cell is tried at: options in the order of the file, rates ascending."""
        own = self.settings.get(label)
        if own is not None:
            return tuple(Setting(*setting) for setting in own)
        return tuple(Setting("", rate) for rate in sorted(set(self.learning_rates)))

    @property
    def several(self) -> bool:
        """Whether there is anything to pick: some cell is tried at more than one setting."""
        return any(len(self.tried(label)) > 1 for label in self.labels)

    @property
    def tunes_options(self) -> bool:
        """Whether the options of some cell are tuned."""
        return any(options for own in self.settings.values() for options, _ in own)

    def rates_of(self, label: str) -> tuple[float, ...]:
        """List the learning rates of one cell, ascending."""
        return tuple(sorted({setting.rate for setting in self.tried(label)}))

    @property
    def shown(self) -> tuple[str, ...]:
        """The labels in the order of a report: the baseline, the user's own cells, the others."""
        first = (self.against, *(label for label in self.labels if label in self.own and label != self.against))
        return (*first, *(label for label in self.labels if label not in first))

    @property
    def right(self) -> str:
        """The share of right answers in words: `bit accuracy`, `step accuracy`, or `share within 0.04`."""
        return share_right(self.kind, self.tolerance)

    @property
    def loss(self) -> str:
        """The loss in words, as the name of a chart's axis."""
        others = {"classes": "loss (nats per step)", "numbers": "mean squared error"}
        return others.get(self.kind, "loss")

    @property
    def solved_by(self) -> str:
        """The accuracy by which a replica counts as solved: its key in the experiment, or words that fit the task."""
        return self.right if self.kind and self.metric == "bit_accuracy" else self.metric

    @property
    def setup(self) -> str:
        """What verdicts hold for, in words: optimizer, rates, schedule, clipping, and layers if there are several."""
        listed, several = self._listed(self.rates), len(self.rates) > 1
        parts = [f"{self.by} at learning rate{'s' if several else ''} {listed}", self.tuning, self.scheduled]
        parts += [self.clipped]
        parts += self._stacked()
        return ", ".join(part for part in parts if part)

    @staticmethod
    def _listed(rates: Sequence[float]) -> str:
        """List learning rates, or how many there are, if they are many."""
        texts = [f"{rate:.10g}" for rate in rates]
        return ", ".join(texts) if len(texts) <= 6 else f"{texts[0]} to {texts[-1]} ({len(texts)} of them)"

    @property
    def tuning(self) -> str:
        """How many settings each cell with a `tune` was tried at, in words; empty if all have the same rates."""
        if len({self.tried(label) for label in self.labels}) == 1 and not self.tunes_options:
            return ""
        counts = {label: len(self.tried(label)) for label in self.labels}
        if not self.tunes_options:
            return ", ".join(f"{label} at {self._listed(self.rates_of(label))}" for label in self.settings)
        if len(set(counts.values())) == 1:
            n = next(iter(counts.values()))
            return f"each cell tried at {n} setting{'s' if n > 1 else ''} of options and learning rate"
        return "settings tried: " + ", ".join(f"{label} {n}" for label, n in counts.items())

    @property
    def by(self) -> str:
        """The optimizer, with what was set of it: `adam (betas 0.9 and 0.99, weight_decay 0.1)`."""
        options = ", ".join(f"{name} {_option(value)}" for name, value in self.optimizer_options)
        return f"{self.optimizer} ({options})" if options else self.optimizer

    @property
    def scheduled(self) -> str:
        """The schedule in words; empty if the learning rate is the same at every step."""
        parts = []
        if self.warmup_steps:
            parts.append(f"warmed up over {self.warmup_steps:,} step{'s' if self.warmup_steps > 1 else ''}")
        if self.schedule != "constant":
            how = {"linear": "linearly", "cosine": "by a cosine"}.get(self.schedule, self.schedule)
            to = f"{self.end_factor:.10g} of {'them' if len(self.rates) > 1 else 'it'}" if self.end_factor else "0"
            parts.append(f"lowered {how} to {to}")
        return " and ".join(parts)

    @property
    def clipped(self) -> str:
        """The clipping in words."""
        parts = [f"to norm {self.clip_norm:.10g}"] if self.clip_norm is not None else []
        parts += [f"by value to {self.clip_value:.10g}"] if self.clip_value is not None else []
        return f"gradients clipped {' and '.join(parts)}" if parts else "gradients not clipped"

    def _stacked(self) -> list[str]:
        """Say how many layers all cells have, or else those cells whose label does not say it."""
        each = {self.layers.get(label, 1) for label in self.labels}
        if len(each) == 1:
            return [f"{each.pop()} layers"] if each != {1} else []
        return [
            f"{label} in {self.layers[label]} layers"
            for label in self.labels
            if label in self.layers and not label.endswith(f" layers={self.layers[label]}")
        ]

    def pairings(self) -> list[tuple[str, str]]:
        """List (cell, baseline) of every comparison, in the order of a report."""
        base, *others = self.shown
        found = [(label, base) for label in others]
        if self.pairs == "all":
            found += [(later, other) for i, other in enumerate(others) for later in others[i + 1 :]]
        return found


def _option(value: object) -> str:
    """Write a hyperparameter: a number as briefly as it can be, several joined."""
    if isinstance(value, list | tuple):
        return " and ".join(map(_option, value)) or "none"
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def plain(value: object) -> Value:
    """Convert an entry of a frame to a plain value: numpy's numbers become Python's, whole floats become ints.

    >>> plain(8.0), plain("hidden 20")
    (8, 'hidden 20')
    """
    item = getattr(value, "item", None)
    if callable(item):
        value = item()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, int | float | str):
        return value
    return str(value)


def value_order(value: Value) -> tuple[str, float, str]:
    """Return a sorting key: numbers by size, `hidden 4` before `hidden 20`.

    >>> sorted(["hidden 20", "hidden 4"], key=value_order)
    ['hidden 4', 'hidden 20']
    """
    if isinstance(value, str):
        parts = re.fullmatch(r"(\D*)(\d+(?:\.\d+)?)", value)
        return (parts[1], float(parts[2]), value) if parts else (value, 0.0, value)
    return ("", float(value), "")


def place_word(axis: str, value: Value) -> str:
    """Name the points at one value of an axis, in the words of the tables."""
    return f"{axis_word(axis, [value])}={value_word(axis, value)}"


def axis_word(axis: str, values: Sequence[Value]) -> str:
    """Name an axis in words: `size` is called by the experiment's own key.

    >>> axis_word("size", ["hidden 4", "hidden 20"]), axis_word("bits", [8, 32])
    ('hidden_size', 'bits')
    """
    if axis == "size":
        firsts = {str(value).split(" ")[0] for value in values}
        if len(firsts) == 1:
            return _SIZE_WORDS.get(firsts.pop(), axis)
    return axis


def value_word(axis: str, value: Value) -> str:
    """Write a value in words, beside its axis's word.

    >>> value_word("size", "hidden 20"), value_word("bits", 8)
    ('20', '8')
    """
    if axis == "size" and isinstance(value, str):
        first, _, rest = value.partition(" ")
        return rest if rest and first in _SIZE_WORDS else value
    return str(value)


def setting(axis: str, value: Value) -> str:
    """Write one coordinate of a point in words.

    >>> [setting("bits", 32), setting("batch_size", 16), setting("size", "hidden 20")]
    ['bits=32', 'batch 16', 'hidden 20']
    """
    if axis == "batch_size":
        return f"batch {value}"
    return str(value) if axis == "size" else f"{axis}={value}"


def point_name(axes: Sequence[str], point: Point) -> str:
    """Name a grid point in words.

    >>> point_name(("bits", "batch_size", "size"), (32, 16, "hidden 20"))
    'bits=32, batch 16, hidden 20'
    """
    return ", ".join(setting(axis, value) for axis, value in zip(axes, point, strict=True))
