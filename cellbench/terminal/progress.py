"""Show the progress of a run on stderr: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from cellbench.engines import Choice
from cellbench.executors.dispatch import Finished
from cellbench.planning import Handed, Plan, Settled
from cellbench.records import Outcome
from cellbench.running import Event, Notice, OnEvent, Stage
from cellbench.terminal.output import fitted
from cellbench.terminal.remaining import Pace
from cellbench.wording import duration, escaped, printable

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""

STAGE_EVERY = 2.0
"""Seconds between plain lines before anything is trained."""

_MOST_NAMED = 6
"""The most cells that a plain line names; with more it gives their sum."""


@dataclass
class _Cell:
    """Counts of one cell so far; `log_steps` sums log(min(T, budget))."""

    total: int = 0
    done: int = 0
    seen: int = 0
    solved: int = 0
    failed: int = 0
    log_steps: float = 0.0

    @property
    def standing(self) -> str:
        """Typical steps of the replicas trained in this run."""
        return f"{math.exp(self.log_steps / self.seen):,.0f}" if self.seen else ""

    @property
    def under_way(self) -> bool:
        """Whether some of its replicas are done, but not all."""
        return 0 < self.done < self.total


@dataclass
class Counts:
    """Counts of a run in progress.

    Attributes:
        clock: returns the time in seconds.
        least_workers: how many workers there are at least; on a cluster, others are noticed when they finish a chunk.
        stage: what is being done before anything is trained or when all is, or is compiled while others are trained.
    """

    clock: Callable[[], float] = time.monotonic
    least_workers: int = 1
    max_steps: int = 1
    cells: dict[str, _Cell] = field(default_factory=dict)
    stage: str = "reading the experiment"
    trained: int = 0
    started: float = field(init=False)
    before: tuple[int, float] = (0, 0.0)
    """What earlier stages of the run trained, and their seconds."""
    _pace: Pace = field(default_factory=Pace)
    _workers: set[tuple[str, str]] = field(default_factory=set)
    _labels: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.started = self.clock()

    def see(self, event: Event) -> None:
        """Update the counts by an event."""
        if isinstance(event, Stage):
            self.stage = printable(event.text)
        if isinstance(event, Plan):
            self._begin(event)
        if isinstance(event, Handed):
            self._pace.begin(event.chunk, self.elapsed)
        if isinstance(event, Settled):
            self.stage = printable(event.compiling)
            if event.chunks:
                self._pace.cut_anew(event.label, event.chunks)
        if not isinstance(event, Finished):
            return
        chunk = event.chunk
        self._workers |= {(outcome.host, outcome.worker) for outcome in event.outcomes if outcome.seconds > 0}
        self._pace.workers = max(self.least_workers, len(self._workers))
        seconds, trained = sum(outcome.seconds for outcome in event.outcomes), map(self._trained, event.outcomes)
        self._pace.finish(chunk, seconds, self.elapsed, whole=sum(trained) > len(event.outcomes) / 2)
        self.trained += len(event.outcomes)
        for outcome in event.outcomes:
            # two labels may share a replica
            for label in self._labels.get(outcome.key) or [chunk.cell.label]:
                cell = self.cells[label]
                cell.done += 1
                cell.failed += outcome.status == "failed"
                if outcome.status != "failed":
                    cell.seen += 1
                    cell.solved += outcome.status == "solved"
                    cell.log_steps += math.log(outcome.steps_to_solved or self.max_steps)

    def _trained(self, outcome: Outcome) -> float:
        """Return the share of its steps that a replica was trained for, as far as its status says."""
        if outcome.status == "failed":
            return 0.0
        return 1.0 if outcome.diverged_at is None else outcome.diverged_at / self.max_steps

    def _begin(self, plan: Plan) -> None:
        """Count what is planned and what is done already, and start the clock."""
        self.max_steps = plan.experiment.settings.train.max_steps
        if plan.continued:
            self.before = self.trained, self.whole
        for known in self.cells.values():
            known.total = known.done = 0
        self._labels.clear()
        for p in plan.selected:
            cell = self.cells.setdefault(p.cell.label, _Cell())
            cell.total += len(p.replicas)
            cell.done += sum(r.key in plan.done for r in p.replicas)
            for r in p.replicas:
                self._labels[r.key].append(p.cell.label)
        self._pace = Pace(self.least_workers)
        self._pace.plan(plan.todo, told=plan.supply is not None)
        self.stage = printable(plan.supply.compiling) if plan.supply is not None else ""
        self.started = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the plan."""
        return self.clock() - self.started

    @property
    def whole(self) -> float:
        """Seconds since the first plan of the run."""
        return self.before[1] + self.elapsed

    @property
    def done(self) -> int:
        """Replicas done, those of earlier runs included."""
        return sum(cell.done for cell in self.cells.values())

    @property
    def total(self) -> int:
        """Replicas planned."""
        return sum(cell.total for cell in self.cells.values())

    @property
    def under_way(self) -> list[str]:
        """The labels of the cells that workers are training, as far as is known."""
        return list(dict.fromkeys(chunk.cell.label for chunk in self._pace.under_way))

    def left(self) -> float | None:
        """Return the seconds left; None before anything is done that others can be judged by."""
        return self._pace.left(self.elapsed)

    def line(self) -> str:
        """Write everything in one plain line."""
        if not self.cells:
            return self.stage
        seen = {label: cell for label, cell in self.cells.items() if cell.seen}
        if len(seen) <= _MOST_NAMED:
            solved = ", ".join(f"{printable(label)} {c.solved}/{c.seen} solved" for label, c in seen.items())
        else:
            solved = f"{sum(c.solved for c in seen.values()):,}/{sum(c.seen for c in seen.values()):,} solved"
        failed = sum(c.failed for c in self.cells.values())
        left = self.left()
        tail = ""
        if self.done < self.total:
            now = f"; training {_few([printable(label) for label in self.under_way], 3)}" if self.under_way else ""
            tail = now + (f"; {self.stage}" if self.stage else "")
            tail += f"; {remaining(left)} left" if left is not None else ""
        elif self.stage:
            tail = f"; {self.stage}"
        return (
            f"{self.done:,}/{self.total:,} replicas, {self.rate():.1f} per second{f'; {solved}' if solved else ''}"
            f"{f'; {failed:,} failed' if failed else ''}{tail}"
        )

    def rate(self) -> float:
        """Return the replicas trained per second."""
        return (self.trained - self.before[0]) / max(self.elapsed, 1e-9)


def remaining(seconds: float) -> str:
    """Write the seconds left as people say them: `a few seconds`, `about 45 s`; never 0 s, which would be the end.

    >>> remaining(0.2), remaining(200)
    ('a few seconds', 'about 3 min 20 s')
    """
    return f"about {duration(seconds)}" if seconds >= 5 else "a few seconds"


@contextmanager
def shown(quiet: bool, workers: int = 1) -> Iterator[OnEvent]:
    """Give a callback for `run` that shows its events, and restore the terminal however the block ends.

    Args:
        quiet: show nothing.
        workers: how many workers there are at least, for the time left.
    """
    state = Counts(least_workers=workers)
    console = Console(stderr=True)
    if quiet:
        yield state.see
    elif console.is_terminal and not console.is_dumb_terminal:
        display = Display(state)
        console.push_render_hook(_Rewrapped(console, display))
        with Live(console=console, refresh_per_second=4, transient=True, get_renderable=lambda: display) as live:

            def see(event: Event) -> None:
                for text in said(event):
                    # rich would break a command or a path
                    live.console.print(Text(fitted(text, live.console.width)), soft_wrap=True)
                state.see(event)

            yield see
    else:
        last = time.monotonic()

        def say(event: Event) -> None:
            nonlocal last
            state.see(event)
            if lines := said(event):
                print("\n".join(lines), file=sys.stderr, flush=True)
            elif isinstance(event, Stage) and not state.cells:
                if time.monotonic() - last >= STAGE_EVERY:
                    last = time.monotonic()
                    print(f"{state.stage} ...", file=sys.stderr, flush=True)
            elif time.monotonic() - last >= PLAIN_EVERY:
                last = time.monotonic()
                print(state.line(), file=sys.stderr, flush=True)

        yield say
    if not quiet and state.trained:
        print(f"Trained {state.trained:,} replicas in {duration(state.whole)}.", file=sys.stderr)


def _few(labels: list[str], most: int = 6) -> str:
    """List a few labels; of many more, the first ones and how many more."""
    return ", ".join(labels) if len(labels) <= most + 2 else f"{', '.join(labels[:most])} and {len(labels) - most} more"


def said(event: Event) -> list[str]:
    """Write the lines that an event leaves on the screen."""
    if isinstance(event, Notice):
        return [printable(event.text)]
    if isinstance(event, Settled) and event.choice.surprising:
        return [escaped(_by(event.label, event.choice))]
    if not isinstance(event, Plan):
        return []
    # a stage after the first was introduced by what was said of the look before it
    return [] if event.continued else [escaped(line) for line in introduction(event)]


def introduction(plan: Plan) -> list[str]:
    """Say in a few lines what is about to be trained."""
    missing = sum(len(chunk.replicas) for chunk in plan.todo)
    lines = [
        f"{plan.experiment.name}: {plan.replicas:,} replicas, {plan.replicas_done:,} of them done, in {plan.folder}",
        *(f"{len(r.keys):,} of these are copied from {r.folder}: {_few(r.labels)}" for r in plan.reused),
        *plan.passed_over,
    ]
    lines += plan.again
    if not missing:
        return [*lines, "Nothing to train: every replica is done."]
    compiling = plan.compiling
    by_engine: dict[str, list[str]] = {}
    for label, choice in plan.engines.items():
        by_engine.setdefault(choice.named if label not in compiling else "", []).append(label)
    # of what is still compiled it is not certain yet
    said = [
        f"{_few(labels)} by {name}" if name else f"{_few(labels)}: being compiled" for name, labels in by_engine.items()
    ]
    lines.append("Engines: " + "; ".join(said))
    lines += [_by(label, c) for label, c in plan.engines.items() if c.surprising]
    return lines


def _by(label: str, choice: Choice) -> str:
    return f"  {label} by {choice.named}: {choice.reason}"


@dataclass
class Display:
    """One line per cell, a bar and the time, laid out for the terminal's size each time they are shown."""

    state: Counts
    widths: list[int] = field(default_factory=list)
    """The widths of the lines that are shown, in columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = list(self._lines(options))
        self.widths = [min(line.cell_len, options.max_width) for line in lines]
        yield from lines

    def _lines(self, options: ConsoleOptions) -> Iterator[Text]:
        state, width = self.state, options.max_width
        if not state.cells:
            yield Text(f"{state.stage} ...", style="dim", no_wrap=True, overflow="ellipsis")
            return
        # less the head, the bar, the foot, and the lines for cells not shown and for those in training
        room = max(1, options.size.height - 6)
        labels, now = list(state.cells), state.under_way
        if len(labels) > room:
            # cells in progress first, then those that have not begun
            labels.sort(
                key=lambda label: (label not in now, not state.cells[label].under_way, state.cells[label].done > 0)
            )
        yield from self._table(labels[:room], width)
        if len(labels) > room:
            yield Text(f"and {len(labels) - room} more cells", style="dim", no_wrap=True, overflow="ellipsis")
        if now and state.done < state.total:
            names = ", ".join(printable(label) for label in now)
            compiling = f"; {state.stage}" if state.stage else ""
            yield Text(f"training {names}{compiling}", style="dim", no_wrap=True, overflow="ellipsis")
        yield self._bar(min(width, 60))
        yield Text(self._foot(width), style="dim", no_wrap=True, overflow="ellipsis")

    def _table(self, labels: list[str], width: int) -> Iterator[Text]:
        """Yield the lines of the table: all of the numbers, and as much of the labels as fits."""
        wide = width >= 60
        rows = [["done", "solved", "typical steps so far" if wide else "steps"]]
        for label in labels:
            cell = self.state.cells[label]
            solved = f"{cell.solved:,}/{cell.seen:,}" if cell.seen else ""
            if cell.failed:
                solved = f"{solved} {cell.failed:,} failed" if wide else f"{solved} {cell.failed:,}✗"
            rows.append([f"{cell.done:,}/{cell.total:,}", solved.strip(), cell.standing])
        columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
        gap = "  " if wide else " "
        room = max(4, min(40, width - sum(columns) - len(gap) * len(columns)))
        names = ["cell", *map(printable, labels)]
        room = min(room, max(map(cell_len, names)))
        for name, row in zip(names, rows, strict=True):
            if cell_len(name) > room:
                name = f"{set_cell_size(name, room - 1)}…"
            numbers = gap.join(text.rjust(n) for text, n in zip(row, columns, strict=True))
            style = "bold" if row is rows[0] else ""
            yield Text(f"{set_cell_size(name, room)}{gap}{numbers}", style=style, no_wrap=True, overflow="crop")

    def _bar(self, width: int) -> Text:
        """Draw what is done as a thick line and the rest as a thin one, so that no colour is needed."""
        full = width * self.state.done // max(1, self.state.total)
        return Text.assemble(("━" * full, "green"), ("─" * (width - full), "dim"), no_wrap=True, overflow="crop")

    def _foot(self, width: int) -> str:
        state, left = self.state, self.state.left()
        if state.done == state.total:
            return state.stage or "all trained"
        if left is None:
            return f"{duration(state.elapsed)} gone"
        if width < 60:
            return f"{remaining(left)} left, {state.rate():.1f}/s"
        return (
            f"{duration(state.elapsed)} gone, {remaining(left)} left; {state.done:,} of {state.total:,} replicas, "
            f"{state.rate():.1f} per second"
        )


@dataclass(frozen=True)
class _Rewrapped(RenderHook):
    """Erases the rows that a display gained when its terminal became narrower and broke its lines.

    rich moves up by the number of lines it wrote; its own hook, pushed after this one, does that first. This hook moves
    up by the rows that broken lines take beside that.
    """

    console: Console
    display: Display

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if _KEEP_LINES & os.environ.keys() and "TMUX" not in os.environ:
            return renderables
        # a line wider than the terminal is now takes more than one row
        more = sum(max(0, width - 1) // self.console.width for width in self.display.widths)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * more
        return [Control(*up), *renderables]


_KEEP_LINES = {"XTERM_VERSION", "STY"}
"""Set by terminals that cut lines instead of breaking them: xterm and screen."""
