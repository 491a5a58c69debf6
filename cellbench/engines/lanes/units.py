"""The units of a compiled cell: one shared object evaluates it, others train it on batches of some sizes.

A vector has 16, 8 or 4 lanes. A batch that does not fill it shares it with those of other replicas, so that no lane is
idle: with 16 lanes, four replicas train side by side at batch 4. How many share a vector follows from the batch alone,
and a replica without company is trained beside copies of itself, so its numbers do not depend on the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellbench.task import Kind

_LANES = {"avx512": 16, "avx2": 8, "sse2": 4, "portable": 4}


@dataclass(frozen=True)
class Unit:
    """One shared object, before it is compiled.

    Attributes:
        name: a part of its key in the cache.
        drivers: the headers that drive the generated functions, one translation unit each.
        replicas: how many replicas share a vector.
        trains: whether it trains; else it evaluates.
        kind: of the answers, which decides the loss.
        proof: the batch sizes at which it is proved. None was traced; some fill whole vectors and some do not.
    """

    name: str
    drivers: tuple[str, ...]
    replicas: int
    trains: bool
    proof: tuple[int, ...]
    kind: Kind

    def texts(self, generated: str) -> tuple[str, ...]:
        """Wrap the generated functions as translation units, which are compiled at the same time."""
        wide = int("train_wide.h" in self.drivers)
        kind = f"#define KIND OF_{self.kind.upper()}\n"
        head = f'#define PACK {self.replicas}\n#define WIDE {wide}\n{kind}#include "several.h"\n'
        return tuple(f'{head}{generated}#include "{driver}"\n' for driver in self.drivers)


def evaluation(kind: Kind) -> Unit:
    """Choose the unit that evaluates: it has two vectors side by side, whatever the number of examples."""
    return Unit(f"evaluate-{kind}", ("evaluate.h",), 1, False, (5, 37), kind)


def training(kind: Kind, batch_size: int, isa: str, replicas: int | None = None) -> Unit:
    """Choose the unit that trains batches of this size.

    Args:
        kind: of the answers.
        batch_size: of the batches.
        isa: the instruction set.
        replicas: how many share a vector, if not as many as `sharing` says.
    """
    lanes = _LANES[isa]
    if batch_size > lanes:
        # for every number of lanes, one of the two batches ends in a single vector, and one uses two side by side
        return Unit(f"train-wide-{kind}", ("train.h", "train_wide.h"), 1, True, (5, 19), kind)
    replicas = replicas or sharing(batch_size, isa)
    return Unit(f"train-{replicas}-{kind}", ("train.h",), replicas, True, (2, max(2, lanes // replicas)), kind)


def sharing(batch_size: int, isa: str) -> int:
    """Count the replicas that share a vector at this batch size: a power of two, at most half the lanes.

    >>> [sharing(batch, "avx512") for batch in (1, 2, 3, 4, 5, 8, 9, 16, 64)]
    [8, 8, 4, 4, 2, 2, 1, 1, 1]
    """
    lanes, replicas = _LANES[isa], 1
    while 2 * replicas * max(batch_size, 2) <= lanes:
        replicas *= 2
    return replicas
