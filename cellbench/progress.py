"""What a run shows while it runs: a live display on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cellbench.planning import Plan
from cellbench.runner import Event, OnEvent

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""


@dataclass
class _Cell:
    """What is known of one cell so far; `log_steps` sums log(min(T, budget))."""

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


@dataclass
class State:
    """Counts of a run under way."""

    max_steps: int = 1
    started: float = field(default_factory=time.monotonic)
    cells: dict[str, _Cell] = field(default_factory=dict)
    cost_total: float = 0.0
    cost_done: float = 0.0
    trained: int = 0

    def see(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, Plan):
            self.max_steps = event.experiment.settings.train.max_steps
            for p in event.selected:
                cell = self.cells.setdefault(p.cell.label, _Cell())
                cell.total += len(p.replicas)
                cell.done += sum(r.key in event.done for r in p.replicas)
            self.cost_total = sum(chunk.cost for chunk in event.todo)
            self.started = time.monotonic()
            return
        cell = self.cells[event.chunk.cell.label]
        self.cost_done += event.chunk.cost
        self.trained += len(event.outcomes)
        for outcome in event.outcomes:
            cell.done += 1
            cell.failed += outcome.status == "failed"
            if outcome.status != "failed":
                cell.seen += 1
                cell.solved += outcome.status == "solved"
                cell.log_steps += math.log(outcome.steps_to_solved or self.max_steps)

    @property
    def elapsed(self) -> float:
        """Seconds since the plan."""
        return time.monotonic() - self.started

    def left(self) -> float | None:
        """Seconds left, from the guessed cost of what is done; None before anything is."""
        if self.cost_done <= 0:
            return None
        return self.elapsed * max(0.0, self.cost_total - self.cost_done) / self.cost_done

    def line(self) -> str:
        """Everything in one plain line."""
        done, total = sum(c.done for c in self.cells.values()), sum(c.total for c in self.cells.values())
        solved = ", ".join(f"{label} {c.solved}/{c.seen} solved" for label, c in self.cells.items() if c.seen)
        left = self.left()
        tail = f"; about {duration(left)} left" if left is not None and done < total else ""
        return f"{done:,}/{total:,} replicas, {self.rate():.1f} a second{f'; {solved}' if solved else ''}{tail}"

    def rate(self) -> float:
        """Replicas a second."""
        return self.trained / max(self.elapsed, 1e-9)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def shown(quiet: bool) -> Iterator[OnEvent]:
    """A callback for `run` that shows its events; the terminal is put back however the block ends."""
    state = State()
    console = Console(stderr=True)
    if quiet:
        yield state.see
    elif console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, refresh_per_second=4, transient=True, get_renderable=lambda: _table(state)) as live:

            def see(event: Event) -> None:
                if isinstance(event, Plan):
                    for line in introduction(event):
                        live.console.print(Text(line), soft_wrap=True)
                state.see(event)

            yield see
    else:
        last = time.monotonic()

        def say(event: Event) -> None:
            nonlocal last
            state.see(event)
            if isinstance(event, Plan):
                print("\n".join(introduction(event)), file=sys.stderr, flush=True)
            elif time.monotonic() - last >= PLAIN_EVERY:
                last = time.monotonic()
                print(state.line(), file=sys.stderr, flush=True)

        yield say
    if not quiet and state.trained:
        print(f"Trained {state.trained:,} replicas in {duration(state.elapsed)}.", file=sys.stderr)


def introduction(plan: Plan) -> list[str]:
    """What is about to happen, in a few lines."""
    missing = sum(len(chunk.replicas) for chunk in plan.todo)
    lines = [
        f"{plan.experiment.name}: {plan.replicas:,} replicas, {plan.replicas_done:,} of them done, in {plan.folder}"
    ]
    if not missing:
        return [*lines, "Nothing to train: every replica is done."]
    by_engine: dict[str, list[str]] = {}
    for choice in plan.engines:
        by_engine.setdefault(choice.engine, []).append(choice.label)
    lines.append("Engines: " + "; ".join(f"{', '.join(labels)} by {name}" for name, labels in by_engine.items()))
    lines += [f"  {c.label} by {c.engine}: {c.reason}" for c in plan.engines if c.surprising]
    return [*lines, *plan.notes]


def _table(state: State) -> RenderableType:
    table = Table(box=None, pad_edge=False, expand=False)
    for name, justify in (("cell", "left"), ("done", "right"), ("solved", "right"), ("typical steps", "right")):
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    shown_cells = list(state.cells.items())
    for label, cell in shown_cells[:20]:
        solved = f"{cell.solved}/{cell.seen}" + (f", {cell.failed} failed" if cell.failed else "")
        table.add_row(Text(label), f"{cell.done:,}/{cell.total:,}", solved, cell.standing)
    left = state.left()
    foot = f"{duration(state.elapsed)} gone"
    if left is not None:
        foot += f", about {duration(left)} left, {state.rate():.1f} replicas a second"
    parts: list[RenderableType] = [table]
    if len(shown_cells) > 20:
        parts.append(Text(f"... and {len(shown_cells) - 20} more cells"))
    return Group(*parts, Text(foot, style="dim"))
