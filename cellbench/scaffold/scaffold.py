"""`cellbench new`: writes a plugin package with a cell, a task with its experiment, or a commented experiment."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from cellbench.errors import CellbenchError
from cellbench.plugins import discover
from cellbench.scaffold.packaged import Packaged, packaged
from cellbench.wording import NAME

PACKAGE = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "LICENSE": "LICENSE.tmpl",
    ".gitignore": "gitignore.tmpl",
    ".github/workflows/tests.yml": "ci.yml.tmpl",
    "experiment.yaml": "experiment.yaml.tmpl",
    "cellbench_$module/__init__.py": "init.py.tmpl",
    "cellbench_$module/cell.py": "cell.py.tmpl",
    "tests/test_$module.py": "test.py.tmpl",
}
"""Each file of a package, with the template that it is made from."""

CELL_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
LONGEST = 40

_DESCRIPTION = "one line: what the cell is; weights and biases uniform in ±1/sqrt(hidden size)"

_TAKEN_BY_IMPORTS = {"Cell", "State", "Task", "Tensor"}


def new_package(
    name: str, parent: Path, file: Path | None = None, attribute: str = "", options: Mapping[str, Any] | None = None
) -> Path:
    """Write the package `cellbench-NAME` with the cell NAME.

    Args:
        name: the cell's name, for example `my-gate`.
        parent: the folder in which the package's folder is made.
        file: the file whose cell is packaged; None for a cell to begin with.
        attribute: the class or function in it.
        options: passed to it unless an experiment gives others.

    Returns:
        The package's folder.

    Raises:
        CellbenchError: the name cannot be used or is taken, the folder exists already, or there is no such cell.
            Nothing was written.
    """
    if not CELL_NAME.match(name) or len(name) > LONGEST:
        raise CellbenchError(
            f"{name[:80]!r} cannot name a cell: use at most {LONGEST} lower-case letters and digits, in words joined "
            "by '-', and start with a letter"
        )
    taken = discover().cells.get(name)
    if taken is not None:
        raise CellbenchError(f"a cell named {name!r} exists already, from {taken.provider}; choose another name")
    folder = parent / f"cellbench-{name}"
    if folder.exists() or folder.is_symlink():
        raise CellbenchError(f"{folder} exists already, and was left as it is; choose another name, or move it away")
    if not parent.is_dir():
        raise CellbenchError(f"{parent} is not a folder")
    module = name.replace("-", "_")
    cell = packaged(file, attribute, options or {}, f"cellbench_{module}") if file is not None else None
    texts = _texts(name, module, cell)
    # fails if the folder was made in the meantime: it is not ours
    folder.mkdir()
    for inner, content in texts.items():
        path = folder / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _texts(name: str, module: str, cell: Packaged | None) -> dict[str, bytes]:
    """Write the files of a package: of a cell from a file, or of one to begin with."""
    words = {
        "name": name,
        "module": module,
        "klass": cell.attribute if cell else _class_name(name),
        "needs": "".join(f', "{library}"' for library in cell.libraries) if cell else "",
        "description": repr(cell.summary)[1:-1].replace('"', '\\"') if cell and cell.summary else _DESCRIPTION,
        "defaults": f"\n        defaults={dict(cell.options)!r}," if cell and cell.options else "",
        "options": repr(dict(cell.options)) if cell else "",
    }
    templates = {**PACKAGE, "tests/test_$module.py": "test_packaged.py.tmpl"} if cell else PACKAGE
    texts = {
        Template(inner).substitute(words): _filled(f"package/{template}", words).encode()
        for inner, template in templates.items()
    }
    return {
        **texts,
        **{f"cellbench_{module}/{inner}": content for inner, content in (cell.files if cell else {}).items()},
    }


def new_experiment(path: Path) -> Path:
    """Write a commented experiment with every key.

    Args:
        path: the file, ending in `.yaml` or `.yml`; the rest of its name becomes the experiment's name.

    Returns:
        The path.

    Raises:
        CellbenchError: the name cannot be used, or the file exists already.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise CellbenchError(f"{path} does not end in .yaml; try {path.with_suffix('.yaml')}")
    if not re.fullmatch(NAME, path.stem):
        raise CellbenchError(
            f"{path.stem[:80]!r} cannot name an experiment: use letters, digits, '.', '_', '+' and '-', and start with "
            "a letter or digit"
        )
    text = _filled("experiment.yaml.tmpl", {"name": _quoted(path.stem), "file": str(path)})
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CellbenchError(f"{path} exists already, and was left as it is") from None
    except OSError as error:
        raise CellbenchError(f"{path} cannot be written: {error.strerror}") from error
    return path


def new_task(name: str, parent: Path) -> tuple[Path, Path]:
    """Write a task to begin with, `NAME.py`, and an experiment on it, `NAME.yaml`.

    Args:
        name: the task's name, for example `my-task`; words of the file's name are joined by `_`.
        parent: the folder of both.

    Returns:
        The two files.

    Raises:
        CellbenchError: the name cannot be used, or one of the files exists already. Nothing was written.
    """
    if not CELL_NAME.match(name) or len(name) > LONGEST:
        raise CellbenchError(
            f"{name[:80]!r} cannot name a task: use at most {LONGEST} lower-case letters and digits, in words joined "
            "by '-', and start with a letter"
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise CellbenchError(f"{module}.py would hide a module of Python's; choose another name")
    file, experiment = parent / f"{module}.py", parent / f"{module}.yaml"
    for path in (file, experiment):
        if path.exists() or path.is_symlink():
            raise CellbenchError(f"{path} exists already, and was left as it is; choose another name, or move it away")
    klass = class_of(name)
    words = {"name": name, "title": _quoted(name), "klass": klass, "file": file.name, "experiment": experiment.name}
    try:
        for path, template in ((file, "task.py.tmpl"), (experiment, "task.yaml.tmpl")):
            with path.open("x", encoding="utf-8") as out:
                out.write(_filled(template, words))
    except OSError as error:
        raise CellbenchError(f"{path} cannot be written: {error.strerror}") from error
    return file, experiment


def class_of(name: str) -> str:
    """Name the class of a new task.

    >>> class_of("my-task"), class_of("task")
    ('MyTask', 'TaskTask')
    """
    return _class_name(name, "Task")


def _class_name(name: str, what: str = "Cell") -> str:
    """Turn `my-gate` into `MyGate`; keywords of Python and names that the templates import get `what` after them."""
    joined = "".join(word.capitalize() for word in name.split("-"))
    return f"{joined}{what}" if keyword.iskeyword(joined) or joined in _TAKEN_BY_IMPORTS else joined


def _quoted(name: str) -> str:
    """Quote a name that YAML would not read as a string, such as 2024 or no."""
    return name if re.match(r"[A-Za-z]", name) and name.lower() not in _YAML_WORDS else f'"{name}"'


_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def _filled(template: str, words: dict[str, str]) -> str:
    source = resources.files("cellbench.scaffold").joinpath("templates", *template.split("/"))
    return Template(source.read_text(encoding="utf-8")).substitute(words)
