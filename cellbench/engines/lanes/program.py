"""A compiled cell in this process: its functions through ctypes, and a model's tensors as one row of floats."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.engines.engine import Scores
from cellbench.engines.lanes.cache import Entry
from cellbench.engines.lanes.graph.tensors import tensors_of
from cellbench.model import Model
from cellbench.task import Floats

_ALIGNMENT = 64
_LONG, _DOUBLE, _POINTER = ctypes.c_long, ctypes.c_double, ctypes.c_void_p


def aligned(*shape: int) -> Floats:
    """Zeros that start at a multiple of 64 bytes, as the vectors of every instruction set want it."""
    count = int(np.prod(shape))
    room = np.zeros(count + _ALIGNMENT // 4, dtype=np.float32)
    first = -room.ctypes.data % _ALIGNMENT // 4
    return room[first : first + count].reshape(shape)


@dataclass(frozen=True)
class Rule:
    """An optimizer as the driver knows it.

    Attributes:
        kind: its number there.
        constants: in the driver's order.
        clip: the greatest norm of a gradient; 0 for any.
    """

    kind: int
    constants: NDArray[np.float64]
    clip: float


_loaded: dict[str, ctypes.CDLL] = {}


def _load(content: bytes, digest: str) -> ctypes.CDLL:
    """Load the very bytes that were checked, once a process, from a file that nobody can reach any more.

    A file in the cache might be cut short while it is mapped, or lie on a disk that forbids execution.
    """
    if digest not in _loaded:
        if hasattr(os, "memfd_create"):
            # kept open: the loader knows an object by its name, and the number must not be given to another
            descriptor = os.memfd_create("cellbench")
            os.write(descriptor, content)
            _loaded[digest] = ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        else:
            folder = Path(tempfile.mkdtemp(prefix="cellbench-"))
            path = folder / f"{digest}.so"
            path.write_bytes(content)
            _loaded[digest] = ctypes.CDLL(str(path))
            shutil.rmtree(folder, ignore_errors=True)
    return _loaded[digest]


class Program:
    """A shared object and its layout.

    Args:
        content: of the shared object, checked against the entry's hash.
        entry: what the cache knows of it.
    """

    def __init__(self, content: bytes, entry: Entry) -> None:
        self.entry = entry
        self._library = _load(content, entry.object)
        for name in ("floats_to_train", "floats_to_evaluate"):
            getattr(self._library, name).restype = _LONG
        self._library.gradient_once.restype = _DOUBLE
        self._own = threading.local()  # threads that share a program must not share its scratch

    def row_of(self, model: Model) -> Floats:
        """A model's tensors, flat, in the order of the layout.

        Raises:
            Refused: the model has other tensors than the one that was compiled.
        """
        tensors = tensors_of(model)
        row = np.zeros(self.entry.row, dtype=np.float32)
        for group, offset, layout in (
            (tensors.trained, 0, self.entry.trained),
            (tensors.frozen, self.entry.trained_row, self.entry.frozen),
        ):
            assert [(name, tensor.numel()) for name, tensor in group.items()] == [tuple(pair) for pair in layout]
            for tensor in group.values():
                row[offset : offset + tensor.numel()] = tensor.reshape(-1).numpy()
                offset += tensor.numel()
        return row

    def floats_to_train(self, steps: int, time: int, batch: int) -> int:
        """The numbers of scratch for a block: its data in lanes, and what one replica keeps of one group of lanes."""
        return int(self._library.floats_to_train(_LONG(steps), _LONG(time), _LONG(batch)))

    def gradient(self, row: Floats, inputs: Floats, targets: Floats) -> tuple[float, Floats]:
        """Loss and flat gradient of one batch: inputs (time, batch, input), targets (time, batch, output)."""
        steps, batch = inputs.shape[:2]
        weights = aligned(len(row))
        weights[:] = row
        gradient = aligned(self.entry.trained_row)
        scratch = self._room(self.floats_to_train(1, steps, batch))
        loss = self._library.gradient_once(
            _LONG(steps), _LONG(batch), *map(_at, (_floats(inputs), _floats(targets), weights, gradient, scratch))
        )
        return float(loss), gradient[: sum(count for _, count in self.entry.trained)]

    def train(
        self,
        rows: NDArray[np.int64],
        inputs: Floats,
        targets: Floats,
        state: _State,
        rule: Rule,
        done: int,
        losses: NDArray[np.float64],
        broke: NDArray[np.int64],
    ) -> None:
        """Train some replicas on one seed's block: inputs (steps, time, batch, input)."""
        steps, time, batch = inputs.shape[:3]
        scratch = self._room(self.floats_to_train(steps, time, batch))
        self._library.train(
            _LONG(steps), _LONG(time), _LONG(batch), _at(inputs), _at(targets), _LONG(len(rows)), _at(rows),
            _at(state.weights), _at(state.slots), _LONG(state.slots.shape[1]), _at(state.rates), _LONG(rule.kind),
            _at(rule.constants), _DOUBLE(rule.clip), _LONG(done), _at(losses), _at(broke), _at(scratch),
        )  # fmt: skip

    def evaluate(self, rows: NDArray[np.int64], inputs: Floats, targets: Floats, weights: Floats, into: Scores) -> None:
        """Score some replicas on one seed's examples: inputs (time, examples, input)."""
        time, examples = inputs.shape[:2]
        scratch = self._room(self._library.floats_to_evaluate(_LONG(time), _LONG(examples)))
        self._library.evaluate(
            _LONG(time), _LONG(examples), _at(inputs), _at(targets), _LONG(len(rows)), _at(rows), _at(weights),
            _at(into.loss), _at(into.bit_accuracy), _at(into.sequence_accuracy), _at(scratch),
        )  # fmt: skip

    def _room(self, floats: int) -> Floats:
        scratch: Floats | None = getattr(self._own, "scratch", None)
        if scratch is None or scratch.size < floats:
            scratch = self._own.scratch = aligned(floats)
        return scratch


@dataclass
class _State:
    """Replicas in training: a row each.

    Attributes:
        weights: shape (replicas, row).
        slots: what the optimizer remembers, shape (replicas, slots x trained_row).
        rates: learning rates, shape (replicas,).
    """

    weights: Floats
    slots: Floats
    rates: NDArray[np.float64]

    def keep(self, rows: Sequence[int]) -> _State:
        """These rows alone."""
        weights, slots = aligned(len(rows), self.weights.shape[1]), aligned(len(rows), self.slots.shape[1])
        weights[:], slots[:] = self.weights[rows], self.slots[rows]
        return _State(weights, slots, np.ascontiguousarray(self.rates[rows]))


Rows = _State


def _floats(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return _POINTER(array.ctypes.data)
