"""Whether a cell takes the same step all along a sequence, as a compiled cell does, which knows of the state alone.

A cell that keeps something outside its state (a clock, a list of earlier states, a hook that it registers late) may run
one step like any other cell for a long time. So each step of the longest sequence that is trained or evaluated is
recorded, and compared with the one before it. Where a cell holds something that changes from step to step, so are the
steps of the gradient, and those in evaluation.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.graph.tape import Recording
from cellbench.engines.lanes.graph.tensors import named
from cellbench.engines.lines import at, of_frame
from cellbench.model import Contents, Model, changed, evaluating, loss, seeded

_BATCH = 3
_SETTLED = 2
"""Steps after which the layout of the state in memory stays the same; the first state has that of `initial_state`."""

MOST_CHANGING, MOST_UNCHANGING = 4096, 1024
"""The most steps that are recorded: of a cell that holds something that changes from step to step, and of any other."""


def refuse_memory(model: Model, inputs: int, longest: int) -> None:
    """Run a sequence in training and one in evaluation, and compare their steps.

    Args:
        model: a model that is not needed afterwards.
        inputs: features of x.
        longest: the number of steps.

    Raises:
        Refused: a step runs other operations than the step before it, or with other constants, or it reads a tensor
            that an earlier step made and that is not in the state; forward or backward.
    """
    with seeded("lanes"):
        changing = _changing(model, inputs)
        if not changing:
            _check_gradient(model, inputs, _SETTLED + 6)
            with torch.no_grad():
                _run(model, inputs, min(longest, MOST_UNCHANGING))
        elif longest > MOST_CHANGING:
            raise Refused(f"hidden memory: {changing[0]} changes from step to step")
        else:
            _check_gradient(model, inputs, longest)
            with torch.no_grad(), evaluating(model):
                _run(model, inputs, longest)


def _changing(model: Model, inputs: int) -> list[str]:
    """List what a model holds that changes from one step of a sequence to the next."""
    state, before = model.initial_state(_BATCH), Contents(model).digest()
    x = torch.randn(_BATCH, inputs)
    found: list[str] = []
    with torch.no_grad():
        for number in range(_SETTLED + 3):
            _, state = model.step(x, state)
            contents = Contents(model)
            after = contents.digest()
            if number >= _SETTLED:
                found += [*changed(before, after), *contents.iterators]
            before = after
    return found


def _check_gradient(model: Model, inputs: int, longest: int) -> None:
    """Compare the operations of a gradient over many steps with those over a few, and one step's with the next.

    Raises:
        Refused: they differ.
    """
    short, longer, whole = (_backward(model, inputs, n) for n in (_SETTLED + 2, _SETTLED + 3, longest))
    grown = {key: short[key] + (longest - _SETTLED - 2) * (longer[key] - short[key]) for key in {*short, *longer}}
    if longest > _SETTLED + 3 and +Counter(grown) != whole:
        raise Refused(f"hidden memory: the steps of a gradient over {longest} steps are not alike")


def _backward(model: Model, inputs: int, steps: int) -> Counter[Any]:
    """Run a sequence and its gradient; returns how often each operation of the gradient was run."""
    with torch.enable_grad():
        total = _run(model, inputs, steps)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        counted = _Counted()
        with counted:
            torch.autograd.grad(total, parameters, allow_unused=True)
    return counted.operations


def _run(model: Model, inputs: int, steps: int) -> Tensor:
    """Run a sequence step by step, and return the sum of the steps' losses."""
    recorder = _Steps(model)
    generator = torch.Generator().manual_seed(0)
    sequence = [torch.randn(_BATCH, inputs, generator=generator) for _ in range(steps)]
    state = model.initial_state(_BATCH)
    shapes = _shapes(state)
    total = torch.zeros(())
    before: list[Any] = []
    for number, x in enumerate(sequence, 1):
        recorder.begin(x, state)
        with recorder:
            logits, state = model.step(x, state)
        if _shapes(state) != shapes:
            raise Refused(f"the state changes shape, from {shapes} to {_shapes(state)}")
        if number > _SETTLED + 1 and recorder.step != before:
            raise Refused(f"hidden memory: step {number} of a sequence is not the step before it")
        before = recorder.step
        # a loss per step, so that nothing in the gradient depends on how many there are
        total = total + loss(logits, torch.zeros_like(logits))
    return total


def _shapes(state: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


class _Steps(Recording):  # type: ignore[no-untyped-call]
    """Records one step at a time: what it reads of the model, of x and of the state, and what it makes of them.

    Attributes:
        step: the operations of the step so far.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._fixed: dict[int, str] = {}
        self._kept: list[Any] = []
        for name, tensor in named(model).items():
            self._fixed.setdefault(tensor.untyped_storage().data_ptr(), name)
            self._kept.append(tensor)
        # storages of earlier steps, and those that depend on an x or a state; what depends on neither is no memory
        self._earlier: set[int] = set()
        self._moving: set[int] = set()
        self._now: dict[int, str] = {}
        self.step: list[Any] = []

    def begin(self, x: Tensor, state: Any) -> None:
        """Begin a step with this input and this state."""
        self._earlier.update(self._now)
        self.step, self._now = [], {}
        leaves = [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]
        for name, tensor in (("x", x), *((f"state {i}", leaf) for i, leaf in enumerate(leaves))):
            address = tensor.untyped_storage().data_ptr()
            self._now.setdefault(address, name)
            self._moving.add(address)
        # no storage may get the address of another one: all are kept to the end
        self._kept.append((x, leaves))

    def describe(self, tensor: Tensor, result: bool) -> Any:
        """Describe a tensor by where it comes from, seen from this step."""
        address = tensor.untyped_storage().data_ptr()
        place = (tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        name = self._now.get(address) or self._fixed.get(address)
        if name is None:
            if not result and address in self._earlier and address in self._moving:
                where = at(of_frame(sys._getframe(1)))
                raise Refused(f"hidden memory: a step reads what an earlier step made, beside the state{where}")
            name = self._now[address] = f"#{len(self._now)}"
            self._kept.append(tensor)
            if not result:  # a constant: its numbers matter
                return (name, place, tensor.detach().flatten().tolist())
        return (name, place)

    def note(self, func: Any, given: list[Any], made: list[Any]) -> None:
        """Add an operation to the step."""
        self.step.append((func, given, made))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, out = pytree.tree_leaves((args, kwargs or {})), super().__torch_dispatch__(func, types, args, kwargs)
        if any(_address(leaf) in self._moving for leaf in given):
            self._moving.update(address for leaf in pytree.tree_leaves(out) if (address := _address(leaf)))
        return out


def _address(value: Any) -> int:
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else 0


class _Counted(Recording):  # type: ignore[no-untyped-call]
    """Counts operations by their names and constants; shapes and order aside."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[Any] = Counter()

    def describe(self, tensor: Tensor, result: bool) -> Any:
        """Describe a tensor by its type alone."""
        return tensor.dtype

    def note(self, func: Any, given: list[Any], made: list[Any]) -> None:
        """Count an operation."""
        self.operations[func, tuple(given)] += 1
