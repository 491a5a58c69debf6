"""The task that is checked: how it is made, at which grid parameters it is asked, where its code stands."""

from __future__ import annotations

import functools
import linecache
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cellbench.errors import CellbenchError, PluginError, TaskError
from cellbench.model import generator_states, set_generators
from cellbench.plugins import Place, Registry, load_factory, own_tasks, registry, theirs
from cellbench.plugins.captured import capture
from cellbench.records import TaskSpec, Value
from cellbench.streams import Stream
from cellbench.task import Task
from cellbench.wording import short

Point = Mapping[str, Value]
"""Grid parameters."""

_CANDIDATES: tuple[Value, ...] = (8, 4, 5, 2, 3, 16, 9, 6, 1, 32, 64, 128, 0.5, 0.1, 0)
"""Values that parameters are tried at, unless the task names some by `final` or the user gives others."""


@dataclass(frozen=True)
class TaskSubject:
    """A task to check.

    Attributes:
        name: a registered name, or that of the user's own.
        points: the grid parameters at which it is asked.
        own: of the user's own: its text.
    """

    name: str
    points: tuple[Point, ...]
    own: TaskSpec | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def file(self) -> str:
        """The file that it is from, for messages."""
        return self.own.path if self.own is not None else ""

    @property
    def few(self) -> tuple[Point, ...]:
        """The first two points, for laws that need not be asked at all."""
        return self.points[:2]

    def task(self) -> Task:
        """Make it anew."""
        return made(self.name, self.own)

    def begins(self, method: str = "batch") -> Place | None:
        """Return the place where a method is defined; None if it is cellbench's own."""
        code = getattr(getattr(type(self.task()), method), "__code__", None)
        if code is None or not theirs(code.co_filename):
            return None
        return _place(code.co_filename, code.co_firstlineno, method)


def made(name: str, own: TaskSpec | None, installed: Registry | None = None) -> Task:
    """Make a task anew: the registered one of this name, or the user's own.

    Raises:
        CellbenchError: it cannot be made.
    """
    if own is not None:
        return own_tasks.make(own)
    return own_tasks.checked(load_factory((installed or registry()).find("task", name))(), name)


def subject_of(given: str | type[Task], parameters: Point | None = None) -> TaskSubject:
    """Find the task that a user names.

    Args:
        given: a registered name, `path.py:Class`, the path of a file of arrays, or a class.
        parameters: grid parameters to ask it at; the others are chosen.

    Raises:
        CellbenchError: there is no such task, it cannot be made, or it takes no such parameter.
    """
    if not isinstance(given, str):
        own: TaskSpec | None = own_tasks.of_captured(capture(given, "task"))
    else:
        own = own_tasks.read(given, Path.cwd()) if own_tasks.named_so(given) else None
    name = own.name if own is not None else str(given)
    return TaskSubject(name, points(made(name, own), parameters or {}), own)


def points(task: Task, given: Point) -> tuple[Point, ...]:
    """Choose grid parameters to ask a task at: a first point, then each parameter at another value.

    Args:
        task: the task.
        given: the values of some parameters.

    Raises:
        TaskError: a value is refused, there is no such parameter, or no value is known that one takes.
    """
    for name, value in given.items():
        if name not in task.parameters:
            known = ", ".join(task.parameters) or "none"
            raise TaskError(f"the task has no parameter {short(name)}; it has {known}")
        try:
            task.check_parameter(name, value)
        except ValueError as error:
            raise TaskError(f"{name} is {short(value)}: {error}") from None
    values: dict[str, list[Value]] = {}
    for name in task.parameters:
        values[name] = [given[name]] if name in given else _accepted(task, name)[:2]
        if not values[name]:
            raise TaskError(f"no value of {name} is known; give one, as in `cellbench check TASK,{name}=VALUE`")
    first = {name: accepted[0] for name, accepted in values.items()}
    return (first, *({**first, name: accepted[1]} for name, accepted in values.items() if len(accepted) > 1))


def _accepted(task: Task, name: str) -> list[Value]:
    """List the values that a parameter takes, of those that the task names and a few others."""
    found = []
    for value in dict.fromkeys((*task.final.get(name, ()), *_CANDIDATES)):
        try:
            task.check_parameter(name, value)
        except ValueError:
            continue
        found.append(value)
    return found


def is_task(given: str) -> bool:
    """Tell whether what a user names is a task, and no cell: by the registry, or by the class in the file.

    Raises:
        PluginError: it is neither a registered cell nor a registered task.
        CellbenchError: its file cannot be read, or importing it raises.
    """
    if given.endswith(".npz"):
        return True
    file, colon, attribute = given.rpartition(":")
    if colon:
        return Path(file).is_file() and attribute in _derived(Path(file))
    installed = registry()
    if given in installed.cells or given not in installed.tasks:
        try:
            installed.find("cell", given)
        except PluginError as error:
            raise PluginError(str(error).replace("no cell named", "no cell and no task named")) from None
        return False
    return True


def _derived(path: Path) -> list[str]:
    """List the classes of a file that derive from Task, by its text, then by what it is when it is run."""
    named = own_tasks.tasks_in(path)
    if named:
        return named
    from cellbench.plugins import sources

    found = []
    for match in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
        try:
            kind = sources.load(sources.of_file(path.resolve()), match)
        except CellbenchError:
            return []
        if isinstance(kind, type) and issubclass(kind, Task):
            found.append(match)
    return found


_UNNAMED = re.compile(r"default_rng|np\.random|numpy\.random|\brandom\.\w+\(|torch\.rand|urandom|secrets\.|\btime\.")
"""What a line has that draws from elsewhere than the stream."""


def line_that_draws(call: Callable[[], object]) -> Place | None:
    """Find the first line of somebody's code that draws from a generator of the whole process, by running it."""
    set_generators("conformance", "look")  # a line that sets a seed changes nothing the second time
    before = generator_states()
    found: list[Place] = []
    last: list[Place] = []

    def see(place: Place) -> None:
        if last and not found and generator_states() != before:
            found.extend(last)
        last[:] = [place]

    _traced(call, see)
    return next(iter(found or last), None)


def likely_line(subject: TaskSubject) -> Place | None:
    """Find the first line that runs in a batch and seems to draw from elsewhere than the stream.

    Returns:
        The line, or where `batch` begins if none seems to.
    """
    task, stream = subject.task(), Stream("data", "conformance", count=1)
    ran: dict[Place, None] = {}
    _traced(lambda: task.batch(stream, 1, subject.points[0]), lambda place: ran.setdefault(place))
    found = next((place for place in ran if _UNNAMED.search(place.code.partition("#")[0])), None)
    return found or subject.begins()


def _traced(call: Callable[[], object], see: Callable[[Place], object]) -> None:
    """Run a call, and see each line of somebody's code before it runs, and the last one when its function returns."""

    def look(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not theirs(code.co_filename):
            return None
        if event != "call":
            see(_place(code.co_filename, frame.f_lineno, code.co_name))
        return look

    outer = sys.gettrace()
    sys.settrace(look)
    try:
        call()
    finally:
        sys.settrace(outer)


@functools.lru_cache(maxsize=64)
def _place(file: str, line: int, function: str) -> Place:
    return Place(file, line, linecache.getline(file, line).strip(), function, "")
