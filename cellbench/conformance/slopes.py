"""The slope of what a cell gives along its weights, by finite differences; and why a gradient may be another.

All of it is asked of cells in float64.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from cellbench.conformance.subject import Subject, move, unroll
from cellbench.model import functions_behind

Make = Callable[[], nn.Module]
Objective = Callable[[nn.Module, Tensor], Tensor]

WIDTHS = (1e-5, 1e-6)
"""Of the differences: one of the two may step over a kink."""

TOLERANCE = 1e-4
"""How far a gradient may be off, as a share of its size."""

_HALVINGS, _JUMP = 36, 1e-5
"""How often an interval is halved, and how large a change that is left is a jump, as a share of the largest output."""

_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
_CASTS: Mapping[Any, Callable[..., Any]] = {
    getattr(Tensor, single): getattr(Tensor, double) for single, double in (("float", "double"), ("cfloat", "cdouble"))
}


class Widened(TorchFunctionMode):
    """Compute in double precision where a cell's code asks for single by name, as `x.to(torch.complex64)` does."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args = tuple(_wider(value) for value in args)
        kwargs = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return _CASTS.get(func, func)(*args, **kwargs)


def _wider(value: Any) -> Any:
    return _WIDER.get(value, value) if isinstance(value, torch.dtype) else value


def in_double(subject: Subject) -> nn.Module:
    """Make the cell in `eval()` mode, with floats of 64 bits and complex numbers of 128."""

    def widen(tensor: Tensor) -> Tensor:
        return tensor.to(_WIDER[tensor.dtype]) if tensor.dtype in _WIDER else tensor

    cell = subject.evaluated()
    cell._apply(widen)  # type: ignore[no-untyped-call]
    return cell


@dataclass(frozen=True)
class Disagreement:
    """How far a gradient is from the slope.

    Attributes:
        gap: the greatest, as a share of the gradient's size.
        name: of the first parameter along which it is too great; empty if there is none.
        gradient: along that parameter.
    """

    gap: float
    name: str = ""
    gradient: float = 0.0


def disagreement(cell: nn.Module, inputs: Tensor, objective: Objective) -> Disagreement:
    """Compare the gradient of an objective with its slope, along one random direction for each parameter tensor."""
    cell.zero_grad()
    objective(cell, inputs).backward()  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for name, parameter in cell.named_parameters():
        if not parameter.requires_grad or parameter.grad is None:
            continue
        gradient = _real(parameter.grad)
        direction = torch.randn(gradient.shape, generator=generator)
        direction /= direction.norm()
        expected = float((gradient * direction).sum())
        # relative to the whole gradient: along one direction it may nearly vanish
        scale = max(abs(expected), float(gradient.norm()), 1e-3)
        slopes = [_slope(cell, inputs, objective, _real(parameter.data), direction, width) for width in WIDTHS]
        gap = min(abs(slope - expected) / scale for slope in slopes)
        if not gap <= TOLERANCE:
            return Disagreement(gap, name, expected)
        worst = max(worst, gap)
    return Disagreement(worst)


def _real(tensor: Tensor) -> Tensor:
    """View complex numbers as pairs of real ones: torch's gradient holds the slopes along both."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


@torch.no_grad()
def _slope(
    cell: nn.Module, inputs: Tensor, objective: Objective, values: Tensor, direction: Tensor, width: float
) -> float:
    """Estimate the slope of an objective along a direction, by a central difference."""
    kept, found = values.clone(), []
    for sign in (1, -1):
        values.copy_(kept + sign * width * direction)
        found.append(float(objective(cell, inputs)))
    values.copy_(kept)
    return (found[0] - found[1]) / (2 * width)


def agrees_elsewhere(make: Make, inputs: Tensor, objective: Objective) -> bool:
    """Return whether gradient and slope agree at weights that are moved at random, twice."""
    for draw in (1, 2):
        cell = make()
        move(cell, 0.1, draw)
        if not bool(objective(cell, inputs).isfinite()) or disagreement(cell, inputs, objective).name:
            return False
    return True


def agrees_without_hooks(make: Make, inputs: Tensor, objective: Objective) -> bool:
    """Return whether gradient and slope agree once no hook changes the gradient."""
    cell = make()
    for parameter in cell.parameters():
        for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            (getattr(parameter, hooks, None) or {}).clear()
    for module in cell.modules():
        module._backward_hooks.clear()
        module._backward_pre_hooks.clear()
    with _no_new_hooks():
        return not disagreement(cell, inputs, objective).name


@contextmanager
def _no_new_hooks() -> Iterator[None]:
    """Let a cell's code register hooks on gradients that do nothing."""

    def register(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        return RemovableHandle(OrderedDict())

    before = Tensor.register_hook
    Tensor.register_hook = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.register_hook = before  # type: ignore[method-assign]


@torch.no_grad()
def outputs_jump(make: Make, inputs: Tensor) -> bool:
    """Return whether outputs jump as the weights move: then no slope says how to move them, and gradients are made up.

    Weights are moved along a line, and the intervals along which most changes are halved again and again: of what
    changes steadily, nothing is left in the end. Larger inputs are tried, for small ones may stay below a threshold.
    """
    return any(_jumps_along(_line(make, size * inputs)) for size in (1, 10, 100))


def _line(make: Make, inputs: Tensor) -> Callable[[float], Tensor]:
    """Make the function from a place between 0 and 1 on a line through the initial weights to the outputs there."""
    cell, moved = make(), make()
    move(moved, 0.3)
    start = [parameter.detach().clone() for parameter in cell.parameters()]

    def at(place: float) -> Tensor:
        for parameter, begin, end in zip(cell.parameters(), start, moved.parameters(), strict=True):
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.copy_(begin + place * (end - begin))
        return unroll(cell, inputs)[0]

    return at


def _jumps_along(at: Callable[[float], Tensor]) -> bool:
    places = torch.linspace(0, 1, 17).tolist()
    outputs = [at(place) for place in places]
    largest = max(float(torch.nan_to_num(y).abs().max()) for y in outputs)
    steps = sorted(
        zip(places, places[1:], outputs, outputs[1:], strict=False), key=lambda step: _change(*step[2:]), reverse=True
    )
    for left, right, y_left, y_right in steps[:3]:
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            y = at(middle)
            if _change(y_left, y) >= _change(y, y_right):
                right, y_right = middle, y
            else:
                left, y_left = middle, y
        if _change(y_left, y_right) > _JUMP * largest:
            return True
    return False


def _change(one: Tensor, other: Tensor) -> float:
    """Return the greatest change of an output; one that is not finite does not count."""
    return float(torch.nan_to_num(one - other, nan=0.0, posinf=0.0, neginf=0.0).abs().max())


def own_functions(value: Tensor) -> list[str]:
    """Name the classes of `torch.autograd.Function` that a value was computed with, torch's own aside."""
    return sorted({kind.__name__ for kind in functions_behind([value]) if not kind.__module__.startswith("torch.")})
