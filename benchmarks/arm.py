"""Run cellbench by lanes in an ARM64 Python under qemu, and compare it with this machine.

    python benchmarks/arm.py FOLDER

It needs Debian or Ubuntu on x86-64, the network, 2 GB in FOLDER, where the ARM64 system and packages are kept for the
next time, and `apt-get install debootstrap qemu-user-static g++-aarch64-linux-gnu`. Nothing is installed elsewhere.

Lanes compiles for ARM64 with a compiler that runs here; the rest, torch too, runs under qemu. `cellbench check` asks
the laws and proves the programs; a small experiment is trained there and, with four lanes as well
(CELLBENCH_ISA=sse2), here. qemu says nothing about speed, so nothing is timed. Exits 77 with the reason where a tool is
missing, 1 where the two differ.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import yaml

HERE = Path(__file__).resolve().parents[1]
TOOLS = ("debootstrap", "qemu-aarch64-static", "aarch64-linux-gnu-g++", "dpkg-deb")
TORCH = "torch==2.9.1"
"""Its ARM64 wheel on PyPI is one for processors alone; that of 2.13.0 wants CUDA's libraries."""
TORCHS_OWN = ("sympy", "networkx", "fsspec", "typing-extensions", "setuptools")
CELLS = ("rnn", "lstm", "gru")
EXPERIMENT = {
    "name": "arm", "cells": list(CELLS), "engine": "lanes", "seeds": 3, "learning_rate": [0.003, 0.01],
    "grid": {"bits": [8], "batch_size": [5, 16], "hidden_size": [20]}, "train": {"max_steps": 200},
    "final": {"examples": 200, "bits": [8, 16], "difficulty": False},
}  # fmt: skip
TOLERANCE = 1e-6
"""Of the final losses. At these rates rounding stays rounding over 200 steps; at 0.1 an rnn makes another run of it."""


def system(folder: Path) -> Path:
    """Unpack a minimal Debian for ARM64 with its Python 3.11."""
    root = folder / "root"
    if not (root / "usr" / "bin" / "python3.11").exists():
        subprocess.run(
            ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=python3", "bookworm", root],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for package in sorted((root / "var" / "cache" / "apt" / "archives").glob("*.deb")):
            # its second stage would have to run there; unpacked files are enough for a Python
            files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", root], stdin=files.stdout, check=True)
    return root


def packages(folder: Path) -> Path:
    """Download what cellbench needs, as wheels for ARM64, and install this clone beside them."""
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", site]
    if not (site / "torch").exists():
        there = ["--only-binary=:all:", "--python-version", "3.11"]
        for glibc in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):
            there += ["--platform", f"{glibc}_aarch64"]
        needed = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["dependencies"]
        others = [name for name in needed if not name.startswith("torch")]
        # pip reads the conditions of torch's own dependencies as if for this machine
        subprocess.run([*pip, *there, "--no-deps", TORCH], check=True)
        subprocess.run([*pip, *there, "-c", HERE / "constraints.txt", *others, *TORCHS_OWN], check=True)
    shutil.rmtree(site / "cellbench", ignore_errors=True)
    subprocess.run([*pip, "--no-deps", "--upgrade", HERE], check=True)
    return site


def trained(results: Path) -> pd.DataFrame:
    """Read the replicas of one run."""
    import cellbench

    runs = cellbench.load(results / "arm").runs
    return runs.set_index(["label", "batch_size", "learning_rate", "seed"]).sort_index()


def main() -> int:
    """Run it, and print what came out."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(f"not run: {', '.join(missing)} is missing; the first lines of {__file__} say how to install it")
        return 77
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    root, site = system(folder), packages(folder)
    python = ["qemu-aarch64-static", "-L", root, root / "usr" / "bin" / "python3.11", "-m", "cellbench"]
    there = {**os.environ, "CXX": "aarch64-linux-gnu-g++", "PYTHONPATH": str(site), "HOME": str(folder),
             "XDG_CACHE_HOME": str(folder / "cache")}  # fmt: skip
    for cell in CELLS:
        subprocess.run([*python, "check", cell], check=True, env=there)
    (folder / "arm.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    run = ["run", folder / "arm.yaml", "--workers", "1", "--no-report", "--quiet", "--results"]
    for name in ("there", "here"):
        shutil.rmtree(folder / name, ignore_errors=True)
    subprocess.run([*python, *run, folder / "there"], check=True, env=there)
    here = {**os.environ, "CELLBENCH_ISA": "sse2", "PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-m", "cellbench", *run, folder / "here"], check=True, env=here)
    one, other = trained(folder / "there"), trained(folder / "here")
    same = ["status", "steps_to_solved", "final_step"]
    agree = one[same].equals(other[same])
    gap = (one["final_loss"] - other["final_loss"]).abs().max()
    print(
        f"{one['isa'].iloc[0]} beside {other['isa'].iloc[0]}: {len(one)} replicas of {', '.join(CELLS)}; status and "
        f"steps {'agree' if agree else 'differ'}; final losses differ by {gap:.1e} at most"
    )
    return 0 if agree and gap < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
