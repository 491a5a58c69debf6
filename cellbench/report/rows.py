"""How single numbers of the summary look in a table, the same in every format."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from cellbench.summary import words
from cellbench.summary.summary import Design, Summary


def printable(text: str) -> str:
    """A string from a plugin on one line, without control characters.

    >>> printable("a\\x1b[31m\\nb")
    'a [31m b'
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()


def known(x: Any) -> bool:
    return not (x is None or x is pd.NA or (isinstance(x, float) and math.isnan(x)))


def steps(x: float, tau: int) -> str:
    """Steps to a whole number; the whole budget is a bound."""
    return f"> {tau}" if x >= tau * (1 - 1e-9) else f"{x:.0f}"


def span(low: Any, high: Any, form: Callable[[Any], str]) -> str:
    return f" [{form(low)}, {form(high)}]" if known(low) and known(high) else ""


def ratio(row: Any) -> str:
    if not known(row["ratio"]):
        return "–"
    bound = {"at least": "≥ ", "at most": "≤ "}.get(str(row["bound"]), "")
    return f"{bound}{words.ratio(row['ratio'])}{span(row['ratio_low'], row['ratio_high'], words.limit)}"


def share(row: Any) -> str:
    return words.percent(row["solved"]) if known(row["solved"]) else "–"


def typical(row: Any, tau: int) -> str:
    if not known(row["typical_steps"]):
        return "–"
    limits = span(row["typical_low"], row["typical_high"], lambda x: f"{x:.0f}")
    return f"{steps(row['typical_steps'], tau)}{limits}"


def p_value(x: Any) -> str:
    return words.p(x).removeprefix("p ") if known(x) else "–"


def number(x: Any, form: str = ".2f") -> str:
    return format(x, form) if known(x) else "–"


def steps_rows(summary: Summary, at: str = "tuned") -> pd.DataFrame:
    frame = summary.comparisons
    return frame[(frame["metric"] == "steps") & (frame["at"] == at)]


def exact(summary: Summary) -> dict[str, str]:
    """Mean sequence accuracy at the trained length, all points, by cell."""
    frame = summary.accuracy
    rows = frame[
        (frame["metric"] == "sequence_accuracy")
        & (frame["scope"] == "all")
        & (frame["at"] == "tuned")
        & (frame["by"] == "")
    ]
    return {cell: f"{mean:.3f}" for cell, mean in zip(rows["cell"], rows["mean"], strict=True)}


HEADS = ("cell", "solved", "typical steps", "ratio of steps", "work", "exact", "verdict", "one point left out",
         "tuning gain", "rate at an end")  # fmt: skip
"""The columns of `overview`; the terminal has room for those up to the verdict."""

BRIEF = HEADS.index("verdict") + 1


def overview(summary: Summary, design: Design) -> list[list[str]]:
    """A row for each cell, as in `HEADS`."""
    main = steps_rows(summary)
    main = main[(main["scope"] == "all") & (main["baseline"] == design.against)].set_index("cell")
    of_cell = exact(summary)
    rows = []
    for row in summary.overview.to_dict("records"):
        cell = row["cell"]
        ends = (
            f"{row['ends']:.0f} of {row['points']} ({row['end_rates']})" if known(row["ends"]) and row["ends"] else ""
        )
        if cell in main.index:
            pair = main.loc[cell]
            left = (pair["without_one_point_low"], pair["without_one_point_high"])
            compared = [ratio(pair), number(pair["work_ratio"])]
            verdict = [str(pair["verdict"]), " to ".join(map(words.ratio, left)) if known(left[0]) else ""]
        else:
            compared, verdict = ["1 (baseline)", ""], ["", ""]
        rows.append(
            [
                cell,
                share(row),
                typical(row, design.max_steps),
                *compared,
                of_cell.get(cell, "–"),
                *verdict,
                number(row["tuning_gain"]) if len(design.rates) > 1 else "",
                ends,
            ]
        )
    return rows


def legend(design: Design) -> str:
    """What the columns of `overview` mean."""
    return (
        f"ratio of steps: below 1 the cell needs fewer steps than {design.against}, with its 95 % interval; work: that "
        f"ratio in multiply-adds; exact: mean sequence accuracy at the trained length"
    )
