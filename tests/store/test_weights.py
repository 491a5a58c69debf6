"""Files of weights beside the store: whole or absent, merged with the rest, and never written through a link."""

from __future__ import annotations

from pathlib import Path

import pytest

import cellbench
from cellbench.errors import StoreError
from cellbench.store import weights
from cellbench.store.merge import merge
from tests.helpers.commands import TINY

KEY = "0123456789abcdef" * 2


def test_written_and_read(tmp_path: Path) -> None:
    """What was written last; None for what was not. Nothing else is left in the folder."""
    assert weights.read(tmp_path, KEY) is None
    for content in (b"one", b"two"):
        weights.write(tmp_path, KEY, content)
        assert weights.read(tmp_path, KEY) == content
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.npz"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A folder that is a link is refused; a file that is one is replaced, and not read."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "weights").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        weights.write(tmp_path, KEY, b"x")
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "weights").unlink()
    target = weights.path(tmp_path, KEY)
    target.parent.mkdir(parents=True)
    (tmp_path / "other").write_bytes(b"other")
    target.symlink_to(tmp_path / "other")
    assert weights.read(tmp_path, KEY) is None
    weights.write(tmp_path, KEY, b"mine")
    assert (tmp_path / "other").read_bytes() == b"other"


def test_shards_bring_their_weights() -> None:
    """A merged folder has the weights of all parts, and its models need no training."""
    keeping = {**TINY, "keep": "weights"}
    parts = [cellbench.run(keeping, f"part{i}", shard=(i, 2), report=False) for i in (1, 2)]
    merge(Path("whole"), [part.folder for part in parts])
    keys = list(cellbench.load("whole").runs.key)
    assert all(weights.read(Path("whole"), key) for key in keys)
    assert len(keys) == len(list(Path("whole/weights").rglob("*.npz"))) == 4
