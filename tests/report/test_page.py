"""The page as a file: what it carries, what it says, that it reaches out to nothing."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellbench.errors import StoreError
from cellbench.report import charts, page
from cellbench.report import payload as embed
from cellbench.report.drawing import python
from cellbench.report.report import Report
from cellbench.summary.figures import Figures
from tests.helpers.frames import lognormal
from tests.helpers.reports import report


class Reader(HTMLParser):
    """The page's text, ids, figures and whatever an attribute would load."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.ids, self.loads, self.scripts, self.inside = "", [], [], {}, ""
        self.figures: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if found.get("id"):
            self.ids.append(found["id"])
        if tag == "figure":
            self.figures.append(str(found["id"]))
        self.loads += [v for k, v in attributes if k in ("src", "href", "data", "action") and v and v[0] != "#"]
        self.inside = (found.get("id") or tag) if tag in ("script", "style") else ""
        if tag in ("script", "style"):
            self.scripts[self.inside] = self.scripts.get(self.inside, "")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[self.inside] += data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def read(found: Report, failures: str = "") -> Reader:
    figures = Figures(found.summary, found.runs, found.curves, found.experiment["facts"]["reference_accuracies"])
    reader = Reader()
    reader.feed(page.html(figures, charts.all_figures(figures), found.experiment, failures))
    reader.text = re.sub(r"\s+", " ", reader.text)
    return reader


@pytest.fixture(autouse=True)
def _no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vega itself is no part of these tests, and takes seconds to bundle."""
    monkeypatch.setattr(embed, "vega", lambda: "'vega'")


@pytest.fixture(scope="module")
def made() -> Report:
    return report()


@pytest.fixture(scope="module")
def reader(made: Report) -> Reader:
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(embed, "vega", lambda: "'vega'")
        return read(made)


def test_it_loads_nothing(reader: Reader) -> None:
    """No attribute names anything outside the page, and its policy forbids what a script might ask for."""
    assert reader.loads == ["data:,"]
    assert len(reader.ids) == len(set(reader.ids))


def test_figures_in_order(reader: Reader) -> None:
    """Each figure has its id, title and caption."""
    assert reader.figures == ["forest", "curves", "solved", "rates", "length", "length-difference", "chain",
                              "chain-difference", "heat", "cost", "profile", "tuning"]  # fmt: skip
    assert "95 % intervals, Student's t over seeds" in reader.text
    for anchor in ("answer", "table", "reading", "described", "took", "experiment"):
        assert anchor in reader.ids


def test_a_verdict_stands_below_its_number(made: Report) -> None:
    """Side by side, the columns of the first table ran out of the window."""
    figures = Figures(made.summary, made.runs, made.curves, made.experiment["facts"]["reference_accuracies"])
    text = page.html(figures, charts.all_figures(figures), made.experiment, "")
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    assert re.search(r"<td>[\d.]+ \[[\d., ]+\]<br>(cheaper|costlier|no difference shown)</td>", table)
    assert "; " not in table


def test_verdicts_to_copy(made: Report, reader: Reader) -> None:
    """The block holds what verdicts hold for, each verdict, one line of method and the versions."""
    block = page.answer(made.summary)
    lines = block.splitlines()
    assert len(lines) == len(made.summary.verdicts) + 3
    assert lines[0] == "invented: invented_task, adam at learning rates 0.01, 0.03, 0.1, gradients clipped to norm 1."
    for verdict, line in zip(made.summary.verdicts, lines[1:], strict=False):
        assert line.startswith(f"{verdict.cell}: {verdict.headline}. {verdict.sentence}")
        assert all(finding.clause.lower() in line.lower() for finding in verdict.findings)
    assert lines[-2].startswith("Method: invented_task; ratio of typical steps")
    assert lines[-1] == "Versions: cellbench 0.1.0."
    assert re.sub(r"\s+", " ", block) in reader.text


def test_failures_come_first() -> None:
    """What did not end well stands above the answer, with its traceback; where all is well there is no such part."""

    def steps(label: str, point: tuple[Any, ...], rate: float, seed: int) -> float:
        return math.nan if label == "gru" and seed == 0 else 100.0

    reader = read(report(("lstm", "gru"), steps), "12 replicas of gru failed\nTraceback ... <b>boom</b>")
    assert reader.ids.index("failures") < reader.ids.index("answer")
    assert "gru: 12 not run yet, of 120 replicas" in reader.text
    assert "<b>boom</b>" in reader.text
    assert "failures" not in read(report(("lstm", "gru"), lambda *a: 100.0)).ids


def test_strings_cannot_break_out() -> None:
    """A label that ends a script element, and one that is markup, are text everywhere."""
    labels = ["lstm", "</script><script>alert(1)</script>", "<!--"]
    found = report(labels, lognormal(dict.fromkeys(labels, 300.0)), learning_rates=(0.01,))
    reader = read(found)
    payload = json.loads(reader.scripts["payload"])
    assert payload["cells"] == labels
    assert list(reader.scripts) == ["style", "payload", "script"]
    assert "</script><script>alert(1)</script>" in reader.text


def column(found: Any) -> list[Any]:
    """A column as the page's script reads it."""
    if isinstance(found, list):
        return found
    values: list[Any] = []
    for code, count in zip(found["runs"][::2], found["runs"][1::2], strict=True):
        values += [found["of"][code]] * count
    return values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "a", "b", "a"], ["a", "a", "b", "a"]),
        ([1.0, math.nan, 0.1234567, 1e20, -2.0], [1, None, 0.1235, 1e20, -2]),
        ([None, "a", None], [None, "a", None]),
        ([True, False, False], [True, False, False]),
        ([math.nan, math.nan], [None, None]),
        ([math.inf, 1.5], [None, 1.5]),
        ([0.03] * 9 + [math.nan] * 2 + [math.inf] * 4 + [2.0] * 9, [0.03] * 9 + [None] * 6 + [2] * 9),
        ([], []),
    ],
    ids=["text", "numbers", "missing text", "flags", "nothing known", "infinite", "runs of numbers", "empty"],
)
def test_frames_come_back(values: list[Any], expected: list[Any]) -> None:
    """What is embedded is what the script reads, numbers to four digits."""
    found = embed.frame(pd.DataFrame({"x": values}))
    assert found["length"] == len(values)
    assert column(json.loads(embed.script_safe(found))["columns"]["x"]) == expected


def test_whole_numbers_with_gaps() -> None:
    """Int64 columns keep their gaps."""
    found = embed.frame(pd.DataFrame({"x": pd.array([1, None, 3], dtype="Int64")}))
    assert column(found["columns"]["x"]) == [1, None, 3]


def test_numbers_are_the_summarys(made: Report, reader: Reader) -> None:
    """The table that the page carries holds summary.csv in full; the forest holds comparisons.csv's ratios."""
    payload = json.loads(reader.scripts["payload"])
    columns = {name: column(found) for name, found in payload["tables"]["summary"]["rows"]["columns"].items()}
    cells = made.summary.cells
    for name in ("typical_steps", "solved_low", "median_high"):
        shown = np.array([math.nan if x is None else x for x in columns[name]], dtype=float)
        np.testing.assert_array_equal(shown, cells[name].to_numpy(dtype=float))
    forest = {name: column(found) for name, found in payload["figures"]["forest"]["rows"]["columns"].items()}
    steps = made.summary.comparisons.query("metric == 'steps' and scope != 'point'")
    assert forest["ratio"] == pytest.approx(steps["ratio"].tolist(), rel=1e-3)


def test_one_cell_alone() -> None:
    """Nothing is compared, and the page says so; figures of comparisons are left out."""
    reader = read(report(("lstm",)))
    assert "One cell alone: nothing is compared." in reader.text
    assert "forest" not in reader.figures
    assert "curves" in reader.figures


def _bundles(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Let the process that bundles answer at once with this text; the list grows with each time it is asked."""
    asked: list[str] = []

    def answers(code: str) -> Any:
        asked.append(code)
        return python(f"import os; os.write(1, {text.encode()!r})")

    monkeypatch.setattr(embed, "python", answers)
    return asked


def test_what_is_kept_of_vega_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page runs it: it is taken only from a folder of the user's own, as it was written there."""
    monkeypatch.undo()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path)
    asked = _bundles(monkeypatch, "vegaEmbed\n</script>ü")
    text = "vegaEmbed\n<\\/script>ü"
    assert embed.vega() == embed.vega() == text
    assert len(asked) == 1
    (kept,) = (tmp_path / "page").iterdir()
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    whole = kept.read_bytes()
    for altered in (
        b"",
        whole[:-1],
        whole.replace(b"vegaEmbed", b"alert('x'"),
        b"alert('x')",
        b"// x\n\xff",
        whole + b" ",
    ):
        kept.write_bytes(altered)
        assert embed.vega() == text
        assert kept.read_bytes() == whole
    assert len(asked) == 7
    # somebody else put it there, with the right hash
    kept.parent.chmod(0o777)
    evil = b"alert('x')"
    kept.write_bytes(b"// " + hashlib.sha256(evil).hexdigest().encode() + b"\n" + evil)
    assert embed.vega() == text
    kept.parent.chmod(0o700)
    assert embed.vega() == evil.decode()  # the user's own, and whole


@pytest.mark.parametrize("in_the_way", ["link", "folder"])
def test_keeping_vega_changes_nothing_else(in_the_way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link in its place is replaced; a folder there is left, and costs only the keeping."""
    monkeypatch.undo()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache")
    _bundles(monkeypatch, "vegaEmbed")
    embed.vega()
    (kept,) = (tmp_path / "cache/page").iterdir()
    kept.unlink()
    (tmp_path / "mine").write_text("mine")
    if in_the_way == "link":
        kept.symlink_to(tmp_path / "mine")
    else:
        kept.mkdir()
    assert embed.vega() == "vegaEmbed"
    assert (tmp_path / "mine").read_text() == "mine"
    assert kept.is_dir() == (in_the_way == "folder")
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.slow
def test_the_bundle_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vega itself is bundled once a version; no cache is no error."""
    monkeypatch.undo()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path)
    first = embed.vega()
    assert "</script" not in first
    assert "vegaEmbed" in first
    (kept,) = (tmp_path / "page").iterdir()
    was = kept.stat().st_ino  # a file made again is another file
    assert embed.vega() == first
    assert kept.stat().st_ino == was
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: kept)  # a file: no folder can be made in it
    assert embed.vega() == first
    assert "vl_convert" not in sys.modules  # it takes a hundred MiB of the process that bundles


def test_the_page_carries_the_licences_of_what_it_embeds(made: Report) -> None:
    """Each library with its copyright and its licence, in the script that holds it, where a copy keeps them."""
    figures = Figures(made.summary, made.runs, made.curves, made.experiment["facts"]["reference_accuracies"])
    whole = page.html(figures, charts.all_figures(figures), made.experiment, "")
    (comment,) = re.findall(r"<script>/\*!(.*?)\*/\n'vega'</script>", whole, re.DOTALL)
    for name in ("Vega", "Vega-Lite", "vega-embed"):
        assert f"\n{name}\nCopyright (c) 2015" in comment
    assert "BSD-3-Clause" in comment
    for part in (
        "Redistributions in binary form must reproduce",
        "Neither the name of",
        "THIS SOFTWARE IS PROVIDED BY",
    ):
        assert part in comment
    assert "<" not in comment


def test_a_bundle_that_was_cut_off_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that bundles is killed while it answers: said, and the next report bundles again."""
    monkeypatch.undo()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path)
    killed = "import os; os.write(1, b'x' * 5000); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(embed, "python", lambda code: python(killed))
    with pytest.raises(StoreError, match="the process that bundles vega ended"):
        embed.vega()
    assert not list(tmp_path.rglob("*.js"))
