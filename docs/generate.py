"""Writes the generated parts of the documentation: `python docs/generate.py`. A test fails when they are stale.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->` in a page of this folder.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cellbench.conformance.task_laws import LAWS
from cellbench.conformance.task_subject import points
from cellbench.experiment import schema
from cellbench.experiment.offered import NOT_OFFERED
from cellbench.experiment.sections import (
    CellKeys,
    EvaluateKeys,
    FinalKeys,
    Keys,
    ReadoutKeys,
    ReportKeys,
    SolvedKeys,
    StagesKeys,
    TrainKeys,
)
from cellbench.records import RIGHT_SINCE
from cellbench.streams import Stream
from cellbench.task import Task
from cellbench.tasks import register_tasks as register_builtin

HERE = Path(__file__).parent


def keys() -> str:
    """Every key of an experiment file, with its default and meaning."""
    sections: list[tuple[str, type[BaseModel]]] = [
        ("", Keys), ("cells[]", CellKeys), ("train", TrainKeys), ("evaluate", EvaluateKeys), ("solved", SolvedKeys),
        ("final", FinalKeys), ("seeds", StagesKeys), ("report", ReportKeys), ("readout", ReadoutKeys),
    ]  # fmt: skip
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    nested = {name for name, _ in sections}
    for section, model in sections:
        for name, field in model.model_fields.items():
            if name in nested and section == "" and name not in ("readout", "seeds"):
                continue
            name = field.alias or name
            path = f"{section}.{name}" if section else name
            rows.append(f"| `{path}` | {_default(name, field)} | {field.description} |")
    return "\n".join(rows)


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if name == "seeds":
        return "`10`"
    if value is None or isinstance(value, BaseModel):
        return ""
    text = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
    return f"`{text}`"


def schema_sql() -> str:
    """The store's schema, as it is."""
    text = resources.files("cellbench.store").joinpath("schema.sql").read_text(encoding="utf-8")
    return f"```sql\n{text.rstrip()}\n```"


def versions() -> str:
    """What earlier versions of the engines were wrong about."""
    lines = ["| engine | until version | was wrong about some cells: it |", "| --- | --- | --- |"]
    for since in RIGHT_SINCE.values():
        by_version: dict[int, list[str]] = {}
        for engine, version in since.versions.items():
            by_version.setdefault(version, []).append(engine)
        lines += [f"| {', '.join(names)} | {version - 1} | {since.said} |" for version, names in by_version.items()]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def tasks() -> str:
    """The shipped tasks: the built-in one, and those of plugins/cellbench-tasks."""
    sys.path.insert(0, str(HERE.parent / "plugins/cellbench-tasks"))
    import cellbench_tasks

    found: list[dict[str, str]] = []
    for register in (register_builtin, cellbench_tasks.register_tasks):
        register(register=lambda **task: found.append(task))
    rows = [
        "| task | what | inputs | answers | parameters | references |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in found:
        module, _, attribute = each["factory"].partition(":")
        task: Task = getattr(importlib.import_module(module), attribute)()
        point = points(task, {})[0]
        drawn = task.batch(Stream("data", "docs", count=64), 64, point)
        inputs = f"{task.input_size} tokens" if task.tokens else f"{task.input_size} numbers"
        answers = f"{task.output_size} {task.kind}" if task.output_size > 1 else task.kind.rstrip("s")
        scored = "" if len(drawn) == 2 else f", at {np.mean(drawn[2]):.0%} of the steps"
        at = ", ".join(f"{name} {value}" for name, value in point.items())
        known = ", ".join(f"{name} {value:.3f}" for name, value in task.reference_accuracies(point).items())
        names = "; ".join(f"`{name}`: {meaning}" for name, meaning in task.parameters.items())
        columns = (f"`{each['name']}`", each["description"], inputs, f"{answers}{scored}", names, f"{at}: {known}")
        rows.append(f"| {' | '.join(columns)} |")
    return "\n".join(rows)


def offered() -> str:
    """What people look for and do not find, with the reason; names with the same reason share a line."""
    lines = ["| key | why not, and what there is |", "| --- | --- |"]
    for why in dict.fromkeys(NOT_OFFERED.values()):
        names = ", ".join(f"`{name}`" for name, each in NOT_OFFERED.items() if each == why)
        lines.append(f"| {names} | {why} |")
    return "\n".join(lines)


def laws() -> str:
    """The laws of tasks."""
    return "\n".join(["| law | shows |", "| --- | --- |", *(f"| `{law.name}` | {law.shows} |" for law in LAWS)])


PARTS: dict[str, Callable[[], str]] = {
    "keys": keys, "schema": schema_sql, "versions": versions, "offered": offered, "laws": laws, "tasks": tasks,
}  # fmt: skip
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)


def generated(page: str) -> str:
    """A page's text with its generated parts made anew."""
    return _PART.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[3]}", page)


def json_schema() -> str:
    """experiments/experiment.schema.json, which the shipped files point editors at."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    (HERE.parent / "experiments/experiment.schema.json").write_text(json_schema())
    for path in sorted(HERE.glob("*.md")):
        path.write_text(generated(path.read_text()))
