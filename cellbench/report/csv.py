"""Write the CSV files: numbers at full precision, one meaning per column, empty for not reached or not known."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from cellbench.report.files import replaced
from cellbench.wording import escaped

RUNS = (
    "label", "cell", "*axes", "batch_size", "size", "hidden_size", "parameters", "state", "multiply_adds",
    "*options", "learning_rate", "seed", "status", "cause", "steps_to_solved", "examples_to_solved",
    "target_bits_to_solved", "final_step", "final_loss", "final_bit_accuracy", "final_sequence_accuracy", "diverged_at",
    "engine", "engine_version", "isa", "key", "seconds", "started", "finished", "host", "worker", "attempt",
)  # fmt: skip
"""The columns of runs.csv; the task's parameters take the place of `*axes`, and `*options` is the column `options`
where options were tuned."""
CURVES = (
    "label", "*axes", "batch_size", "size", "*options", "learning_rate", "seed", "step", "loss", "bit_accuracy",
    "sequence_accuracy",
)  # fmt: skip
"""The columns of curves.csv."""


def columns(names: tuple[str, ...], parameters: tuple[str, ...], frame: pd.DataFrame | None = None) -> list[str]:
    """List the names, with the task's parameters in the place of `*axes`; `*options` only if the frame has them."""
    tuned = frame is not None and "options" in frame.columns and "options" not in parameters
    optional = ("options",) if tuned else ()
    return [
        c for name in names for c in (parameters if name == "*axes" else optional if name == "*options" else (name,))
    ]


def select(frame: pd.DataFrame, names: tuple[str, ...], parameters: tuple[str, ...]) -> pd.DataFrame:
    """Select these columns; a frame that has exactly them is returned itself, not copied."""
    wanted = columns(names, parameters, frame)
    return frame if list(frame.columns) == wanted else frame[wanted]


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    safe = frame.copy(deep=False)
    safe.columns = pd.Index([_harmless(name) for name in frame.columns])
    for name in safe.columns:
        if safe[name].dtype == object or isinstance(safe[name].dtype, pd.StringDtype):
            # millions of rows, but few texts
            changed = {text: harmless for text in safe[name].unique() if (harmless := _harmless(text)) is not text}
            if changed:
                safe[name] = safe[name].map(lambda text, changed=changed: changed.get(text, text))
    with replaced(path) as file:
        safe.to_csv(file, index=False, lineterminator="\n", na_rep="")


def text(frame: pd.DataFrame) -> str:
    """Lay a frame out as CSV for stdout, without a last line break."""
    return frame.to_csv(index=False, lineterminator="\n").rstrip("\n")


_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[\s\"]*[=+\-@＝＋－＠])")
"""Where a cell may begin that a spreadsheet takes for a formula.

Where commas are decimal, it takes semicolons for what separates cells, and reads quotes within a line literally.
"""


def _harmless(value: object) -> object:
    """Put an apostrophe before text that a spreadsheet would take for a formula; escape what acts on a terminal."""
    if not isinstance(value, str):
        return value
    harmless = _FORMULA.sub(r"\1'", escaped(value))
    return value if harmless == value else harmless
