"""The versions of the engines' numbers, and what earlier versions trained wrongly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

VERSIONS = {"lanes": 2, "stack": 2, "reference": 2}
"""The version of each engine's numbers, stored with each replica; raised when replicas that it trains get others.

lanes 2: replicas share vectors too, and sums over examples are rounded in another order."""


TRAINED_BY = ("engine", "engine_version", "isa", "compiler", "device")
"""What the last bits of a replica's numbers depend on, beside its key."""

ROUNDED_ANEW = {"lanes": (2,)}
"""The versions from which on an engine rounds otherwise than before, so that the last bits of sound numbers differ."""


def rounds_as(engine: str, version: int) -> int:
    """Return the first version of an engine that rounds as this one does.

    >>> rounds_as("lanes", 1), rounds_as("lanes", 3), rounds_as("stack", 3)
    (1, 2, 1)
    """
    return max((since for since in ROUNDED_ANEW.get(engine, ()) if since <= version), default=1)


@dataclass(frozen=True)
class Since:
    """From which version engines are right about a trait of cells.

    Attributes:
        versions: the first right version, by engine; engines that always were are left out.
        said: what an earlier version did, as the rest of a sentence that begins with the engine.
    """

    versions: dict[str, int]
    said: str


_ALL = {"lanes": 2, "stack": 2, "reference": 2}

RIGHT_SINCE = {
    "frozen": Since({"stack": 2}, "trained parameters that require no gradient"),
    "own": Since({"stack": 2}, "gave every replica the buffers and other tensors of one"),
    "drawn": Since({"stack": 2}, "gave every replica the drawn numbers of one"),
    "elsewhere": Since({"stack": 2}, "did not train parameters that the cell also keeps elsewhere"),
    "keeps": Since(_ALL, "forgot in the final evaluation what the cell had kept in training"),
    "random": Since(_ALL, "did not determine its random numbers"),
    "modes": Since(_ALL, "evaluated it in train() mode"),
    "hooks": Since(_ALL, "lost hooks on gradients"),
    "late_hooks": Since(_ALL, "lost hooks that run after a gradient was accumulated"),
    "views": Since(_ALL, "took apart tensors that share the memory of a trained parameter"),
    "unrepeatable": Since(_ALL, "did not determine its numbers"),
    "memory": Since({"lanes": 2}, "did not see memory outside the state that shows late in a sequence"),
}
"""What earlier versions of the engines did wrong, by the trait of the cell; docs/results.md has it for people.

All but `memory` are fields of `cellbench.model.Traits`.
"""

COPIES = {
    " in deepcopy": "failed because it copied the cell",
    "can't optimize a non-leaf Tensor": "failed because it copied the cell",
    "object has no attribute 'hidden_size'": "failed because it asked for an attribute that a cell need not have",
}
"""What stands in the traceback of a failure that was the fault of version 1, not of the cell, and what was wrong."""


def wrongs(engine: str, version: int, traits: Iterable[str]) -> str:
    """Say what a version of an engine did wrong about a cell with these traits; empty if nothing.

    >>> wrongs("stack", 1, ["frozen"])
    'stack, version 1, trained parameters that require no gradient'
    >>> wrongs("reference", 1, ["frozen"]), wrongs("stack", 2, ["frozen"])
    ('', '')
    """
    said = [RIGHT_SINCE[trait].said for trait in traits if version < RIGHT_SINCE[trait].versions.get(engine, 0)]
    return f"{engine}, version {version}, {' and '.join(dict.fromkeys(said))}" if said else ""


def failed_wrongly(engine: str, version: int, traceback: str) -> str:
    """Say why a failure in a cell's own code was the engine's fault; empty if it was not, as far as can be told.

    >>> failed_wrongly("reference", 1, "... in deepcopy ...")
    'reference, version 1, failed because it copied the cell'
    """
    said = next((said for mark, said in COPIES.items() if version < 2 and mark in traceback), "")
    return f"{engine}, version {version}, {said}" if said else ""
