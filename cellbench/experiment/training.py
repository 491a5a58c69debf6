"""The section `train`: what its keys mean together, and the record that is made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from cellbench.errors import ExperimentError, Fault
from cellbench.experiment.faults import fault, read_as_text
from cellbench.experiment.given import document_of
from cellbench.experiment.sections import TrainKeys
from cellbench.records import HYPERPARAMETERS, NAMES, TORCH, Train
from cellbench.wording import short


def train_section(section: Mapping[str, Any], where: str) -> Train:
    """Read and check the section alone.

    Args:
        section: its keys.
        where: the place that faults name.

    Raises:
        ExperimentError: with every fault.
    """
    document = document_of({"train": dict(section)})
    document.places, keys, faults = {(): where}, None, []
    try:
        keys = TrainKeys.model_validate(document.data["train"])
    except ValidationError as error:
        for details in error.errors():
            details["loc"] = ("train", *details["loc"])
            faults.append(fault(document, details))
    faults += [Fault(where, f"train.{name}", message) for name, message in contradictions(document.data["train"])]
    if faults or keys is None:
        raise ExperimentError(faults)
    return train_of(keys)


def train_of(keys: TrainKeys) -> Train:
    """Make the record of a section that has no faults. Clipping by value takes the place of clipping by norm."""
    section = keys.model_dump()
    if keys.clip_value is not None and "clip_norm" not in keys.model_fields_set:
        section["clip_norm"] = None
    return Train.read(section)


def contradictions(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find what is wrong with the keys of `train` taken together.

    Args:
        section: as it was given, of any shape: values that are wrong by themselves are passed over.

    Yields:
        The key to blame, and what is wrong with it.
    """
    yield from _of_optimizer(section)
    if section.get("clip_value") is not None and section.get("clip_norm") is not None:
        yield (
            "clip_value",
            f"gradients are clipped by norm or by value, and clip_norm is {short(section['clip_norm'])}: leave it out, "
            "or set it to null",
        )
    yield from _of_schedule(section)


def _of_optimizer(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    optimizer, options = section.get("optimizer", "adam"), section.get("optimizer_options")
    if not isinstance(optimizer, str):
        return
    takes = HYPERPARAMETERS.get(optimizer)
    given = [name for name in NAMES if section.get(name) is not None]
    if takes is not None:
        for name in given:
            if name not in takes:
                yield name, f"{optimizer} has no {name}; it takes {', '.join(takes)}"
        if options:
            yield (
                "optimizer_options",
                f"are for an optimizer that is given by its path, such as optimizer: {TORCH}Adagrad; {optimizer} takes "
                f"{', '.join(takes)}, as keys of train",
            )
    for name, value in options.items() if isinstance(options, Mapping) else ():
        if name in ("lr", "params"):
            yield "optimizer_options", f"{name} is not one of them: the experiment's key learning_rate has the rates"
        elif name in given:
            yield "optimizer_options", f"{short(name)} is given twice: it is a key of train, too"
        elif how := read_as_text(value):
            yield "optimizer_options", f"{short(name)} is {short(value)}; {how}"
        elif not _sound(value):
            yield "optimizer_options", f"{short(name)} is {short(value)}, expected finite numbers or printable text"


def _sound(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_sound, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value.isprintable() if isinstance(value, str) else True


def _of_schedule(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    defaults = {name: field.default for name, field in TrainKeys.model_fields.items()}
    schedule, warmup, steps = (section.get(n, defaults[n]) for n in ("schedule", "warmup_steps", "max_steps"))
    if type(warmup) is int and type(steps) is int and steps >= 1:
        if warmup > steps:
            yield "warmup_steps", f"is {warmup}, more than max_steps, {steps}: the learning rate would not be reached"
        elif warmup == steps and schedule in ("linear", "cosine"):
            yield "warmup_steps", f"is max_steps, {steps}: that leaves no step for the schedule {schedule}"
    if schedule == "constant" and section.get("end_factor"):
        yield (
            "end_factor",
            "has no use: the schedule is constant; linear and cosine fall to a share of the learning rate",
        )
