"""Write what a comparison's look adds to its sentence, where seeds were added until it was decided."""

from __future__ import annotations

import math

from cellbench.summary import words
from cellbench.summary.comparisons import Row
from cellbench.summary.design import Design
from cellbench.summary.plans import Stages


def interval_word(row: Row) -> str:
    """Say what an interval holds for."""
    return "interval" if row.look is None else "over all looks"


def decided(row: Row, design: Design) -> str:
    """Say at which look a comparison was decided; empty where seeds are fixed."""
    if row.look is None or design.stages is None:
        return ""
    plan = design.stages.looks
    return f"; decided at {_at(row, design.stages)}, look {row.look.number} of {len(plan)}"


def open_sentence(row: Row, design: Design) -> str:
    """Say how far a comparison is that is not decided yet."""
    stages = design.stages
    assert stages is not None
    assert row.look is not None
    if row.behind:
        return f"Not looked at yet: the first look is at {stages.first} seeds. `cellbench run` goes on."
    where = f"Open at {_at(row, stages)}"
    if row.numbers is None or math.isnan(row.numbers.low):
        common = words.count(len(row.seeds), "seeds")
        return f"{where}: with {common} in common no uncertainty can be given. `cellbench run` goes on."
    return f"{where}: {_lies(row)} (95 % over all looks). `cellbench run` goes on."


def at_cap(row: Row, design: Design) -> str:
    """Say what was not shown by the last look, and how many seeds settle it."""
    stages, numbers = design.stages, row.numbers
    assert stages is not None
    assert row.look is not None
    assert numbers is not None
    seeds = words.count(row.look.seeds, "seeds")
    return (
        f"No difference was shown in {seeds}: {_lies(row)} (95 % over all looks). {_settles(row, stages)}"
        "This is not evidence that they are equal."
    )


def _at(row: Row, stages: Stages) -> str:
    assert row.look is not None
    return f"{row.look.seeds} of at most {words.count(stages.looks[-1].seeds, 'seeds')}"


def _lies(row: Row) -> str:
    assert row.numbers is not None
    bound = f"{row.bound} " if row.bound else ""
    return f"the ratio lies {bound}between {words.limit(row.numbers.low)} and {words.limit(row.numbers.high)}"


def _settles(row: Row, stages: Stages) -> str:
    if math.isnan(row.settles_at):
        return ""
    if math.isinf(row.settles_at):
        return "Over 1,000 seeds would be needed to settle it whatever the ratio. "
    to = stages.raised
    while to < row.settles_at:
        to *= 2
    return f"{row.settles_at:.0f} seeds settle it whatever the ratio: `seeds: {{from: {stages.first}, to: {to}}}`. "


def outlook(row: Row, design: Design) -> str:
    """Say for how much longer at most an open comparison stays open, after a look.

    `0.88 to 1.38 at 20 of at most 80 seeds; 80 seeds would find a ratio of 1.15 4 times in 5, and 63 settle it whatever
    the ratio`
    """
    stages, numbers = design.stages, row.numbers
    assert stages is not None
    assert row.look is not None
    if numbers is None or math.isnan(numbers.low):
        return f"no interval at {_at(row, stages)}"
    most = stages.looks[-1].seeds
    said = f"{words.span(numbers.low, numbers.high)} at {_at(row, stages)}"
    if math.isnan(row.found_at_cap):
        return said
    if row.settles_at <= row.look.seeds:
        # it would be settled, but for a share solved so small that nothing can be called equivalent
        return f"{said}; {most} seeds would find a ratio of {words.ratio(row.found_at_cap)} 4 times in 5"
    if row.settles_at > 3 * most:
        return (
            f"{said}; {most} seeds would find a ratio of {words.ratio(row.found_at_cap)} 4 times in 5, and will hardly "
            "show that the cells are equal"
        )
    return (
        f"{said}; {most} seeds would find a ratio of {words.ratio(row.found_at_cap)} 4 times in 5, and "
        f"{row.settles_at:.0f} settle it whatever the ratio"
    )


def stopped(row: Row, design: Design) -> list[str]:
    """Note that a ratio which was decided by little is drawn away from 1."""
    if row.look is None or row.numbers is None or row.word.removeprefix("slightly ") not in ("faster", "slower"):
        return []
    near = row.numbers.high if row.numbers.ratio < 1 else row.numbers.low
    if abs(math.log(near)) >= math.log(design.ratio_of_interest):
        return []
    return [
        f"stopped when clear of 1: likely nearer 1 than {words.ratio(row.numbers.ratio)}; what is shown is "
        f"{words.limit(near)}"
    ]


def heading(closed: int, total: int, spread: tuple[int, int], made: int, stages: Stages) -> str:
    """Say above the verdicts how many are decided, at how many seeds.

    >>> heading(50, 53, (10, 80), 4, Stages(10, 80, (80,)))
    '50 of 53 comparisons decided, at 10 to 80 of at most 80 seeds; looked 4 times. Intervals and p hold at every look.'
    """
    low, high = spread
    seeds = str(high) if low == high else f"{low} to {high}"
    most = words.count(stages.looks[-1].seeds, "seeds")
    if not made:
        return f"0 of {words.count(total, 'comparisons')} decided: the first look is at {stages.first} seeds."
    times = "once" if made == 1 else f"{made} times"
    return (
        f"{closed} of {words.count(total, 'comparisons')} decided, at {seeds} of at most {most}; looked {times}. "
        "Intervals and p hold at every look."
    )


def how_to_read(stages: Stages) -> str:
    """Say how seeds were added, for the paragraph on how to read a report."""
    seeds = ", ".join(str(look.seeds) for look in stages.looks)
    share = stages.every[0].share
    parts = words.spelled(round(1 / share))
    fraction = {"two": "a half", "three": "a third", "four": "a quarter"}.get(parts, f"one part in {parts}")
    fraction = "a fifth" if parts == "five" else fraction
    later = sorted({look.share for look in stages.looks if look.share != share}, reverse=True)
    less = f" (those that a raised `to` added {words.listing([f'{s:.3g}' for s in later])} of it)" if later else ""
    return (
        f"Seeds were added in stages ({seeds}) until a comparison was decided; each look used {fraction} of the 5 %"
        f"{less}. A ratio that decided early is drawn away from 1; its interval allows for it."
    )
