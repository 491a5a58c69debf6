"""A cell as the command line gives it: a registered name or FILE:CLASS, then a label and options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellbench.errors import CellError, ExperimentError, Fault
from cellbench.experiment.document import parse
from cellbench.plugins.own_tasks import tasks_in
from cellbench.plugins.sources import cells_in
from cellbench.records import LAYERS, sha256_of
from cellbench.wording import short

FORM = "NAME or FILE:CLASS, then perhaps ,label=LABEL, ,layers=N and ,OPTION=VALUE"

_OPTION = re.compile(r",(?=\s*[A-Za-z_]\w*\s*=)")
"""Where an option begins. A comma elsewhere belongs to a value: sizes=[1, 2]."""

_TUNE = re.compile(r",\s*tune\s*(\.|=\s*\{)")
"""Where a `tune` is meant as an experiment file has it. An option of that name has no mapping for a value."""

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Given:
    """A cell as it was given.

    Attributes:
        text: all of it.
        cell: a registered name, or `file.py:Class`.
        label: the name in tables that it was given, or None.
        options: for the cell's factory; `layers` among them stacks the cell where it is trained.
    """

    text: str
    cell: str
    label: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path | None:
        """The file that it comes from; None for a registered name."""
        file, colon, _ = self.cell.rpartition(":")
        return Path(file) if colon else None

    @property
    def name(self) -> str:
        """The registered name, or the name of the class."""
        return self.cell.rpartition(":")[2]

    @property
    def shown(self) -> str:
        """Its name in tables, unless others bear it too."""
        return self.label or default_label(self.name, self.options.get(LAYERS))

    def keys(self) -> dict[str, Any]:
        """Write it as an experiment file has a cell: `layers` is the harness's, the others are options of the cell."""
        found: dict[str, Any] = {"name": self.name}
        if self.file is not None:
            found["factory"] = f"{self.file.resolve()}:{self.name}"
        if self.label is not None:
            found["label"] = self.label
        options = {key: value for key, value in self.options.items() if key != LAYERS}
        if options:
            found["options"] = options
        if LAYERS in self.options:
            found |= {"label": self.shown, LAYERS: self.options[LAYERS]}
        return found


def read(text: str, option: str = "--cell") -> Given:
    """Read a cell as the command line gives it. Values are read as YAML.

    >>> read("./mycell.py:MyCell,label=v2,alpha=0.5").options
    {'alpha': 0.5}

    Args:
        text: what was given.
        option: the option that gave it, for messages.

    Raises:
        ExperimentError: it is not of this form.
    """
    place = f"{option} {text}".strip()

    def fault(message: str) -> ExperimentError:
        return ExperimentError([Fault(place, "", message)])

    if _TUNE.search(text):
        raise fault(
            "a cell on the command line carries no `tune`: it is tried at the experiment's settings. Write it in the "
            "file, as in cells: [{name: lstm, tune: {options.forget_bias: [0, 1]}}], or give every cell the same "
            "with --set tune=..."
        )
    cell, *given = _OPTION.split(text)
    file, colon, name = cell.rpartition(":")
    if not colon and cell.endswith(".py") and not given:
        raise fault(f"must be FILE:CLASS{_instead(cell)}")
    if (colon and not (file and name.isidentifier())) or (not colon and (not cell or cell.endswith(".py"))):
        raise fault("must be FILE:CLASS, for example ./mycell.py:MyCell, or ./mycell.py:MyCell,label=v2,alpha=0.5")
    if not colon and not re.fullmatch(r"[\w.-]+", cell):
        raise fault(f"must be {FORM}, for example ./mycell.py:MyCell,label=v2,alpha=0.5")
    found: dict[str, Any] = {}
    for one in given:
        key, _, value = one.partition("=")
        key, value = key.strip(), value.strip()
        if key in found:
            raise fault(f"{key} is given twice")
        if not value:
            raise fault(f"{key} needs a value")
        try:
            found[key] = value if key == "label" else parse(value, place).data
        except ExperimentError as error:
            why = error.faults[0].message.removeprefix("not YAML: ")
            raise fault(f"the value {short(value)} of {key} is not YAML: {why}") from None
    label = found.pop("label", None)
    return Given(text, cell, label, found)


def _instead(file: str) -> str:
    """Say what may be meant by a file without a class."""
    if not Path(file).is_file():
        return f", and there is no file {file}, seen from the current folder"
    try:
        tasks = tasks_in(Path(file))
        found = [*(name for name in cells_in(Path(file)) if name not in tasks), *tasks]
    except (CellError, OSError) as error:
        return f"; {error}"
    if not found:
        return ", and it defines no cell: a class that derives from cellbench.Cell"
    return "\n".join([". It defines:", *(f"  {file}:{name}" for name in found)])


def default_label(name: str, layers: object) -> str:
    """Name a cell that was given no label; its number of layers is a part of the name if it was given one.

    >>> default_label("lstm", None), default_label("lstm", 2)
    ('lstm', 'lstm layers=2')
    """
    return name if isinstance(layers, bool) or not isinstance(layers, int) else f"{name[:80]} {LAYERS}={layers}"


def labels_of(cells: Sequence[Given]) -> list[str]:
    """Name cells that are compared with each other: by their labels or names, and more where these are equal."""
    named = [given.shown for given in cells]
    for more in (_with_options, _with_file, _with_folder):
        if len(set(named)) == len(named):
            break
        named = [given.label or more(given)[:100] for given in cells]
    return named


def _with_options(given: Given) -> str:
    return " ".join([given.name, *(f"{key}={value}" for key, value in given.options.items())])


def _with_file(given: Given) -> str:
    return f"{given.file.stem}:{given.name}" if given.file else given.name


def _with_folder(given: Given) -> str:
    return f"{given.file.resolve().parent.name}/{_with_file(given)}" if given.file else given.name


def joined_name(base: str, added: Sequence[str], by: str = "+") -> str:
    """Name an experiment with added cells, and so its folder; a name that is too long ends in a hash.

    >>> joined_name("default", ["MyCell", "v 2"])
    'default+MyCell+v-2'
    """
    words = [re.sub(r"[^A-Za-z0-9._+-]+", "-", label) for label in added]
    whole = f"{base}+{by.join(words)}"
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[: _LONGEST_NAME - 9]}-{sha256_of(whole)[:8]}"
