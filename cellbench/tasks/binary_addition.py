"""Binary addition: two summands enter bit by bit, least significant first; the sum's bits come out.

Summands are uniform below 2^(bits-1), so the sum fits in `bits`. Bits are added by carrying, so any length works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellbench.streams import Stream
from cellbench.task import Batch, Parameters, Task, Value

Bits = NDArray[np.uint8]


def add(a: Bits, b: Bits) -> Bits:
    """The sum's bits, least significant first.

    Args:
        a, b: bits of the summands, shape (time, examples), least significant first.

    Returns:
        Shape (time, examples); a carry out of the last position is lost.

    >>> add(np.array([[1], [1], [0]], np.uint8), np.array([[1], [0], [0]], np.uint8)).ravel().tolist()  # 3 + 1
    [0, 0, 1]
    """
    differ = a ^ b
    both = a & b
    total = np.empty_like(differ)
    carry = np.zeros(differ.shape[1], np.uint8)
    for t in range(differ.shape[0]):
        np.bitwise_xor(differ[t], carry, out=total[t])
        carry &= differ[t]
        carry |= both[t]
    return total


def longest_chain(a: Bits, b: Bits) -> NDArray[np.int64]:
    """The longest carry chain: the most positions that one carry passes, from where it is made.

    A carry is made where both bits are 1 and passed on where they differ; where both are 1 again, a new chain begins.

    Args:
        a, b: shape (time, examples).

    Returns:
        Shape (examples,).

    >>> longest_chain(np.array([[1], [1], [0]], np.uint8), np.array([[1], [0], [0]], np.uint8)).tolist()  # 3 + 1
    [2]
    """
    chain = np.zeros(a.shape[1], np.int64)
    longest = chain.copy()
    for t in range(a.shape[0]):
        chain = np.where(a[t] & b[t], 1, np.where((a[t] ^ b[t]) & (chain > 0), chain + 1, 0))
        np.maximum(longest, chain, out=longest)
    return longest


def _completions(length: int, chain: int) -> NDArray[np.float64]:
    """Shares of the completions in which the longest chain comes to be exactly `chain`.

    Returns:
        Shape (length + 1, chain + 1, 2): given position, chain under way, and whether `chain` was reached before. Each
        pair of bits is both ones (1/4), unlike (1/2), both zeros (1/4).
    """
    share = np.zeros((length + 1, chain + 1, 2))
    share[length, :, 1] = 1.0
    share[length, chain, 0] = 1.0  # under way and just long enough
    for t in range(length - 1, -1, -1):
        for reached in (0, 1):
            made = share[t + 1, min(1, chain), reached] if chain >= 1 else 0.0
            for running in range(chain + 1):
                done = 1 if reached or running == chain else 0
                ended = share[t + 1, 0, done]
                restarted = (share[t + 1, 1, done] if chain >= 1 else 0.0) if done != reached else made
                if running == 0:
                    passed = share[t + 1, 0, done]
                else:
                    passed = share[t + 1, running + 1, done] if running < chain else 0.0
                share[t, running, reached] = 0.25 * restarted + 0.5 * passed + 0.25 * ended
    return share


class BinaryAddition(Task):
    """Two summands below 2^(bits-1), two bits a step; the sum's bit at each step."""

    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    parameters: ClassVar[Mapping[str, str]] = {"bits": "bits of the sum, which is the number of steps"}
    difficulty: ClassVar[str | None] = "carry_chain"
    final: ClassVar[Mapping[str, tuple[Value, ...]]] = {"bits": (8, 16, 64, 256)}

    def check_parameter(self, name: str, value: object) -> None:
        """`bits` is a whole number of 2 or more."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise ValueError(f"{name} must be a whole number of 2 or more")

    @staticmethod
    def _pack(a: Bits, b: Bits) -> Batch:
        """From the summands' bits (time - 1, examples) to inputs and targets; the last step only carries out."""
        bits, examples = a.shape[0] + 1, a.shape[1]
        inputs = np.zeros((bits, examples, 2), np.float32)
        inputs[:-1, :, 0], inputs[:-1, :, 1] = a, b
        last = np.zeros((1, examples), np.uint8)
        total = add(np.concatenate([a, last]), np.concatenate([b, last]))
        return inputs, total.astype(np.float32)[:, :, None]

    def batch(self, stream: Stream, examples: int, parameters: Parameters) -> Batch:
        """Uniform summands; see `Task.batch`."""
        width = int(parameters["bits"]) - 1
        drawn = np.ascontiguousarray(stream.bits(2 * width).T)
        return self._pack(drawn[:width], drawn[width:])

    def difficulties(self, parameters: Parameters) -> tuple[int, ...]:
        """Chains of 0, the powers of two, and the longest that fits."""
        longest = int(parameters["bits"]) - 1
        powers = [0, *(2**k for k in range(longest.bit_length()) if 2**k < longest), longest]
        return tuple(sorted(set(powers)))

    def batch_of_difficulty(self, stream: Stream, examples: int, parameters: Parameters, difficulty: int) -> Batch:
        """Pairs whose longest carry chain is exactly `difficulty`, uniform among all such pairs.

        Drawn position by position, each class of pair (both ones, unlike, both zeros) with its conditional
        probability given that the chain can still come out right.

        Raises:
            ValueError: no pair of this length has such a chain.
        """
        width = int(parameters["bits"]) - 1
        if not 0 <= difficulty <= width:
            raise ValueError(f"no carry chain of {difficulty} fits in {width + 1} bits")
        share = _completions(width, difficulty)
        choice, which = stream.uniform(width).T, stream.bits(width).T
        a, b = np.zeros((width, examples), np.uint8), np.zeros((width, examples), np.uint8)
        running, reached = np.zeros(examples, np.int64), np.zeros(examples, np.int64)
        for t in range(width):
            done = np.where(running == difficulty, 1, reached)
            made = 0.25 * share[t + 1, 1, done] if difficulty >= 1 else np.zeros(examples)
            longer = np.where(running > 0, running + 1, 0)
            fits = longer <= difficulty
            passed = np.where(fits, 0.5 * share[t + 1, np.where(fits, longer, 0), done], 0.0)
            ended = 0.25 * share[t + 1, 0, done]
            u = choice[t] * (made + passed + ended)
            ones, unlike = u < made, (u >= made) & (u < made + passed)
            a[t] = ones | (unlike & (which[t] == 1))
            b[t] = ones | (unlike & (which[t] == 0))
            running = np.where(ones, 1, np.where(unlike, longer, 0))
            reached = done
        return self._pack(a, b)

    def reference_accuracies(self, parameters: Parameters) -> Mapping[str, float]:
        """Bit accuracy of the best predictor that sees only the last k + 1 pairs of bits, k = 0 to 4.

        At output i it is 1 if i <= k, else 1 - 2^-k (1 - 2^-(i-k)) / 2.
        """
        outputs = int(parameters["bits"])
        return {f"sees the last {k + 1}" if k else "sees this pair only": window_accuracy(k, outputs) for k in range(5)}


def window_accuracy(k: int, outputs: int) -> float:
    """Mean bit accuracy over `outputs` outputs of the best predictor that sees only the last k + 1 pairs.

    The carry into the window is unknown; it matters with probability 2^-k, and is 1 with probability
    (1 - 2^-(i-k)) / 2 at output i.

    >>> [round(window_accuracy(k, 33), 3) for k in range(5)]
    [0.53, 0.773, 0.89, 0.947, 0.974]
    """
    i = np.arange(outputs)
    return float(np.mean(np.where(i <= k, 1.0, 1 - 2.0**-k * (1 - 2.0 ** -(np.maximum(i - k, 0))) / 2)))
