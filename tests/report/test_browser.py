"""The page in a real browser, its network cut: what it shows, what it does when used, and whom it leaves out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cellbench.report.report import Report, draw
from tests.helpers.browser import Browser, chromium, opened
from tests.helpers.frames import lognormal
from tests.helpers.reports import report
from tests.helpers.tools import missing

pytestmark = [pytest.mark.slow, pytest.mark.charts]

FIGURES = [
    "forest", "curves", "solved", "rates", "length", "length-difference", "chain", "chain-difference", "heat", "cost",
    "profile", "tuning",
]  # fmt: skip
PHONE, DESK = 390, 1200
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        missing("chromium")
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


def made(found: Report, folder: Path) -> Path:
    with draw(lambda: found, folder, 1):
        pass
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(report(), tmp_path_factory.mktemp("page"))


def fresh(browser: Browser, page: Path, width: int = DESK, dark: bool = False) -> None:
    browser.problems.clear()
    browser.requests.clear()
    browser.open(page, width, 900, dark)


def settled(browser: Browser) -> None:
    """Let what was asked for be drawn."""
    browser.run("new Promise(done => setTimeout(done, 400))")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_all_is_drawn_without_network_or_complaint(browser: Browser, page: Path, width: int, dark: bool) -> None:
    """Every figure is there, the console is empty, nothing was asked of the network, nothing sticks out sideways."""
    fresh(browser, page, width, dark)
    assert browser.run("[...document.querySelectorAll('figure')].map(f => f.id)") == FIGURES
    assert browser.run("[...document.querySelectorAll('.chart')].every(c => c.querySelector('svg'))")
    assert browser.problems == []
    assert {address.partition(":")[0] for address in browser.requests} <= {"file", "data", "blob"}
    assert browser.run("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().right)"
    assert max(browser.run(wide)) <= width
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 23, 28)") == dark


@pytest.mark.parametrize(("width", "dark"), [(DESK, False), (PHONE, True)])
def test_axe_finds_nothing(browser: Browser, page: Path, width: int, dark: bool) -> None:
    """axe-core's automatic checks pass, with all that can be opened open."""
    if not AXE.exists():
        missing("axe-core (npm install --no-save --no-package-lock axe-core)")
    fresh(browser, page, width, dark)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.run(AXE.read_text() + "; 0")
    found = browser.run("axe.run(document, {resultTypes: ['violations']})")
    said = [f"{v['id']}: {v['help']}: {n['html'][:200]}" for v in found["violations"] for n in v["nodes"]]
    assert said == []
    assert len(found["passes"]) > 20


def centre(browser: Browser, selector: str, nth: int = 0) -> tuple[float, float]:
    """Scroll to an element and return where its middle is on the screen."""
    box = browser.run(
        f"(() => {{ const e = document.querySelectorAll({selector!r})[{nth}]; e.scrollIntoView({{block: 'center'}});"
        " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    return box[0], box[1]


def mouse(browser: Browser, kind: str, x: float, y: float) -> None:
    more: dict[str, Any] = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
    browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)


def click(browser: Browser, x: float, y: float) -> None:
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        mouse(browser, kind, x, y)


def test_hovering_shows_the_numbers(browser: Browser, page: Path) -> None:
    """The mark of gru over all points tells its ratio and interval."""
    fresh(browser, page)
    x, y = centre(browser, "#forest .mark-symbol.role-mark path")
    mouse(browser, "mouseMoved", x - 2, y)
    mouse(browser, "mouseMoved", x, y)
    browser.until("!!document.querySelector('#vg-tooltip-element.visible')", 5)
    text = browser.run("document.querySelector('#vg-tooltip-element').innerText")
    for word in ("ratio", "from", "to", "verdict", "all points"):
        assert word in text


def strong(browser: Browser) -> list[str]:
    """The opacities of the lines of `solved`."""
    found: list[str] = browser.run(
        "[...document.querySelectorAll('#solved .mark-line path')].map(p => p.getAttribute('opacity') ?? '1')"
    )
    return found


def test_a_click_on_the_legend_isolates_a_cell(browser: Browser, page: Path) -> None:
    """One line stays strong, the others fade; a click beside it brings them back."""
    fresh(browser, page)
    assert strong(browser) == ["1", "1", "1"]
    click(browser, *centre(browser, "#solved .role-legend-label text", 1))
    settled(browser)
    assert sorted(strong(browser)) == ["0.06", "0.06", "1"]


def test_choices_change_the_chart(browser: Browser, page: Path) -> None:
    """Another metric changes the axis's title and draws the ladder; another point draws other lines."""
    fresh(browser, page)
    choose = (
        "(() => {{ const s = document.querySelector('#{figure} select[data-field={field}]'); s.value = {value!r};"
        " s.dispatchEvent(new Event('change')); }})()"
    )
    before = browser.run("document.querySelector('#curves .mark-line path').getAttribute('d')")
    browser.run(choose.format(figure="curves", field="metric", value="bit_accuracy"))
    settled(browser)
    text = browser.run("document.querySelector('#curves svg').textContent")
    assert "bit accuracy" in text
    assert "sees the last 3" in text
    browser.run(choose.format(figure="curves", field="point", value="length=32, batch 16, hidden 20"))
    settled(browser)
    assert browser.run("document.querySelector('#curves .mark-line path').getAttribute('d')") != before
    assert "sees the last 3" not in browser.run("document.querySelector('#curves svg').textContent")
    assert browser.problems == []


def test_cells_are_chosen_by_keyboard(browser: Browser, page: Path) -> None:
    """Tab reaches the boxes, Space leaves a cell out of every chart, and the focus is seen."""
    fresh(browser, page)
    browser.run("document.querySelector('#choose summary').focus()")
    for _ in range(4):  # three buttons, then the first box
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        browser.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run("document.activeElement.value") == "lstm"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32, text=" ")
    settled(browser)
    browser.drawn()
    assert browser.run("document.querySelector('#choose-count').textContent") == "2 of 3 shown"
    assert len(strong(browser)) == 2
    browser.run("document.querySelector('[data-cells=all]').click()")
    settled(browser)
    assert len(strong(browser)) == 3
    assert browser.problems == []


def test_no_cell_chosen(browser: Browser, page: Path) -> None:
    """With every box empty the charts say that there is nothing to draw, and complain of nothing."""
    fresh(browser, page)
    browser.run("document.querySelectorAll('#cells input').forEach(b => b.click())")
    settled(browser)
    browser.until("document.querySelector('#solved .chart').textContent.includes('Nothing to draw')", 10)
    assert browser.problems == []


def column(browser: Browser, name: str) -> list[str]:
    found: list[str] = browser.run(
        f"(() => {{ const heads = [...document.querySelectorAll('#rows thead th')].map(h => h.innerText.trim());"
        f" const at = heads.findIndex(h => h.startsWith({name!r}));"
        " return [...document.querySelectorAll('#rows tbody tr')].map(r => r.cells[at].textContent); })()"
    )
    return found


def test_the_table_sorts_filters_and_is_saved(browser: Browser, page: Path, tmp_path: Path) -> None:
    """A head sorts up, then down, unknowns last; the filter keeps rows with all its parts; the CSV is what is seen."""
    fresh(browser, page)
    press = (
        "[...document.querySelectorAll('#rows thead button')].find(b => b.textContent.startsWith('typical steps'))"
        ".click()"
    )
    browser.run(press)
    up = [float(x) for x in column(browser, "typical steps") if x]
    assert up == sorted(up)
    assert browser.run("document.querySelectorAll('#rows [aria-sort=ascending]').length") == 1
    browser.run(press)
    assert [float(x) for x in column(browser, "typical steps") if x] == up[::-1]
    browser.run(
        "(() => { const f = document.querySelector('#table-filter'); f.value = 'GRU, hidden 20';"
        " f.dispatchEvent(new Event('input')); })()"
    )
    assert set(column(browser, "cell")) == {"gru"}
    assert browser.run("document.querySelector('#table-count').textContent") == "2 rows"
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.querySelector('#table-csv').click()")
    saved = tmp_path / "summary.csv"
    for _ in range(50):
        if saved.exists():
            break
        settled(browser)
    rows = list(csv.DictReader(io.StringIO(saved.read_text())))
    assert [row["cell"] for row in rows] == ["gru", "gru"]
    assert {row["size"] for row in rows} == {"hidden 20"}
    assert all(len(row["typical_steps"]) > 8 for row in rows)  # in full, not as shown


def test_dark_and_light_can_be_chosen(browser: Browser, page: Path) -> None:
    """The button turns the page and its charts."""
    fresh(browser, page)
    fill = "document.querySelector('#forest .mark-symbol.role-mark path').getAttribute('fill').toLowerCase()"
    light = browser.run(fill)
    browser.run("document.querySelector('#theme').click()")
    settled(browser)
    browser.drawn()
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    assert browser.run(fill) != light


ODD = ["lstm", "<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "a|b", "=cmd()", "under_score", "x" * 80,
       "🦊 emoji", "</script>", "{choice}"]  # fmt: skip


def never(label: str, point: tuple[Any, ...], rate: float, seed: int) -> float:
    return math.inf


def at_once(label: str, point: tuple[Any, ...], rate: float, seed: int) -> float:
    return 5.0


CASES: dict[str, dict[str, Any]] = {
    "one cell": {"labels": ("lstm",)},
    "one seed": {"seeds": (0,)},
    "one point, one rate": {"grid": ((8,), (16,), ("hidden 4",)), "learning_rates": (0.01,)},
    "nothing solved": {"steps": never},
    "all solved at once": {"steps": at_once},
    "nothing run": {"steps": lambda *where: math.nan},
    "odd labels": {"labels": ODD, "steps": lognormal(dict.fromkeys(ODD, 300.0)), "seeds": (0, 1, 2, 3)},
    "60 cells": {"labels": [f"cell{i:02d}" for i in range(60)]},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_odd_cases(browser: Browser, tmp_path_factory: pytest.TempPathFactory, case: str, width: int) -> None:
    """Empty and odd reports are drawn without complaint, within the window, and run no label as code."""
    folder = tmp_path_factory.getbasetemp() / case
    page = folder / "report.html" if folder.exists() else made(report(**CASES[case]), folder)
    fresh(browser, page, width)
    assert browser.problems == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('script').length") == 3
    assert browser.run("[...document.querySelectorAll('.chart')].every(c => c.dataset.drawn)")
    if case == "60 cells":
        assert page.stat().st_size < 10 * 2**20
        assert browser.run("document.querySelectorAll('#solved .mark-line path').length") == 8
