"""The experiment file: every fault at once, each with its place; exit status 2; nothing run."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from cellbench.errors import ExperimentError
from cellbench.experiment import load, schema
from cellbench.experiment.document import parse
from cellbench.experiment.experiment import resolve
from cellbench.plugins import discover
from cellbench.wording import READ_AS_MISSING
from tests.helpers.commands import TINY, Command

REGISTRY = discover()
SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
BASE = """\
name: x
cells: [rnn, lstm]
grid: {bits: [8], batch_size: [4], hidden_size: [4]}
"""

BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in pairwise("abcdefghij"))
"""A billion values in nine lines."""

FAULTS = {
    "misspelt key": ("tarin: {max_steps: 3}\n", "x.yaml:4  tarin: no such key. Did you mean train?"),
    "misspelt nested key": ("train: {max_step: 3}\n", "x.yaml:4  train.max_step: no such key. Did you mean max_steps?"),
    "wrong type": ("train: {max_steps: many}\n", "x.yaml:4  train.max_steps: is 'many', expected a whole number"),
    "decimal steps": ("train: {max_steps: 1.5}\n", "x.yaml:4  train.max_steps: is 1.5, expected a whole number"),
    "text for true": ("train: {stop_when_solved: 'yes'}\n", "is 'yes', expected true or false"),
    "unknown optimizer": ("train: {optimizer: adm}\n", "train.optimizer: is 'adm'. Did you mean adam?"),
    "unknown engine": ("engine: lane\n", "x.yaml:4  engine: is 'lane'. Did you mean lanes?"),
    "unknown task": ("task: binary_adition\n", "no task named 'binary_adition'. Nearest: binary_addition."),
    "negative steps": ("train: {max_steps: -1}\n", "train.max_steps: is -1: must be greater than or equal to 1"),
    "zero examples": ("evaluate: {examples: 0}\n", "evaluate.examples: is 0: must be greater than or equal to 1"),
    "zero rate": ("learning_rate: [0.1, 0]\n", "learning_rate[1]: is 0.0: must be greater than 0"),
    "infinite rate": ("learning_rate: [.inf]\n", "learning_rate[0]: is inf, expected a finite number"),
    "a rate beyond every float": (f"learning_rate: {10**400}\n", "learning_rate[0]: is inf, expected a finite number"),
    "same rate twice": ("learning_rate: [0.1, 0.1]\n", "learning_rate[1]: 0.1 is given twice"),
    "threshold over 1": ("solved: {threshold: 1.01}\n", "solved.threshold: is 1.01: must be less than or equal to 1"),
    "no seeds": ("seeds: []\n", "seeds: is empty, expected at least one"),
    "seeds backwards": ("seeds: '9-3'\n", "seeds: is '9-3': a range of seeds is written '100-109', lowest first"),
    "baseline no label": ("baseline: lstn\n", "x.yaml:4  baseline: 'lstn' is not a cell's label. Did you mean lstm?"),
    "final of no parameter": ("final: {bit: [3]}\n", "x.yaml:4  final.bit: no such key. Did you mean bits?"),
    "final of no use": ("final: {bits: [1]}\n", "final.bits[0]: is 1: bits must be a whole number of 2 or more"),
    "no bool": ("engine: !!bool maybe\n", "x.yaml:4  not YAML: 'maybe' cannot be read as bool"),
    "no int": ('seeds: !!int ""\n', "x.yaml:4  not YAML: '' cannot be read as int"),
    "no float": ('learning_rate: !!float ""\n', "x.yaml:4  not YAML: '' cannot be read as float"),
    "no timestamp": ("task: !!timestamp foo\n", "x.yaml:4  not YAML: 'foo' cannot be read as timestamp"),
    "a billion examples": ("evaluate: {examples: 1000000000}\n", "evaluate.examples: is 1000000000: must be less than"),
    "a billion evaluations": (
        "train: {max_steps: 1000000000}\nevaluate: {growth: 0}\n",
        "x.yaml:5  evaluate: asks for more than 100,000 evaluations per replica: raise `every` or `growth`",
    ),
    "a billion replicas": (
        f"seeds: 100000\nlearning_rate: {[i / 100 for i in range(1, 60)]}\n",
        "plans 11,800,000 replicas, more than 10,000,000: divide it into several experiments",
    ),
    "key twice": ("name: y\n", "x.yaml:4  name: is given twice; keep one of them"),
}  # fmt: skip
WHOLE = {
    "not YAML": ("a: [1\n", "not YAML"),
    "no mapping": ("- 1\n", "has no keys"),
    "empty": ("", "has no keys"),
    "nothing given": ("{}\n", "cells: is missing; it must be given"),
    "no cells": ("name: x\ncells: []\ngrid: {bits: 8, batch_size: 4, hidden_size: 4}\n", "cells: is empty"),
    "unknown cell": (BASE.replace("lstm", "lstn"), "x.yaml:2  cells[1].name: no cell named 'lstn'. Nearest: lstm."),
    "label of no value": (BASE.replace("lstm", "{name: lstm, label: NA}"), "cells[1].label: the label 'NA' is"),
    "name of no value": (BASE.replace("lstm", "{name: 'null', factory: ./m.py:M}"), "cells[1]: the label 'null' is"),
    "options of options": (BASE.replace("lstm", "{name: lstm, options: {bias: {a: 1}}}"),
                           "cells[1].options.bias: is {'a': 1}: expected a number, text, true or false, null, or a"),
    "options with a date": (BASE.replace("lstm", "{name: lstm, options: {b: [2020-01-01]}}"), "or a list of these"),
    "same label twice": (BASE.replace("lstm", "rnn"), "cells[1]: the label 'rnn' is used twice"),
    "grid key of no task": (BASE.replace("bits", "bit"), "grid.bit: the task binary_addition has no such key. Did"),
    "grid key missing": (BASE.replace("bits: [8], ", ""), "x.yaml:3  grid: bits is missing"),
    "grid value of no use": (BASE.replace("[8]", "[8, one]"), "grid.bits[1]: is 'one': bits must be a whole"),
    "grid list empty": (BASE.replace("[8]", "[]"), "grid.bits: is empty"),
    "both sizes": (BASE.replace("e: [4]}", "e: [4], parameter_budget: [9]}"), "both hidden_size and parameter_budget"),
    "no size": (BASE.replace(", hidden_size: [4]", ""), "neither hidden_size nor parameter_budget"),
    "name leaves the folder": (BASE.replace("name: x", "name: ../x"), "name: is '../x'; a name is made of letters"),
    "name hidden": (BASE.replace("name: x", "name: .x"), "starts with a letter or digit"),
    "file not there": (BASE.replace("lstm", "{name: m, factory: './m.py:M'}"), "cells[1].factory: no such file"),
    "aliases for a billion": (BOMB, "x.yaml  not YAML: it expands to more than 200,000 values"),
    "merged for a billion": (BOMB.replace("[", "{<<: [").replace("]", "], x: 1}"), "x.yaml  not YAML: "),
    "alias bomb": ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\nd: &d {e: *d}\n", "not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", [*FAULTS, *WHOLE])
def test_faults(case: str, command: Command) -> None:
    """A fault is named with file, line, key and what to do; exit 2, no results folder, no traceback."""
    text, said = (BASE + FAULTS[case][0], FAULTS[case][1]) if case in FAULTS else WHOLE[case]
    Path("x.yaml").write_text(text)
    ended = command("run", "x.yaml")
    assert ended.status == 2
    assert said in ended.err
    assert ended.err.rstrip().endswith("nothing was run.")
    assert "Traceback" not in ended.err
    assert not ended.out
    assert not Path("results").exists()


def test_one_fault_per_option(command: Command) -> None:
    """A value of an option is wrong once, whatever it might have been."""
    Path("x.yaml").write_text(WHOLE["options of options"][0])
    assert command("run", "x.yaml").err.splitlines()[1:] == ["1 fault, nothing was run."]


def test_labels_that_pandas_reads_as_missing(command: Command) -> None:
    """All of them, as pandas lists them; what is written under any other label is read back."""
    assert READ_AS_MISSING == STR_NA_VALUES
    for label in sorted(READ_AS_MISSING - {""}):
        with pytest.raises(ExperimentError, match="give the cell another `label`"):
            load({**TINY, "cells": [{"name": "rnn", "label": label}]}, REGISTRY)
    load({**TINY, "cells": [{"name": "rnn", "label": "na"}]}, REGISTRY)


def test_all_faults_at_once(command: Command) -> None:
    """Every case that can stand in one file is reported in one go, by line."""
    Path("x.yaml").write_text(BASE.replace("lstm", "lstn") + "tarin: 3\nsolved: {threshold: 2}\nseeds: 0\n")
    err = command("run", "x.yaml").err.splitlines()
    assert [line.split()[0] for line in err[:-1]] == ["x.yaml:2", "x.yaml:4", "x.yaml:5", "x.yaml:6"]
    assert err[-1] == "4 faults, nothing was run."


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "cannot be read: Is a directory"),
        (lambda p: p.write_bytes(b"name: \xff"), "not a text in UTF-8"),
    ],
    ids=["missing", "folder", "binary"],
)
def test_files_that_cannot_be_read(make: Callable[[Path], Any], said: str, command: Command) -> None:
    """A missing or unreadable file is one fault."""
    make(Path("x.yaml"))
    ended = command("run", "x.yaml")
    assert (ended.status, said in ended.err) == (2, True)


def test_a_budget_that_nothing_fits(command: Command, write: Callable[..., Path]) -> None:
    """Only the cell itself knows its parameters; the fault names the cell, the budget and the least."""
    path = write(grid={"bits": 4, "batch_size": 4, "parameter_budget": [5]})
    ended = command("run", path)
    assert ended.status == 2
    assert "tiny.yaml:3  cells[0]: rnn at budget 5: no hidden size fits 5 parameters; the smallest has 7" in ended.err
    assert not Path("results").exists()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_experiments_are_sound(path: Path) -> None:
    """Each shipped file validates (some cells need their plugins), and by the JSON schema too, as an editor does it."""
    if path.stem.startswith(("zoo", "initial-weights", "decided", "associative-recall")):
        pytest.skip("needs the plugin packages")
    if path.stem == "profile":
        pytest.skip("is a profile: see test_profile")
    assert load(path, REGISTRY).name == path.stem


def test_the_packaged_default_is_the_shipped_one() -> None:
    """`cellbench run` without a file runs experiments/default.yaml."""
    packaged = resources.files("cellbench.experiment").joinpath("default.yaml").read_text()
    assert packaged == (Path(__file__).parents[2] / "experiments/default.yaml").read_text()


def test_defaults_are_those_of_the_first_default_file() -> None:
    """All but name, cells and grid may be left out; what is filled in is what default.yaml wrote out in version 0.1.

    These defaults outlive changes of default.yaml: a user's file that leaves a key out means the same replicas.
    """
    full = load(SHIPPED[[p.stem for p in SHIPPED].index("default-0.1")], REGISTRY).resolved()
    bare = load({k: full[k] for k in ("name", "cells", "grid")}, REGISTRY).resolved()
    assert bare == {**full, "baseline": None}


def test_one_value_is_a_list_of_one() -> None:
    """Scalars in the grid and for the learning rate, and the three ways to write seeds."""
    e = load({**TINY, "seeds": "100-102", "learning_rate": 1}, REGISTRY)
    assert (e.seeds, e.learning_rates, e.batch_sizes) == ((100, 101, 102), (1.0,), (4,))
    assert load({**TINY, "seeds": [7, 3]}, REGISTRY).seeds == (7, 3)


SETS = [
    (["train.max_steps=7"], lambda e: e.settings.train.max_steps == 7),
    (["seeds=100-109"], lambda e: e.seeds[0] == 100),
    (["cells.0.label=first"], lambda e: e.cells[0].label == "first"),
    (["cells=[gru]"], lambda e: [c.name for c in e.cells] == ["gru"]),
    (["train.clip_norm=null"], lambda e: e.settings.train.clip_norm is None),
    (["readout.hidden=5"], lambda e: e.cells[1].readout_hidden == 5),
    (["grid.bits=[4, 8]", "final.bits=[]"], lambda e: e.axes == (("bits", (4, 8)),) and e.settings.final.values == ()),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "check"), SETS, ids=[s[0][0] for s in SETS])
def test_set(overrides: list[str], check: Callable[[Any], bool]) -> None:
    """`--set` changes what the file says."""
    tiny = {**TINY, "cells": [{"name": "rnn"}, {"name": "lstm"}]}
    assert check(load(tiny, REGISTRY, overrides=overrides))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.max_step=3", "--set train.max_step=3  train.max_step: no such key. Did you mean max_steps?"),
        ("train", "--set train  must be KEY=VALUE, for example train.max_steps=500"),
        ("name.x=3", "--set name.x=3  name: is 'tiny', which has no key 'x'"),
        ("cells.7=rnn", "--set cells.7=rnn  cells: has 2 items, none with the number '7' (from 0)"),
        (
            "seeds=[",
            "--set seeds=[  seeds: the value '[' is not YAML: expected the node content, but found '<stream end>'",
        ),
        ("seeds=!!int ''", "--set seeds=!!int ''  seeds: the value \"!!int ''\" is not YAML: '' cannot be read as int"),
        (
            f"cells.{'9' * 5000}=x",
            f"--set cells.{'9' * 65}...  cells: has 2 items, none with the number '{'9' * 20}' (from 0)",
        ),
        ("solved.threshold=3", "--set solved.threshold=3  solved.threshold: is 3.0: must be less than or equal to 1"),
    ],
)
def test_set_is_validated_alike(override: str, said: str, command: Command, write: Callable[..., Path]) -> None:
    """A bad override is a fault whose place is the option."""
    ended = command("run", write(), "--set", override)
    assert (ended.status, ended.err.splitlines()[0]) == (2, said)


def test_schema_is_what_editors_take(command: Command) -> None:
    """`cellbench schema` prints the JSON schema, and knows every key."""
    printed = json.loads(command("schema").out)
    assert printed == schema()
    assert set(printed["properties"]) >= {"name", "cells", "grid", "train", "evaluate", "solved", "final", "report"}


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 10**6), st.floats(), st.text(max_size=8),
              st.sampled_from(["rnn", "lstm", "bits", "adam", "1-3", "./x.py:X"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(
        st.one_of(st.text(max_size=6), st.sampled_from(["name", "label", "hidden", "bits", "batch_size", "max_steps",
                                                        "options", "factory", "hidden_size", "threshold"])),
        inner, max_size=4)),
    max_leaves=10,
)  # fmt: skip
KEYS = ["name", "task", "cells", "baseline", "engine", "grid", "seeds", "learning_rate", "train", "evaluate", "solved",
        "final", "report", "readout", "other"]  # fmt: skip


def _fuzz(changes: dict[str, Any], whole: bool) -> None:
    data = changes if whole else {**TINY, **changes}
    try:
        e = load(json.loads(json.dumps(data)), REGISTRY)
    except ExperimentError as error:
        bad = not error.faults or not all(fault.message for fault in error.faults)
        assert not bad, repr(error)  # noqa: PT017
    else:
        assert e.seeds
        assert e.cells


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4), st.booleans())
@example({"cells": [{"name": "rnn", "options": {"a": {"b": [1, {"c": None}]}}}]}, False)
def test_any_data_is_an_experiment_or_faults(changes: dict[str, Any], whole: bool) -> None:
    """Whatever the keys hold, what comes is a sound experiment or faults; nothing else escapes."""
    _fuzz(changes, whole)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=5), st.booleans())
def test_any_data_is_an_experiment_or_faults_10000(changes: dict[str, Any], whole: bool) -> None:
    """The same, ten thousand times."""
    _fuzz(changes, whole)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.text(max_size=60), st.text(alphabet="{}[]:,-&*!|>#%@`'\" \nabc01", max_size=60)), st.text(max_size=20)
)
def test_any_text_is_an_experiment_or_faults(text: str, override: str) -> None:
    """Whatever the file's text and the override, nothing but ExperimentError escapes."""
    for overrides in ([], [override]):
        with pytest.raises(ExperimentError):
            resolve(parse(text, "x.yaml"), Path.cwd(), REGISTRY, overrides=overrides)
