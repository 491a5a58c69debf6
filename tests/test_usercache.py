"""Folders whose content is run: made private, and not used where others may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellbench.usercache import is_private, private


def test_a_parent_that_others_may_write_counts_unless_it_is_sticky(tmp_path: Path) -> None:
    """Others could put a folder of their own in its place; in a folder such as /tmp they cannot."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True, mode=0o700)
    assert is_private(place)
    (tmp_path / "a").chmod(0o777)
    assert not is_private(place)
    (tmp_path / "a").chmod(0o1777)
    assert is_private(place)


def test_a_folder_is_made_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made, and found again; opened to others, or where none can be made, there is none."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    made = private("x")
    assert made == (tmp_path / "cellbench" / "x").resolve()
    assert made.stat().st_mode & 0o777 == 0o700
    assert private("x") == made
    assert private("x", str(tmp_path / "y")) == (tmp_path / "y").resolve()
    (tmp_path / "link").symlink_to(tmp_path / "y")
    assert private("x", str(tmp_path / "link")) == (tmp_path / "y").resolve()
    made.chmod(0o770)
    assert private("x") is None
    (tmp_path / "file").write_text("")
    assert private("x", str(tmp_path / "file" / "below")) is None
