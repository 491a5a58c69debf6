"""The key `tune`: the settings that a cell is tried at, checked and laid out.

Each choice of options is planned as a cell of its own, named by the cell and its options: it has its own keys, engine
and answers to laws, as if the file listed it. Reports put the choices together again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf, prod
from typing import Any

from cellbench.errors import Fault
from cellbench.experiment.checks import MOST_VALUES, Checks, repeated
from cellbench.experiment.document import Document, Path_, key
from cellbench.experiment.sections import OPTION, RATE, Keys
from cellbench.records import CellSpec, Pairs, pairs
from cellbench.wording import short


@dataclass(frozen=True)
class Choice:
    """A choice of options at which a tuned cell is tried.

    Attributes:
        cell: the label of the tuned cell.
        options: those that are tuned, in the order of the file; empty where the learning rate alone is.
        rates: the learning rates that it is tried at.
    """

    cell: str
    options: Pairs
    rates: tuple[float, ...]

    @property
    def words(self) -> str:
        """The options in words: `forget_bias=1 bias=false`."""
        return " ".join(f"{name}={_word(value)}" for name, value in self.options)

    @property
    def label(self) -> str:
        """The label that it is planned by."""
        return f"{self.cell} {self.words}" if self.options else self.cell

    def facts(self) -> dict[str, Any]:
        """Write what reports need of it, as plain data."""
        names = [name for name, _ in self.options]
        return {"cell": self.cell, "options": names, "setting": self.words, "learning_rate": list(self.rates)}


def _word(value: Any) -> str:
    """Write the value of an option so that no two of them look alike, and without a comma, which `--only` divides at.

    >>> _word(1), _word(1.0), _word(True), _word("relu"), _word("1"), _word([2, 3])
    ('1', '1.0', 'true', 'relu', '"1"', '[2 3]')
    """
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", value) and value not in ("true", "false", "null"):
        return value
    return json.dumps(value, separators=(" ", ":"))


def lay_out(keys: Keys, checks: Checks) -> list[tuple[Choice, ...]]:
    """Lay out what each cell is tried at, and check that it is equally much, and not too much.

    Args:
        keys: of the experiment; its `tune` has no faults.
        checks: where faults go.

    Returns:
        For each cell, every choice of its tuned options; none for a cell that is not tuned.
    """
    labels = [cell.label or cell.name for cell in keys.cells]
    tunes = [_flat(keys.tune if cell.tune is None else cell.tune) for cell in keys.cells]
    counts = [prod(map(len, {RATE: keys.learning_rate, **tune}.values())) for tune in tunes]
    checks.amount(keys, sum(counts))
    if checks.faults:
        return []
    _equal(keys, checks, dict(zip(labels, counts, strict=True)))
    tried = [_choices(keys, label, tune) for label, tune in zip(labels, tunes, strict=True)]
    planned = [choice.label for one in tried for choice in one if choice.options]
    for label in sorted({label for label in planned if label in labels or planned.count(label) > 1}):
        path = ("cells", labels.index(label)) if label in labels else ("cells",)
        checks.add(path, f"the label {short(label)} is that of a tuned cell with its options too; give another `label`")
    return tried


def _choices(keys: Keys, label: str, tune: Mapping[str, Any]) -> tuple[Choice, ...]:
    names = [name for name in tune if name != RATE]
    rates = tuple(map(float, tune.get(RATE, keys.learning_rate)))
    return tuple(
        Choice(label, tuple((name.removeprefix(OPTION), v) for name, v in zip(names, values, strict=True)), rates)
        for values in (product(*(tune[name] for name in names)) if tune else ())
    )


def as_planned(cell: dict[str, Any], tuned: Mapping[str, Choice]) -> list[dict[str, Any]]:
    """Write a cell of the file as it is planned: once for each choice of its options.

    Args:
        cell: its keys.
        tuned: the choices of all cells.
    """
    label = cell["label"] or cell["name"]
    return [
        {**cell, "label": choice.label, "options": {**cell["options"], **dict(choice.options)}}
        for choice in tuned.values()
        if choice.cell == label and choice.options
    ] or [cell]


def spread(cell: CellSpec, tried: Sequence[Choice]) -> list[CellSpec]:
    """Make the cells that are planned for one: itself, or one for each choice of its options."""
    return [
        replace(cell, label=choice.label, options=pairs({**dict(cell.options), **dict(choice.options)}.items()))
        for choice in tried
    ] or [cell]


def faults(document: Document) -> list[Fault]:
    """Check `tune`, of the experiment and of each cell, on data of any shape; pydantic says what is no mapping."""
    data, found = document.data, []
    cells = data.get("cells")
    cells = cells if isinstance(cells, list) else []
    common = _flat(data.get("tune"))
    found += _names(document, ("tune",), common)
    if RATE in common and RATE in data:
        found.append(
            _fault(document, ("tune", RATE), "learning_rate is given outside of tune too: say it in one place")
        )
    for i, cell in enumerate(cells):
        keys = cell if isinstance(cell, Mapping) else {}
        base: Path_ = ("cells", i, "tune")
        own = keys.get("tune")
        if own is not None:
            found += _names(document, base, _flat(own))
        tune, at = (common, ("tune",)) if own is None else (_flat(own), base)
        options = keys.get("options")
        for name in options if isinstance(options, Mapping) else ():
            if f"{OPTION}{name}" in tune:
                where = path_of(document, at, f"{OPTION}{name}")
                message = f"cells[{i}] sets the option {name} too: it is either set or tuned"
                found.append(Fault(document.place(where), key(where), message))
    return found


def _equal(keys: Keys, checks: Checks, counts: Mapping[str, int]) -> None:
    """Refuse cells that are tried at different numbers of settings, unless the file allows it."""
    if keys.tuning_budget == "any" or len(set(counts.values())) < 2:
        return
    said = ", ".join(f"{label} is tried at {n} setting{'s' if n > 1 else ''}" for label, n in counts.items())
    most = max(counts.values())
    own = [("cells", i, "tune") for i, cell in enumerate(keys.cells) if cell.tune is not None]
    checks.add(
        own[0] if own else ("tune",),
        f"{said}: who is tried at more settings is tuned better. Give each cell as many (one without options to tune "
        f"can have its own `tune: {{learning_rate: [...]}}` of {most}), or say `tuning_budget: any`",
    )


def path_of(document: Document, base: Path_, name: str) -> Path_:
    """Find where a key of `tune` was written: flat, `options.x`, or nested, `options: {x: ...}`."""
    nested = (*base, "options", name.removeprefix(OPTION))
    return nested if nested in document.places and (*base, name) not in document.places else (*base, name)


def place_of_option(document: Document, number: int, name: str) -> Path_:
    """Find where an option of a cell was tuned.

    Args:
        document: of the experiment.
        number: of the cell.
        name: of the option.
    """
    cell = document.data["cells"][number]
    own = isinstance(cell, Mapping) and cell.get("tune") is not None
    return path_of(document, ("cells", number, "tune") if own else ("tune",), f"{OPTION}{name}")


def _flat(value: object) -> Mapping[str, Any]:
    """Return what a section tunes, by flat names; empty for what is no mapping."""
    if not isinstance(value, Mapping):
        return {}
    flat: dict[str, Any] = {}
    for name, values in value.items():
        if name == "options" and isinstance(values, Mapping):
            flat |= {f"{OPTION}{inner}": v for inner, v in values.items()}
        else:
            flat[str(name)] = values
    return flat


def _names(document: Document, base: Path_, tune: Mapping[str, Any]) -> list[Fault]:
    """Check the names and the values of one `tune`."""
    found = []
    for name, values in tune.items():
        path = path_of(document, base, name)
        items = values if isinstance(values, list) else [values]
        if name != RATE and (not name.startswith(OPTION) or name == OPTION):
            hint = "learning_rate, and the options of a cell, such as options.forget_bias"
            found.append(_fault(document, path, f"cannot be tuned; what can: {hint}"))
            continue
        if not items:
            found.append(_fault(document, path, "is empty, expected at least one value"))
        if len(items) > MOST_VALUES:
            found.append(_fault(document, path, f"has {len(items):,} values, more than {MOST_VALUES:,}"))
            continue
        for i, value in enumerate(items):
            if name == RATE and not _is_rate(value):
                found.append(_fault(document, (*path, i), f"is {short(value)}, expected a number above 0"))
            elif isinstance(value, str) and not value.isprintable():
                found.append(_fault(document, (*path, i), f"{short(value)} holds characters that cannot be printed"))
        found += [_fault(document, (*path, i), f"{short(v)} is given twice") for i, v in repeated(items)]
    return found


def _is_rate(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < float(value) < inf  # type: ignore[arg-type]


def _fault(document: Document, path: Path_, message: str) -> Fault:
    return Fault(document.place(path), key(path), message)
