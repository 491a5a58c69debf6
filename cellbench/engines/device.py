"""The device that torch computes on: the cards that it finds, and models that are moved to one.

Models are made on the CPU, from their own streams, and then moved: initial weights are the same bits on every device.
Written without a card at hand. `cpu:0`, which is the CPU by another name, goes the way of a card as far as that is
possible: tests and benchmarks/gpu.py take it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused, first_line
from cellbench.engines.lines import at, of_traceback
from cellbench.model import Blueprint, Contents, DispatchMode
from cellbench.records import CPU

Found = TypeVar("Found")

FAILURES = (torch.OutOfMemoryError, torch.AcceleratorError)
"""What torch raises where a card fails, whatever the cell does."""

MPS = (
    "device: mps trains on the CPU: learning rates and scores are computed in float64, which MPS does not have, and "
    "lanes is written for processors"
)
"""What the user hears who asks for it."""

_TIME, _BATCH = 3, 2
"""Time steps and examples of the trial."""


def used(device: str) -> str:
    """Name the device that trains where this one is asked for."""
    return CPU if device == "mps" else device


def cards() -> list[str]:
    """Name the cards that torch can compute on, in its order."""
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if not missing("cuda") else []


def missing(device: str) -> str:
    """Say why torch cannot compute on a device, and what to do; empty if it can."""
    if not is_card(device) or torch.cuda.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"torch {torch.__version__} is built for the CPU alone. Install a build for your card "
            "(https://pytorch.org/get-started/locally), or leave `device` out to train on the CPU"
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        said = "no card"
    except (RuntimeError, AssertionError) as error:
        said = first_line(error)
    return (
        f"torch {torch.__version__} finds no card: {said}. `nvidia-smi` tells whether a driver and a card are there; "
        "leave `device` out to train on the CPU"
    )


def is_card(device: str) -> bool:
    """Tell whether a device is a card."""
    return torch.device(device).type == "cuda"


def name_of(device: str) -> str:
    """Name what computes, as it is stored with each replica: `cpu`, or the card."""
    return torch.cuda.get_device_name(device) if is_card(device) else device


def free_bytes(device: str) -> int:
    """Ask how much memory of a card is free; where the CPU takes the place of one, it is 1 GiB."""
    return int(torch.cuda.mem_get_info(device)[0]) if is_card(device) else 2**30


def making_on(device: str) -> AbstractContextManager[Any]:
    """Let tensors that are made within this block, by whatever code, be made on a device."""
    return nullcontext() if device == CPU else torch.device(device)


def moved(model: nn.Module, device: str) -> None:
    """Move all tensors of a model to a device, wherever it keeps them; a card's parameters are the same objects.

    Raises:
        Refused: a tensor is kept where no other can take its place.
    """
    model.to(device)
    for path, place in Contents(model).tensors.items():
        if place.tensor.device.type != torch.device(device).type:
            if not place.put:
                raise Refused(f"{path} is kept where it cannot be moved to the card")
            there = place.tensor.to(device)
            for put in place.put:
                put(there)


class _Stray(Exception):
    """An operation of tensors on two devices."""


class _OnOne(DispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations of tensors on two devices; a single number may be on the CPU, and copies may cross."""

    _COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.dim()]
        if func not in self._COPIES and len({x.device.type for x in tensors}) > 1:
            raise _Stray
        return func(*args, **(kwargs or {}))


def refuse_strays(blueprint: Blueprint) -> None:
    """Refuse a cell that makes tensors on the CPU while it runs, where the model is on a card.

    The model's loss and gradient are computed on torch's `meta` device, which has shapes and no numbers. A cell that
    cannot be run so, since what it does depends on numbers, is not refused.

    Raises:
        Refused: it does; the message has its own line.
    """
    try:
        model = blueprint.build("device")
        moved(model, "meta")
        with _OnOne(), making_on("meta"):
            inputs = torch.zeros(_TIME, _BATCH, blueprint.input_size)
            targets = torch.zeros(_TIME, _BATCH, blueprint.output_size)
            if blueprint.objective.kind == "classes":
                targets = targets[..., 0].long()
            blueprint.objective.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    except _Stray as stray:
        where = at(of_traceback(stray.__traceback__))
        raise Refused(
            f"a tensor on the CPU meets one on the card{where}. Make it where the input is (device=x.device), or keep "
            "it as a buffer"
        ) from stray
    except Refused:
        raise
    except Exception:
        return  # whatever else the cell does wrong shows where it is trained


def in_parts(run: Callable[[Tensor], Found], replicas: Tensor) -> list[Found]:
    """Call a function for all of some replicas, or for parts of them that fit in the card's memory, in their order.

    Args:
        run: takes the indices of replicas.
        replicas: the indices.

    Raises:
        torch.OutOfMemoryError: one replica alone does not fit.
    """
    try:
        return [run(replicas)]
    except torch.OutOfMemoryError:
        if len(replicas) == 1:
            raise
    # outside of the block that holds the error, and with it the memory of the attempt
    middle = len(replicas) // 2
    return [*in_parts(run, replicas[:middle]), *in_parts(run, replicas[middle:])]
