"""The keys of an experiment file as pydantic models, and its JSON schema."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from cellbench.records import HYPERPARAMETERS, MOST_LAYERS, TORCH
from cellbench.wording import NAME


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _one_or_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _decimal(value: object) -> object:
    """Turn a whole number into a float, as YAML may write 1 for 1.0; beyond the range of floats, into infinity."""
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value


def _numbers(value: object) -> object:
    return [_decimal(v) for v in value] if isinstance(value, list) else value


def _seeds(value: object) -> object:
    """Expand a number or a range of seeds: 10 to 0..9, "100-109" to 100..109; a list stays as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 100_000:
            raise ValueError("the number of seeds must be from 1 to 100000")
        return list(range(value))
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", value)
        if match is None or int(match[1]) > int(match[2]) or int(match[2]) - int(match[1]) >= 100_000:
            raise ValueError("a range of seeds is written '100-109', lowest first")
        return list(range(int(match[1]), int(match[2]) + 1))
    return value


def _cells(value: object) -> object:
    return [{"name": v} if isinstance(v, str) else v for v in value] if isinstance(value, list) else value


Float = Annotated[float, BeforeValidator(_decimal)]
Whole = Annotated[int, Field(ge=1, le=10**9)]
Many = Annotated[int, Field(ge=1, le=10**6)]
"""A count of things that are held in memory at once."""
Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]


def _option(value: object, _: object) -> object:
    """Check a value of an option as a whole: pydantic would give a fault for each type that it is not."""
    if isinstance(value, dict) or not _is_json(value):
        raise ValueError("expected a number, text, true or false, null, or a list of these")
    return value


def _is_json(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


_AnyOption = bool | int | float | str | None | list[Any]
OptionValue = Annotated[_AnyOption, WrapValidator(_option)]


RATE, OPTION = "learning_rate", "options."
"""What can be tuned: the learning rate, and each option by its name after this prefix."""


def _tuned(value: object) -> object:
    """Flatten `options: {x: ...}` to `options.x`, and make a list of a single value."""
    if not isinstance(value, dict):
        return value
    flat: dict[object, object] = {}
    for name, values in value.items():
        if name == "options" and isinstance(values, dict):
            flat |= {f"{OPTION}{inner}": _one_or_list(v) for inner, v in values.items()}
        else:
            flat[name] = _one_or_list(values)
    return flat


_RATES = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 1}
_VALUES = {"type": "array", "minItems": 1}
Tune = Annotated[
    dict[str, list[OptionValue]],
    BeforeValidator(_tuned),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {RATE: _RATES, "options": {"type": "object", "additionalProperties": _VALUES}},
            "patternProperties": {f"^{re.escape(OPTION)}.": _VALUES},
            "additionalProperties": False,
        }
    ),
]


class ReadoutKeys(_Section):
    """One more layer (tanh) before the linear readout."""

    hidden: Many = Field(description="units of the additional layer")


class CellKeys(_Section):
    """A cell: a registered name alone, or these keys."""

    name: str = Field(min_length=1, max_length=100, description="a registered name; with `factory`, any name")
    label: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="the cell's name in tables; default: `name`, and `layers` where they are given",
    )
    factory: str | None = Field(None, description="'./mycell.py:MyCell', relative to the experiment file")
    options: dict[str, OptionValue] = Field(default_factory=dict, description="keyword arguments of the cell's factory")
    learn_initial_state: bool = Field(False, description="whether the initial state is trained")
    readout: ReadoutKeys | None = Field(
        None, description="the readout of this cell, instead of the experiment's `readout`"
    )
    layers: Layers | None = Field(
        None, description="how many of this cell are stacked, instead of the experiment's `layers`"
    )
    tune: Tune | None = Field(
        None, description="what is tuned of this cell, instead of the experiment's `tune`; {}: the learning rate alone"
    )


_TORCH_CLASS = rf"^{re.escape(TORCH)}[A-Za-z_][A-Za-z_0-9]*$"


def _optimizer(value: str) -> str:
    """Check the name of an optimizer; whether torch has a class of that path is found out when a run is planned."""
    if value not in HYPERPARAMETERS and not re.fullmatch(_TORCH_CLASS, value):
        known = ", ".join(f"'{name}'" for name in (*HYPERPARAMETERS, f"a class by its path such as {TORCH}Adagrad"))
        raise PydanticKnownError("literal_error", {"expected": known})
    return value


def _betas(value: object, _: object) -> object:
    numbers = [_decimal(v) for v in value] if isinstance(value, list) else []
    if len(numbers) != 2 or not all(isinstance(v, float) and 0 <= v < 1 for v in numbers):
        raise ValueError("expected two numbers from 0 to less than 1, such as [0.9, 0.999]")
    return numbers


_SHARE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
OptimizerName = Annotated[
    str,
    AfterValidator(_optimizer),
    WithJsonSchema({"anyOf": [{"enum": list(HYPERPARAMETERS)}, {"type": "string", "pattern": _TORCH_CLASS}]}),
]
Betas = Annotated[
    list[float],
    WrapValidator(_betas),
    WithJsonSchema({"type": "array", "items": _SHARE, "minItems": 2, "maxItems": 2}),
]
Share = Annotated[Float, Field(ge=0, lt=1)]


class TrainKeys(_Section):
    """How replicas are trained."""

    max_steps: Whole = Field(2000, description="the budget: the most updates per replica")
    optimizer: OptimizerName = Field(
        "adam",
        description="adam, adamw, sgd or rmsprop, with the update rule and constants of torch.optim (sgd has momentum "
        "0.9); or the path of a class of torch.optim, such as torch.optim.Adagrad",
    )
    weight_decay: Annotated[Float, Field(ge=0, le=1e6)] | None = Field(
        None,
        description="the factor of the L2 penalty, whose gradient is added to that of the loss; for adamw, weights "
        "shrink by it times the learning rate. Default: 0, for adamw 0.01",
    )
    betas: Betas | None = Field(
        None, description="how fast the two moments of adam and adamw forget. Default: [0.9, 0.999]"
    )
    momentum: Share | None = Field(
        None, description="the share of the last update that sgd and rmsprop keep. Default: 0.9, for rmsprop 0"
    )
    eps: Annotated[Float, Field(ge=1e-15, le=1)] | None = Field(
        None, description="added to the denominator of adam, adamw and rmsprop. Default: 1e-08"
    )
    alpha: Share | None = Field(None, description="how fast the mean square of rmsprop forgets. Default: 0.99")
    optimizer_options: dict[str, OptionValue] = Field(
        default_factory=dict, description="keyword arguments of an optimizer that is given by its path"
    )
    clip_norm: Annotated[Float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        1.0,
        description="a gradient with a greater norm is scaled down to it; null: no clipping. Default with clip_value: "
        "null",
    )
    clip_value: Annotated[Float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="each number of a gradient is brought to at most this size; in place of clip_norm"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how the learning rate goes on after the warm-up: it stays, or falls until max_steps"
    )
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = Field(
        0, description="over so many steps the learning rate rises to its value: at step t it is t / warmup_steps of it"
    )
    end_factor: Annotated[Float, Field(ge=0, le=1)] = Field(
        0.0, description="linear and cosine fall to this share of the learning rate"
    )
    stop_when_solved: bool = Field(False, description="whether a replica stops at the evaluation that completes `hold`")
    timeout: Float = Field(600.0, gt=0, allow_inf_nan=False, description="the most seconds per chunk of replicas")


class EvaluateKeys(_Section):
    """When the learning curve is measured."""

    every: Whole = Field(
        5, description="the first step that is measured, and the smallest gap between evaluations, in steps"
    )
    growth: Float = Field(0.05, ge=0, le=1, description="gaps grow to this share of the steps so far")
    examples: Many = Field(256, description="examples per evaluation")


class SolvedKeys(_Section):
    """When a replica counts as solved."""

    metric: Literal["sequence_accuracy", "bit_accuracy"] = Field(
        "sequence_accuracy", description="the accuracy that is compared with `threshold`"
    )
    threshold: Float = Field(0.99, gt=0, le=1, description="the least value of `metric` that counts")
    hold: Whole = Field(2, description="how many consecutive evaluations must reach it")


class FinalKeys(BaseModel):
    """The evaluation of trained models; the task's parameters are keys too, each with a list of values."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    examples: Many = Field(1000, description="examples per evaluation; a quarter of it per difficulty")
    difficulty: bool | Literal["longest"] = Field(
        True,
        description="whether to measure by the task's difficulty too, if it has one; longest: the hardest also at the "
        "largest value of each parameter here, on an eighth of the examples",
    )


class ReportKeys(_Section):
    """What the report says; changing it trains nothing."""

    ratio_of_interest: Float = Field(
        1.25, gt=1, allow_inf_nan=False, description="the smallest ratio of steps that matters to you"
    )
    pairs: Literal["baseline", "all"] = Field(
        "baseline",
        description="baseline: each cell is compared with the baseline; all: every pair of cells is compared",
    )


MOST_SEEDS = 100_000


class StagesKeys(_Section):
    """Seeds until decided: stages of them, until each comparison with the baseline is decided or a cap is reached."""

    first: Annotated[int, Field(ge=5, le=MOST_SEEDS)] = Field(
        alias="from", description="the seeds of the first look at the results, at least 5"
    )
    to: Annotated[int, Field(ge=8, le=MOST_SEEDS)] = Field(
        description="the most seeds of a cell, at least 1.5 times `from`; looks are at doubling numbers up to it"
    )

    @model_validator(mode="after")
    def _far_enough(self) -> StagesKeys:
        if self.to < 1.5 * self.first:
            least = math.ceil(1.5 * self.first)
            raise ValueError(f"`to` must be at least 1.5 times `from`: {least} or more")
        return self


def _kind_of_seeds(value: object) -> str:
    """Tell which of the two forms of `seeds` is meant; faults leave words that begin with `is-` out of a key's path."""
    return "is-stages" if isinstance(value, dict | StagesKeys) else "is-list"


_Fixed = Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], BeforeValidator(_seeds), Field(min_length=1)]
Seeds = Annotated[
    Annotated[_Fixed, Tag("is-list")] | Annotated[StagesKeys, Tag("is-stages")], Discriminator(_kind_of_seeds)
]


def _device(value: object) -> object:
    """Check the name of a device, without a hint: the nearest name to gpu is cpu."""
    if value not in ("cpu", "cuda", "mps"):
        raise ValueError("expected cpu, cuda or mps")
    return value


Device = Annotated[Literal["cpu", "cuda", "mps"], BeforeValidator(_device)]


class Keys(_Section):
    """The keys of an experiment file. All but name, cells and grid may be left out."""

    name: str = Field(pattern=f"^{NAME}$", description="also the name of the results folder")
    task: str = Field(
        "binary_addition", description="a registered task, FILE:CLASS, or a file of arrays such as ./data.npz"
    )
    cells: Annotated[list[CellKeys], BeforeValidator(_cells), Field(min_length=1)] = Field(
        description="names, or mappings with `name`"
    )
    baseline: str | None = Field(
        None, description="the label that the others are compared with; default: lstm, else the first cell"
    )
    engine: Literal["auto", "lanes", "stack", "reference"] = Field(
        "auto", description="the engine that trains; auto takes the fastest that can run a cell"
    )
    device: Device = Field(
        "cpu",
        description="cuda: on a card, where that is faster; written, not yet run on one. mps: trains on the CPU",
    )
    grid: dict[str, Annotated[list[Any], BeforeValidator(_one_or_list)]] = Field(
        description="lists for the task's parameters, batch_size, hidden_size or parameter_budget, and perhaps layers"
    )
    seeds: Seeds = Field(
        list(range(10)),
        description="a number, a list, or a range such as '100-109'; or `{from: 10, to: 80}`: seeds until decided",
    )
    learning_rate: Annotated[
        list[Annotated[float, Field(gt=0, allow_inf_nan=False)]],
        BeforeValidator(_numbers),
        BeforeValidator(_one_or_list),
        Field(min_length=1),
    ] = Field([0.003, 0.01, 0.03, 0.1, 0.3], description="each seed is trained at each of these rates")
    tune: Tune | None = Field(
        None,
        description="lists of values to choose from: learning_rate, and options of the cells such as "
        "options.forget_bias; the best of all combinations is picked on other seeds than it is reported on",
    )
    tuning_budget: Literal["equal", "any"] = Field(
        "equal", description="equal: every cell is tried at the same number of settings, or the file is refused"
    )
    train: TrainKeys = Field(default_factory=lambda: TrainKeys())
    evaluate: EvaluateKeys = Field(default_factory=lambda: EvaluateKeys())
    solved: SolvedKeys = Field(default_factory=lambda: SolvedKeys())
    final: FinalKeys = Field(default_factory=lambda: FinalKeys())
    report: ReportKeys = Field(default_factory=lambda: ReportKeys())
    readout: ReadoutKeys | None = Field(None, description="one more layer before the readout of every cell")
    layers: Layers = Field(
        1, description="how many of every cell are stacked: each layer reads the output of the one below"
    )
    keep: Literal["weights"] | None = Field(
        None, description="weights: the trained weights of each replica are kept too, in the folder `weights`"
    )


def schema() -> dict[str, Any]:
    """Make the JSON schema of an experiment file, for editors."""
    out = Keys.model_json_schema()
    # a cell may be its name alone, and a list of one item the item alone
    out["properties"]["cells"]["items"] = {"anyOf": [{"type": "string"}, out["properties"]["cells"]["items"]]}
    rates = out["properties"]["learning_rate"]
    out["properties"]["learning_rate"] = {
        "anyOf": [{"type": "number"}, {k: rates[k] for k in ("type", "items", "minItems")}],
        **{k: rates[k] for k in ("default", "description", "title")},
    }
    seeds = out["properties"]["seeds"]
    out["properties"]["seeds"] = {
        "anyOf": [{"type": "integer"}, {"type": "string"}, *seeds["oneOf"]],
        **{k: seeds[k] for k in ("description", "title")},
        "default": 10,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **out}
