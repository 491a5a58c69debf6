"""A table of all checks of all cells of a plugin, for its README.

    python plugins/readme_table.py cellbench-modern --write plugins/cellbench-modern/README.md

writes it between the lines `<!-- results -->` and `<!-- end of results -->` of that file; without `--write` it is
printed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from cellbench import plugins
from cellbench.conformance import Subject
from cellbench.conformance.report import Findings, report

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def row(name: str, whole: Findings) -> str:
    """One cell's results as a row of the table."""
    found = {check.name: result for check, result in whole.found}
    laws = [result for check, result in whole.found if check.law]
    broken = [check.name for check, result in whole.found if check.law and not result.ok]
    sizes = found["sizes"].data.get("cell", {})
    learnt = found["learns-addition"].data
    solved = [count for count in learnt.get("steps_to_solved", {}).values() if count is not None]
    if solved:
        learns = f"{len(solved)} of 5 rates, soonest at step {min(solved)}"
    elif learnt:
        best = max(learnt["best_sequence_accuracy"].values())
        learns = f"not within {learnt['max_steps']:,} steps; sequence accuracy {best:.2f}"
    else:
        learns = found["learns-addition"].message
    cells = [
        name,
        f"{sum(r.status == 'pass' for r in laws)} of {len(laws)}" + (f", not {', '.join(broken)}" if broken else ""),
        ", ".join(found["engines"].data.get("engines", ["none"])),
        *(f"{sizes[key]:,}" if key in sizes else "" for key in ("parameters", "state", "multiply_adds")),
        learns,
    ]
    return f"| {' | '.join(cells)} |"


def table(distribution: str) -> str:
    """The table of all cells of one distribution."""
    entries = [e for e in plugins.discover().cells.values() if e.distribution == distribution]
    if not entries:
        sys.exit(f"no cells from {distribution}: is it installed? See cellbench list")
    head = ("cell", "laws", "engines", "parameters", "state", "multiply-adds per step", "8-bit addition")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for entry in entries:
        lines.append(row(entry.name, report(Subject(plugins.load_factory(entry), entry.defaults, entry.name))))
        print(entry.name, file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    """Parse, make the table, print or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("distribution", help="such as cellbench-modern")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put it between the marks in this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = table(arguments.distribution)
    if arguments.write is None:
        print(made)
        return
    text = arguments.write.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{arguments.write} has no lines {BEGIN} and {END}")
    arguments.write.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
