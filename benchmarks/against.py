"""Time this checkout beside another commit, and nn.LSTM in the same run: training, a replica and step.

    git worktree add ../old db868fb
    python benchmarks/against.py ../old lstm,20,8,4 gru,20,32,4     # cell, hidden size, bits, batch size
    CELLBENCH_ISA=avx2 python benchmarks/against.py ../old lstm,20,8,4

Each checkout has a process of its own. They take turns, and the ratios are medians over the rounds of processor time:
other work on the machine slows all alike. lanes trains 20 replicas (4 seeds, 5 learning rates), from hidden 128 on one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROUNDS = 7
LEAST_SECONDS = 0.1
"""Seconds that a turn takes at least."""


def addition(seeds: int, steps: int, bits: int, batch: int) -> tuple[Any, Any]:
    """Draw sums: inputs (seeds, steps, bits, batch, 2) and targets (seeds, steps, bits, batch, 1)."""
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 2, (seeds, steps, bits, batch, 2))
    digits[:, :, -1] = 0
    total, carry = np.zeros(digits.shape[:-1], np.int64), np.zeros((seeds, steps, batch), np.int64)
    for t in range(bits):
        both = digits[:, :, t].sum(-1) + carry
        total[:, :, t], carry = both % 2, both // 2
    return np.ascontiguousarray(digits, np.float32), np.ascontiguousarray(total[..., None], np.float32)


OLD = "cellbench.training"
"""Where the engines were before they had a room."""


class Turns:
    """One configuration, trained by the lanes engine of the checkout that this process imports."""

    def __init__(self, cell: str, hidden: int, bits: int, batch: int) -> None:
        from importlib import import_module

        factory = getattr(import_module(f"cellbench.cells.{cell}"), cell)
        try:
            from cellbench.engines import OPTIMIZERS, lanes
            from cellbench.model import Blueprint
        except ImportError:  # before the rooms
            lanes = import_module(f"{OLD}.engines.lanes")  # type: ignore[assignment]
            OPTIMIZERS = import_module(f"{OLD}.optimizers").OPTIMIZERS
            Blueprint = import_module(f"{OLD}.model").Blueprint
        plan = Blueprint(factory, cell, (), 2, hidden, 1)
        wanted: dict[str, Any] = {"optimizer": OPTIMIZERS["adam"], "clip_norm": 1.0}
        try:
            engine = lanes.prepare(plan, batch_sizes=(batch,), **wanted)
        except TypeError:
            engine = lanes.prepare(plan, **wanted)
        seeds, rates = (4, [0.003, 0.01, 0.03, 0.1, 0.3]) if hidden < 128 else (1, [0.003])
        self._steps = 20 if hidden < 128 else 1
        self.replica_steps = seeds * len(rates) * self._steps
        models = [plan.build("against", seed) for seed in range(seeds) for _ in rates]
        self._begin = lambda: engine.begin(models, rates * seeds)
        self._which = np.repeat(np.arange(seeds), len(rates))
        self._x, self._y = addition(seeds, self._steps * 10, bits, batch)

    def seconds(self, calls: int) -> float:
        """Train for some blocks; every 20 blocks from the start, so that numbers stay usual."""
        took = 0.0
        for call in range(calls):
            if call % 20 == 0:
                replicas = self._begin()
            block = slice(call % 10 * self._steps, (call % 10 + 1) * self._steps)
            begun = time.process_time()
            replicas.advance(self._x[:, block], self._y[:, block], self._which)
            took += time.process_time() - begun
        return took


class Library:
    """The same with torch.nn, one replica."""

    replica_steps = 1

    def __init__(self, cell: str, hidden: int, bits: int, batch: int) -> None:
        self._net = getattr(torch.nn, cell.upper())(2, hidden)
        self._head = torch.nn.Linear(hidden, 1)
        self._all = [*self._net.parameters(), *self._head.parameters()]
        self._optimizer = torch.optim.Adam(self._all, 0.003)
        self._x, self._y = (torch.from_numpy(a[0, 0]) for a in addition(1, 1, bits, batch))

    def seconds(self, calls: int) -> float:
        begun = time.process_time()
        for _ in range(calls):
            self._optimizer.zero_grad()
            logits = self._head(self._net(self._x)[0])
            torch.nn.functional.binary_cross_entropy_with_logits(logits, self._y).backward()
            torch.nn.utils.clip_grad_norm_(self._all, 1.0)
            self._optimizer.step()
        return time.process_time() - begun


def serve() -> None:
    """Answer lines of JSON: a configuration with its replica-steps per call, a number of calls with its seconds."""
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    turns: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, list):
            turns = (Library if os.environ.get("AGAINST_LIBRARY") else Turns)(*asked)
            found = turns.replica_steps
        else:
            found = turns.seconds(asked)
        print(json.dumps(found), file=answers, flush=True)


def main() -> None:
    here, other = Path(__file__).resolve().parents[1], Path(sys.argv[1]).resolve()
    places = {"then": (other, {}), "now": (here, {}), "torch.nn": (here, {"AGAINST_LIBRARY": "1"})}
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(place), **more},
        )
        for name, (place, more) in places.items()
    }  # fmt: skip

    def ask(name: str, what: Any) -> Any:
        process = processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(what), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    print("| cell, hidden, bits, batch | then, us | now, us | torch.nn, us | now of then | now of torch.nn |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for spec in sys.argv[2:]:
        cell, *sizes = spec.split(",")
        per = {name: ask(name, [cell, *map(int, sizes)]) for name in processes}
        calls = {}
        for name in processes:
            ask(name, 1)
            calls[name] = max(1, int(LEAST_SECONDS / max(ask(name, 2) / 2, 1e-6)))
        took: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(ROUNDS):
            for name in processes:
                took[name].append(ask(name, calls[name]) / calls[name] / per[name] * 1e6)
        middle = {name: statistics.median(t) for name, t in took.items()}
        now = took["now"]
        faster = [statistics.median(a / b for a, b in zip(took[n], now, strict=True)) for n in ("then", "torch.nn")]
        print(
            f"| {spec} | "
            + " | ".join(f"{middle[n]:.3f}" for n in places)
            + f" | {faster[0]:.2f} x | {faster[1]:.1f} x |",
            flush=True,
        )
    for process in processes.values():
        process.kill()


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve() if "--serve" in sys.argv else main()
