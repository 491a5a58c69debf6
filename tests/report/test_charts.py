"""The charts: colours that everybody can tell apart, valid definitions, the same on the page and in files."""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest

from cellbench.errors import StoreError
from cellbench.report import charts
from cellbench.report import palette as look
from cellbench.report.drawing import Pictures
from cellbench.report.figure import CLOSE_STEPS, IN_FILE, MOST_DRAWN, Encodings, Figure, first_shown, pruned
from cellbench.report.report import Report, publish
from cellbench.summary.figures import Figures
from tests.helpers.frames import lognormal
from tests.helpers.reports import REFERENCES, report

# Machado, Oliveira & Fernandes 2009, severity 1, in linear RGB
EYES = {
    "all": np.eye(3),
    "red-blind": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                           [-0.003882, -0.048116, 1.051998]]),
    "green-blind": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                             [-0.011820, 0.042940, 0.968881]]),
    "blue-blind": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a: str, b: str) -> float:
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_steps_that_are_alike_have_a_tick_between_them() -> None:
    """An axis from 150 to 360 had one number."""
    assert max(b / a for a, b in itertools.pairwise(CLOSE_STEPS)) <= 1.5
    assert CLOSE_STEPS[0] == 1


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("palette", [look.LIGHT, look.DARK], ids=["light", "dark"])
def test_colours_can_be_told_apart(palette: tuple[str, ...], eyes: str) -> None:
    """Any two differ by 20 or more in CIELAB, ten times what is just noticed, also to the colour-blind."""
    seen = [lab(EYES[eyes] @ linear(colour)) for colour in palette]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 20


@pytest.mark.parametrize(
    ("palette", "ground"), [(look.LIGHT, look.GROUND), (look.DARK, look.DARK_GROUND)], ids=["light", "dark"]
)
def test_colours_stand_out_from_the_ground(palette: tuple[str, ...], ground: str) -> None:
    """WCAG asks 3 : 1 of graphics and 4.5 : 1 of text."""
    assert min(contrast(colour, ground) for colour in palette) >= 3
    text = [look.INK, look.MUTED] if ground == look.GROUND else [look.ON_DARK[look.INK], look.ON_DARK[look.MUTED]]
    assert min(contrast(colour, ground) for colour in text) >= 4.5


def test_sixty_four_cells_have_marks_of_their_own() -> None:
    """Beyond eight cells a colour comes again with another shape and another dash."""
    marks = look.Marks(tuple(map(str, range(64))))
    assert len(set(zip(marks.colours, marks.shapes, strict=True))) == 64
    assert len(set(zip(marks.colours, map(tuple, marks.dashes), strict=True))) == 64


@pytest.fixture(scope="module")
def figures() -> Figures:
    found = report()
    return Figures(found.summary, found.runs, found.curves, REFERENCES)


@pytest.fixture(scope="module")
def drawn(figures: Figures) -> dict[str, Figure]:
    return {figure.name: figure for figure in charts.all_figures(figures)}


def test_every_figure_is_there(drawn: dict[str, Figure]) -> None:
    """The figures that the page and the files promise, each with words that say what is drawn."""
    assert list(drawn) == [
        "forest",
        "curves",
        "solved",
        "rates",
        "length",
        "length-difference",
        "chain",
        "chain-difference",
        "heat",
        "cost",
        "profile",
        "tuning",
    ]
    for name in ("forest", "rates", "length", "length-difference", "chain", "chain-difference", "cost"):
        assert "95 % interval" in drawn[name].caption
    assert "quartiles" in drawn["curves"].caption


def test_definitions_are_valid(figures: Figures, drawn: dict[str, Figure]) -> None:
    """Altair validates each part as it is made, and each whole, against Vega-Lite's schema."""
    charts_validated = _validated(figures)
    for figure in charts_validated:
        figure.chart.to_dict(validate=True)
    assert [figure.name for figure in charts_validated] == list(drawn)


def _validated(figures: Figures) -> list[Figure]:
    from contextlib import nullcontext

    patch = pytest.MonkeyPatch()
    with patch.context() as within:
        within.setattr(charts, "debug_mode", lambda on: nullcontext())
        return charts.all_figures(figures)


def test_figures_are_handed_on_when_they_are_defined(figures: Figures, drawn: dict[str, Figure]) -> None:
    """Each once, the learning curves first; the page's order is another one."""
    seen: list[str] = []
    found = charts.all_figures(figures, lambda figure: seen.append(figure.name))
    assert seen[0] == "curves"
    assert sorted(seen) == sorted(drawn)
    assert found[0].name == "forest"
    assert [figure.name for figure in found] == list(drawn)


def test_page_and_files_share_the_definition(figures: Figures, drawn: dict[str, Figure]) -> None:
    """The layers that a file draws are those of the page, but for marks that are there to be hovered over."""
    for figure in drawn.values():
        static = figure.static(first_shown(figures))
        assert static is not None
        # in a file nobody can hover over a mark: some have their text beside them
        layers = [
            layer for layer in static.get("spec", static)["layer"] if not layer.get("name", "").startswith(IN_FILE)
        ]
        of_page = [
            layer for layer in pruned(figure.spec(), figure.chosen())["layer"] if layer["mark"].get("opacity") != 0
        ]
        assert [layer["mark"] for layer in layers] == [layer["mark"] for layer in of_page], figure.name
        assert "isolated" not in json.dumps(static)


def test_axes_are_labelled(figures: Figures, drawn: dict[str, Figure]) -> None:
    """Every quantity on an axis of a file has a title, with the choice put in; categories name themselves."""
    for figure in drawn.values():
        static = figure.static(first_shown(figures))
        assert static is not None
        titles = {
            channel: {layer["encoding"][channel].get("title") for layer in static.get("spec", static)["layer"]
                      if layer["encoding"].get(channel, {}).get("type") in ("quantitative", "ordinal")}
            for channel in ("x", "y")
        }  # fmt: skip
        for found in titles.values():
            assert all(found), (figure.name, found)
            assert not any("{" in str(title) for title in found)


@pytest.mark.charts
@pytest.mark.slow
def test_files_are_drawn_at_300_dpi(figures: Figures, drawn: dict[str, Figure], tmp_path: Path) -> None:
    """A PNG for each figure, wide enough for a column of a paper; a figure of an earlier report goes, and no other."""
    (tmp_path / "charts").mkdir()
    for name in ("tuning.png", "length-gone.png", "mine.png", "profile.txt"):
        (tmp_path / "charts" / name).write_bytes(b"")
    (tmp_path / "charts" / "cost.png").mkdir()
    with Pictures(2) as pictures:
        paths = charts.write(figures, [drawn["forest"], drawn["curves"]], tmp_path / "charts", pictures)
    left = sorted(p.name for p in (tmp_path / "charts").iterdir())
    assert left == ["cost.png", "curves.png", "forest.png", "mine.png", "profile.txt"]
    for path in paths:
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert width >= 5 * 300  # five inches
        assert height >= 2 * 300
        at = content.index(b"pHYs") + 4
        across, down, unit = struct.unpack(">IIB", content[at : at + 9])
        assert (across, down, unit) == (11811, 11811, 1)  # 300 dots an inch, in metres


def test_a_legend_has_the_cells_that_have_a_mark(figures: Figures, drawn: dict[str, Figure]) -> None:
    """The baseline has no ratio to itself and no difference: it is in no legend of these."""
    for name, cells in (("forest", ["rnn", "gru"]), ("length-difference", ["rnn", "gru"]),
                        ("length", ["lstm", "rnn", "gru"])):  # fmt: skip
        static = drawn[name].static(first_shown(figures))
        assert static is not None
        domains = {tuple(scale["domain"]) for scale in scales(static) if "range" in scale and len(scale["range"]) > 1}
        assert domains == {tuple(cells)}, name


def scales(node: Any) -> list[dict[str, Any]]:
    """Every scale over cells within a definition."""
    if isinstance(node, list):
        return [scale for value in node for scale in scales(value)]
    if not isinstance(node, dict):
        return []
    own = [node["scale"]] if node.get("field") == "cell" and "domain" in (node.get("scale") or {}) else []
    return own + [scale for key, value in node.items() if key != "datasets" for scale in scales(value)]


def test_marks_are_at_their_rates(figures: Figures, drawn: dict[str, Figure]) -> None:
    """On the chart of rates no mark is moved aside; in a file each cell has a panel of its own, without a legend."""
    static = drawn["rates"].static(first_shown(figures))
    assert static is not None
    assert static["facet"]["sort"] == ["lstm", "rnn", "gru"]
    assert all("xOffset" not in layer["encoding"] for layer in static["spec"]["layer"])
    assert {layer["encoding"]["x"]["type"] for layer in static["spec"]["layer"]} == {"quantitative"}
    assert '"legend": {' not in json.dumps(static["spec"])


def test_a_cell_keeps_its_marks_whatever_the_results(figures: Figures) -> None:
    """60 cells: colours, shapes and dashes depend on the order of the experiment, not on which cell is fast."""
    labels = ["lstm", *(f"cell{i}" for i in range(59))]
    one, other = (
        Encodings(Figures(found.summary, found.runs, found.curves, {})).marks
        for found in (
            report(labels, lognormal({label: 100.0 + 20 * sign * i for i, label in enumerate(labels)}),
                   seeds=(0, 1, 2), learning_rates=(0.01,), grid=((8,), (16,), ("hidden 4",)))
            for sign in (1, 0.1)
        )
    )  # fmt: skip
    assert (one.cells, one.colours, one.shapes, one.dashes) == (other.cells, other.colours, other.shapes, other.dashes)
    assert len({(*mark,) for mark in zip(one.colours, one.shapes, map(tuple, one.dashes), strict=True)}) == 60


@pytest.mark.charts
def test_files_as_pdf(figures: Figures, drawn: dict[str, Figure], tmp_path: Path) -> None:
    """`--format pdf` draws a page of vectors."""
    with Pictures(1) as pictures:
        (path,) = charts.write(figures, [drawn["forest"]], tmp_path, pictures, "pdf")
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/MediaBox" in content


@pytest.mark.charts
def test_files_as_svg(figures: Figures, drawn: dict[str, Figure], tmp_path: Path) -> None:
    """`--format svg` draws the same figure, with its text as text."""
    with Pictures(1) as pictures:
        (path,) = charts.write(figures, [drawn["rates"]], tmp_path, pictures, "svg")
    text = path.read_text()
    assert text.startswith("<svg")
    for word in ("Learning rates", "steps to solved", "learning rate", "lstm", "gru"):
        assert word in text


@pytest.mark.charts
@pytest.mark.parametrize(
    ("rates", "written"), [((0.003, 0.01, 0.03, 0.1), 4), ((0.01, 0.011, 0.012, 0.1, 0.3), 3), ((0.01,), 1)]
)
def test_shares_beside_rates_touch_nothing(tmp_path: Path, rates: tuple[float, ...], written: int) -> None:
    """Percentages of neighbouring rates overprinted each other and the marks: each has its place above all marks."""
    found = report(["lstm", "gru"], lognormal({"lstm": 1700.0, "gru": 1900.0}), learning_rates=rates)
    figures = Figures(found.summary, found.runs, found.curves, {})
    figure = next(figure for figure in charts.all_figures(figures) if figure.name == "rates")
    with Pictures(1) as pictures:
        (path,) = charts.write(figures, [figure], tmp_path, pictures, "svg")
    drawing = ElementTree.fromstring(path.read_text())
    rows: list[list[float]] = []
    for group in drawing.iter():
        shares = [text for text in group if (text.text or "").endswith("%")]
        if shares:
            places = [[float(v) for v in re.findall(r"[-\d.]+", text.get("transform", ""))] for text in shares]
            assert len({y for _, y in places}) == 1
            rows.append(sorted(x for x, _ in places))
    assert [len(row) for row in rows] == [written, written]
    # eight pixels high, in a font whose digits are at most 0.6 of that wide and whose percent sign is at most 0.9
    assert all(b - a > 8 * (2 * 0.6 + 0.9) for row in rows for a, b in itertools.pairwise(row))


@pytest.mark.charts
@pytest.mark.parametrize("form", ["png", "svg"])
@pytest.mark.slow
def test_the_order_of_drawing_leaves_no_trace(
    figures: Figures, drawn: dict[str, Figure], tmp_path: Path, form: str
) -> None:
    """One process or two, in one order or the other: the same bytes."""
    some = [drawn[name] for name in ("forest", "heat", "cost", "tuning")]
    for name, processes, order in (("a", 1, some), ("b", 2, some[::-1])):
        with Pictures(processes) as pictures:
            for figure in order:
                charts.write(figures, [figure], tmp_path / name / figure.name, pictures, form)
    files = [sorted((tmp_path / name).rglob(f"*.{form}")) for name in "ab"]
    assert [len(found) for found in files] == [4, 4]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


@pytest.mark.charts
def test_a_picture_that_fails_is_told(tmp_path: Path) -> None:
    """A file that cannot be written, and a process that dies; the block ends in an error that names the file."""
    points = {"mark": "point", "data": {"values": [{"x": 1}]}, "encoding": {"x": {"field": "x", "type": "ordinal"}}}
    (tmp_path / "charts").write_text("a file where the folder must be")
    with pytest.raises(StoreError, match=r"charts/a\.png cannot be written"), Pictures(1) as pictures:
        pictures.draw(points, tmp_path / "charts" / "a.png")
    with pytest.raises(StoreError, match=r"b\.png was not drawn: the process that drew it ended"):
        draw_with_killed(points, tmp_path / "b.png")


@pytest.mark.charts
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_numbers_that_cannot_be_gathered(tmp_path: Path) -> None:
    """The processes that were started to draw meanwhile end, and nothing is written."""

    def gather() -> Report:
        assert children() != before
        raise StoreError("there are no numbers")

    def children() -> str:
        return "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))

    before = children()
    with pytest.raises(StoreError, match="there are no numbers"):
        publish(gather, tmp_path, processes=2)
    assert children() == before
    assert list(tmp_path.iterdir()) == []


def draw_with_killed(definition: dict[str, Any], path: Path) -> None:
    with Pictures(1) as pictures:
        pictures.children[0].kill()
        pictures.draw(definition, path)


ODD = [
    "lstm",
    "<script>alert(1)</script>",
    "a|b",
    "=cmd()",
    "under_score",
    "x" * 80,
    "🦊",
    "#0072B2",
    "{choice}",
    "'\"\\",
]


@pytest.mark.charts
def test_labels_are_data(tmp_path: Path) -> None:
    """Labels that look like markup, formulas, colours or our own placeholders are drawn as they are."""
    found = report(ODD, lognormal(dict.fromkeys(ODD, 300.0)), ((8,), (16,), ("hidden 4",)), learning_rates=(0.01,))
    figures = Figures(found.summary, found.runs, found.curves, {})
    drawn = [figure for figure in charts.all_figures(figures) if figure.name == "heat"]
    with Pictures(1) as pictures:
        (path,) = charts.write(figures, drawn, tmp_path, pictures, "svg")
    text = path.read_text()
    assert "<script" not in text
    for label in ("&lt;script&gt;alert(1)&lt;/script&gt;", "a|b", "=cmd()", "under_score", "🦊", "#0072B2", "{choice}"):
        assert label in text


def texts(node: Any) -> list[str]:
    """All strings of a nested definition."""
    if isinstance(node, dict):
        return [t for value in node.values() for t in texts(value)]
    if isinstance(node, list):
        return [t for value in node for t in texts(value)]
    return [node] if isinstance(node, str) else []


def test_many_cells_show_the_baseline_and_the_fastest() -> None:
    """Files draw eight lines at most, each with the mark it has among all; tables of ratios show every cell."""
    labels = [f"cell{i:02d}" for i in range(20)]
    speeds = {label: 200.0 + 25 * i for i, label in enumerate(labels)}
    found = report(labels, lognormal(speeds, sd=0.05), ((8,), (16,), ("hidden 4",)), baseline="cell19",
                   learning_rates=(0.01,), seeds=(0, 1, 2, 3))  # fmt: skip
    figures = Figures(found.summary, found.runs, found.curves, {})
    assert first_shown(figures) == ("cell19", *labels[: MOST_DRAWN - 1])
    by_name = {figure.name: figure for figure in charts.all_figures(figures)}
    static = by_name["solved"].static(first_shown(figures))
    assert static is not None
    assert {row["cell"] for row in static["datasets"]["rows"]} == set(first_shown(figures))
    assert static["title"]["subtitle"].endswith(f"{MOST_DRAWN} of 20 cells: the page has the others")
    scale = static["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["cell00"] == look.LIGHT[1]
    assert len(set(scale["range"])) == MOST_DRAWN  # none of those drawn at first share a colour
    heat = by_name["heat"].static(first_shown(figures))
    assert heat is not None
    assert len({row["cell"] for row in heat["datasets"]["rows"]}) == 19


def test_a_layer_without_rows_is_left_out() -> None:
    """Of an empty layer vega would warn; without the layer that a click acts through nothing is drawn."""
    spec = {
        "params": [{"name": "isolated", "views": ["b"]}],
        "layer": [
            {"name": "a", "transform": [{"filter": "datum.kind === 'x'"}], "encoding": {}},
            {"name": "b", "encoding": {"x": {"field": "known"}}},
            {"name": "c", "encoding": {"x": {"field": "known"}, "x2": {"field": "unknown"}}},
        ],
    }
    rows = pd.DataFrame({"kind": ["y"], "known": [1.0], "unknown": [math.nan]})
    assert [layer["name"] for layer in pruned(spec, rows)["layer"]] == ["b"]
    assert [layer["name"] for layer in pruned(spec, rows.assign(kind="x"))["layer"]] == ["a", "b"]
    spec["params"] = [{"name": "isolated", "views": ["a"]}]
    assert pruned(spec, rows)["layer"] == []


def test_definitions_hold_no_rows(drawn: dict[str, Figure]) -> None:
    """The page's definitions name their data; the rows travel apart, once."""
    for figure in drawn.values():
        spec = figure.spec()
        assert spec["data"] == {"name": "rows"}
        assert "datasets" not in spec
        assert len(json.dumps(spec)) < 20_000
        assert isinstance(figure.chart, alt.LayerChart)
