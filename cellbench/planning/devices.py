"""Where cells are trained: on the card or on the CPU, by a short calibration, and how many replicas a card holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cellbench.engines import Choice, footprint, optimizer_of
from cellbench.engines.device import free_bytes, missing, used
from cellbench.environment import usable_cores
from cellbench.errors import CellError
from cellbench.experiment import Experiment
from cellbench.model import blueprint_of
from cellbench.planning.cost import STEPS, step_seconds
from cellbench.plugins import contained
from cellbench.records import CPU, Chunk, Planned

_CARD_STEPS = (5, 45)
"""Steps of the two timings on a card: in both the step was recorded, so that the difference has none of that."""


def check(experiment: Experiment) -> None:
    """Refuse an experiment that asks for a card which torch does not find.

    Raises:
        ExperimentError: it does; the message has the line, and what torch says.
    """
    asked = experiment.keys.device
    if why := missing(used(asked)):
        raise experiment.fault(("device",), f"{asked} is asked for, but {why}")


def choose_on(
    device: str, wanted: str, choose: Callable[[str, str], Choice], chunk_of: Callable[[Choice], Chunk]
) -> Choice:
    """Choose the engine of a cell, and what it computes on.

    Args:
        device: that the experiment asks for, `cpu` or `cuda`.
        wanted: `auto`, or an engine's name.
        choose: (engine or `auto`, device) -> the choice there.
        chunk_of: of a choice, the chunk to time it by.

    Raises:
        CellError: no engine can carry the cell.
    """
    if device == CPU or wanted != "auto":
        return choose(wanted, CPU if wanted == "lanes" else device)
    try:
        on_card = choose("auto", device)
    except CellError as error:
        on_cpu = choose("auto", CPU)
        return replace(on_cpu, reason="; ".join(filter(None, (f"not on the card: {error}", on_cpu.reason))))
    if on_card.device == CPU:  # the cell's own code raised
        return on_card
    return _faster(on_card, choose("auto", CPU), chunk_of)


def _faster(on_card: Choice, on_cpu: Choice, chunk_of: Callable[[Choice], Chunk]) -> Choice:
    """Choose between two engines by the steps of training that they make per second, on all cores or on the card."""
    cores = usable_cores()
    rates, said = [], [choice.reason for choice in (on_card, on_cpu) if choice.reason]
    for choice, copies, steps in ((on_card, 1, _CARD_STEPS), (on_cpu, cores, (1, STEPS))):
        chunk = chunk_of(choice)
        seconds, failure = step_seconds(chunk, *steps)
        rates.append(0.0 if failure else len(chunk.replicas) * copies / seconds)
        where = f"{cores} {'core' if cores == 1 else 'cores'}" if choice.device == CPU else "the card"
        did = f"failed ({failure})" if failure else f"trains {rates[-1]:,.0f} steps per second"
        said.append(f"{choice.engine} on {where} {did}")
    return replace(on_card if rates[0] >= rates[1] else on_cpu, reason="; ".join(said))


def stack_width(experiment: Experiment, planned: Planned, device: str) -> int:
    """Compute how many replicas of a cell at a point to stack on the card, by its free memory; at least one.

    Args:
        experiment: whose task and optimizer are meant.
        planned: the cell at the point.
        device: the card.
    """
    time = experiment.task.length(dict(planned.point.parameters))
    try:
        with contained():
            blueprint = blueprint_of(planned.cell, planned.fit.hidden_size, experiment.task)
            optimizer = optimizer_of(experiment.settings.train)
            of_one = footprint.step_bytes(blueprint, time, planned.point.batch_size, optimizer)
    except Exception:
        return 1  # its code raises, as its replicas will say
    return footprint.width(of_one, free_bytes(device))
