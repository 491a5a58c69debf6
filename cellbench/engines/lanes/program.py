"""A unit of a compiled cell in this process: its functions by ctypes, and a model's tensors as one row of floats."""

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

from cellbench.engines.engine import Advanced, Mask, RefusedOnce, Scores, Targets, first_line
from cellbench.engines.lanes import cache
from cellbench.engines.lanes.cache import CacheEntry
from cellbench.engines.lanes.graph.tensors import tensors_of
from cellbench.engines.lanes.units import Unit
from cellbench.engines.schedules import Schedule
from cellbench.model import Model
from cellbench.task import Floats

_ALIGNMENT = 64
_LONG, _DOUBLE, _POINTER = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


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
        schedule: what learning rates are multiplied by at each step.
        clip_norm: the largest norm of a gradient that is left alone; 0 for any norm.
        clip_value: the largest number of a gradient that is left alone; 0 for any number.
        still: which numbers of a row have no gradient, and are not updated.
    """

    kind: int
    constants: NDArray[np.float64]
    schedule: Schedule
    clip_norm: float
    clip_value: float
    still: NDArray[np.int64]


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

    Raises:
        RefusedOnce: this machine lets no program be loaded, neither from memory nor from a temporary file.
    """
    if digest not in _loaded:
        _loaded[digest] = _from_memory(content) or _from_file(content, digest)
    return _loaded[digest]


def _from_memory(content: bytes) -> ctypes.CDLL | None:
    """Load a program from a file in memory; None where a sandbox, or a machine without /proc, does not allow it."""
    try:
        descriptor = os.memfd_create("cellbench")
    except (AttributeError, OSError):
        return None
    try:
        # memory may hold files, and yet not run them
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        # never closed: the loader knows an object by its path, and another file must not get the same number
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError:
        os.close(descriptor)
        return None


def _from_file(content: bytes, digest: str) -> ctypes.CDLL:
    """Load from a private folder among the temporary files, or beside the cache if those may not be run."""
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
    raise RefusedOnce(
        f"this machine does not load the compiled program ({first_line(problem)}): set TMPDIR to a folder from which "
        "programs may run"
    )


_own = threading.local()
"""The scratch memory of each thread, which all programs use in turn."""


class Program:
    """A shared object and its layout.

    Args:
        content: the bytes of the shared object, checked against the entry's hash.
        entry: its entry in the cache.
        unit: which unit of the cell it is: it either trains or evaluates.
        tolerance: how far a number may be from its target and count as right.
    """

    def __init__(self, content: bytes, entry: CacheEntry, unit: Unit, tolerance: float = 0.0) -> None:
        self.entry = entry
        self.unit = unit
        self._tolerance = tolerance
        self._library = _load(content, entry.object)
        if unit.trains:
            self._library.floats_to_train.restype = _LONG
            self._library.gradient_once.restype = _DOUBLE
        else:
            self._library.floats_to_evaluate.restype = _LONG

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
            # by their order: names may differ from one model to the next, as those of keras do
            assert [tensor.numel() for tensor in group.values()] == [count for _, count in layout]
            for tensor in group.values():
                row[offset : offset + tensor.numel()] = tensor.reshape(-1).numpy()
                offset += tensor.numel()
        return row

    def floats_to_train(self, steps: int, slot_row: int, time: int, batch: int, masked: bool = False) -> int:
        """Count the floats of scratch memory for a block: its data in lanes, and one vector's intermediate results."""
        sizes = (steps, slot_row, time, batch, int(masked))
        return int(self._library.floats_to_train(*map(_LONG, sizes)))

    def gradient(self, row: Floats, inputs: Floats, targets: Targets, mask: Mask | None = None) -> tuple[float, Floats]:
        """Compute loss and flat gradient of one batch: data as for `evaluate`."""
        steps, batch = inputs.shape[:2]
        weights = aligned(len(row))  # vectors are loaded from it
        weights[:] = row
        gradient = aligned(self.entry.trained_row)
        scratch = _room(self.floats_to_train(1, 0, steps, batch, mask is not None))
        x, y, each = _floats(inputs), _floats(targets), self._weights(mask)
        loss = self._library.gradient_once(
            _LONG(steps), _LONG(batch), *map(_at, (x, y, each, weights, gradient, scratch))
        )
        return float(loss), gradient[: sum(count for _, count in self.entry.trained)]

    def train(
        self, rows: NDArray[np.int64], which: NDArray[np.int64], inputs: Floats, targets: Targets, replicas: Rows,
        into: Advanced, mask: Mask | None = None,
    ) -> None:  # fmt: skip
        """Train some replicas on a block.

        Args:
            rows: which of the replicas; those that train on one seed's data in a row.
            which: for each of them, whose seed's data it trains on: an index of the first axis.
            inputs: shape (seeds, steps, time, batch, input_size).
            targets: shape (seeds, steps, time, batch, output_size); classes: (seeds, steps, time, batch).
            replicas: all of them; weights and slots change in place.
            into: gets losses and broken steps in the same rows.
            mask: shape (seeds, steps, time, batch), or None.
        """
        steps, time, batch = inputs.shape[1:4]
        inputs, wanted, each = _blocks(inputs), _blocks(targets), self._weights(mask)
        slot_row = replicas.slots.shape[1]
        scratch = _room(self.floats_to_train(steps, slot_row, time, batch, mask is not None))
        rule = replicas.rule
        kept = aligned(len(rule.still), int(self._library.replicas_per_vector()))
        factors = rule.schedule.factors(replicas.done, steps)
        self._library.train(
            _LONG(steps), _LONG(time), _LONG(batch), _POINTER(inputs.ctypes.data), _LONG(inputs.strides[0] // 4),
            _POINTER(wanted.ctypes.data), _LONG(wanted.strides[0] // 4), _at(each),
            _LONG(0 if each is None else each.strides[0] // 4), _LONG(len(rows)), _at(rows), _at(which),
            _at(replicas.weights), _at(replicas.slots), _LONG(slot_row), _at(replicas.rates), _at(factors),
            _LONG(rule.kind), _at(rule.constants), _DOUBLE(rule.clip_norm), _DOUBLE(rule.clip_value),
            _LONG(len(rule.still)), _at(rule.still), _at(kept), _LONG(replicas.done), _at(into.losses),
            _at(into.broke), _at(scratch),
        )  # fmt: skip

    def _weights(self, mask: Mask | None) -> Floats | None:
        """Compute the weight of each step in the loss of its batch, from a mask (..., time, batch)."""
        if mask is None:
            return None
        answers = mask.sum(axis=(-2, -1), keepdims=True) * int(self._library.targets_per_step())
        return np.ascontiguousarray(mask * (np.float32(1) / answers.astype(np.float32)))

    def loss(self, row: Floats, inputs: Floats, targets: Targets, mask: Mask | None = None) -> float:
        """Compute the loss of one batch of examples, for which `evaluate` is proved: shapes as for `gradient`."""
        scores = Scores(*(np.zeros(1) for _ in range(3)))
        self.evaluate(np.zeros(1, np.int64), inputs, targets, _floats(row[None]), scores, mask)
        return float(scores.loss[0])

    def evaluate(
        self, rows: NDArray[np.int64], inputs: Floats, targets: Targets, weights: Floats, into: Scores,
        mask: Mask | None = None,
    ) -> None:  # fmt: skip
        """Score some replicas on one seed's examples.

        Args:
            rows: which of the replicas.
            inputs: shape (time, examples, input_size).
            targets: shape (time, examples, output_size); classes: (time, examples).
            weights: of all replicas.
            into: gets the scores in the same rows.
            mask: shape (time, examples), or None.
        """
        time, examples = inputs.shape[:2]
        x, y, counts = _floats(inputs), _floats(targets), None if mask is None else _floats(mask)
        scratch = _room(self._library.floats_to_evaluate(_LONG(time), _LONG(examples), _LONG(mask is not None)))
        self._library.evaluate(
            _LONG(time), _LONG(examples), _at(x), _at(y), _at(counts), _DOUBLE(self._tolerance), _LONG(len(rows)),
            _at(rows), _at(weights), _at(into.loss), _at(into.bit_accuracy), _at(into.sequence_accuracy), _at(scratch),
        )  # fmt: skip


def _room(floats: int) -> Floats:
    """Get scratch memory of at least so many floats; it is kept for the next call of this thread."""
    scratch: Floats | None = getattr(_own, "scratch", None)
    if scratch is None or scratch.size < floats:
        scratch = _own.scratch = aligned(floats)
    return scratch


def _floats(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)


def _blocks(array: NDArray[Any]) -> Floats:
    """Return an array (seeds, ...) in which each seed's part is dense; a part of a larger block need not be copied."""
    dense = len(array) == 0 or (array[0].flags.c_contiguous and array.dtype == np.float32)
    return array if dense else _floats(array)


def _at(array: NDArray[Any] | None) -> ctypes.c_void_p:
    if array is None:
        return _POINTER(None)
    assert array.flags.c_contiguous
    return _POINTER(array.ctypes.data)
