"""The lanes engine: trains replicas with the compiled programs of their cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellbench.engines.engine import LONGEST, USUAL_BATCHES, Advanced, Engine, Mask, Refused, Scores, Targets, Trained
from cellbench.engines.lanes import build
from cellbench.engines.lanes.compiled import Programs
from cellbench.engines.lanes.graph.tensors import tensors_of
from cellbench.engines.lanes.pool import Compilers, compilers
from cellbench.engines.lanes.program import Rows, Rule, aligned
from cellbench.engines.lanes.units import Unit, sharing
from cellbench.engines.optimizers import Optimizer
from cellbench.model import Blueprint, Model, follows_updates, reached, takes_steps
from cellbench.records import CPU
from cellbench.task import Floats

WIDTH = 64
"""Replicas in a chunk. Any number is as fast; with more, more share a seed's data; with fewer, a killed worker loses
less."""
_CONSTANTS = {
    "adam": (0, ("beta1", "beta2", "eps", "weight_decay")),
    "adamw": (1, ("beta1", "beta2", "eps", "weight_decay")),
    "sgd": (2, ("momentum", "weight_decay")),
    "rmsprop": (3, ("alpha", "eps", "momentum", "weight_decay")),
}
"""The number of each optimizer in train.h, and the order of its constants there."""


Layout = Sequence[tuple[str, tuple[int, ...], bool, bool]]
"""Parameters: each one's name, its shape, and whether it is complex and whether it is trained."""


class LaneEngine:
    """One compiled cell with its optimizer; see `cellbench.engines.engine.Engine`."""

    name = "lanes"
    width = WIDTH
    padded = 1
    owns_models = False

    def __init__(
        self, programs: Programs, optimizer: Optimizer, clip_norm: float | None, still: NDArray[np.int64]
    ) -> None:
        self.programs = programs
        self.isa = str(programs.isa)
        self.device = CPU
        self.compiler = programs.of(programs.evaluation).entry.compiler
        self._slots = optimizer.slots
        kind, names = _CONSTANTS[optimizer.name]
        constants = np.array([optimizer.constants[name] for name in names])
        clip_value = optimizer.clip_value or 0.0
        self._rule = Rule(kind, constants, optimizer.schedule, clip_norm or 0.0, clip_value, still)

    def begin(self, models: Sequence[Model], learning_rates: Sequence[float]) -> LaneReplicas:
        """Start replicas at the weights of `models`, each with its learning rate."""
        row_of = self.programs.of(self.programs.evaluation).row_of
        for model in models:
            self.programs.refuse_others(model)
        return self._replicas([row_of(model) for model in models], learning_rates, [_layout(m) for m in models])

    def resume(self, trained: Sequence[Trained]) -> LaneReplicas:
        """Take trained replicas back, to evaluate them."""
        rows = [row for row in trained if isinstance(row, np.ndarray)]
        assert len(rows) == len(trained)
        return self._replicas(rows, [0.0] * len(rows), [])

    def _replicas(self, rows: Sequence[Floats], rates: Sequence[float], layouts: Sequence[Layout]) -> LaneReplicas:
        entry = self.programs.of(self.programs.evaluation).entry
        weights = aligned(len(rows), entry.row)
        for place, row in zip(weights, rows, strict=True):
            place[:] = row
        slots = aligned(len(rows), self._slots * entry.trained_row)
        return LaneReplicas(self.programs, Rows(self._rule, weights, slots, np.array(rates, dtype=np.float64)), layouts)


class LaneReplicas:
    """Replicas in training; see `cellbench.engines.engine.Replicas`.

    Args:
        programs: the compiled cell.
        replicas: their numbers.
        layouts: what each replica's parameters are.
    """

    def __init__(self, programs: Programs, replicas: Rows, layouts: Sequence[Layout]) -> None:
        self._programs = programs
        self._replicas = replicas
        self._layouts = list(layouts)
        self._dead = np.zeros(len(replicas.rates), dtype=bool)

    def advance(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Advanced:
        """Train every replica through a block of steps."""
        count, steps, batch_size = len(self._dead), inputs.shape[1], inputs.shape[3]
        # a replica that broke in an earlier block counts as broken at the first step of this one, and is not trained
        found = Advanced(np.full((count, steps), np.nan), np.where(self._dead, 0, -1).astype(np.int64))
        alive = np.flatnonzero(~self._dead)
        rows = alive[np.argsort(which[alive], kind="stable")]
        program = self._programs.of(self._programs.training(batch_size))
        program.train(rows, which[rows], inputs, targets, self._replicas, into=found, mask=mask)
        self._replicas.done += steps
        self._dead |= found.broke >= 0
        return found

    def evaluate(self, inputs: Floats, targets: Targets, which: NDArray[np.int64], mask: Mask | None = None) -> Scores:
        """Score every replica."""
        count = len(self._dead)
        program = self._programs.of(self._programs.evaluation)
        scores = Scores(np.zeros(count), np.zeros(count), np.zeros(count))
        for seed in range(inputs.shape[0]):
            rows = np.flatnonzero(which == seed)
            if len(rows):
                counts = None if mask is None else mask[seed]
                program.evaluate(rows, inputs[seed], targets[seed], self._replicas.weights, into=scores, mask=counts)
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these replicas alone, in this order."""
        chosen = list(rows)
        self._replicas = self._replicas.keep(chosen)
        self._layouts = [self._layouts[row] for row in chosen] if self._layouts else []
        self._dead = self._dead[chosen]

    def trained(self, rows: Sequence[int]) -> list[Trained]:
        """Copy some replicas, each as a row of all its tensors."""
        return [self._replicas.weights[row].copy() for row in rows]

    def parameters(self) -> list[dict[str, Floats]]:
        """Copy each replica's parameters, by name."""
        return self._parameters_of(range(len(self._dead)))

    def _parameters_of(self, rows: Sequence[int]) -> list[dict[str, Floats]]:
        trained_row = self._programs.of(self._programs.evaluation).entry.trained_row
        return [_parameters(self._replicas.weights[row], trained_row, self._layouts[row]) for row in rows]

    def tensors(self, rows: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """Copy the tensors of some replicas by path; beside parameters, a program has constants alone."""
        return [dict(found) for found in self._parameters_of(rows)]


def _layout(model: Model) -> Layout:
    """List a model's parameters, the trained ones first, as they are in a row."""
    found = [(n, tuple(p.shape), p.is_complex(), p.requires_grad) for n, p in model.named_parameters()]
    return sorted(found, key=lambda parameter: not parameter[3])


def _parameters(row: Floats, trained_row: int, layout: Layout) -> dict[str, Floats]:
    """Copy the parameters out of a row."""
    found: dict[str, Floats] = {}
    offset, first_frozen = 0, True
    for name, shape, is_complex, trained in layout:
        if not trained and first_frozen:
            offset, first_frozen = trained_row, False
        count = math.prod(shape) * (2 if is_complex else 1)
        numbers = row[offset : offset + count].copy()
        found[name] = numbers.reshape(shape) if not is_complex else numbers.view(np.complex64).reshape(shape)  # type: ignore[assignment]
        offset += count
    return found


def together(batch_size: int) -> int:
    """Count the replicas that are trained at a time on this machine: those that share a vector."""
    return sharing(batch_size, build.chosen_isa().name)


def begin(
    blueprint: Blueprint,
    pool: Compilers,
    *,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    isa: str | None = None,
) -> Programs:
    """Trace a cell, and begin to compile what the cache lacks of it on the threads of `pool`; see `prepare`.

    Raises:
        Refused: the engine cannot carry the cell, as is known without a compiler; the message says why, in one line.
    """
    _refuse_python(blueprint)
    programs = Programs(blueprint, isa, longest=longest)
    for unit in _units(programs, batch_sizes):
        programs.begin(unit, pool)
    return programs


def prepare(
    blueprint: Blueprint,
    *,
    optimizer: Optimizer,
    clip_norm: float | None,
    batch_sizes: Sequence[int] = USUAL_BATCHES,
    longest: int = LONGEST,
    isa: str | None = None,
    replicas: int | None = None,
    begun: Programs | None = None,
) -> Engine:
    """Make the lanes engine ready for one model: from the cache in milliseconds, or built in a second or two.

    Args:
        blueprint: the model's structure.
        optimizer, clip_norm: how it is trained; one compiled program serves all optimizers.
        batch_sizes: those that it will be trained at. Another one is made ready when it comes.
        longest: time steps of the longest sequence that is trained or evaluated.
        isa: an instruction set other than this processor's widest (or that of CELLBENCH_ISA).
        replicas: how many share a vector, in place of as many as fill it; 1 to compare with.
        begun: what `begin` returned for this model, if it was called; its compilers are waited for.

    Raises:
        Refused: the engine cannot carry the cell here; the message is the reason in one line.
    """
    optimizer.refuse_torchs()
    _refuse_python(blueprint)
    programs = begun if begun is not None else Programs(blueprint, isa, replicas, longest)
    units = _units(programs, batch_sizes)
    with compilers() as pool:
        # this thread compiles the first one meanwhile
        for unit in units[1:]:
            programs.begin(unit, pool)
        for unit in units:
            programs.of(unit)
    return LaneEngine(programs, optimizer, clip_norm, _still(blueprint, optimizer))


def _still(blueprint: Blueprint, optimizer: Optimizer) -> NDArray[np.int64]:
    """List the numbers of a row that have no gradient, if the optimizer would change them all the same."""
    if not optimizer.decays:
        return np.zeros(0, np.int64)
    sizes = [tensor.numel() for tensor in tensors_of(blueprint.build("lanes", 0)).trained.values()]
    return np.flatnonzero(~np.repeat(reached(blueprint), sizes))


def build_ahead(begun: Programs, batch_sizes: Sequence[int] = USUAL_BATCHES) -> str:
    """Wait for what `begin` began, for this processor or for another one, and prove it if it runs here.

    Returns:
        The instruction set, and whether the programs were proved or will be where they run.

    Raises:
        Refused: the cell cannot be compiled; the message is the reason in one line.
    """
    made = [begun.made(unit) for unit in _units(begun, batch_sizes)]
    return f"{begun.isa}, {'to be proved where it runs' if None in made else 'proved'}"


def _refuse_python(blueprint: Blueprint) -> None:
    """Refuse a cell that is more than one step and its gradient.

    Raises:
        Refused: it does something after each update, or takes whole sequences alone.
    """
    model = blueprint.build("lanes", 0)
    if not takes_steps(model.cell):
        raise Refused(
            "its module takes whole sequences alone, and lanes compiles one step: a cellbench.Cell with "
            "forward(x, state) would be carried"
        )
    if follows_updates(model):
        raise Refused(
            "its after_update() is called after each update, in Python; lanes compiles a step and its gradient"
        )


def _units(programs: Programs, batch_sizes: Sequence[int]) -> list[Unit]:
    """List the units for some batch sizes; what trains comes first, since its proof says more."""
    return [*dict.fromkeys(programs.training(batch_size) for batch_size in batch_sizes), programs.evaluation]
