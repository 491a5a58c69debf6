"""The chart of looks: each cell's interval at each of its looks, as the replay read it."""

from __future__ import annotations

import pytest

from cellbench.report import charts, page
from cellbench.summary.figures import Figures
from cellbench.summary.plans import Stages
from tests.helpers.frames import lognormal
from tests.helpers.reports import REFERENCES, report


@pytest.fixture(scope="module")
def figures() -> Figures:
    """One cell that is decided at once and one that is not."""
    steps = lognormal({"lstm": 500, "gru": 250, "rnn": 520}, sd=0.9)
    found = report(("lstm", "gru", "rnn"), steps, learning_rates=(0.01,), seeds=tuple(range(40)),
                   stages=Stages(10, 40, (40,)))  # fmt: skip
    return Figures(found.summary, found.runs, found.curves, REFERENCES)


def test_there_is_a_bar_for_each_look_of_each_cell(figures: Figures) -> None:
    """Up to its decision; the last one is what comparisons.csv holds."""
    frame = figures.looks
    main = figures.summary.comparisons
    main = main[(main["metric"] == "steps") & (main["scope"] == "all") & (main["at"] == "tuned")].set_index("cell")
    assert set(frame["cell"]) == {"gru", "rnn"}
    for cell, rows in frame.groupby("cell"):
        assert rows["look"].tolist() == list(range(1, int(main.loc[cell, "look"]) + 1))
        last = rows.iloc[-1]
        expected = main.loc[cell, ["seeds", "ratio", "ratio_low", "ratio_high"]].tolist()
        assert [last["seeds"], last["ratio"], last["low"], last["high"]] == expected
        assert set(rows["standing"].iloc[:-1]) <= {"open"}
    assert main.loc["gru", "look"] < main.loc["rnn", "look"]


def test_the_chart_is_drawn_from_them(figures: Figures) -> None:
    """A definition that vega-lite takes, beside the forest; without stages there is none."""
    drawn = {figure.name: figure for figure in charts.all_figures(figures)}
    assert list(drawn)[:2] == ["forest", "looks"]
    assert drawn["looks"].chart.to_dict(validate=True)
    assert "95 % intervals over all looks" in drawn["looks"].caption
    staged = "Thick bars: 95 % intervals over all looks, at the seeds of each comparison's last look"
    assert staged in drawn["forest"].caption
    fixed = report(("lstm", "gru"))
    plain = {one.name: one for one in charts.all_figures(Figures(fixed.summary, fixed.runs, fixed.curves, REFERENCES))}
    assert "looks" not in plain
    assert "Thick bars: 95 % intervals, Student's t over seeds" in plain["forest"].caption


def test_the_page_says_how_many_are_decided(figures: Figures) -> None:
    """Above the verdicts, and in the text to copy; where seeds are fixed there is no such line."""
    found = report(("lstm", "gru", "rnn"), lognormal({"lstm": 500, "gru": 250, "rnn": 520}, sd=0.9),
                   learning_rates=(0.01,), seeds=tuple(range(40)), stages=Stages(10, 40, (40,)))  # fmt: skip
    text = page.html(figures, [], found.experiment, "")
    heading = figures.summary.heading
    assert heading.startswith(("1 of 2 comparisons decided, at 10 to 40 of at most 40 seeds", "2 of 2 comparisons"))
    assert f"<p>{heading}</p>" in text
    assert heading in page.answer(figures.summary)
    fixed = report(("lstm", "gru"))
    assert fixed.summary.heading == ""
