"""The proof of a compiled cell before it trains: its gradient against automatic differentiation of the same model.

It is compared in float64, at batch sizes that were never traced. That finds a mean over the batch, a `squeeze` that
does something else at batch 1, a gradient that the cell defines itself, and state hidden in an attribute.
"""

from __future__ import annotations

import itertools
import math
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused, RefusedOnce, first_line
from cellbench.engines.lanes.graph.tensors import as_reals
from cellbench.engines.lanes.program import Program
from cellbench.model import Blueprint, Model, double_precision, evaluating
from cellbench.task import Floats

STEPS = 4
"""Time steps of a proof; its batch sizes are those of the unit."""
TOLERANCE = 2e-4
"""The largest error of a gradient, relative to the largest of its tensor, or to a hundredth of the largest of all."""


def prove(program: Program, blueprint: Blueprint) -> float:
    """Measure the largest relative error of the compiled gradient, at the initial weights and at moved ones.

    Of a unit that evaluates, it is the error of the loss.

    Raises:
        Refused: it is larger than `TOLERANCE`.
    """
    worst = 0.0
    cases = ((0, 0.0, False), (1, 0.1, False), (1, 0.1, True))
    for (number, moved, masked), batch in itertools.product(cases, program.unit.proof):
        # the same model, numbers and batch for the compiled gradient and for autograd
        model = blueprint.build("lanes", "proof")
        _move(model, moved)
        row = program.row_of(model)
        generator = torch.Generator().manual_seed(number)
        inputs = torch.randn(STEPS, batch, blueprint.input_size, generator=generator)
        targets = blueprint.objective.example(STEPS, batch, blueprint.output_size, generator)
        mask = torch.rand(STEPS, batch, generator=generator) < 0.5 if masked else None
        with nullcontext() if program.unit.trains else evaluating(model):
            want_loss, want = _autograd(model, inputs, targets, mask)
        if moved and not math.isfinite(want_loss):
            continue  # the cell cannot have the moved weights
        data = inputs.numpy(), targets.numpy(), None if mask is None else mask.numpy()
        if program.unit.trains:
            got_loss, flat = program.gradient(row, *data)
            what, error = "gradient", _error(flat, want)
        else:
            got_loss, what, error = program.loss(row, *data), "loss", 0.0
        error = max(error, abs(got_loss - want_loss) / max(abs(want_loss), 1e-3))
        if not error <= TOLERANCE:
            difference = (
                f"its compiled {what} differs from autograd's (by {error:.1e} of the largest, at batch {batch})"
            )
            raise Refused(_cause(model, inputs) + difference)
        worst = max(worst, error)
    return worst


def _cause(model: Model, inputs: Tensor) -> str:
    """Say why a compiled cell is wrong, if an example's outputs depend on the batch that it is in."""
    wide = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    try:
        with torch.no_grad(), double_precision() if wide else nullcontext():
            x = inputs.double() if wide else inputs
            together = model(x)
            alone = torch.cat([model(x[:, i : i + 1]) for i in range(x.shape[1])], 1)
        mixes = not torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    except Exception:  # it takes no single example
        mixes = True
    return "the examples of a batch change one another's outputs, or their number does: " if mixes else ""


def _move(model: Model, by: float) -> None:
    """Move the weights a little, so that a factor that starts at 0 does not hide an error."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and by:
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=by)


def _autograd(model: Model, inputs: Tensor, targets: Tensor, mask: Tensor | None) -> tuple[float, list[Tensor]]:
    """Compute loss and gradients by autograd, in float64 if the cell can."""
    try:
        with double_precision():
            wanted = targets.double() if targets.is_floating_point() else targets
            return _differentiated(model.double(), inputs.double(), wanted, mask)
    except Exception:
        # a cell that insists on float32 is compared in float32
        try:
            return _differentiated(model.float(), inputs, targets, mask)
        except Exception as error:
            raise RefusedOnce(f"autograd raised {first_line(error)}") from error


def _differentiated(model: Model, inputs: Tensor, targets: Tensor, mask: Tensor | None) -> tuple[float, list[Tensor]]:
    """Compute loss and gradients in the dtype of inputs, model and targets."""
    state = pytree.tree_map_only(Tensor, lambda leaf: _like(leaf, inputs), model.initial_state(inputs.shape[1]))
    logits = []
    for x in inputs:
        y, state = model.step(x, state)
        logits.append(y)
    total = model.objective.loss(torch.stack(logits), targets, mask)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return float(total.detach()), [
        as_reals(torch.zeros_like(parameter) if gradient is None else gradient)
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]


def _like(leaf: Tensor, inputs: Tensor) -> Tensor:
    """Convert a leaf of the state to the precision of the inputs."""
    return leaf.to(torch.promote_types(inputs.dtype, torch.complex32) if leaf.is_complex() else inputs.dtype)


def _error(flat: Floats, want: list[Tensor]) -> float:
    """Measure the largest relative error of a flat gradient; infinite if it is not finite."""
    largest = max((float(tensor.abs().max()) for tensor in want if tensor.numel()), default=0.0)
    worst, offset = 0.0, 0
    for tensor in want:
        got = torch.from_numpy(flat[offset : offset + tensor.numel()]).double()
        offset += tensor.numel()
        if not tensor.numel():
            continue
        scale = max(float(tensor.abs().max()), 0.01 * largest, 1e-12)
        error = float((got - tensor.flatten().double()).abs().max()) / scale
        worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst
