"""Make the pictures in docs/img again from a results folder of the default experiment.

    cellbench run --results results
    python docs/make_screenshots.py results/default

Needs a headless Chromium. The terminal's picture is what `cellbench status` and `cellbench report` print.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers.browser import Browser, opened

IMAGES = Path(__file__).parent / "img"
WIDE, NARROW = 1120, 390

# name, window's width, dark, first and last element shown
SHOTS = [
    ("page-wide", WIDE, False, "header", "#forest"),
    ("page-dark", WIDE, True, "#curves", "#rates"),
    ("page-narrow", NARROW, False, "header", "#answer"),
]


def pages(page: Path, browser: Browser) -> None:
    """The page: wide, dark, and on a phone."""
    for name, width, dark, first, last in SHOTS:
        browser.open(page, width, 900, dark)
        top, bottom = browser.run(
            f"[document.querySelector({first!r}).getBoundingClientRect().top,"
            f" document.querySelector({last!r}).getBoundingClientRect().bottom]"
        )
        clip = {"x": 0.0, "y": max(0.0, top - 16), "width": float(width), "height": bottom - top + 32}
        browser.screenshot(IMAGES / f"{name}.png", clip=clip)
        if browser.problems:
            raise SystemExit(f"{name}: {browser.problems}")


def terminal(folder: Path, browser: Browser, scratch: Path) -> None:
    """The table and the verdicts, as `cellbench report` prints them."""
    arguments = ["report", str(folder)]
    printed = subprocess.run(
        [sys.executable, "-m", "cellbench", *arguments], capture_output=True, text=True, check=True
    ).stdout
    with (scratch / "printed").open("w") as sink:
        console = Console(record=True, width=100, file=sink)
        console.print(Text(f"$ cellbench {' '.join(arguments)}", style="bold"))
        console.print(Text.from_ansi(printed.rstrip()))
        # the font that rich names is on the network
        svg = console.export_svg(title="cellbench", font_aspect_ratio=0.61).replace("Fira Code", "DejaVu Sans Mono")
    picture = scratch / "terminal.svg"
    picture.write_text(svg)
    # the picture fills the window, so the window has its shape
    shape = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert shape is not None
    browser.size(*(round(float(side)) for side in shape.groups()))
    browser.call("Page.navigate", url=picture.as_uri())
    browser.until("document.readyState === 'complete'")
    box = browser.run("(b => [b.width, b.height])(document.documentElement.getBoundingClientRect())")
    browser.screenshot(IMAGES / "terminal.png", clip={"x": 0.0, "y": 0.0, "width": box[0], "height": box[1]})


def main() -> None:
    """Make all pictures and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="results of the default experiment")
    folder = parser.parse_args().folder
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, opened(Path(scratch, "p")) as browser:
        terminal(folder, browser, Path(scratch))
        browser.problems.clear()
        pages(folder / "report.html", browser)
    for path in sorted(IMAGES.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
