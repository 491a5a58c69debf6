"""A compiled cell in this process: its functions by ctypes, and a model's tensors as one row of floats."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellbench.engines.engine import Advanced, Scores
from cellbench.engines.lanes import cache
from cellbench.engines.lanes.cache import CacheEntry
from cellbench.engines.lanes.graph.tensors import tensors_of
from cellbench.model import Model
from cellbench.task import Floats

_ALIGNMENT = 64
_LONG, _DOUBLE, _POINTER = ctypes.c_long, ctypes.c_double, ctypes.c_void_p


def aligned(*shape: int) -> Floats:
    """Make zeros that start at a multiple of 64 bytes, as the vectors of every instruction set require."""
    count = int(np.prod(shape))
    room = np.zeros(count + _ALIGNMENT // 4, dtype=np.float32)
    first = -room.ctypes.data % _ALIGNMENT // 4
    return room[first : first + count].reshape(shape)


@dataclass(frozen=True)
class Rule:
    """An optimizer as train.h knows it.

    Attributes:
        kind: its number there.
        constants: in the order of train.h.
        clip: the largest norm of a gradient that is left alone; 0 for any norm.
    """

    kind: int
    constants: NDArray[np.float64]
    clip: float


@dataclass
class Rows:
    """Replicas in training, one row each.

    Attributes:
        rule: the optimizer.
        weights: shape (replicas, row).
        slots: the tensors that the optimizer remembers, shape (replicas, slots x trained_row).
        rates: learning rates, shape (replicas,).
        done: steps trained so far.
    """

    rule: Rule
    weights: Floats
    slots: Floats
    rates: NDArray[np.float64]
    done: int = 0

    def keep(self, rows: Sequence[int]) -> Rows:
        """Copy these rows alone, in this order."""
        weights, slots = aligned(len(rows), self.weights.shape[1]), aligned(len(rows), self.slots.shape[1])
        weights[:], slots[:] = self.weights[rows], self.slots[rows]
        return replace(self, weights=weights, slots=slots, rates=np.ascontiguousarray(self.rates[rows]))


_loaded: dict[str, ctypes.CDLL] = {}


def _load(content: bytes, digest: str) -> ctypes.CDLL:
    """Load the bytes that were checked, once per process, from a copy that no other process can change.

    The file in the cache might be cut short while it is mapped, or be on a disk that forbids execution.
    """
    if digest not in _loaded:
        _loaded[digest] = _from_memory(content) or _from_disk(content, digest)
    return _loaded[digest]


def _from_memory(content: bytes) -> ctypes.CDLL | None:
    """Load from a file without a name; None where the system has none, has no /proc, or forbids to run them."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        # never closed: the loader knows an object by its path, and another file must not get the same number
        descriptor = os.memfd_create("cellbench")
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None


def _from_disk(content: bytes, digest: str) -> ctypes.CDLL:
    """Load from a private folder among the temporary files, or beside the cache if those may not be run.

    Raises:
        OSError: neither can be written to and run.
    """
    problem = OSError("no folder to load from")
    user = cache.user_cache()
    for within in (tempfile.gettempdir(), None if user is None else user.folder):
        if within is None:
            continue
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=".load-", dir=within))
            path = folder / f"{digest}.so"
            path.write_bytes(content)
            return ctypes.CDLL(str(path))
        except OSError as error:
            problem = error
        finally:
            if folder is not None:  # a system that cannot remove a file in use leaves it
                shutil.rmtree(folder, ignore_errors=True)
    raise problem


class Program:
    """A shared object and its layout.

    Args:
        content: the bytes of the shared object, checked against the entry's hash.
        entry: its entry in the cache.
    """

    def __init__(self, content: bytes, entry: CacheEntry) -> None:
        self.entry = entry
        self._library = _load(content, entry.object)
        for name in ("floats_to_train", "floats_to_evaluate"):
            getattr(self._library, name).restype = _LONG
        self._library.gradient_once.restype = _DOUBLE
        self._own = threading.local()  # threads that share a program must not share its scratch

    def row_of(self, model: Model) -> Floats:
        """Join a model's tensors to a row of floats, in the order of the layout.

        Raises:
            Refused: a tensor of the model is not float32 or not on the CPU.
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
        """Count the floats of scratch memory for a block: its data in lanes, and one replica's intermediate results."""
        return int(self._library.floats_to_train(_LONG(steps), _LONG(time), _LONG(batch)))

    def gradient(self, row: Floats, inputs: Floats, targets: Floats) -> tuple[float, Floats]:
        """Compute loss and flat gradient of one batch: inputs (time, batch, input), targets (time, batch, output)."""
        steps, batch = inputs.shape[:2]
        weights = aligned(len(row))
        weights[:] = row
        gradient = aligned(self.entry.trained_row)
        scratch = self._room(self.floats_to_train(1, steps, batch))
        loss = self._library.gradient_once(
            _LONG(steps), _LONG(batch), *map(_at, (_floats(inputs), _floats(targets), weights, gradient, scratch))
        )
        return float(loss), gradient[: sum(count for _, count in self.entry.trained)]

    def train(self, rows: NDArray[np.int64], inputs: Floats, targets: Floats, replicas: Rows, into: Advanced) -> None:
        """Train some replicas on one seed's block.

        Args:
            rows: which of the replicas.
            inputs: shape (steps, time, batch, input_size).
            targets: shape (steps, time, batch, output_size).
            replicas: all of them; weights and slots change in place.
            into: gets losses and broken steps in the same rows. A replica that is broken there is not trained.
        """
        steps, time, batch = inputs.shape[:3]
        scratch = self._room(self.floats_to_train(steps, time, batch))
        rule = replicas.rule
        self._library.train(
            _LONG(steps), _LONG(time), _LONG(batch), _at(inputs), _at(targets), _LONG(len(rows)), _at(rows),
            _at(replicas.weights), _at(replicas.slots), _LONG(replicas.slots.shape[1]), _at(replicas.rates),
            _LONG(rule.kind), _at(rule.constants), _DOUBLE(rule.clip), _LONG(replicas.done),
            _at(into.losses), _at(into.broke), _at(scratch),
        )  # fmt: skip

    def evaluate(self, rows: NDArray[np.int64], inputs: Floats, targets: Floats, weights: Floats, into: Scores) -> None:
        """Score some replicas on one seed's examples.

        Args:
            rows: which of the replicas.
            inputs: shape (time, examples, input_size).
            targets: shape (time, examples, output_size).
            weights: of all replicas.
            into: gets the scores in the same rows.
        """
        time, examples = inputs.shape[:2]
        scratch = self._room(self._library.floats_to_evaluate(_LONG(time), _LONG(examples)))
        self._library.evaluate(
            _LONG(time), _LONG(examples), _at(inputs), _at(targets), _LONG(len(rows)), _at(rows), _at(weights),
            _at(into.loss), _at(into.bit_accuracy), _at(into.sequence_accuracy), _at(scratch),
        )  # fmt: skip

    def _room(self, floats: int) -> Floats:
        """Get scratch memory of at least so many floats; it is kept for the next call."""
        scratch: Floats | None = getattr(self._own, "scratch", None)
        if scratch is None or scratch.size < floats:
            scratch = self._own.scratch = aligned(floats)
        return scratch


def _floats(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return _POINTER(array.ctypes.data)
