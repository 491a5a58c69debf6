"""Time cellbench's engines beside their peers, in one run.

    python benchmarks/engines.py                    # one configuration, with every peer that is installed
    python benchmarks/engines.py --sweep            # cells, bits, batches and replicas: the engines, nn.*, JAX
    python benchmarks/engines.py --sizes            # hidden sizes 8 to 512: which engine is the fastest at each
    python benchmarks/engines.py --growth           # how the time of lanes grows with each size: slopes, and a picture
    python benchmarks/engines.py --kinds            # bits, classes and numbers: lanes, stack, JAX, nn.LSTM
    python benchmarks/engines.py --start            # start-up, cold and from the cache, in fresh processes

Peers take turns within each round, so that other work on the machine slows all of them alike; the median of the rounds
is printed with the ratio to the first row. A first, untimed round warms everything up, and a turn takes at least 0.2 s.
With --cpu it takes processor time instead of the clock's, for a machine that is shared.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import peers
from peers import Peer, Setting

from cellbench.engines.lanes import build
from cellbench.task import Kind

HERE = Path(__file__).parent
BAR = Setting()
LEAST_SECONDS = 0.2
"""Seconds that a turn takes at least: a turn of milliseconds would depend on what the last peer left in the caches."""


def machine() -> str:
    """Describe the machine and the versions that the numbers are from."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    compiler = build.find_compiler()
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} processors, {build.native_isa()}, "
        f"{compiler.version if compiler else 'no C++ compiler'}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def race(title: str, made: Iterable[Peer], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Print the median ms per replica and step of each peer, with the ratio to the first."""
    field = list(made)
    times: dict[str, list[float]] = {peer.name: [] for peer in field}
    for turn in range(rounds + 1):
        for peer in field:
            begun, calls = clock(), 0
            while calls == 0 or (turn and clock() - begun < LEAST_SECONDS):
                peer.run()
                calls += 1
            if turn:
                times[peer.name].append((clock() - begun) / calls / peer.replica_steps * 1e3)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    first = next(iter(medians.values()))
    print(f"\n{title}")
    for peer in field:
        spread = f"{min(times[peer.name]):.4f} to {max(times[peer.name]):.4f}"
        ratio = medians[peer.name] / first
        print(
            f"  {peer.name:36s} {medians[peer.name]:9.4f} ms  ({spread})  {ratio:7.2f} x  start {peer.started:.2f} s",
            flush=True,
        )
    return medians


def steps_for(setting: Setting) -> int:
    """Choose the steps per call, so that a call takes about as long at each size."""
    work = setting.hidden**2 * setting.time * setting.batch * setting.replicas
    return max(1, min(20, int(4e7 / work)))


def installed(wanted: list[Callable[[], Peer]]) -> Iterable[Peer]:
    """Make the peers that can be made here, and print a line for each that cannot."""
    for make in wanted:
        try:
            yield make()
        except ImportError as error:
            print(f"  left out: {error}")


def one(rounds: int, clock: Callable[[], float]) -> None:
    steps = steps_for(BAR)
    wanted: list[Callable[[], Peer]] = [
        lambda: peers.ours("lanes", BAR, steps),
        lambda: peers.floor(BAR, steps),
        lambda: peers.jax_peer(BAR, steps),
        lambda: peers.ours("stack", BAR, steps),
        lambda: peers.torch_module(BAR, steps),
        lambda: peers.ours("reference", BAR, steps),
        lambda: peers.compiled_step(BAR, steps),
        lambda: peers.keras_peer(BAR, steps, xla=False),
        lambda: peers.keras_peer(BAR, steps, xla=True),
    ]
    race(str(BAR), installed(wanted), rounds, clock)


def sweep(rounds: int, clock: Callable[[], float]) -> None:
    for cell in peers.CELLS:
        for bits in (10, 32):
            for batch in (16, 64):
                for replicas in (1, 8, 32, 128):
                    setting = Setting(cell, 20, bits, batch, replicas)
                    steps = steps_for(setting)
                    wanted: list[Callable[[], Peer]] = [
                        lambda s=setting, n=steps: peers.ours("lanes", s, n),  # type: ignore[misc]
                        lambda s=setting, n=steps: peers.ours("stack", s, n),  # type: ignore[misc]
                        lambda s=setting, n=steps: peers.jax_peer(s, n),  # type: ignore[misc]
                        lambda s=setting, n=steps: peers.torch_module(s, n),  # type: ignore[misc]
                        lambda s=setting, n=steps: peers.ours("reference", s, n),  # type: ignore[misc]
                    ]
                    race(str(setting), installed(wanted), rounds, clock)


def sizes(rounds: int, clock: Callable[[], float]) -> None:
    settings = [
        Setting(cell, hidden, 10, 16, 32 if hidden <= 64 else 4)
        for cell in ("lstm", "rnn")
        for hidden in (8, 16, 32, 64, 128, 256, 512)
    ]
    # larger batches, where a library's matrix product is at its best
    settings += [Setting("lstm", hidden, 10, 64, 4) for hidden in (128, 256, 512, 768)]
    for setting in settings:
        steps = steps_for(setting)
        names = ("lanes", "stack", "reference") if setting.batch == 16 else ("lanes", "reference")
        field = [peers.ours(name, setting, steps) for name in names]
        race(str(setting), [*field, peers.torch_module(setting, steps)], rounds, clock)


def kinds(rounds: int, clock: Callable[[], float]) -> None:
    """Time the one configuration with the loss of each kind of answer."""
    of_kinds: tuple[Kind, ...] = ("bits", "classes", "numbers")
    for kind in of_kinds:
        setting = replace(BAR, kind=kind)
        steps = steps_for(setting)
        wanted: list[Callable[[], Peer]] = [
            lambda s=setting, n=steps: peers.ours("lanes", s, n),  # type: ignore[misc]
            lambda s=setting, n=steps: peers.jax_peer(s, n),  # type: ignore[misc]
            lambda s=setting, n=steps: peers.ours("stack", s, n),  # type: ignore[misc]
            lambda s=setting, n=steps: peers.torch_module(s, n),  # type: ignore[misc]
        ]
        race(str(setting), installed(wanted), rounds, clock)


def growth(rounds: int, clock: Callable[[], float]) -> None:
    """Print slopes of log time per step of all replicas over log size: 1 is proportional."""
    axes = {
        "replicas": (1, 4, 16, 64),
        "time": (8, 32, 128, 512),
        "batch": (16, 64, 256, 1024),
        "hidden": (16, 32, 64, 128),
    }
    rows = []
    for axis, values in axes.items():
        taken = []
        for value in values:
            setting = replace(BAR, replicas=4, **({axis: value} if axis != "replicas" else {}))
            setting = replace(setting, replicas=value) if axis == "replicas" else setting
            peer = peers.ours("lanes", setting, steps_for(setting))
            medians = race(f"{axis} {value}", [peer], rounds, clock)
            taken.append(medians["lanes"] * setting.replicas)
            rows.append({"axis": axis, "value": value, "ms per step": taken[-1]})
        slope = np.polyfit(np.log(values), np.log(taken), 1)[0]
        print(f"slope over {axis}: {slope:.2f}")
    import altair as alt
    import pandas as pd

    chart = alt.Chart(pd.DataFrame(rows)).mark_line(point=True)
    log = alt.Scale(type="log")
    chart = chart.encode(x=alt.X("value:Q", scale=log), y=alt.Y("ms per step:Q", scale=log), color="axis:N")
    chart.properties(width=400, height=300).save(str(HERE / "growth.png"))
    print(f"picture: {HERE / 'growth.png'}")


START = """
import time, torch
torch.set_num_threads(1)
from cellbench.model import Blueprint
from cellbench.engines import OPTIMIZERS
from cellbench.cells.{cell} import {cell}
if {tracer}:
    from torch.fx.experimental.proxy_tensor import make_fx
    make_fx(lambda x: x + 1)(torch.zeros(1))
begun = time.perf_counter()
from cellbench.engines import lanes
lanes.prepare(Blueprint({cell}, "{cell}", (), 2, 20, 1), optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
print(time.perf_counter() - begun)
"""


STARTS = (
    "floor(BAR, 20)",
    "jax_peer(BAR, 20)",
    "ours('stack', BAR, 20)",
    "compiled_step(BAR, 20)",
    "keras_peer(BAR, 1, xla=False)",
    "keras_peer(BAR, 1, xla=True)",
)
START_OF_PEER = """
import sys, torch
sys.path.insert(0, {here!r})
torch.set_num_threads(1)
import peers
BAR = peers.Setting()
try:
    peer = peers.{call}
    print(peer.name, peer.started, sep="\\t")
except ImportError as error:
    print(f"  left out: {{error}}", file=sys.stderr)
"""


def tell(name: str, taken: dict[str, list[float]]) -> None:
    print(f"{name}: " + "; ".join(f"{kind} {statistics.median(t):.2f} s" for kind, t in taken.items()), flush=True)


def caches(folder: str) -> dict[str, str]:
    """Return an environment with the caches of lanes, JAX and torch.compile in a folder; the other peers have none."""
    return {
        **os.environ,
        "CELLBENCH_CACHE": folder,
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch",
    }


def start_of_peers(rounds: int) -> None:
    """Time the peers at one configuration until their first steps are done, without their imports, twice.

    The second time each finds what the first left in its cache, if it has one. floor.cpp is compiled each time.
    """
    for call in STARTS:
        name, taken = "", {"cold": [], "again": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                for seconds in taken.values():
                    command = [sys.executable, "-c", START_OF_PEER.format(here=str(HERE), call=call)]
                    out = subprocess.run(command, env=caches(folder), stdout=subprocess.PIPE, text=True, check=True)
                    if out.stdout:  # else it is not installed
                        name, started = out.stdout.splitlines()[-1].split("\t")
                        seconds.append(float(started))
        if name:
            tell(name, taken)


def start(rounds: int, clock: Callable[[], float]) -> None:
    """Time the first cell in a fresh process, without `import torch`, with and without importing torch's tracer."""
    for cell in peers.CELLS:
        taken: dict[str, list[float]] = {"cold": [], "cold, torch's tracer imported before": [], "from the cache": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
                for kind, folder in zip(taken, (first, second, second), strict=True):
                    tracer = "before" in kind
                    out = subprocess.run(
                        [sys.executable, "-c", START.format(cell=cell, tracer=tracer)],
                        env=caches(folder), capture_output=True, text=True, check=True,
                    )  # fmt: skip
                    taken[kind].append(float(out.stdout))
        tell(cell, taken)
    start_of_peers(min(rounds, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sweep", "sizes", "kinds", "growth", "start"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", action="store_true", help="the processor's time instead of the clock's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{time.strftime('%Y-%m-%d')}: {machine()}{', processor time' if arguments.cpu else ''}")
    clock = time.process_time if arguments.cpu else time.perf_counter
    chosen = [f for f in (sweep, sizes, kinds, growth, start) if getattr(arguments, f.__name__)]
    for function in chosen or [one]:
        function(arguments.rounds, clock)


if __name__ == "__main__":
    main()
