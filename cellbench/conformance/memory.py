"""Laws on what an output depends on: the input, the state, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from cellbench.conformance.law import law
from cellbench.conformance.subject import (
    Broken,
    CannotTell,
    Subject,
    draws,
    finite,
    leaves,
    move,
    numbers,
    same,
    step,
    unroll,
)

SIZES = (1, 10, 100)
"""How much larger inputs are made: small ones may stay below every threshold."""

STEPS = 16
"""How long a memory outside the state is looked for; clocks and delays of less show."""


@law("nothing is remembered outside the state: calls repeat, and sequences taken in turns do not mix", quick=True)
def remembers_only_in_the_state(subject: Subject) -> str:
    told = False
    for size in SIZES:
        # at 10 in any case: a memory may stay below a threshold that a part of the outputs is above
        if told and size > 10:
            break
        try:
            told = _repeats(subject, size) or told
        except Broken:
            raise
        except Exception:
            if size == 1:
                raise
            # a cell need not bear inputs that large
    if not told:
        raise CannotTell(f"cannot tell: all outputs are equal, at inputs {_listed()} times as large")
    return "calls repeat, sequences do not mix"


def _listed() -> str:
    return f"{', '.join(map(str, SIZES[:-1]))} and {SIZES[-1]}"


@torch.no_grad()
def _repeats(subject: Subject, size: float) -> bool:
    """Check that runs repeat, on inputs of a size.

    Returns:
        Whether a memory could have shown: the outputs are not all equal.

    Raises:
        Broken: runs do not repeat, or outputs of inputs of size 1 are not finite.
    """
    cell = subject.evaluated()
    a, b = (size * subject.inputs(STEPS, 3, draw) for draw in (1, 2))
    # one step of each sequence in turn, against each sequence alone on a cell that never ran before
    apart = [unroll(subject.evaluated(), sequence)[0] for sequence in (a, b)]
    for outputs in apart:
        if not bool(outputs.isfinite().all()):
            if size == 1:
                finite(outputs)
            return False
    # a cell that keeps something of the first run in an attribute starts the second run from it
    first, again = unroll(cell, a)[0], unroll(cell, a, draw=1)[0]
    if not same([first], [again]):
        random = draws(cell, a)
        why = f": it draws random numbers in eval() mode too ({', '.join(random)})" if random else ""
        raise Broken(f"the same sequence, run from the initial state twice, gives two answers{why}")
    state_a, state_b = cell.initial_state(3), cell.initial_state(3)  # type: ignore[operator]
    in_turns: tuple[list[Tensor], list[Tensor]] = ([], [])
    for x_a, x_b in zip(a, b, strict=True):
        y, state_a = step(cell, x_a, state_a)
        in_turns[0].append(y)
        y, state_b = step(cell, x_b, state_b)
        in_turns[1].append(y)
    if not same(apart, [torch.stack(outputs) for outputs in in_turns]):
        raise Broken(
            "two sequences taken in turns give other answers than each alone: the cell remembers something outside "
            "its state"
        )
    return any(bool((outputs != apart[0][0, 0]).any()) for outputs in apart)


@law("a step changes neither its arguments nor the cell")
def changes_nothing_in_place(subject: Subject) -> str:
    cell = subject.evaluated()
    x = subject.inputs(1, 3)[0]
    with torch.no_grad():
        _, state = unroll(cell, subject.inputs(4, 3, 1))
        parameters: list[Tensor] = list(cell.parameters())
        held = [[x], leaves(state), parameters, list(cell.buffers())]
        numbers("the state after a step", leaves(state))
        numbers("a parameter of the cell", parameters)
        kept = [[t.clone() for t in tensors] for tensors in held]
        output, _ = step(cell, x, state)
        finite(output[None])
    for what, now, before in zip(("x", "the state", "the cell", "the cell"), held, kept, strict=True):
        if not same(now, before, nan=True):
            raise Broken(f"a step changes {what} in place")
    return "x, state and the cell are as before"


@law("examples of a batch do not influence each other", quick=True)
def examples_are_independent(subject: Subject) -> str:
    batch = 5
    plain = subject.inputs(4, batch)
    changed = plain.clone()
    changed[:, 1:] = 3 * subject.inputs(4, batch, 1)[:, 1:]
    with torch.no_grad():
        # on two cells, so that what one run leaves behind is not taken for another example's influence
        runs = [unroll(subject.evaluated(), inputs) for inputs in (plain, changed)]
    for outputs, state in runs:
        finite(outputs)
        if any(leaf.dim() == 0 or len(leaf) != batch for leaf in leaves(state)):
            raise CannotTell("cannot tell: the first axis of the state is not the batch, see shapes")
        numbers("the state", leaves(state))
    # the same shapes take the same path through the library, so the first example must agree to the bit
    mine = [[outputs[:, 0], *(leaf[0] for leaf in leaves(state))] for outputs, state in runs]
    if not same(mine[0], mine[1]):
        raise Broken("the first example's output or state changes when the other examples do")
    return "to the bit, whatever the others are"


WEIGHTS = ((0.0, "at the initial weights"), (0.3, "at weights moved at random"))
"""Weights that begin at 0 can hide what is there, so that the laws of dependence are asked at moved ones too."""


@law("the output depends on the input", quick=True)
def depends_on_the_input(subject: Subject) -> str:
    for moved, how in WEIGHTS:
        for size in SIZES:
            if bool(_differ(subject, moved, size).any()):
                return how
    raise Broken("the outputs are the same for other inputs")


@law("the output depends on the state, and through it on earlier inputs", quick=True)
def depends_on_the_state(subject: Subject) -> str:
    by_input = False
    for moved, how in WEIGHTS:
        for size in SIZES:
            differ = _differ(subject, moved, size)
            by_input = by_input or bool(differ.any())
            if bool(differ[8:].any()):
                return how
    if not by_input:
        raise CannotTell("cannot tell: the outputs are the same for other inputs")
    raise Broken("the outputs are the same whatever came before: the state is not used")


@torch.no_grad()
def _differ(subject: Subject, moved: float, size: float) -> Tensor:
    """Run two batches of sequences of 16 steps that differ in their first half alone.

    The second half is run on a cell that never ran before: it knows of the first by the state alone.

    Returns:
        Whether each output differs, shape (16, batch, output_size); one that is not finite does not.

    Raises:
        Broken: at the initial weights and inputs of size 1, an output is not finite.
    """
    outputs = []
    for draw in (1, 2):
        first, second = (subject.evaluated() for _ in range(2))
        for cell in (first, second):
            move(cell, moved)
        before, state = unroll(first, size * subject.inputs(8, 16, draw))
        second.initial_state(16)  # type: ignore[operator]
        after, _ = unroll(second, size * subject.inputs(8, 16), state)
        outputs.append(torch.cat([before, after]))
        if size == 1 and not moved:
            finite(outputs[-1])
    one, other = outputs
    return (one != other) & one.isfinite() & other.isfinite()


@law("an example gives the same output alone and in a batch")
def batch_size_does_not_matter(subject: Subject) -> str:
    inputs = subject.inputs(4, 7)
    one, other = (unroll(subject.evaluated(), inputs, draw=draw)[0] for draw in (0, 1))
    if draws(subject.evaluated(), inputs) and not same([one], [other]):
        raise CannotTell("cannot tell: it draws random numbers, others for a batch of another size")
    with torch.no_grad():
        together, _ = unroll(subject.evaluated(), inputs)
        finite(together)
        alone = torch.cat([unroll(subject.evaluated(), inputs[:, i : i + 1])[0] for i in range(7)], dim=1)
        finite(alone, "the output of an example alone")
    # another batch size may take another path through the library: equal up to rounding
    gap = float((together - alone).abs().max())
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5):
        raise Broken(f"outputs alone and in a batch of 7 differ by up to {gap:.2g}")
    return f"alone and in a batch of 7 agree to {gap:.1g}"
