"""Laws on what is trained: a gradient reaches it, and is the slope, unless it is meant to be another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from cellbench.conformance.law import Told, law
from cellbench.conformance.slopes import (
    Widened,
    agrees_elsewhere,
    agrees_without_hooks,
    disagreement,
    in_double,
    outputs_jump,
    own_functions,
)
from cellbench.conformance.subject import Broken, CannotTell, Subject, finite, same, unroll
from cellbench.model import double_precision
from cellbench.wording import one_line

STEPS = 5
"""Training steps before what no gradient reached is looked at again."""

LOOKS = ((6, 1), (6, 10), (40, 1))
"""Steps and size of the inputs: larger ones pass thresholds, longer ones reach what serves late or seldom."""

RATE = 0.01
"""How far each of these steps moves a number."""

_NOTHING = "nothing to train but the readout"


def objective(cell: nn.Module, inputs: Tensor) -> Tensor:
    """Compute a smooth scalar that depends on every output of every step; inputs have shape (time, batch, features)."""
    outputs, _ = unroll(cell, inputs)
    weights = torch.cos(torch.arange(outputs.numel(), dtype=outputs.dtype)).reshape(outputs.shape)
    return (weights * outputs).sum() + 0.5 * (outputs * outputs).sum()


def _trained(cell: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in cell.named_parameters() if parameter.requires_grad}


@law("gradients reach every parameter")
def gradients_reach_every_parameter(subject: Subject) -> str:
    names = list(_trained(subject.cell()))
    if not names:
        finite(unroll(subject.evaluated(), subject.inputs(6, 8))[0])
        return _NOTHING
    reached: set[str] = set()
    missing = set(names)
    # as it is evaluated, then as it is trained: some weights serve in one mode alone
    for cell in (subject.evaluated(), subject.cell()):
        for time, size in LOOKS:
            missing &= _look(
                cell,
                [size * subject.inputs(time, 8, draw) for draw in range(3)],
                reached,
                strict=(time, size) == LOOKS[0],
            )
            if len(reached) == len(names):
                return f"all {len(names)} parameter tensors, over {time} steps"
    late = [name for name in names if name not in reached]
    # a factor that begins at 0 keeps gradients from the other factors until it has moved
    taken = _train(subject, names, reached, missing)
    if len(reached) == len(names):
        after = f"after {taken} training step{'s' if taken > 1 else ''} {', '.join(late)}"
        return f"all {len(names)} parameter tensors, over 6 steps; {after}"
    zero = set(names) - reached - missing
    # in the order of the cell's own parameters, not of a set
    said = [
        f"{words} {', '.join(n for n in names if n in broken)}"
        for words, broken in (("no gradient reaches", missing), ("the gradient is 0 at", zero))
        if broken
    ]
    raise Broken(f"{'; '.join(said)}, after {STEPS} training steps too")


def _look(cell: nn.Module, draws: Sequence[Tensor], reached: set[str], *, strict: bool) -> set[str]:
    """Compute gradients at several draws of inputs, for one may be 0 by chance; add to `reached` what they reach.

    Returns:
        The parameters that have no gradient at all.

    Raises:
        Broken: a gradient is not finite, and `strict` says that it must be.
    """
    missing = set(_trained(cell))
    for inputs in draws:
        cell.zero_grad()
        value = objective(cell, inputs)
        if not value.requires_grad:
            return missing
        value.backward()  # type: ignore[no-untyped-call]
        for name, parameter in _trained(cell).items():
            if parameter.grad is None:
                continue
            missing.discard(name)
            if not bool(parameter.grad.isfinite().all()):
                if strict:
                    raise Broken(f"the gradient of {name} is not finite")
            elif bool((parameter.grad != 0).any()):
                reached.add(name)
    return missing


def _train(subject: Subject, names: Sequence[str], reached: set[str], missing: set[str]) -> int:
    """Train a cell for some steps, and add to `reached` what gradients reach in the meantime.

    Returns:
        How many steps were taken.
    """
    cell = subject.cell()
    for number in range(1, STEPS + 1):
        cell.zero_grad()
        value = objective(cell, subject.inputs(6, 8, number))
        if not value.requires_grad:
            break
        value.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in _trained(cell).values():
                if parameter.grad is not None:
                    # as long a step for each number as Adam's first ones
                    parameter.sub_(RATE * parameter.grad.sgn())
        missing &= _look(cell, [subject.inputs(6, 8, draw) for draw in range(3)], reached, strict=True)
        if len(reached) == len(names):
            return number
    return STEPS


@law("gradients agree with finite differences in float64, unless they are surrogates")
def gradients_agree_with_differences(subject: Subject) -> Told:
    why: Exception | None = None
    # at first as its code has it; then in double precision where the code asks for single by name
    for mode in (nullcontext(), Widened()):
        with double_precision(), mode:
            try:
                return _agree(subject)
            except _Narrow as narrow:
                why = why or narrow
    raise CannotTell(str(why))


class _Narrow(Exception):
    """The cell does not compute in float64."""


def _agree(subject: Subject) -> Told:
    """Compare the gradient with differences, and look for what may be meant where they disagree.

    Raises:
        Broken: they disagree, and nothing shows that this is meant; or the outputs are not finite.
        _Narrow: the cell does not compute in float64.
        CannotTell: the outputs do not repeat, or no gradient flows.
    """

    def make() -> nn.Module:
        return in_double(subject)

    cell, inputs = make(), subject.inputs(4, 3)
    if not _trained(cell):
        finite(unroll(cell, inputs)[0])
        return _NOTHING
    value = _value(cell, inputs)
    functions = own_functions(value)
    found = disagreement(cell, inputs, objective)
    if not found.name:
        return f"to {found.gap:.1g} of the gradient's size"
    if agrees_without_hooks(make, inputs, objective):
        return "but for hooks, which change the gradient", {"hooks": True}
    if agrees_elsewhere(make, inputs, objective):
        return "at weights moved at random; the initial weights lie at a kink or a jump"
    if outputs_jump(make, inputs):
        how = ", ".join(functions) or "straight through"
        said = f"the gradient is a surrogate ({how}): the outputs jump as the weights move"
        return said, {"surrogate": functions or ["straight through"]}
    blame = f"; see the backward of {', '.join(functions)}" if functions else ""
    raise Broken(
        f"along {found.name} the gradient is {found.gradient:.6g}, and off by {found.gap:.2g} of its size{blame}"
    )


def _value(cell: nn.Module, inputs: Tensor) -> Tensor:
    """Compute the objective, if it can be compared with others."""
    try:
        outputs, _ = unroll(cell, inputs)
        value = objective(cell, inputs)
    except RuntimeError as error:
        raise _Narrow(f"the cell does not run in float64: {one_line(error, 120)}") from error
    if outputs.dtype != torch.float64:
        raise _Narrow(f"the cell turns float64 into {outputs.dtype}")
    finite(outputs)
    if not value.requires_grad:
        raise CannotTell("no gradient flows, see gradients-reach-every-parameter")
    if not same([value], [objective(cell, inputs)]):
        raise CannotTell("cannot tell: the outputs do not repeat, see remembers-only-in-the-state")
    return value
