"""What commands print: broken between words on a terminal, as it is in a pipe."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.terminal.output import fitted, show_fitted

MESSAGE = """\
Mine breaks a law of cells:
  remembers-only-in-the-state: nothing is remembered outside the state: calls repeat
    but the same sequence, run from the initial state twice, gives two answers
`cellbench check ./mine.py:Mine` asks it alone."""


def test_a_message_on_a_narrow_terminal() -> None:
    """What a line begins with stays, what follows stands two columns further in, and a command is not broken."""
    assert fitted(MESSAGE, 44).splitlines() == [
        "Mine breaks a law of cells:",
        "  remembers-only-in-the-state: nothing is",
        "    remembered outside the state: calls",
        "    repeat",
        "    but the same sequence, run from the",
        "      initial state twice, gives two answers",
        "`cellbench check ./mine.py:Mine` asks it",
        "  alone.",
    ]


@pytest.mark.parametrize("start", ["cellbench run", "python -m cellbench run", "pip install"])
def test_a_command_on_a_line_of_its_own_stays_whole(start: str) -> None:
    message = f"interrupted; what was trained is kept. To go on:\n  {start} a-file-in-a-long-folder.yaml --workers 1"
    assert fitted(message, 40).splitlines()[-1] == message.splitlines()[-1]


@given(st.lists(st.text("ab -`\u00a0", max_size=90), max_size=5).map("\n".join), st.integers(20, 100))
def test_nothing_is_lost(text: str, columns: int) -> None:
    """All words in order; no line is wider than the terminal if its words are not; what fits is as it was."""
    found = fitted(text, columns)
    assert found.replace("\u00a0", " ").split() == text.replace("\u00a0", " ").split()
    if all(len(line) <= columns for line in text.split("\n")):
        assert found == text
    if "`" not in text and all(len(word) <= columns - 2 for word in text.split(" ")):
        indented = max((len(line) - len(line.lstrip(" ")) for line in text.split("\n")), default=0)
        assert indented > columns // 2 or all(len(line) <= columns for line in found.split("\n"))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_pipe_gets_whole_lines(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setenv("COLUMNS", "44")
    stream = Stream()
    show_fitted(MESSAGE, stream)
    assert stream.getvalue() == f"{fitted(MESSAGE, 44) if terminal else MESSAGE}\n"
