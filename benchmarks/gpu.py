"""Time stack on a card beside JAX on the same card: LSTM, 10 time steps, batch 16, in a few minutes.

    python benchmarks/gpu.py                  # the table of docs/engines.md
    python benchmarks/gpu.py --cpu --small    # the same way on the CPU, at the smallest size: shows that it runs

First a few replicas are trained on the card and by reference on the CPU, and the largest difference of their losses is
printed. Then both take turns at each size; a turn takes at least 0.2 s, the first is not counted, and the median is
printed. Without a card it ends with status 77 and the reason.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import engines
import peers
from peers import Peer, Setting

from cellbench.engines import OPTIMIZERS, device, footprint, prepare

SKIPPED = 77
"""The exit status of a program that cannot be run here, by the custom of test runners."""
SIZES = [(hidden, replicas) for hidden in (20, 64, 256) for replicas in (32, 1_000, 10_000)]
SMALL = [(4, 32)]
STEPS = 20
"""Steps per call."""
DISTINCT = 32
"""Models that are made; more replicas begin at the weights of the same ones."""


def on_card(setting: Setting, where: str) -> Peer:
    """Make a peer of the stack engine on a device: stacks as wide as a run would make them, one after the other."""
    begun = time.perf_counter()
    plan, adam = peers.blueprint(setting), OPTIMIZERS["adam"]
    engine = prepare("stack", plan, adam, 1.0, device=where)
    of_one = footprint.step_bytes(plan, setting.time, setting.batch, adam)
    width = footprint.width(of_one, device.free_bytes(where))
    models = [plan.build("bench", seed) for seed in range(min(DISTINCT, setting.replicas))]
    stacks = []
    for start in range(0, setting.replicas, width):
        members = range(start, min(start + width, setting.replicas))
        stacks.append(engine.begin([models[i % len(models)] for i in members], [0.01] * len(members)))
    x, y = peers.data(setting, STEPS, peers.SEEDS)

    def run() -> None:
        for number, stack in enumerate(stacks):
            count = min(width, setting.replicas - number * width)
            stack.advance(x, y, np.arange(count) % peers.SEEDS)

    run()  # warms up and records
    name = f"stack, {min(width, setting.replicas):,} wide"
    return Peer(name, run, STEPS * setting.replicas, time.perf_counter() - begun)


def difference(where: str) -> float:
    """Train eight replicas for 40 steps there and by reference on the CPU: the largest difference of a loss."""
    setting = Setting(replicas=8)
    plan = peers.blueprint(setting)
    x, y = peers.data(setting, 40, 8)
    losses = [
        prepare(name, plan, OPTIMIZERS["adam"], 1.0, device=place)
        .begin([plan.build("bench", seed) for seed in range(8)], [0.01] * 8)
        .advance(x, y, np.arange(8))
        .losses
        for name, place in (("stack", where), ("reference", "cpu"))
    ]
    return float(np.abs(losses[0] - losses[1]).max())


def row(setting: Setting, where: str, rounds: int) -> str:
    """Time both at one size, and write the row of the table."""
    made: list[Peer] = []
    said = {}
    wanted: dict[str, Callable[[], Peer]] = {
        "ours": partial(on_card, setting, where),
        "jax": partial(peers.jax_peer, setting, STEPS),
    }
    for name, make in wanted.items():
        try:
            made.append(make())
            said[name] = made[-1].name
        except ImportError as error:
            said[name] = f"left out: {error}"
        except Exception as error:
            if "memory" not in str(error).lower() and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            said[name] = "does not fit"
    medians: dict[str, Any] = engines.race(str(setting), made, rounds, time.perf_counter) if made else {}
    ours, jax = (medians.get(said[name]) for name in wanted)
    cells = [f"{m:.5f}" if m is not None else said[n] for n, m in (("ours", ours), ("jax", jax))]
    ratio = f"{jax / ours:.2f}" if ours and jax else ""
    return f"| {setting.hidden} | {setting.replicas:,} | {cells[0]} | {cells[1]} | {ratio} |"


def main() -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="go the way of a card on the CPU")
    parser.add_argument("--small", action="store_true", help="the smallest size alone, two rounds")
    arguments = parser.parse_args()
    where = "cpu:0" if arguments.cpu else "cuda"
    if why := device.missing(where):
        print(f"skipped: {why}", file=sys.stderr)
        return SKIPPED
    # JAX would take most of the card's memory at its start
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    torch.set_num_threads(1)
    print(f"{time.strftime('%Y-%m-%d')}: {device.name_of(where)}, torch {torch.__version__}")
    print(f"losses on it differ from those of reference on the CPU by at most {difference(where):.1e}", flush=True)
    rows = [
        row(Setting("lstm", hidden, 10, 16, replicas), where, 2 if arguments.small else 5)
        for hidden, replicas in (SMALL if arguments.small else SIZES)
    ]
    print("\n| hidden | replicas | stack, ms | JAX, ms | JAX / stack |\n| ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
