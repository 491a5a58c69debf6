"""When the learning curve is measured. Imports nothing of ours."""

from __future__ import annotations

MOST = 100_000
"""Points that a learning curve may have."""


def schedule(every: int, growth: float, max_steps: int) -> tuple[int, ...]:
    """The steps at which the learning curve is measured.

    The first is `every`; each next one comes `every * max(1, round(t * growth / every))` later; the last is max_steps.

    >>> schedule(5, 0.05, 200)[-6:]
    (150, 160, 170, 180, 190, 200)

    Raises:
        ValueError: `every` or `max_steps` is below 1, or `growth` is negative; or there would be more than MOST.
    """
    if every < 1 or max_steps < 1 or growth < 0:
        raise ValueError("every and max_steps must be at least 1, growth at least 0")
    steps: list[int] = []
    t = every
    while t < max_steps:
        if len(steps) == MOST:
            raise ValueError(f"asks for more than {MOST:,} evaluations of each replica: raise `every` or `growth`")
        steps.append(t)
        t += every * max(1, round(t * growth / every))
    return (*steps, max_steps)
