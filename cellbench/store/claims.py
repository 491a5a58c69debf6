"""What a stored experiment claims, checked before anything is computed from it: its shape, its amounts, its names.

The checksums protect a store against damage, not against its author. An experiment that claims 3,000,000 seeds, or an
axis whose name is a path, is refused here, where all readers pass.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cellbench.records import MOST_EVALUATIONS, MOST_LAYERS, TUNED, seeds_of
from cellbench.wording import NAME, is_axis, short

MOST_TEXT = 16 * 2**20
"""The most letters of an experiment's JSON; 100,000 seeds take less than one million."""
MOST_DEPTH = 60
"""The most levels of an experiment's JSON; an experiment file may have 50."""
MOST_POINT = 100_000
"""The most letters of the JSON of a point's parameters, each of which is at most 1,000 letters long."""
MOST_STAGED = 100_000
"""The most seeds until decided that an experiment file may ask for."""
MOST_LAID_OUT = 10**9
"""The most evaluations that a report lays out, unless the store holds a hundredth of them."""

Experiment = Mapping[str, Any]


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda x: type(x) is int and least <= x <= most


def _number(x: Any) -> bool:
    return type(x) in (int, float) and math.isfinite(x)


def _text(x: Any) -> bool:
    return isinstance(x, str) and x.isprintable()


def _option(x: Any) -> bool:
    return x is None or isinstance(x, bool) or _number(x) or _text(x) or (isinstance(x, list) and all(map(_option, x)))


def _list(x: Any) -> bool:
    return isinstance(x, list)


def _mapping(x: Any) -> bool:
    return isinstance(x, dict)


def _stages(x: Any) -> bool:
    whole = _whole(1, MOST_STAGED)
    return isinstance(x, dict) and set(x) == {"from", "to"} and all(map(whole, x.values()))


def _of_texts(x: Any) -> bool:
    return isinstance(x, dict) and all(isinstance(value, str) for value in x.values())


def _of_mappings(x: Any) -> bool:
    return isinstance(x, dict) and all(isinstance(value, dict) for value in x.values())


def _tuned(x: Any) -> bool:
    """Tell whether this describes the choice of options that a planned cell stands for."""
    if not isinstance(x, dict) or set(x) != {"cell", "options", "setting", "learning_rate"}:
        return False
    named = isinstance(x["options"], list) and all(map(_text, x["options"]))
    rates = isinstance(x["learning_rate"], list) and all(_number(r) and r > 0 for r in x["learning_rate"])
    return named and rates and _text(x["cell"]) and _text(x["setting"]) and len(x["learning_rate"]) > 0


def _accuracies(x: Any) -> bool:
    return _of_mappings(x) and all(_number(value) for found in x.values() for value in found.values())


_SHAPE: dict[str, Callable[[Any], bool]] = {
    "resolved.name": lambda x: isinstance(x, str) and re.fullmatch(NAME, x) is not None,
    "resolved.task": _text,
    "resolved.cells": _list,
    "resolved.seeds": lambda x: _list(x) or _stages(x),
    "resolved.learning_rate": _list,
    "resolved.baseline": lambda x: x is None or _text(x),
    "resolved.train": _mapping,
    "resolved.train.max_steps": _whole(1, 10**9),
    "resolved.train.optimizer": _text,
    "resolved.train.clip_norm": lambda x: x is None or _number(x),
    "resolved.train.stop_when_solved": lambda x: isinstance(x, bool),
    "resolved.train.timeout": _number,
    "resolved.evaluate": _mapping,
    "resolved.solved": _mapping,
    "resolved.solved.metric": lambda x: x in ("sequence_accuracy", "bit_accuracy"),
    "resolved.solved.threshold": _number,
    "resolved.solved.hold": _whole(1, 10**9),
    "resolved.final": _mapping,
    "resolved.final.examples": _whole(1, 10**9),
    "resolved.report": _mapping,
    "resolved.report.ratio_of_interest": _number,
    "resolved.report.pairs": _text,
    "facts.axes": lambda x: isinstance(x, list) and all(map(is_axis, x)) and len(set(x)) == len(x),
    "facts.difficulty": lambda x: x is None or is_axis(x),
    "facts.evaluation_steps": _list,
    "facts.cells": lambda x: (
        _of_mappings(x)
        and all(
            _whole(1, MOST_LAYERS)(c.get("layers", 1))
            and (TUNED not in c or (_tuned(c[TUNED]) and _mapping(c.get("options"))))
            for c in x.values()
        )
    ),
    "facts.reference_accuracies": _accuracies,
    "environment.cellbench": _text,
    "environment.python": _text,
    "environment.processor": lambda x: isinstance(x, str),
    "environment.packages": _of_texts,
    "environment.plugins": _of_texts,
}
"""The parts of a stored experiment that reports need, and what each must be."""

_OF_KIND: dict[str, Callable[[Any], bool]] = {"kind": lambda x: x in ("classes", "numbers"), "tolerance": _number}
"""The parts of `facts` that are there only if the task's answers are no bits, and what each must be."""

_LATER: dict[str, Callable[[Any], bool]] = {
    "optimizer_options": lambda x: isinstance(x, dict) and all(_text(k) and _option(v) for k, v in x.items()),
    **{name: lambda x: _number(x) for name in ("weight_decay", "momentum", "eps", "alpha", "clip_value", "end_factor")},
    "betas": lambda x: isinstance(x, list) and len(x) == 2 and all(map(_number, x)),
    "schedule": lambda x: x in ("constant", "linear", "cosine"),
    "warmup_steps": _whole(0, 10**9),
}
"""The keys of `resolved.train` that are there only if they do not hold their defaults, and what each must be."""


def parsed(row: tuple[str, str, str, str, str]) -> dict[str, Any]:
    """Read an experiment from its row: resolved, facts, environment, command, started.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it is not of the shape that cellbench writes.
    """
    found: dict[str, Any] = {}
    for name, text in zip(("resolved", "facts", "environment"), row, strict=False):
        if len(text) > MOST_TEXT:
            raise ValueError(f"{name} has {len(text):,} letters")
        found[name] = json.loads(text)
        _refuse_deep(name, found[name])
    found["command"], found["started"] = map(str, row[3:])
    for path, holds in _SHAPE.items():
        value: Any = found
        for part in path.split("."):
            value = value[part]
        if not holds(value):
            raise ValueError(f"{path} is {short(value)}")
    for name, value in found["resolved"]["train"].items():
        if name in _LATER and not _LATER[name](value):
            raise ValueError(f"resolved.train.{name} is {short(value)}")
    for name, holds in _OF_KIND.items():
        if name in found["facts"] and not holds(found["facts"][name]):
            raise ValueError(f"facts.{name} is {short(found['facts'][name])}")
    hardest = found["facts"].get("hardest", [])
    if not (isinstance(hardest, list) and all(map(is_axis, hardest))):
        raise ValueError(f"facts.hardest is {short(hardest)}")
    steps, last = found["facts"]["evaluation_steps"], found["resolved"]["train"]["max_steps"]
    rising = all(type(step) is int for step in steps) and steps == sorted(set(steps))
    if not rising or not steps or steps[0] < 1 or steps[-1] > last or len(steps) > MOST_EVALUATIONS + 1:
        raise ValueError(f"facts.evaluation_steps is {short(steps[:20])}")
    return found


def _refuse_deep(name: str, value: Any) -> None:
    """Refuse what is nested so deep that writing it would end Python's stack."""
    level = [value]
    for _ in range(MOST_DEPTH):
        inner = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [value for values in inner for value in values]
        if not level:
            return
    raise ValueError(f"{name} is nested more than {MOST_DEPTH} deep")


def refuse_unplanned(db: sqlite3.Connection, experiment: Experiment) -> None:
    """Compare the amounts and names that an experiment claims with the rows of its plan.

    Every cell is planned at every point with every seed and each of its rates, so the plan has as many rows.

    Raises:
        ValueError: they differ; the message says in what.
    """
    resolved, facts = experiment["resolved"], experiment["facts"]
    rows = int(db.execute("SELECT count(*) FROM plan").fetchone()[0])
    labels = [cell.get("label") or cell["name"] for cell in resolved["cells"]]
    own = (facts["cells"].get(label, {}).get(TUNED, {}) for label in labels)
    rates = [tuned.get("learning_rate", resolved["learning_rate"]) for tuned in own]
    seeds = seeds_of(resolved["seeds"])
    each = sum(map(len, rates)) * len(seeds)
    lists = {"label": labels, "seed": seeds, "learning_rate": sorted({rate for of in rates for rate in of})}
    for column, claimed in lists.items():
        found = {value for (value,) in db.execute(f"SELECT DISTINCT {column} FROM plan")}
        if len(claimed) != len(found) or set(claimed) != found:
            raise ValueError(f"the experiment has {len(claimed):,} values of {column}, its plan has {len(found):,}")
    for label in labels:
        if not _text(label):
            raise ValueError(f"the label {short(label)} holds characters that cannot be printed")
    longest = db.execute("SELECT max(length(parameters)) FROM plan").fetchone()[0] or 0
    if longest > MOST_POINT:
        raise ValueError(f"the parameters of a replica have {longest:,} letters")
    points = db.execute("SELECT DISTINCT parameters, batch_size, size FROM plan").fetchall()
    for parameters, _, size in points:
        refuse_odd_point(parameters, size, facts["axes"])
    if rows != len(points) * each:
        raise ValueError(f"the plan has {rows:,} rows, which is not each cell at each point, seed and rate")
    evaluations = rows * len(facts["evaluation_steps"])
    if evaluations > MOST_LAID_OUT:
        held = int(db.execute("SELECT count(*) FROM curve").fetchone()[0])
        if evaluations > 100 * held:
            raise ValueError(f"the plan has {evaluations:,} evaluations, and the store holds {held:,}")


def refuse_odd_point(parameters: str, size: str, axes: Iterable[str]) -> None:
    """Refuse a grid point that no experiment file can have.

    Raises:
        ValueError: its parameters are not the axes, or a value cannot be printed.
    """
    values = json.loads(parameters)
    if not isinstance(values, dict) or list(values) != list(axes):
        raise ValueError(f"a replica is planned at {short(values)}, and the axes are {short(list(axes))}")
    if not re.fullmatch(r"(hidden|budget) \d{1,9}", size):
        raise ValueError(f"a replica is planned at the size {short(size)}")
    for value in values.values():
        refuse_odd_value(value)


def refuse_odd_value(value: object) -> None:
    """Refuse a value of an axis or a difficulty that no task can have.

    Raises:
        ValueError: it is neither a number nor a printable text of at most 1,000 letters.
    """
    if not (_number(value) or isinstance(value, bool) or (_text(value) and len(str(value)) <= 1_000)):
        raise ValueError(f"a value of an axis is {short(value)}")


def refuse_odd_evaluations(by: Iterable[object], values: Iterable[object], facts: Mapping[str, Any]) -> None:
    """Refuse final evaluations by what is neither an axis of the experiment nor its difficulty.

    Args:
        by, values: the distinct ones.
        facts: of the experiment.

    Raises:
        ValueError: a name or a value is not one of the experiment.
    """
    known = {"", facts["difficulty"], *facts.get("hardest", ()), *facts["axes"]}
    for name in by:
        if name not in known:
            raise ValueError(f"evaluations are by {short(name)}, which is neither an axis nor the difficulty")
    for value in values:
        refuse_odd_value(value)
