"""Modular arithmetic: the value modulo 5 of an expression without brackets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value
from cellbench_tasks.values import check_whole

MODULUS = 5
PLUS, MINUS, TIMES = MODULUS, MODULUS + 1, MODULUS + 2
"""The tokens of the operators, after those of the numbers 0 to 4."""
Whole = NDArray[np.int64]


def step(total: Whole, term: Whole, operator: Whole, number: Whole) -> tuple[Whole, Whole]:
    """Go on by one operator and one number: the sum of the finished terms, and the term that may still grow.

    The value so far is their sum: a product binds closer than what is before it.
    """
    times = operator == TIMES
    sign = np.where(operator == MINUS, -1, 1)
    return np.where(times, total, total + term) % MODULUS, np.where(times, term * number, sign * number) % MODULUS


class ModularArithmetic(Task):
    """Numbers 0 to 4 with operators +, - and * between them, all as likely; after each number, the value so far.

    The original asks once, at the end of expressions of many lengths. Asked after each number, one expression is an
    expression of every length up to it. Steps with an operator are not scored.

    References:
        Delétang et al. 2023, "Neural Networks and the Chomsky Hierarchy", arXiv:2207.02098.
    """

    kind: ClassVar[Literal["bits", "classes", "numbers"]] = "classes"
    tokens: ClassVar[bool] = True
    input_size: ClassVar[int] = MODULUS + 3
    output_size: ClassVar[int] = MODULUS
    parameters: ClassVar[Mapping[str, str]] = {"numbers": "numbers of the expression; it has 2 numbers - 1 symbols"}
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"numbers": (8, 32, 128)}

    def check_parameter(self, name: str, value: object) -> None:
        """`numbers` is a whole number of 1 or more."""
        check_whole(name, value, 1)

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Draw expressions and their values; see `Task.batch`."""
        count = int(parameters["numbers"])
        numbers = np.ascontiguousarray(stream.integers(count, 0, MODULUS).T)
        operators = np.ascontiguousarray(stream.integers(count, PLUS, TIMES + 1).T)
        inputs = np.empty((2 * count - 1, examples), np.int64)
        inputs[::2], inputs[1::2] = numbers, operators[1:]
        targets, mask = np.zeros_like(inputs), np.zeros(inputs.shape, np.uint8)
        total, term = np.zeros(examples, np.int64), numbers[0]
        for i in range(count):
            if i:
                total, term = step(total, term, operators[i], numbers[i])
            targets[2 * i] = (total + term) % MODULUS
        mask[::2] = 1
        return inputs, targets, mask

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Give the accuracy of the best predictor that sees the last operator and number, and how many there were."""
        count = int(parameters["numbers"])
        total, term = np.divmod(np.arange(MODULUS**2), MODULUS)  # every state
        share = np.where(total == 0, 1 / MODULUS, 0.0)  # of each state after the first number
        moved = []
        for operator, number in itertools.product((PLUS, MINUS, TIMES), range(MODULUS)):
            moved.append(step(total, term, np.full(MODULUS**2, operator), np.full(MODULUS**2, number)))
        right = [1.0]
        for _ in range(count - 1):
            after, best = np.zeros(MODULUS**2), 0.0
            for new_total, new_term in moved:
                best += np.bincount((new_total + new_term) % MODULUS, share, MODULUS).max() / len(moved)
                after += np.bincount(new_total * MODULUS + new_term, share, MODULUS**2) / len(moved)
            right.append(best)
            share = after
        return {"chance": 1 / MODULUS, "sees the last operator and number": float(np.mean(right))}
