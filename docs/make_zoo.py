"""Writes the measured parts of docs/zoo from two results folders: see the end of docs/zoo/README.md.

`python docs/make_zoo.py [FOLDER]` reads zoo and zoo-readout-32 in FOLDER (default: results). It copies their reports
and pictures, and fills what stands between `<!-- measured: NAME -->` and `<!-- end -->` in the page. A part whose
results are missing is left as it is, and named.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from io import StringIO
from pathlib import Path

import pandas as pd
from measured import fill

HERE = Path(__file__).parent / "zoo"
PAGE = HERE / "README.md"
WHERE = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
READOUTS = {"linear": "zoo", "readout-32": "zoo-readout-32"}
"""What a part and a file are named after, and the results folder."""

JOZEFOWICZ, GREFF = "Jozefowicz et al. 2015, table 1 (arithmetic)", "Greff et al. 2015, abstract"
CLAIMS = (
    ("rnn", "slower", f"{JOZEFOWICZ}: the tanh network is far below the LSTM"),
    ("lstm-1997", "slower", f"{GREFF}: the forget gate is crucial"),
    ("gru", "not slower", "Jozefowicz et al. 2015, abstract: a gap between the LSTM and the GRU, which is ahead"),
    ("lstm-forget-1", "not slower", "the same: a forget bias of 1 closes it"),
    ("mut1", "not slower", f"{JOZEFOWICZ}: ahead of LSTM and GRU"),
    ("mut2", "not slower", f"{JOZEFOWICZ}: ahead of the LSTM"),
    ("mut3", "not slower", f"{JOZEFOWICZ}: ahead of the LSTM"),
    ("peephole-lstm", "no difference", f"{GREFF}: peepholes can be left out without harm"),
)
"""Cell, direction of its steps beside those of lstm, and who found it: with other tasks, sizes and tuning than here."""

_AGREES = {
    "slower": {"slower": "yes", "faster": "no", "equivalent": "no"},
    "not slower": {"slower": "no", "faster": "yes", "equivalent": "yes"},
    "no difference": {"slower": "no", "faster": "no", "equivalent": "yes"},
}


def cellbench(*arguments: str) -> str:
    """Run the program and return what it prints."""
    command = [sys.executable, "-c", "from cellbench.cli import main; main()", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def folder(readout: str) -> Path:
    """Return the results folder of a readout, if it is there."""
    found = WHERE / READOUTS[readout]
    if not (found / "runs.sqlite").is_file():
        raise FileNotFoundError(found)
    return found


@lru_cache
def ranked(readout: str) -> pd.DataFrame:
    """Return the table of all cells as numbers."""
    return pd.read_csv(StringIO(cellbench("rank", str(folder(readout)), "--format", "csv")))


def table(readout: str) -> str:
    """Rank all cells, and say how much was trained."""
    with closing(sqlite3.connect(folder(readout) / "runs.sqlite")) as connection, connection:
        (replicas,) = connection.execute("SELECT count(*) FROM replica").fetchone()
    return f"{cellbench('rank', str(folder(readout)), '--format', 'md')}\n{replicas:,} replicas were trained."


def verdicts() -> str:
    """Count the verdicts by their words."""
    counts = pd.DataFrame({name: ranked(name)["verdict"].dropna().value_counts() for name in READOUTS})
    return counts.fillna(0).astype(int).rename_axis("verdict").to_markdown()


def directions() -> str:
    """Compare what others found with what was found here, with the linear readout."""
    here = ranked("linear").set_index("cell")
    rows = []
    for cell, claim, source in CLAIMS:
        row = here.loc[cell]
        verdict = str(row["verdict"])
        found = f"{verdict}: {row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
        agrees = next((says for word, says in _AGREES[claim].items() if verdict.startswith(word)), "not decided")
        rows.append({"cell": cell, "expected": claim, "found by": source, "here": found, "agrees": agrees})
    return pd.DataFrame(rows).to_markdown(index=False)


PARTS: dict[str, Callable[[], str]] = {
    "linear": lambda: table("linear"),
    "readout-32": lambda: table("readout-32"),
    "verdicts": verdicts,
    "directions": directions,
}


def report(readout: str) -> None:
    """Write the report of one run anew, and copy it and its picture."""
    found = folder(readout)
    cellbench("report", str(found), "--format", "svg")
    shutil.copy(found / "summary.md", HERE / f"{readout}.md")
    shutil.copy(found / "charts" / "forest.svg", HERE / f"{readout}.svg")


if __name__ == "__main__":
    for name in READOUTS:
        if (WHERE / READOUTS[name] / "runs.sqlite").is_file():
            report(name)
    fill(PAGE, lambda name: PARTS[name]().strip())
