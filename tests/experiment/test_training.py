"""The section `train`: what its keys mean, alone and together, and what is said of those that are not offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cellbench.errors import ExperimentError
from cellbench.experiment import load, train_section
from cellbench.experiment.offered import ELSEWHERE, NOT_OFFERED
from cellbench.experiment.sections import CellKeys, Keys, TrainKeys
from cellbench.planning.grid import lay_out
from cellbench.plugins import discover
from cellbench.records import HYPERPARAMETERS, Train
from tests.helpers.commands import TINY, Command

REGISTRY = discover()
DOCS = Path(__file__).parents[2] / "docs/experiment.md"
OPTIMIZER = "torch.optim.Adagrad"


def loaded(**train: Any) -> Any:
    return load({**TINY, "train": {"max_steps": 20, **train}}, REGISTRY)


def key(**train: Any) -> str:
    """The key of the first replica that is planned."""
    return lay_out(loaded(**train))[0].replicas[0].key


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "decay below 0": ({"weight_decay": -0.1}, "train.weight_decay: is -0.1: must be greater than or equal to 0"),
    "decay not a number": ({"weight_decay": float("nan")}, "train.weight_decay: is nan"),
    "decay without end": ({"weight_decay": float("inf")}, "train.weight_decay: is inf: must be less than"),
    "decay as text": ({"weight_decay": "much"}, "train.weight_decay: is 'much', expected a number"),
    "decay as truth": ({"weight_decay": True}, "train.weight_decay: is True, expected a number"),
    "decay that YAML reads as text": ({"weight_decay": "1e-4"}, "a number; YAML reads it as text: write 1.0e-4"),
    "option that YAML reads as text": (
        {"optimizer": OPTIMIZER, "optimizer_options": {"eps": "1e-10"}},
        "'eps' is '1e-10'; YAML reads it as text: write 1.0e-10",
    ),
    "one beta": ({"betas": [0.9]}, "train.betas: is [0.9]: expected two numbers from 0 to less than 1, such as"),
    "three betas": ({"betas": [0.9, 0.9, 0.9]}, "expected two numbers"),
    "a beta of 1": ({"betas": [0.9, 1]}, "expected two numbers"),
    "a beta that is no number": ({"betas": [0.9, float("nan")]}, "expected two numbers"),
    "betas of texts": ({"betas": ["0.9", "0.99"]}, "expected two numbers"),
    "betas as a number": ({"betas": 0.9}, "train.betas: is 0.9: expected two numbers"),
    "momentum of 1": ({"optimizer": "sgd", "momentum": 1}, "train.momentum: is 1: must be less than 1"),
    "eps of 0": ({"eps": 0}, "train.eps: is 0: must be greater than or equal to 0.000000000000001"),
    "alpha below 0": ({"optimizer": "rmsprop", "alpha": -1}, "train.alpha: is -1: must be"),
    "clip value of 0": ({"clip_value": 0}, "train.clip_value: is 0: must be greater than 0"),
    "clip value without end": ({"clip_value": float("inf")}, "train.clip_value: is inf, expected a finite number"),
    "clipped twice": ({"clip_value": 1, "clip_norm": 1}, "train.clip_value: gradients are clipped by norm or by value"),
    "unknown schedule": ({"schedule": "cosin"}, "train.schedule: is 'cosin'. Did you mean cosine?"),
    "schedule of torch": ({"schedule": "step"}, "train.schedule: is 'step'. Known: constant, linear, cosine."),
    "warm-up below 0": ({"warmup_steps": -1}, "train.warmup_steps: is -1: must be greater than or equal to 0"),
    "warm-up of a half": ({"warmup_steps": 0.5}, "train.warmup_steps: is 0.5, expected a whole number"),
    "warm-up too long": ({"warmup_steps": 21}, "train.warmup_steps: is 21, more than max_steps, 20: the learning"),
    "no step left": ({"warmup_steps": 20, "schedule": "cosine"}, "that leaves no step for the schedule cosine"),
    "end of nothing": ({"end_factor": 0.1}, "train.end_factor: has no use: the schedule is constant"),
    "end above 1": ({"end_factor": 1.1, "schedule": "linear"}, "train.end_factor: is 1.1: must be less than or equal"),
    "momentum of adam": ({"momentum": 0.9}, "train.momentum: adam has no momentum; it takes betas, eps, weight_decay"),
    "betas of sgd": ({"optimizer": "sgd", "betas": [0.9, 0.9]}, "train.betas: sgd has no betas; it takes momentum,"),
    "options of adam": ({"optimizer_options": {"amsgrad": True}}, "train.optimizer_options: are for an optimizer that"),
    "rate as an option": ({"optimizer": OPTIMIZER, "optimizer_options": {"lr": 1}}, "lr is not one of them"),
    "given twice": ({"optimizer": OPTIMIZER, "eps": 1, "optimizer_options": {"eps": 1}}, "'eps' is given twice"),
    "an option not to print": ({"optimizer": OPTIMIZER, "optimizer_options": {"eps": "\0"}}, "expected finite"),
    "an endless option": ({"optimizer": OPTIMIZER, "optimizer_options": {"eps": float("inf")}}, "expected finite"),
    "an option of options": ({"optimizer": OPTIMIZER, "optimizer_options": {"eps": {"a": 1}}}, "expected a number, t"),
    "a path elsewhere": ({"optimizer": "os.path.join"}, "train.optimizer: is 'os.path.join'. Known: adam, adamw"),
    "a path further in": ({"optimizer": "torch.optim.adam.Adam"}, "train.optimizer: is 'torch.optim.adam.Adam'."),
    "a class without its path": ({"optimizer": "NAdam"}, "is 'NAdam'. Give its path: torch.optim.NAdam."),
    "no optimizer": ({"optimizer": None}, "train.optimizer: is None, expected text"),
    "a closure": ({"optimizer": "lbfgs"}, "train.optimizer: is 'lbfgs', not offered: it computes the loss several"),
    "a rate in the section": ({"learning_rate": 0.1}, "train.learning_rate: no such key. The learning rates are the"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_faults(case: str) -> None:
    """One fault each, with the key that is to blame."""
    keys, said = FAULTS[case]
    with pytest.raises(ExperimentError) as caught:
        loaded(**keys)
    assert said in str(caught.value)
    assert len(caught.value.faults) == 1


def test_all_at_once(command: Command) -> None:
    """In a file, each with its line; and what only torch knows, as soon as a run is planned."""
    train = {"betas": [1, 1], "warmup_steps": 30, "epochs": 3}
    Path("x.yaml").write_text(yaml.safe_dump({**TINY, "train": {"max_steps": 20, **train}}))
    ended = command("run", "x.yaml")
    assert (ended.status, ended.err.count("train.")) == (2, 3 + ended.err.count("set train."))
    for train, at in (({"momentum": 0.5}, "momentum"), ({"optimizer_options": {"foo": None}}, "optimizer_options.foo")):
        Path("x.yaml").write_text(yaml.safe_dump({**TINY, "train": {"optimizer": OPTIMIZER, **train}}))
        assert f"train.{at}: {OPTIMIZER} takes no " in command("run", "x.yaml").err
    Path("x.yaml").write_text(yaml.safe_dump({**TINY, "train": {"optimizer": "torch.optim.Adagard"}}))
    ended = command("run", "x.yaml")
    assert ended.status == 2
    assert ended.err.startswith("x.yaml:")
    assert "train.optimizer: torch 2" in ended.err
    assert "has no optimizer 'torch.optim.Adagard'. Did you mean Adagrad?" in ended.err
    assert not Path("results").exists()


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_not_offered_says_so(name: str) -> None:
    """In `train` and outside of it, with what there is instead; and the page that is named has it."""
    for keys in ({"train": {name: 1}}, {name: 1}):
        with pytest.raises(ExperimentError, match=f"{name}: not offered: .*; see docs/experiment.md"):
            load({**TINY, **keys}, REGISTRY)
    assert f"`{name}`" in DOCS.read_text()


def test_tables_of_hints_are_of_keys_that_are_not_there() -> None:
    known = {*Keys.model_fields, *TrainKeys.model_fields, *CellKeys.model_fields}
    assert not known & NOT_OFFERED.keys()
    assert not ELSEWHERE.keys() & TrainKeys.model_fields.keys()


def test_defaults_are_not_in_the_key() -> None:
    """What is given at its default is what is not given; each value that is not is another key."""
    plain = key()
    defaults = HYPERPARAMETERS["adam"]
    assert key(betas=[0.9, 0.999], eps=1e-8, weight_decay=0, schedule="constant", warmup_steps=0) == plain
    assert key(optimizer="adamw", weight_decay=0.01) == key(optimizer="adamw")
    others: list[dict[str, Any]] = [
        {"betas": [0.9, 0.99]}, {"eps": 1e-7}, {"weight_decay": 0.01}, {"schedule": "linear"}, {"schedule": "cosine"},
        {"warmup_steps": 3}, {"schedule": "cosine", "end_factor": 0.5}, {"clip_value": 1.0}, {"clip_norm": None},
    ]  # fmt: skip
    assert len({plain, *(key(**other) for other in others)}) == len(others) + 1
    assert set(defaults) == {"betas", "eps", "weight_decay"}


def test_defaults_are_not_in_the_store() -> None:
    """A shard of an earlier version and one of today have the same section, so they can be merged."""
    first = {"max_steps": 20, "optimizer": "adam", "clip_norm": 1.0, "stop_when_solved": False, "timeout": 600.0}
    assert loaded(eps=1e-8, schedule="constant", optimizer_options={}).resolved()["train"] == first
    given = {"optimizer": OPTIMIZER, "optimizer_options": {"lr_decay": 0.1}, "warmup_steps": 3, "clip_value": 2}
    stored = {**first, **given, "clip_norm": None, "clip_value": 2.0}
    assert loaded(**given).resolved()["train"] == stored


def test_clipping_by_value_takes_the_place_of_the_default_norm() -> None:
    assert loaded(clip_value=0.5).settings.train.clip_norm is None
    assert loaded(clip_value=None).settings.train.clip_norm == 1.0
    assert loaded().settings.train.clip_norm == 1.0


NUMBERS = st.floats(0, 0.99, allow_nan=False)
GIVEN = st.one_of(
    st.fixed_dictionaries(
        {"optimizer": st.sampled_from(["adam", "adamw"])},
        optional={"betas": st.lists(NUMBERS, min_size=2, max_size=2), "weight_decay": NUMBERS},
    ),
    st.fixed_dictionaries(
        {"optimizer": st.just("rmsprop")}, optional={"alpha": NUMBERS, "momentum": NUMBERS, "clip_value": st.just(0.1)}
    ),
    st.fixed_dictionaries(
        {"optimizer": st.just("torch.optim.NAdam")},
        optional={
            "weight_decay": NUMBERS,
            "optimizer_options": st.dictionaries(st.sampled_from("abc"), st.lists(NUMBERS), max_size=2),
        },
    ),
)


@given(GIVEN, st.sampled_from(["constant", "linear", "cosine"]), st.integers(0, 19))
def test_what_is_stored_is_what_was_given(given: dict[str, Any], schedule: str, warmup: int) -> None:
    """The section that the store gets is one that a file may have, and both make the same record."""
    read = train_section({"max_steps": 20, "schedule": schedule, "warmup_steps": warmup, **given}, "here")
    assert Train.read(read.section()) == read
    assert train_section(read.section(), "here") == read
