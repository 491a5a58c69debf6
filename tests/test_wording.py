"""Texts before anybody reads them: on one line, of a bounded length, without what a terminal acts on."""

from __future__ import annotations

import ast
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellbench.wording import NAME, described, did_you_mean, one_line, printable, short


@given(st.text())
def test_printable_leaves_nothing_that_acts(text: str) -> None:
    """Control characters and line breaks become spaces; what else cannot be printed is escaped; all else is there."""
    found = printable(text)
    assert not [c for c in found if unicodedata.category(c) == "Cc"]
    assert len(found.splitlines()) <= 1
    assert printable(found) == found == found.strip()
    assert found.isprintable()
    rest = iter(found)
    assert all(c in rest for c in text if c.isprintable() and c != " ")


@given(st.text(), st.one_of(st.none(), st.integers(0, 50)))
def test_one_line_is_the_words_in_order(text: str, most: int | None) -> None:
    """Words with one space between them, cut after so many characters; a type's name before an error's."""
    found = one_line(text, most)
    assert " ".join(text.split()).startswith(found)
    assert len(found) == min(len(" ".join(text.split())), 10**9 if most is None else most)
    assert described(ValueError(text), 30) == f"ValueError: {one_line(text, 30)}"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_short_is_python_s_own_text_while_it_fits(value: object) -> None:
    """Up to 80 characters it can be read back; a longer one is cut, and shows that it is."""
    found = short(value)
    assert len(found) <= 80
    if found.endswith("...") and len(found) == 80:
        assert repr(value).startswith(found[:-3]) or repr(value) == found
    else:
        assert ast.literal_eval(found) == value


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("lstn", ["rnn", "lstm", "gru"], "Did you mean lstm?"),
        ("forget_bais", ["forget_bias", "bias"], "Did you mean forget_bias?"),
        ("seeds", ["seeds"], "Did you mean seeds?"),
        ("Seed", ["seed", "size"], "Did you mean seed?"),
        ("zzz", ["seed", "size"], "Known: seed, size."),
        ("", ["seed"], "Known: seed."),
        ("x", [], "Known: ."),
    ],
)
def test_the_nearest_word_is_suggested(word: str, known: list[str], said: str) -> None:
    """A slip of a letter or two finds its word; what is near to none lists them all."""
    assert did_you_mean(word, known) == said


@pytest.mark.parametrize("name", ["tiny", "a", "0", "long-run_2.1", "tiny+Mine", "A" * 100])
def test_a_name_of_an_experiment(name: str) -> None:
    """Letters, digits and a few signs, a letter or digit first."""
    assert re.fullmatch(NAME, name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "_x", "+x", "a b", "a\n", "é", "A" * 101])
def test_no_name_of_an_experiment(name: str) -> None:
    """What would leave the results folder, hide there, or look like an option names none."""
    assert not re.fullmatch(NAME, name)
