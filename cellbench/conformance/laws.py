"""The laws that every cell must keep. Each check says in its message what it tried, or how the law is broken.

What a cell gives is checked in `eval()` mode, in which it is evaluated; what reaches its parameters, as it is trained.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cellbench.conformance.subject import (
    BATCHES,
    Broken,
    CannotTell,
    Check,
    Subject,
    leaves,
    same,
    step,
    unroll,
)
from cellbench.model import Contents, declared_features, double_precision
from cellbench.wording import described

Law = Callable[[Subject], str]
_laws: list[Check] = []


def law(shows: str, *, quick: bool = False) -> Callable[[Law], Law]:
    """Register a function as a law, under its own name.

    Args:
        shows: what the law demands, in a few words; the function needs no docstring beside it.
        quick: whether it takes milliseconds, and is asked of every cell before it is trained.
    """

    def keep(run: Law) -> Law:
        _laws.append(Check(run.__name__.replace("_", "-"), True, shows, run, quick))
        return run

    return keep


@law("the factory makes a torch module with initial_state and forward")
def is_made(subject: Subject) -> str:
    cell = subject.evaluated()
    for name in ("initial_state", "forward"):
        if not callable(getattr(cell, name, None)):
            raise Broken(f"{type(cell).__name__} has no {name}")
    step(cell, subject.inputs(1, 2)[0], cell.initial_state(2))  # type: ignore[operator]
    trained = sum(p.numel() for p in cell.parameters() if p.requires_grad)
    return f"{type(cell).__name__}, {trained} parameters at hidden size {subject.hidden_size}, takes a step"


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
    """Check that every tensor is float32 and has the batch as its first axis.

    Raises:
        Broken: one is not; `where` says where it was found.
    """
    for tensor in tensors:
        if tensor.dim() == 0 or tensor.shape[0] != batch:
            raise Broken(f"{where} holds a tensor of shape {tuple(tensor.shape)}; its first axis is the batch")
        if tensor.dtype != torch.float32:
            raise Broken(f"{where} holds {tensor.dtype}, not torch.float32")


@law("the state after a step is nested and shaped like the state before", quick=True)
def state_keeps_its_shape(subject: Subject) -> str:
    cell = subject.evaluated()
    described = ""
    for batch in BATCHES:
        state = cell.initial_state(batch)  # type: ignore[operator]
        # two steps: the first may turn the initial state into one that the cell itself cannot take
        for count in (1, 2):
            _, after = step(cell, subject.inputs(1, batch)[0], state)
            before_spec, after_spec = pytree.tree_structure(state), pytree.tree_structure(after)
            if before_spec != after_spec:
                raise Broken(f"step {count} at batch {batch} turns a state nested {before_spec} into {after_spec}")
            for old, new in zip(leaves(state), leaves(after), strict=True):
                if old.shape != new.shape:
                    raise Broken(
                        f"step {count} at batch {batch} turns a state of shape {tuple(old.shape)} "
                        f"into {tuple(new.shape)}"
                    )
            state = after
        described = ", ".join(f"({', '.join(['batch', *map(str, s.shape[1:])])})" for s in leaves(state))
    return f"state {described}"


@law("nothing is remembered outside the state: calls repeat, and sequences taken in turns do not mix", quick=True)
def remembers_only_in_the_state(subject: Subject) -> str:
    cell = subject.evaluated()
    a, b = subject.inputs(5, 3, 1), subject.inputs(5, 3, 2)
    with torch.no_grad():
        # a cell that keeps something of the first run in an attribute starts the second run from it
        first, _ = unroll(cell, a)
        again, _ = unroll(cell, a)
        if not same([first], [again]):
            raise Broken("the same sequence, run from the initial state twice, gives two answers")
        # one step of each sequence in turn, against each sequence alone on a cell that never ran before
        apart = [unroll(subject.evaluated(), sequence)[0] for sequence in (a, b)]
        state_a, state_b = cell.initial_state(3), cell.initial_state(3)  # type: ignore[operator]
        in_turns: tuple[list[Tensor], list[Tensor]] = ([], [])
        for x_a, x_b in zip(a, b, strict=True):
            y, state_a = step(cell, x_a, state_a)
            in_turns[0].append(y)
            y, state_b = step(cell, x_b, state_b)
            in_turns[1].append(y)
        if not same(apart, [torch.stack(outputs) for outputs in in_turns]):
            raise Broken(
                "two sequences taken in turns give other answers than each alone: the cell remembers something "
                "outside its state"
            )
    return "calls repeat to the bit, sequences taken in turns do not mix"


@law("a step changes neither its arguments nor the cell")
def changes_nothing_in_place(subject: Subject) -> str:
    cell = subject.evaluated()
    x = subject.inputs(1, 3)[0]
    with torch.no_grad():
        _, state = step(cell, subject.inputs(1, 3, 1)[0], cell.initial_state(3))  # type: ignore[operator]
        own = [*cell.parameters(), *cell.buffers()]
        kept = [[t.clone() for t in tensors] for tensors in ([x], leaves(state), own)]
        step(cell, x, state)
    for what, now, before in zip(("x", "the state", "the cell"), ([x], leaves(state), own), kept, strict=True):
        if not same(now, before):
            raise Broken(f"a step changes {what} in place")
    return "x, state, parameters and buffers are as before"


@law("examples of a batch do not influence each other", quick=True)
def examples_are_independent(subject: Subject) -> str:
    cell, batch = subject.evaluated(), 5
    plain = subject.inputs(4, batch)
    changed = plain.clone()
    changed[:, 1:] = 3 * subject.inputs(4, batch, 1)[:, 1:]
    with torch.no_grad():
        (before, state), (after, other) = unroll(cell, plain), unroll(cell, changed)
    # the same shapes take the same path through the library, so the first example must agree to the bit
    mine = [[outputs[:, 0], *(leaf[0] for leaf in leaves(s))] for outputs, s in ((before, state), (after, other))]
    if not same(*mine):
        raise Broken("the first example's output or state changes when the other examples do")
    return "the first of five examples is the same to the bit, whatever the others are"


@law("the output depends on the input and, through the state, on earlier inputs", quick=True)
def depends_on_input_and_state(subject: Subject) -> str:
    by_input = finite = False
    with torch.no_grad():
        # weights that begin at 0 can hide what is there, and so can inputs below a threshold: both are made larger
        for moved, how in ((0.0, "at the initial weights"), (0.3, "at weights moved at random")):
            cell = subject.evaluated()
            generator = torch.Generator().manual_seed(0)
            for parameter in cell.parameters():
                parameter.add_(moved * torch.randn(parameter.shape, generator=generator))
            for size in (1, 10, 100):
                # two batches of sequences that differ in their first half alone
                one, other = (size * torch.cat([subject.inputs(8, 16, d), subject.inputs(8, 16)]) for d in (1, 2))
                outputs, others = unroll(cell, one)[0], unroll(cell, other)[0]
                known = outputs.isfinite() & others.isfinite()
                differ = (outputs != others) & known
                finite, by_input = finite or bool(known.any()), by_input or bool(differ[:8].any())
                if bool(differ[8:].any()):
                    return f"both, {how}"
    if not finite:
        raise Broken("no output is finite")
    if not by_input:
        raise Broken("the outputs are the same for other inputs")
    raise Broken("the outputs are the same whatever came before: the state is not used")


@law("an example gives the same output alone and in a batch")
def batch_size_does_not_matter(subject: Subject) -> str:
    cell, inputs = subject.evaluated(), subject.inputs(4, 7)
    with torch.no_grad():
        together, _ = unroll(cell, inputs)
        alone = torch.cat([unroll(cell, inputs[:, i : i + 1])[0] for i in range(7)], dim=1)
    # another batch size may take another path through the library: equal up to rounding
    gap = float((together - alone).abs().max())
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise Broken(f"outputs alone and in a batch of 7 differ by up to {gap:.2g}")
    return f"alone and in a batch of 7 agree to {gap:.1g}"


@law("gradients reach every parameter")
def gradients_reach_every_parameter(subject: Subject) -> str:
    cell = subject.cell()
    missing, zero = set(), set()
    names = [name for name, p in cell.named_parameters() if p.requires_grad]
    reached: set[str] = set()
    # several draws: a gradient may be 0 at one of them by chance
    for draw in range(3):
        cell.zero_grad()
        objective(cell, subject.inputs(6, 8, draw)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in cell.named_parameters():
            if not parameter.requires_grad:
                continue
            if parameter.grad is None:
                missing.add(name)
            elif not bool(torch.isfinite(parameter.grad).all()):
                raise Broken(f"the gradient of {name} is not finite")
            elif bool((parameter.grad != 0).any()):
                reached.add(name)
            else:
                zero.add(name)
    # in the order of the cell's own parameters, not of a set
    for words, broken in (("no gradient reaches", missing), ("the gradient is 0 at", zero - reached)):
        if broken:
            raise Broken(f"{words} {', '.join(n for n in names if n in broken)}")
    return f"all {len(names)} parameter tensors, over 6 steps"


def objective(cell: nn.Module, inputs: Tensor) -> Tensor:
    """Compute a smooth scalar that depends on every output of every step; inputs have shape (time, batch, features)."""
    outputs, _ = unroll(cell, inputs)
    weights = torch.cos(torch.arange(outputs.numel(), dtype=outputs.dtype)).reshape(outputs.shape)
    return (weights * outputs).sum() + 0.5 * (outputs * outputs).sum()


@law("gradients agree with finite differences in float64")
def gradients_agree_with_differences(subject: Subject) -> str:
    worst = 0.0
    with double_precision():
        cell = subject.evaluated().double()
        inputs = subject.inputs(4, 3)
        try:
            value = objective(cell, inputs)
        except RuntimeError as error:
            raise CannotTell(f"the cell does not run in float64: {error}") from error
        if value.dtype != torch.float64:
            raise CannotTell(f"the cell turns float64 into {value.dtype}")
        value.backward()  # type: ignore[no-untyped-call]
        generator = torch.Generator().manual_seed(0)
        for name, parameter in cell.named_parameters():
            if not parameter.requires_grad or parameter.grad is None:
                continue
            direction = torch.randn(parameter.shape, generator=generator)
            direction /= direction.norm()
            expected = float((parameter.grad * direction).sum())
            # relative to the whole gradient: along one direction it may nearly vanish
            scale = max(abs(expected), float(parameter.grad.norm()), 1e-3)
            # two widths, because one of them may step over a kink
            gap = min(abs(_slope(cell, inputs, parameter, direction, w) - expected) / scale for w in (1e-5, 1e-6))
            if not gap <= 1e-4:
                raise Broken(f"along {name} the gradient is {expected:.6g}, and off by {gap:.2g} of its size")
            worst = max(worst, gap)
    return f"along every parameter tensor, to {worst:.1g} of the gradient's size"


@torch.no_grad()
def _slope(cell: nn.Module, inputs: Tensor, parameter: Tensor, direction: Tensor, width: float) -> float:
    """Estimate the slope of the objective along a direction, by a central difference."""
    kept, values = parameter.clone(), []
    for sign in (1, -1):
        parameter.copy_(kept + sign * width * direction)
        values.append(float(objective(cell, inputs)))
    parameter.copy_(kept)
    return (values[0] - values[1]) / (2 * width)


@law("output and state stay finite over 1,000 steps at the initial weights")
def finite_after_1000_steps(subject: Subject) -> str:
    cell, inputs = subject.evaluated(), subject.bits(1000, 4)
    state, greatest = cell.initial_state(4), 0.0  # type: ignore[operator]
    with torch.no_grad():
        for count, x in enumerate(inputs, 1):
            output, state = step(cell, x, state)
            # one maximum per step is cheap; every tensor is checked once something is wrong, and at every 100th step
            greatest = max(greatest, float(output.abs().max()))
            if not (greatest < float("inf")) or count % 100 == 0:
                for what, tensors in (("output", [output]), ("state", leaves(state))):
                    if not all(bool(torch.isfinite(t).all()) for t in tensors):
                        raise Broken(f"the {what} is not finite by step {count}")
    return f"1,000 steps of bits; the greatest output is {greatest:.3g}"


@law("the initial weights depend on the stream alone", quick=True)
def weights_follow_the_stream(subject: Subject) -> str:
    blueprint = subject.blueprint()
    with torch.random.fork_rng(devices=[]):
        first = blueprint.build("conformance", 1)
        torch.rand(17)  # what was drawn before must not matter
        again = blueprint.build("conformance", 1)
    one, two = (Contents(model.cell).tensors for model in (first, again))
    for name, place in one.items():
        if name not in two or not same([place.tensor], [two[name].tensor]):
            raise Broken(
                f"{name} differs between two cells made from one stream: draw weights from torch's, numpy's or "
                "Python's global generator"
            )
    return "two cells made from one stream are equal to the bit"


@law("copies of the cell, where it can be copied, are cells of their own")
def pickles_and_copies(subject: Subject) -> str:
    cell, inputs = subject.evaluated(), subject.inputs(3, 2)
    impossible = ""
    with torch.no_grad():
        expected, _ = unroll(subject.evaluated(), inputs)
        for how in ("a deep copy", "a pickle"):
            try:
                twin = copy.deepcopy(cell) if how == "a deep copy" else pickle.loads(pickle.dumps(cell))
            except Exception as error:
                impossible = impossible or f"{how} cannot be made, and nothing here needs one ({described(error)})"
                continue
            if not same([unroll(twin, inputs)[0]], [expected]):
                raise Broken(f"{how} of the cell gives another answer")
            for parameter in twin.parameters():
                parameter.add_(1.0)
            if not same([unroll(cell, inputs)[0]], [expected]):
                raise Broken(f"{how} of the cell shares its weights")
    if impossible:
        raise CannotTell(impossible)
    return "copies give the same to the bit, and share no weights"


@law("the initial state can be learnt")
def initial_state_can_be_learnt(subject: Subject) -> str:
    model = subject.model(learn_initial_state=True)
    assert model.initial is not None
    with torch.no_grad():
        one, three = (leaves(model.cell.initial_state(n)) for n in (1, 3))  # type: ignore[operator]
        if not same([leaf.expand(3, *leaf.shape[1:]) for leaf in one], three):
            raise Broken("initial_state(3) is not initial_state(1) three times")
    logits = model(subject.inputs(4, 3))
    logits.square().sum().backward()
    gradients = [p.grad for p in model.initial]
    if all(g is None or not bool((g != 0).any()) for g in gradients):
        raise Broken("no gradient reaches the initial state")
    if not all(g is None or bool(torch.isfinite(g).all()) for g in gradients):
        raise Broken("the gradient of the initial state is not finite")
    return f"{sum(p.numel() for p in model.initial)} numbers, tiled along the batch"


LAWS: tuple[Check, ...] = tuple(_laws)
"""In the order of the report; `is-made` first, for without a cell there is nothing to check."""
