"""Findings about a cell that are reported and not required: its modes, engines, sizes, weights, learning to add."""

from __future__ import annotations

import copy
import pickle
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cellbench.cells.lstm import lstm
from cellbench.conformance.subject import Broken, CannotTell, Check, Subject, draws, leaves, move, same, step, unroll
from cellbench.engines import OPTIMIZERS, Refused, fastest_first, prepare
from cellbench.model import Contents, changed, measure
from cellbench.records import CellSpec, Chunk, Evaluate, Final, Point, Replica, Settings, Solved, Train
from cellbench.tasks.binary_addition import BinaryAddition
from cellbench.training.loop import train
from cellbench.wording import described

Found = tuple[str, Mapping[str, Any]]
"""A message of one line, and the same as data for JSON."""

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
STEPS = 1000
HIDDEN = 16
"""Units of the cells that are measured and trained here: more than the laws need."""


def engines(subject: Subject) -> Found:
    """Find which engines carry the cell, and why the others do not."""
    carried, refused = _carrying(subject)
    words = [", ".join(carried), *(f"not {name}: {why}" for name, why in refused.items())]
    return "; ".join(words), {"engines": carried, "refused": refused}


def _carrying(subject: Subject) -> tuple[list[str], dict[str, str]]:
    """List the engines that carry the cell, fastest first, and the reason of each that does not.

    Raises:
        Broken: none carries it.
    """
    carried, refused = [], {}
    for name in fastest_first(1):
        try:
            prepare(name, subject.blueprint(hidden_size=HIDDEN), OPTIMIZERS["adam"], 1.0)
        except Refused as refusal:
            refused[name] = str(refusal)
        except Exception as error:  # most likely from the cell's own code, which another engine may call otherwise
            refused[name] = f"raised {type(error).__name__}: {error}"
        else:
            carried.append(name)
    if "reference" not in carried:
        raise Broken(f"not even the reference engine carries it: {refused['reference']}")
    return carried, refused


def sizes(subject: Subject) -> Found:
    """Measure parameters, numbers of state, multiply-adds and time per step, beside those of lstm."""
    data: dict[str, dict[str, float]] = {}
    # lstm beside it, for time depends on the machine
    for name, one in (("cell", subject), ("lstm", Subject(lstm))):
        model = one.blueprint(hidden_size=HIDDEN).build("sizes")
        found = measure(model, one.input_size)
        data[name] = {
            "parameters": found.parameters,
            "state": found.state,
            "multiply_adds": found.multiply_adds,
            "microseconds": _microseconds(model, one.inputs(10, 16)),
        }
    words = [
        f"{unit} {data['cell'][key]:,.0f} (lstm {data['lstm'][key]:,.0f})"
        for key, unit in (
            ("parameters", "parameters"),
            ("state", "state"),
            ("multiply_adds", "multiply-adds per step"),
            ("microseconds", "µs per step (forward and backward in plain torch, batch 16)"),
        )
    ]
    return f"at hidden size {HIDDEN}, readout included: {', '.join(words)}", {"hidden_size": HIDDEN, **data}


def _microseconds(model: nn.Module, inputs: Tensor) -> float:
    """Time a model, forward and backward; the median of seven tries, in microseconds per step of the inputs."""
    tries = []
    for _ in range(7):
        start = time.perf_counter()
        model(inputs).sum().backward()
        tries.append((time.perf_counter() - start) / len(inputs) * 1e6)
    return statistics.median(tries)


def training_mode(subject: Subject) -> Found:
    """Find what `train()` mode changes: tensors of the cell, random draws, statistics of a batch, other outputs."""
    model = subject.model()
    cell, inputs = model.cell, subject.inputs(6, 5)
    mixed = inputs.clone()
    mixed[:, 1:] *= 3
    with torch.no_grad():
        before = Contents(model).digest()
        outputs, _ = unroll(cell, inputs)
        changes = [name.removeprefix("cell.") for name in changed(before, Contents(model).digest())]
        drawn = draws(subject.cell(), inputs)
        among = not same([outputs[:, 0]], [unroll(subject.cell(), mixed)[0][:, 0]], nan=True)
        evaluated, _ = unroll(subject.evaluated(), inputs)
    other = not torch.allclose(outputs, evaluated, rtol=1e-4, atol=1e-6, equal_nan=True)
    words = []
    if changes:
        words.append(f"changes {', '.join(changes)}")
    if drawn:
        words.append(f"draws random numbers from {', '.join(drawn)}")
    if among:
        words.append("examples influence each other (a statistic of the batch)")
    if other and not words:
        words.append("other outputs than in eval() mode")
    data = {"changes": changes, "draws": drawn, "batch_statistic": among, "other_outputs": other}
    return "; ".join(words) or "the same as in eval() mode", data


def pickles_and_copies(subject: Subject) -> Found:
    """Try copies of the cell: nothing here needs one."""
    words, data = [], {}
    for how, make in (("a deep copy", copy.deepcopy), ("a pickle", lambda cell: pickle.loads(pickle.dumps(cell)))):
        found = data[how.split()[-1]] = _copied(subject, how, make)
        words.append(f"{how} {found}" if found else "")
    said = "; ".join(filter(None, words)) or "copies are alike and share no weights"
    return said, data


def _copied(subject: Subject, how: str, make: Callable[[nn.Module], nn.Module]) -> str:
    """Say what is wrong with a copy of a cell; empty if nothing is."""
    cell, inputs = subject.evaluated(), subject.inputs(3, 2)
    try:
        twin = make(cell)
    except Exception as error:
        return f"cannot be made, and nothing here needs one ({described(error, 80)})"
    try:
        with torch.no_grad():
            expected, _ = unroll(subject.evaluated(), inputs)
            if not same([unroll(twin, inputs)[0]], [expected], nan=True):
                return "gives another answer than the cell"
            move(twin, 1.0)
            if not same([unroll(subject.evaluated(), inputs)[0]], [unroll(cell, inputs)[0]], nan=True):
                return "shares its weights with the cell"
    except Exception as error:
        return f"cannot be run ({described(error, 80)})"
    return ""


def initialisation(subject: Subject) -> Found:
    """Describe the first weights: spectral radii of the step and of its recurrent matrices, and means of biases."""
    cell = subject.blueprint(hidden_size=HIDDEN).build("initialisation").cell.eval()
    radii: dict[str, list[float]] = {}
    biases: dict[str, list[float]] = {}
    # a stack of square matrices with hidden units as columns is taken for recurrent, block by block (one per gate)
    for name, parameter in cell.named_parameters():
        rows = parameter.shape[0] if parameter.dim() else 0
        if parameter.dim() == 2 and parameter.shape[1] == HIDDEN and rows and rows % HIDDEN == 0:
            radii[name] = [spectral_radius(block) for block in torch.split(parameter.detach(), HIDDEN)]
        elif parameter.dim() == 1 and rows and rows % HIDDEN == 0 and "bias" in name:
            biases[name] = [float(block.real.mean()) for block in torch.split(parameter.detach(), HIDDEN)]
    whole = spectral_radius(step_jacobian(cell, subject.input_size))
    words = [f"the step's spectral radius at the initial state and input 0 is {whole:.2f}"]
    words += [f"{name}: spectral radius {_numbers(values)}" for name, values in radii.items()]
    words += [f"{name}: mean {_numbers(values)}" for name, values in biases.items()]
    data = {"hidden_size": HIDDEN, "step_spectral_radius": whole, "spectral_radius": radii, "bias_mean": biases}
    return "; ".join(words), data


def step_jacobian(cell: nn.Module, input_size: int) -> Tensor:
    """Compute the Jacobian of one step: the derivative of the state after by the state before.

    Returns:
        Shape (numbers, numbers), at input 0 and the initial state; all real numbers of one example's state in a row, a
        complex one as two. Whole numbers and truth values are left out.
    """
    before, nesting = pytree.tree_flatten(cell.initial_state(1))  # type: ignore[operator]
    moving = [i for i, leaf in enumerate(before) if torch.is_tensor(leaf) and _is_continuous(leaf)]
    if not moving:
        raise CannotTell("it has no state that can be differentiated")
    sizes = [_real(before[i]).numel() for i in moving]

    def after(flat: Tensor) -> Tensor:
        parts = list(before)
        for i, part in zip(moving, torch.split(flat, sizes), strict=True):
            parts[i] = _like(before[i], part)
        _, state = step(cell, torch.zeros(1, input_size), pytree.tree_unflatten(parts, nesting))
        return torch.cat([_real(leaf).reshape(-1) for leaf in leaves(state) if _is_continuous(leaf)])

    flat = torch.cat([_real(before[i]).detach().reshape(-1) for i in moving])
    found: Tensor = torch.autograd.functional.jacobian(after, flat)  # type: ignore[no-untyped-call]
    return found


def _is_continuous(leaf: Tensor) -> bool:
    return leaf.is_floating_point() or leaf.is_complex()


def _real(leaf: Tensor) -> Tensor:
    return torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf


def _like(leaf: Tensor, numbers: Tensor) -> Tensor:
    """Turn real numbers into a tensor like a leaf of the state."""
    return torch.view_as_complex(numbers.view(*leaf.shape, 2)) if leaf.is_complex() else numbers.view_as(leaf)


def spectral_radius(matrix: Tensor) -> float:
    """Compute the largest modulus of an eigenvalue; NaN for a matrix with entries that are not finite."""
    if not bool(torch.isfinite(matrix).all()):
        return float("nan")
    wide = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    return float(torch.linalg.eigvals(wide).abs().max())


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def learns_addition(subject: Subject) -> Found:
    """Train the cell on 8-bit addition at five learning rates, and report which solve it within 1,000 steps."""
    # one chunk of five replicas, as an experiment would train it, on the fastest engine
    blueprint, optimizer = subject.blueprint(hidden_size=HIDDEN), OPTIMIZERS["adam"]
    engine = _carrying(subject)[0][0]
    settings = Settings(
        task="binary_addition",
        train=Train(max_steps=STEPS, optimizer="adam", clip_norm=1.0, stop_when_solved=True, timeout=600.0),
        evaluate=Evaluate(every=5, growth=0.05, examples=256),
        solved=Solved(metric="sequence_accuracy", threshold=0.99, hold=2),
        final=Final(examples=1, values=(), difficulty=False),
    )
    chunk = Chunk(
        cell=CellSpec(label=str(subject), name=str(subject), factory=str(subject)),
        point=Point((("bits", 8),), 16, f"hidden {HIDDEN}"),
        hidden_size=HIDDEN,
        settings=settings,
        engine=engine,
        replicas=tuple(Replica(str(rate), 0, rate) for rate in RATES),
    )
    outcomes = {o.key: o for o in train(chunk, BinaryAddition(), prepare(engine, blueprint, optimizer, 1.0), blueprint)}
    steps = {rate: outcomes[str(rate)].steps_to_solved for rate in RATES}
    best = {rate: max((p.sequence_accuracy for p in outcomes[str(rate)].curve), default=0.0) for rate in RATES}
    data = {"engine": engine, "max_steps": STEPS, "steps_to_solved": steps, "best_sequence_accuracy": best}
    # the message says at which rates it was solved, or how near it came
    solved = [f"{count} at rate {rate:g}" for rate, count in steps.items() if count is not None]
    how = f"8-bit addition, batch 16, hidden size {HIDDEN}, one seed, linear readout, engine {engine}"
    if solved:
        return f"solved within {STEPS:,} steps on {len(solved)} of 5 rates (steps: {', '.join(solved)}); {how}", data
    top = max(best.values())
    return f"not solved within {STEPS:,} steps on any of 5 rates; best sequence accuracy {top:.2f}; {how}", data


OBSERVATIONS: tuple[Check, ...] = (
    Check("training-mode", False, "what train() mode changes", training_mode),
    Check("pickles-and-copies", False, "whether the cell can be copied, which nothing here needs", pickles_and_copies),
    Check("engines", False, "which engines carry the cell, and why the others do not", engines),
    Check("sizes", False, "parameters, numbers of state, multiply-adds and microseconds per step beside lstm", sizes),
    Check("initialisation", False, "first weights: spectral radii, mean biases", initialisation),
    Check("learns-addition", False, "whether it solves 8-bit addition on one of 5 learning rates", learns_addition),
)
