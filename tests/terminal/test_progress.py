"""What a run shows: counts, a time left that is honest, lines that fit any terminal, plain text elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

import cellbench
from cellbench.engines import Choice
from cellbench.executors.dispatch import Finished
from cellbench.experiment import load
from cellbench.planning import Handed, Plan, Settled, lay_out
from cellbench.planning.chunks import chunks as cut
from cellbench.plugins import discover
from cellbench.records import CellSpec, Chunk, Fit, Outcome, Planned
from cellbench.running import Stage
from cellbench.terminal.progress import Counts, Display, introduction, remaining, said
from cellbench.wording import duration
from tests.helpers.tools import missing

# Of the default experiment on two cores beside other work: (cell, hidden size, bits, batch size, multiply-adds a step,
# numbers of state, measured seconds a replica).
MEASURED = [
    ("gru", 4, 8, 4, 84, 4, 0.0497), ("gru", 4, 8, 16, 84, 4, 0.0592), ("gru", 4, 32, 4, 84, 4, 0.1139),
    ("gru", 4, 32, 16, 84, 4, 0.1654), ("gru", 20, 8, 4, 1380, 20, 0.2543), ("gru", 20, 8, 16, 1380, 20, 0.2473),
    ("gru", 20, 32, 4, 1380, 20, 0.7339), ("gru", 20, 32, 16, 1380, 20, 0.6207), ("lstm", 4, 8, 4, 112, 8, 0.059),
    ("lstm", 4, 8, 16, 112, 8, 0.0711), ("lstm", 4, 32, 4, 112, 8, 0.1571), ("lstm", 4, 32, 16, 112, 8, 0.1941),
    ("lstm", 20, 8, 4, 1840, 40, 0.3491), ("lstm", 20, 8, 16, 1840, 40, 0.4208),
    ("lstm", 20, 32, 4, 1840, 40, 0.9457), ("lstm", 20, 32, 16, 1840, 40, 0.783), ("rnn", 4, 8, 4, 28, 4, 0.0315),
    ("rnn", 4, 8, 16, 28, 4, 0.0399), ("rnn", 4, 32, 4, 28, 4, 0.0647), ("rnn", 4, 32, 16, 28, 4, 0.0973),
    ("rnn", 20, 8, 4, 460, 20, 0.0931), ("rnn", 20, 8, 16, 460, 20, 0.1236), ("rnn", 20, 32, 4, 460, 20, 0.2423),
    ("rnn", 20, 32, 16, 460, 20, 0.2059),
]  # fmt: skip


BY_STACK = [
    0.496, 0.559, 1.617, 1.813, 0.803, 1.067, 2.433, 3.947, 0.536, 0.590, 1.602, 1.993, 1.094, 1.332, 2.933, 4.721,
    0.327, 0.367, 0.855, 1.077, 0.435, 0.434, 1.218, 1.526,
]  # fmt: skip
"""By stack, in the order of MEASURED."""


@cache
def chunks(engine: str = "lanes") -> list[tuple[Chunk, float]]:
    """The default experiment's chunks in their order, each with the seconds that its replicas were measured to take."""
    sizes = {row[:2]: row[4:6] for row in MEASURED}
    took = [row[6] for row in MEASURED] if engine == "lanes" else BY_STACK
    seconds = {row[:4]: each for row, each in zip(MEASURED, took, strict=True)}
    experiment = load(Path(cellbench.__file__).with_name("experiment") / "default.yaml", discover())

    def fit(p: Planned) -> Fit:
        adds, state = sizes[p.cell.name, p.fit.hidden_size]
        return Fit(p.fit.hidden_size, None, state, adds)

    planned = [replace(p, fit=fit(p)) for p in lay_out(experiment)]
    found = cut(experiment, planned, dict.fromkeys(("rnn", "lstm", "gru"), Choice(engine, "")), frozenset())
    return [
        (c, len(c.replicas) * seconds[c.cell.name, c.hidden_size, dict(c.point.parameters)["bits"], c.point.batch_size])
        for c in found
    ]


def plan(todo: list[Chunk], extra_labels: tuple[str, ...] = ()) -> Plan:
    experiment = SimpleNamespace(name="tiny", settings=SimpleNamespace(train=SimpleNamespace(max_steps=2000)))
    selected = [SimpleNamespace(cell=c.cell, replicas=c.replicas) for c in todo]
    selected += [SimpleNamespace(cell=CellSpec(name, name, ""), replicas=todo[0].replicas) for name in extra_labels]
    labels = dict.fromkeys(p.cell.label for p in selected)
    engines = dict.fromkeys(labels, Choice("lanes", ""))
    return Plan(cast("Any", experiment), Path("results/tiny"), [], cast("Any", selected), engines, frozenset(), todo)


def finished(chunk: Chunk, seconds: float = 1.0, **fields: Any) -> Finished:
    of_each = {
        "status": "solved",
        "cause": "",
        "steps_to_solved": 200,
        "seconds": seconds / len(chunk.replicas),
    } | fields
    return Finished(chunk, tuple(Outcome(r.key, engine="lanes", **of_each) for r in chunk.replicas))


def simulated(workers: int, engine: str = "lanes") -> Iterator[tuple[float, float, Counts]]:
    """(seconds gone, seconds truly left, state) after each chunk, on so many workers."""
    now = [0.0]
    work = chunks(engine)
    state = Counts(clock=lambda: now[0], least_workers=workers)
    state.see(plan([chunk for chunk, _ in work]))
    free, ends = [0.0] * workers, []
    for chunk, seconds in work:
        at = free.index(min(free))
        free[at] += seconds
        ends.append((free[at], chunk, seconds, f"worker {at}"))
    for end, chunk, seconds, worker in sorted(ends, key=lambda e: e[0]):
        now[0] = end
        state.see(finished(chunk, seconds, worker=worker))
        yield end, max(free) - end, state


# After a fifth of the time eight workers have done 2 of stack's 48 chunks, both of rnn, which tell nothing of lstm yet;
# and of lanes' default experiment the last chunks of eight workers are few, and one of them is a tenth of the time.
@pytest.mark.parametrize(("engine", "workers"), [(engine, n) for engine in ("lanes", "stack") for n in (1, 2, 3, 4)])
def test_the_time_left_is_honest(workers: int, engine: str) -> None:
    """After the first fifth it is within 1.5 of the truth, until a twentieth is left, which is seconds."""
    said_when = list(asked(workers, engine))
    total = max(gone for gone, _, _ in said_when)
    late = [(gone, said / truly) for gone, truly, said in said_when if gone >= total / 5 and truly > total / 20]
    assert len(late) > 20
    assert [found for found in late if not 1 / 1.5 <= found[1] <= 1.5] == []


def asked(workers: int, engine: str) -> Iterator[tuple[float, float, float]]:
    """(seconds gone, truly left, said to be left)."""
    for gone, truly, state in simulated(workers, engine):
        said = state.left()
        assert said is not None
        yield gone, truly, said


def test_between_chunks_the_time_left_runs_down() -> None:
    """Nothing new is known, but the clock goes on."""
    now = [0.0]
    work = chunks()
    state = Counts(clock=lambda: now[0])
    state.see(plan([chunk for chunk, _ in work]))
    assert state.left() is None
    now[0] = 4.0
    state.see(finished(work[0][0], 4.0))
    before = state.left()
    assert before is not None
    now[0] = 7.0
    assert state.left() == pytest.approx(before - 3.0)


@pytest.mark.parametrize(
    "ended",
    [
        {"status": "failed", "cause": "cell", "steps_to_solved": None},
        {"status": "diverged", "diverged_at": 1, "steps_to_solved": None},
    ],
)
def test_a_cell_that_ends_at_once_tells_nothing_of_others(ended: dict[str, Any]) -> None:
    """A quarter of all, the replicas of one cell, fail or diverge in no time: the rest takes no less for that."""
    now = [0.0]
    work = chunks()
    rnn, others = ([w for w in work if (w[0].cell.label == "rnn") is own] for own in (True, False))
    state = Counts(clock=lambda: now[0])
    state.see(plan([chunk for chunk, _ in (*rnn, *others)]))
    for chunk, _ in rnn:
        now[0] += 0.001
        state.see(finished(chunk, 0.001, **ended))
    assert state.left() is None
    assert " left" not in state.line()
    chunk, seconds = others[0]
    now[0] += seconds
    state.see(finished(chunk, seconds))
    left, truly = state.left(), sum(seconds for _, seconds in others[1:])
    assert left is not None
    assert truly / 3 < left < 3 * truly


def test_the_last_seconds(state: Counts) -> None:
    """Before the end there is never nothing left; a plain line names the cells in training."""
    assert remaining(0.0) == "a few seconds"
    assert remaining(90) == "about 1 min 30 s"
    assert state.under_way == ["evil\x1b[31m\nlabel"]
    assert "; training evil [31m label; about " in state.line()


def test_two_labels_of_one_replica_both_count() -> None:
    """A replica that two labels share is done for both."""
    chunk = chunks()[0][0]
    state = Counts()
    state.see(plan([chunk], ("twin",)))
    state.see(finished(chunk))
    assert state.cells["twin"].done == state.cells[chunk.cell.label].done == len(chunk.replicas)
    assert state.done == state.total


def screen(state: Counts, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(Display(state))
    text = cast("io.StringIO", console.file).getvalue()
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


LABELS = ["lstm", "x" * 80, "evil\x1b[31m\nlabel", "a|b [bold]c[/bold]"]


@pytest.fixture
def state() -> Counts:
    """Four cells, the first under way, with failures."""
    now = [0.0]
    todo = []
    for i, label in enumerate(LABELS):
        chunk = chunks()[i][0]
        replicas = tuple(replace(r, key=f"{label}{r.key}") for r in chunk.replicas[:5])
        todo.append(replace(chunk, cell=CellSpec(label, label, ""), replicas=replicas))
    found = Counts(clock=lambda: now[0])
    found.see(plan(todo))
    now[0] = 10.0
    found.see(finished(todo[0], 10.0))
    found.see(finished(todo[1], 5.0, status="failed", cause="cell", steps_to_solved=None))
    return found


@pytest.mark.parametrize("width", [30, 40, 80, 160])
def test_the_display_fits(state: Counts, width: int) -> None:
    """A line a cell, a bar and a foot, none wider than the terminal, with the counts whole."""
    lines = screen(state, width)
    assert len(lines) == 1 + len(LABELS) + 1 + 2
    assert max(len(line) for line in lines) <= width
    assert re.search(r"lstm +5/5 +5/5 +200", lines[1])
    assert "0/" in lines[3]
    assert "\x1b" not in "".join(lines)
    assert "left" in lines[-1]


def test_more_cells_than_lines(state: Counts) -> None:
    """A low terminal shows those under way and says how many more there are."""
    lines = screen(state, 80, height=7)
    assert len(lines) == 1 + 1 + 1 + 1 + 2
    assert "and 3 more cells" in lines[2]
    assert lines[1].startswith("evil"), "the one that is trained comes first"


def test_when_all_is_trained(state: Counts) -> None:
    """The screen says what is done then, such as the report, and nothing that is not."""
    for cell in state.cells.values():
        cell.done = cell.total
    assert screen(state, 80)[-1] == "all trained"
    assert "being made" not in state.line()
    state.see(Stage("all trained; the report is being made"))
    assert screen(state, 80)[-1] == "all trained; the report is being made"
    assert state.line().endswith("; the report is being made")


def test_before_the_plan() -> None:
    """While cells are measured, asked and compiled, the screen says which."""
    counts = Counts()
    assert screen(counts, 40) == ["reading the experiment ..."]
    for text in ("checking 4 of 55: mut1", "compiling 12 of 55: lem (kept for next time)"):
        counts.see(Stage(text))
        assert screen(counts, 60) == [f"{text} ..."]


def test_while_cells_are_compiled() -> None:
    """What trains is what was handed out, what is compiled is named, and an engine that refuses is said to."""
    work = [chunk for chunk, _ in chunks()]
    labels = list(dict.fromkeys(chunk.cell.label for chunk in work))
    ready = next(chunk for chunk in reversed(work) if chunk.cell.label == "rnn")
    last = Settled("gru", Choice("stack", "not lanes: it is too strange"), (), "")

    class Waiting:
        """A supply of which the first cell is ready."""

        compiling = "compiling 2 of 3: lstm"
        waiting = tuple(CellSpec(label, label, "") for label in labels if label != "rnn")

    counts = Counts(least_workers=2)
    one = replace(plan(work), supply=cast("Any", Waiting()))
    said_first = introduction(one)[-1]
    assert "rnn by lanes" in said_first
    assert said_first.count("being compiled") == 1
    counts.see(one)
    assert "training" not in counts.line()
    counts.see(Handed(ready))
    assert counts.under_way == ["rnn"]
    assert "training rnn; compiling 2 of 3: lstm" in counts.line()
    assert any("training rnn; compiling 2 of 3: lstm" in line for line in screen(counts, 80))
    counts.see(finished(ready))
    counts.see(last)
    assert "compiling" not in counts.line()
    assert said(last) == ["  gru by stack: not lanes: it is too strange"]
    assert said(Settled("gru", Choice("lanes", ""), (), "")) == []


def test_the_plain_line(state: Counts) -> None:
    """One line, without control characters; many cells are summed."""
    line = state.line()
    assert line.isprintable()
    assert line.startswith("10/")
    assert "lstm 5/5 solved" in line
    assert "5 failed" in line
    assert "left" in line


def test_introduction() -> None:
    """What is about to happen: replicas, folder, engines."""
    text = "\n".join(introduction(plan([chunk for chunk, _ in chunks()])))
    assert "tiny: 1,200 replicas, 0 of them done, in results/tiny" in text
    assert "gru, lstm, rnn by lanes" in text or "lstm, gru, rnn by lanes" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    """Two units at most."""
    assert duration(seconds) == text


def on_terminal(
    arguments: list[str], until: Callable[[bytes], bool], sent: int = signal.SIGINT, **environment: str
) -> tuple[bytes, int]:
    """Run Python on a terminal of 80 columns, send a signal when `until` holds; all it wrote, and its status."""
    main, other = pty.openpty()
    before = termios.tcgetattr(other)
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=other, stdout=other, stderr=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment}, start_new_session=True,
    )  # fmt: skip
    written, sending, end = b"", True, time.monotonic() + 120
    while time.monotonic() < end:
        ready, _, _ = select.select([main], [], [], 0.2)
        if ready:
            written += os.read(main, 1 << 16)
        elif process.poll() is not None:
            break
        if sending and until(written):
            sending = False
            process.send_signal(sent)
    assert termios.tcgetattr(other) == before
    os.close(other)
    os.close(main)
    return written, process.wait(30)


def assert_given_back(written: bytes) -> None:
    """The cursor, which was hidden, is shown; of modes that a terminal can be left in no other was touched."""
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")
    assert set(re.findall(rb"\x1b\[\?(\d+)[hl]", written)) == {b"25"}
    rest = written[written.rindex(b"\x1b[?25h") :]
    assert not re.search(rb"\x1b\[[\d;]*m", rest.replace(b"\x1b[0m", b""))  # no colour, no bold


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_terminal_back(write: Callable[..., Path], sent: int) -> None:
    """The cursor is hidden while the display is shown, and comes back; the command to go on is printed."""
    file = write(train={"max_steps": 20000}, seeds=20)
    run = ["-m", "cellbench", "run", str(file), "--workers", "1", "--no-report"]
    written, status = on_terminal(run, lambda t: b"gone" in t, sent)
    assert status == 130
    assert_given_back(written)
    assert b"To go on:" in written


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_report_is_made(write: Callable[..., Path], sent: int) -> None:
    """The display is still shown then; what draws ends too, and the next run makes the report."""
    run = ["-m", "cellbench", "run", str(write()), "--workers", "1"]
    written, status = on_terminal(run, lambda t: b"report is being made" in t, sent)
    assert status == 130
    assert_given_back(written)
    assert b"To go on:" in written
    assert b"Traceback" not in written
    written, status = on_terminal(run, lambda t: False)
    assert status == 0
    assert b"Nothing to train" in written
    assert Path("results/tiny/report.html").exists()


CRASH = """
import sys
from cellbench import run
from cellbench.terminal.progress import shown
from cellbench.executors.dispatch import Finished

with shown(False) as see:
    def crash(event):
        see(event)
        if isinstance(event, Finished):
            raise ZeroDivisionError("a fault of ours")
    run(sys.argv[1], on_event=crash)
"""


@pytest.mark.slow
def test_a_crash_gives_the_terminal_back(write: Callable[..., Path]) -> None:
    """An exception that nobody foresaw, in the middle of a run: the whole traceback stands on a usable terminal."""
    written, status = on_terminal(["-c", CRASH, str(write())], lambda t: False)
    assert status == 1
    assert_given_back(written)
    assert b"ZeroDivisionError: a fault of ours" in written[written.rindex(b"\x1b[?25h") :]


@pytest.mark.slow
def test_narrower_and_stopped_nothing_of_the_display_stays(write: Callable[..., Path]) -> None:
    """tmux breaks long lines anew when a window becomes narrower; the rows that come by it go too."""
    if shutil.which("tmux") is None:
        missing("tmux")
    file = write(train={"max_steps": 20000}, seeds=20, cells=[{"name": "lstm", "label": "long" * 10}])
    typed = f"{sys.executable} -m cellbench run {file} --workers 1 --no-report"

    def tmux(*arguments: str) -> str:
        command = ["tmux", "-L", f"cellbench{os.getpid()}", "-f", "/dev/null", *arguments]
        free = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=free).stdout

    def shown(word: str) -> str:
        end = time.monotonic() + 60
        while word not in (text := tmux("capture-pane", "-p", "-S", "-50")):
            assert time.monotonic() < end, text
            time.sleep(0.2)
        return text

    tmux("new-session", "-d", "-x", "150", "-y", "30", "sh")
    try:
        tmux("send-keys", typed, "Enter")
        shown(" gone")
        tmux("resize-window", "-x", "72", "-y", "30")
        time.sleep(1)
        assert shown(" gone").count("typical steps so far") == 1
        tmux("send-keys", "C-c")
        assert "typical steps" not in shown("To go on:")
    finally:
        tmux("kill-server")


@pytest.mark.slow
def test_no_color_and_no_terminal(write: Callable[..., Path]) -> None:
    """NO_COLOR: no colours, though the display moves; without a terminal no control character; quiet: nothing."""
    file = write()
    written, status = on_terminal(["-m", "cellbench", "run", str(file), "--no-report"], lambda t: False, NO_COLOR="1")
    assert status == 0
    assert not re.search(rb"\x1b\[(\d+;)*(3[0-7]|9[0-7]|38;)", written)
    for extra in ([], ["--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "cellbench", "run", str(file), "--fresh", "--no-report", *extra],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert all(line.isprintable() for line in done.stderr.splitlines())
        assert bool(done.stderr) == (not extra)


def test_a_stage_after_the_first_goes_on_counting() -> None:
    """Seeds until decided: the next stage's plan counts what is done once, and the clock of the run goes on."""
    now = [0.0]
    (one, two, *_) = [chunk for chunk, _ in chunks()]
    state = Counts(clock=lambda: now[0])
    state.see(plan([one]))
    now[0] = 10.0
    state.see(finished(one))
    assert (state.done, state.total) == (len(one.replicas), len(one.replicas))
    done = frozenset(r.key for r in one.replicas)
    second = replace(plan([one, two]), todo=[two], done=done, continued=True)
    assert said(second) == []  # the line about the look has introduced it
    assert said(plan([one]))
    state.see(second)
    assert (state.done, state.total) == (len(one.replicas), len(one.replicas) + len(two.replicas))
    now[0] = 14.0
    state.see(finished(two))
    assert state.done == state.total
    assert state.whole == 14.0
    assert state.rate() == len(two.replicas) / 4.0
