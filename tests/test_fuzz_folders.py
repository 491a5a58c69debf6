"""Anything at all in a results folder, where a stranger may put it: the commands work or say so, and harm nothing.

Values of a store's tables are in test_fuzz.py. CELLBENCH_FUZZ=100000 makes it more here too.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellbench.errors import CellbenchError
from cellbench.report.report import FILES
from cellbench.running import run as run_experiment
from cellbench.store.merge import merge
from tests.helpers.commands import TINY, Command
from tests.helpers.fuzz import MANY, READERS, TABLES
from tests.helpers.odd_files import CONTENT, KINDS, NOWHERE, PRIVATE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, made once."""
    folder = tmp_path_factory.mktemp("made") / "out"
    run_experiment({**TINY, "seeds": 2}, folder, report=False)
    return folder


MAGIC = bytes.fromhex("d9d505f920a163d7")
"""How a journal begins, and how the name of a further journal at its end ends."""
BESIDE = ["runs.sqlite", "runs.sqlite-journal", "runs.sqlite-wal", "runs.sqlite-shm"]
PLACES = [
    *BESIDE, *FILES, ".lock", ".report.json", "charts", "charts/forest.png", ".merge-1", ".merge", "runs-1.sqlite",
    "runs-1.sqlite-wal", "runs-schema-2-1.sqlite",
]  # fmt: skip


def _number(most: int) -> st.SearchStrategy[bytes]:
    return st.one_of(st.sampled_from([0, 1, most]), st.integers(0, most)).map(lambda n: n.to_bytes(4, "big"))


PARTS = st.one_of(
    st.binary(max_size=40), st.just(bytes(512)), _number(2**32 - 1), st.sampled_from([MAGIC, b"private.txt"])
)
PAGE = st.sampled_from([512, 1024, 4096, 65536]).map(lambda n: n.to_bytes(4, "big"))
JOURNAL = st.one_of(
    # magic, pages, nonce, pages of the store, sector, page; then anything
    st.tuples(
        st.just(MAGIC),
        _number(2**32 - 1),
        _number(9),
        _number(40),
        PAGE,
        PAGE,
        st.lists(PARTS, max_size=6).map(b"".join),
    ),
    st.tuples(st.lists(PARTS, max_size=6).map(b"".join), st.just(MAGIC)),
    st.tuples(st.binary(max_size=2000)),
).map(b"".join)
LOG = st.one_of(
    st.tuples(
        st.sampled_from([0x377F0682, 0x377F0683]).map(lambda n: n.to_bytes(4, "big")),
        st.just((3007000).to_bytes(4, "big")), PAGE, _number(9), st.binary(min_size=16, max_size=16),
        st.lists(PARTS, max_size=6).map(b"".join),
    ),
    st.tuples(st.binary(max_size=2000)),
).map(b"".join)  # fmt: skip
BODY = st.sampled_from(
    [
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i AS key, i AS replica FROM n",
        "SELECT zeroblob(8000000000) AS text",
        "SELECT * FROM sqlite_master",
        "SELECT load_extension('x')",
    ]
)
TABLE = st.sampled_from([*TABLES, "sqlite_stat1", "other", "main.plan", "temp"])
CATALOGUE = st.one_of(
    st.tuples(TABLE, BODY).map(lambda t: [f"DROP TABLE IF EXISTS {t[0]}", f"CREATE VIEW {t[0]} AS {t[1]}"]),
    st.tuples(TABLE, BODY).map(lambda t: [f"CREATE TRIGGER t AFTER INSERT ON {t[0]} BEGIN {t[1]}; END"]),
    TABLE.map(lambda t: [f"ALTER TABLE {t} ADD COLUMN more TEXT AS (zeroblob(100000000))"]),
    TABLE.map(lambda t: [f"CREATE INDEX i ON {t} (randomblob(10))"]),
    TABLE.map(lambda t: [f"DROP TABLE IF EXISTS {t}", f"CREATE VIRTUAL TABLE {t} USING fts5(key)"]),
    st.tuples(TABLE, st.text(max_size=30)).map(
        lambda t: [
            "PRAGMA writable_schema = ON",
            f"UPDATE sqlite_master SET sql = '{t[1].replace(chr(39), '')}' WHERE name = '{t[0]}'",
        ]
    ),
    st.tuples(
        st.sampled_from(["rootpage = 0", "rootpage = 99999", "type = 'view'", "name = 'plan'", "tbl_name = 'x'"]), TABLE
    ).map(lambda t: ["PRAGMA writable_schema = ON", f"UPDATE sqlite_master SET {t[0]} WHERE name = '{t[1]}'"]),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: [f"PRAGMA user_version = {n}"]),
)
PLANT = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(PLACES), st.sampled_from(sorted(KINDS))),
    st.tuples(st.just("link to a folder"), st.sampled_from([".merge", ".merge-1", "charts"]), st.none()),
    st.tuples(st.just("bytes"), st.sampled_from([BESIDE[1], "runs-1.sqlite-journal"]), JOURNAL),
    st.tuples(st.just("bytes"), st.sampled_from(BESIDE[2:]), LOG),
    st.tuples(st.just("catalogue"), st.none(), CATALOGUE),
)


def plant(kind: str, name: Any, what: Any) -> None:
    """Put something into the folder `hand` that cellbench does not leave there."""
    if kind == "catalogue":
        with closing(sqlite3.connect("hand/runs.sqlite", isolation_level=None)) as db:
            for statement in what:
                with suppress(sqlite3.Error, UnicodeEncodeError):
                    db.execute(statement)
        return
    path = Path("hand", name)
    path.parent.mkdir(exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    if is_free(path):
        if kind == "file":
            KINDS[what][0](path)
        elif kind == "bytes":
            path.write_bytes(what)
        else:
            path.symlink_to(Path("album").absolute())


def is_free(path: Path) -> bool:
    """Tell whether nothing is there, and no parent leads elsewhere."""
    return not os.path.lexists(path) and not path.parent.is_symlink() and path.parent.is_dir()


def outside() -> dict[str, str | bytes]:
    """What is beside the folders that the commands are about, and all that is in the reader's own."""
    found = [p for p in Path().rglob("*") if p.parts[0] not in ("hand", "to") and not p.is_dir()]
    return {str(path): path.read_bytes() for path in found}


def fuzz_folder(made: Path, command: Command, examples: int) -> dict[str, int]:
    """Plant links, pipes, journals, logs and catalogues, and ask every command: nothing outside is changed."""
    ends: dict[str, int] = {}
    shutil.copytree(made, "mine")
    Path("album").mkdir()
    Path("album/runs.sqlite").write_text("a picture of the reader's")
    Path("album/forest.png").write_text("a picture of the reader's")
    PRIVATE.write_text(CONTENT)
    before = outside()
    readers = {**READERS, "merge into": lambda: merge(Path("hand"), [Path("mine")])}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(PLANT, min_size=1, max_size=3))
    def each(planted: list[tuple[str, Any, Any]]) -> None:
        for name, ask in readers.items():
            for folder in ("hand", "to"):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(made, "hand")
            for one in planted:
                plant(*one)
            try:
                ask()
            except CellbenchError as error:
                assert str(error)  # noqa: PT017
                ends[f"{name} told"] = ends.get(f"{name} told", 0) + 1
            else:
                ends[f"{name} well"] = ends.get(f"{name} well", 0) + 1
            assert outside() == before, (name, planted)
            assert not NOWHERE.exists()
        assert command("status", "hand").status in (0, 2)
        assert outside() == before

    each()
    return ends


def test_any_folder(made: Path, command: Command) -> None:
    """Links, pipes, journals, logs and catalogues of a stranger: each reader works or says so, and harms nothing."""
    assert fuzz_folder(made, command, 10)


@pytest.mark.slow
def test_any_folder_many_times(made: Path, command: Command) -> None:
    """The same, many times; what the readers said is counted."""
    ends = fuzz_folder(made, command, max(1, MANY // 100))
    print(f"\n  counted: {dict(sorted(ends.items()))}")
    assert all(any(name in end for end in ends) for name in READERS)
