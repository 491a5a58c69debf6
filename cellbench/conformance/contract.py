"""Laws on what a cell is and gives: it can be made and run, its shapes, its first weights, its initial state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.conformance.law import law
from cellbench.conformance.subject import (
    BATCHES,
    Broken,
    CannotTell,
    Subject,
    finite,
    leaves,
    move,
    numbers,
    same,
    step,
    unroll,
)
from cellbench.model import Contents, Model, declared_features, takes_steps, traits_of

HELD = (torch.float32, torch.complex64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""What a state may hold: single precision, and whole numbers and truth values beside it."""


@law("the factory makes a torch module with initial_state and forward")
def is_made(subject: Subject) -> str:
    cell = subject.evaluated()
    for name in ("initial_state", "forward"):
        if not callable(getattr(cell, name, None)):
            raise Broken(f"{type(cell).__name__} has no {name}")
    if takes_steps(cell):
        step(cell, subject.inputs(1, 2)[0], cell.initial_state(2))  # type: ignore[operator]
    trained = sum(p.numel() for p in cell.parameters() if p.requires_grad)
    said = f"{type(cell).__name__}, {trained} parameters at hidden size {subject.hidden_size}"
    loose = _loose(subject)
    if loose:
        return f"{said}; not trained, for they are no nn.Parameter: {', '.join(loose)}"
    return said


def _loose(subject: Subject) -> list[str]:
    """List the tensors that are drawn for each cell, as weights are, but are neither parameters nor buffers."""
    model = subject.model()
    known = {*dict(model.named_parameters()), *dict(model.named_buffers())}
    try:
        found = traits_of(subject.blueprint())
    except Exception:
        return []  # whatever else is wrong with it, other laws tell
    return [path for path in found.own if path not in known]


@law("output and state have their shapes, nesting and dtype at every batch size", quick=True)
def shapes(subject: Subject) -> str:
    cell = subject.evaluated()
    # a module that does not say how many outputs it has must have as many at every batch size
    size = declared_features(cell)
    for batch in BATCHES:
        state = cell.initial_state(batch)  # type: ignore[operator]
        _check_leaves(leaves(state), batch, f"initial_state({batch})")
        output, after = step(cell, subject.inputs(1, batch)[0], state)
        size = int(output.shape[-1]) if size is None and output.ndim else size
        if output.shape != (batch, size):
            raise Broken(f"at batch {batch} the output has shape {tuple(output.shape)}, not ({batch}, {size})")
        if output.dtype != torch.float32:
            raise Broken(f"at batch {batch} the output is {output.dtype}, not torch.float32")
        _check_leaves(leaves(after), batch, f"the state after a step at batch {batch}")
    return f"output (batch, {size}) at batch {', '.join(map(str, BATCHES))}"


def _check_leaves(tensors: list[Tensor], batch: int, where: str) -> None:
    """Check that every tensor has the batch as its first axis and is of a type that a state may hold.

    Raises:
        Broken: one is not; `where` says where it was found.
    """
    for tensor in tensors:
        if tensor.dim() == 0 or tensor.shape[0] != batch:
            raise Broken(f"{where} holds a tensor of shape {tuple(tensor.shape)}; its first axis is the batch")
        if tensor.dtype not in HELD:
            raise Broken(
                f"{where} holds {tensor.dtype}, not torch.float32 (or torch.complex64, whole numbers, truth values)"
            )


@law("the state after a step is nested and shaped like the state before", quick=True)
def state_keeps_its_shape(subject: Subject) -> str:
    cell = subject.evaluated()
    described = ""
    for batch in BATCHES:
        state = cell.initial_state(batch)  # type: ignore[operator]
        # two steps: the first may turn the initial state into one that the cell itself cannot take
        for count in (1, 2):
            _, after = step(cell, subject.inputs(1, batch)[0], state)
            where = f"step {count} at batch {batch} turns a state"
            before_spec, after_spec = pytree.tree_structure(state), pytree.tree_structure(after)
            if before_spec != after_spec or len(leaves(state)) != len(leaves(after)):
                raise Broken(f"{where} nested {before_spec} into {after_spec}")
            for old, new in zip(leaves(state), leaves(after), strict=True):
                if old.shape != new.shape:
                    raise Broken(f"{where} of shape {tuple(old.shape)} into {tuple(new.shape)}")
                if old.dtype != new.dtype:
                    raise Broken(f"{where} of {old.dtype} into {new.dtype}")
            state = after
        described = ", ".join(f"({', '.join(['batch', *map(str, s.shape[1:])])})" for s in leaves(state))
    return f"state {described}"


@law("output and state stay finite over 1,000 steps at the initial weights")
def finite_after_1000_steps(subject: Subject) -> str:
    cell, inputs = subject.evaluated(), subject.bits(1000, 4)
    state, greatest = cell.initial_state(4), 0.0  # type: ignore[operator]
    with torch.no_grad():
        for number, x in enumerate(inputs, 1):
            output, state = step(cell, x, state)
            # one maximum per step is cheap; it is NaN if an output is. The state is looked at every 100th step
            most = float(output.abs().max()) if output.numel() else 0.0
            if not most < float("inf") or number % 100 == 0:
                for what, tensors in (("output", [output]), ("state", leaves(state))):
                    if not all(bool(t.isfinite().all()) for t in tensors):
                        raise Broken(f"the {what} is not finite by step {number}")
            greatest = max(greatest, most)
    return f"the greatest output is {greatest:.3g}"


@law("the initial weights depend on the stream alone", quick=True)
def weights_follow_the_stream(subject: Subject) -> str:
    with torch.random.fork_rng(devices=[]):
        first = subject.build("conformance", 1)
        torch.rand(17)  # what was drawn before must not matter
        again = subject.build("conformance", 1)
    for name, parameter in first.cell.named_parameters():
        numbers(f"{name}, as it is made,", [parameter])
    one, two = (Contents(model.cell).tensors for model in (first, again))
    shared = {_address(place.tensor) for place in two.values()}
    for name, place in one.items():
        # what both hold is not made anew: a class may keep a list of all its cells, and one of them leads to the other
        if not place.tensor.numel() or _address(place.tensor) in shared:
            continue
        # a buffer may hold NaN where nothing is measured yet
        if name not in two or not same([place.tensor], [two[name].tensor], nan=True):
            raise Broken(
                f"{name} differs between two cells made from one stream: draw weights from torch's, numpy's or "
                "Python's global generator"
            )
    return "two cells of one stream are equal"


def _address(tensor: Tensor) -> int:
    """Return where a tensor's numbers lie; two sparse tensors never lie in one place."""
    return tensor.data_ptr() if tensor.layout == torch.strided else id(tensor)


@law("the initial state can be learnt")
def initial_state_can_be_learnt(subject: Subject) -> str:
    state = subject.evaluated().initial_state(1)  # type: ignore[operator]
    if any(leaf is None for leaf in pytree.tree_leaves(state)):
        raise CannotTell("the state holds None, which cannot be learnt")
    for leaf in leaves(state):
        if not (leaf.is_floating_point() or leaf.is_complex()):
            raise CannotTell(f"the state holds {leaf.dtype}, which cannot be learnt")
    model = subject.model(learn_initial_state=True).eval()
    with torch.no_grad():
        one, three = (leaves(model.cell.initial_state(n)) for n in (1, 3))  # type: ignore[operator]
        numbers("the initial state", three)
        if not same([leaf.expand(3, *leaf.shape[1:]) for leaf in one], three):
            raise Broken("initial_state(3) is not initial_state(1) three times")
    # weights that begin at 0 can hide what is there, and so can inputs below a threshold: both are made larger
    for moved in (0.0, 0.3):
        for size in (1, 10):
            model = subject.model(learn_initial_state=True).eval()
            move(model.cell, moved)
            reached = _initial_gradient(model, size * subject.inputs(4, 3))
            if reached is None:
                raise CannotTell("no gradient flows through the cell, of which nothing is trained")
            if reached:
                return f"{reached} numbers, tiled along the batch"
    raise Broken("no gradient reaches the initial state")


def _initial_gradient(model: Model, inputs: Tensor) -> int | None:
    """Count the numbers of a learnt initial state, if a gradient reaches it.

    Returns:
        0 if none does; None where nothing of the cell is trained and nothing flows through it.

    Raises:
        Broken: outputs or the gradient are not finite.
    """
    assert model.initial is not None
    outputs, _ = unroll(model.cell, inputs, model.initial_state(inputs.shape[1]))
    finite(outputs)
    if not outputs.requires_grad:
        return 0 if any(p.requires_grad for p in model.cell.parameters()) else None
    outputs.square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.initial if p.grad is not None]
    if not all(bool(torch.isfinite(g).all()) for g in gradients):
        raise Broken("the gradient of the initial state is not finite")
    return sum(p.numel() for p in model.initial) if any(bool((g != 0).any()) for g in gradients) else 0
