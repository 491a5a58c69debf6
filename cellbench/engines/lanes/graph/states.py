"""A cell's state as a list of tensors, and back; `None` may stand in it where another cell has a tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from cellbench.engines.engine import Refused
from cellbench.engines.lanes.graph.tensors import NUMBERS


@dataclass(frozen=True)
class Nesting:
    """How tensors are nested in a state.

    Attributes:
        tree: the tuples, lists and dicts.
        there: for each leaf, whether it is a tensor; else it is None.
    """

    tree: Any
    there: tuple[bool, ...]

    def state(self, tensors: Sequence[Tensor]) -> Any:
        """Nest tensors as they were."""
        given: Iterator[Tensor] = iter(tensors)
        return pytree.tree_unflatten([next(given) if there else None for there in self.there], self.tree)


def flattened(state: Any) -> tuple[list[Tensor], Nesting]:
    """Flatten a state to its tensors.

    Raises:
        Refused: it holds something else than None and tensors of float32 or complex64.
    """
    leaves, tree = pytree.tree_flatten(state)
    for leaf in leaves:
        if leaf is not None and (not isinstance(leaf, Tensor) or leaf.dtype not in NUMBERS):
            what = str(leaf.dtype).removeprefix("torch.") if isinstance(leaf, Tensor) else type(leaf).__name__
            hint = "keep it as float32" if isinstance(leaf, Tensor) else "make it of tuples, lists, dicts and tensors"
            raise Refused(f"the state holds {what}, not float32 tensors: {hint}")
    return [leaf for leaf in leaves if leaf is not None], Nesting(tree, tuple(leaf is not None for leaf in leaves))
