"""The factors of a learning rate: those of torch's schedulers, at any step, in any blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from cellbench.engines.schedules import Schedule


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    kind, steps = draw(st.sampled_from(["constant", "linear", "cosine"])), draw(st.integers(1, 60))
    warmup = draw(st.integers(0, steps if kind == "constant" else steps - 1))
    return Schedule(kind, warmup, draw(st.sampled_from([0.0, 0.1, 1.0])), steps)


def by_torch(schedule: Schedule) -> list[float]:
    """The learning rates that torch's schedulers give an optimizer whose rate is 1."""
    by = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    left = schedule.steps - schedule.warmup
    after: dict[str, Any] = {
        "constant": lambda: lr_scheduler.ConstantLR(by, 1.0),
        "linear": lambda: lr_scheduler.LinearLR(by, 1.0, schedule.end, left),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(by, left, schedule.end),
    }
    rise = [lr_scheduler.LinearLR(by, 1 / schedule.warmup, 1.0, schedule.warmup - 1)] if schedule.warmup else []
    both = lr_scheduler.SequentialLR(by, [*rise, after[schedule.kind]()], [schedule.warmup] if rise else [])
    found = []
    for _ in range(schedule.steps):
        found.append(by.param_groups[0]["lr"])
        by.step()
        both.step()
    return found


@given(schedules())
def test_they_are_torchs(schedule: Schedule) -> None:
    np.testing.assert_allclose(schedule.factors(0, schedule.steps), by_torch(schedule), rtol=0, atol=1e-12)


@given(schedules(), st.integers(0, 80), st.integers(0, 40))
def test_a_block_is_a_part_of_the_whole(schedule: Schedule, done: int, count: int) -> None:
    """To the bit, and beyond the budget too, where it stays at its end."""
    whole = schedule.factors(0, done + count)
    assert np.array_equal(schedule.factors(done, count), whole[done:])
    assert ((whole >= 0) & (whole <= 1)).all()
    assert (np.diff(whole[: schedule.warmup]) >= 0).all()
    assert (np.diff(whole[max(schedule.warmup - 1, 0) :]) <= 0).all()


@pytest.mark.parametrize("steps", [1, 1000])
def test_without_a_schedule_all_are_one(steps: int) -> None:
    """Exactly: rates that are multiplied by them keep their bits."""
    assert Schedule("constant", 0, 0.0, steps).factors(3, 5).tolist() == [1.0] * 5
    assert Schedule("linear", 4, 0.0, 1000).factors(3, 2).tolist() == [1.0, 1.0]
