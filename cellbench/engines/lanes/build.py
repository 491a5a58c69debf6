"""The compiler of this machine, its instruction sets, and the commands that make a shared object."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cellbench import compiler
from cellbench.engines.engine import Refused, RefusedOnce

ISA_VARIABLE = "CELLBENCH_ISA"
"""Forces an instruction set: `avx512`, `avx2` or `sse2`; `portable` on machines other than x86-64."""
_COMMON = (
    "-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    *(() if sys.platform == "win32" else ("-fPIC",)),  # there all code is, and compilers refuse the option
)  # fmt: skip
# named features, never -march=native: nodes with different processors may share a home folder
_FLAGS = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma"),
    "sse2": (),
    "portable": (),
}
# without -mcpu zig takes this very processor
_ZIG_FLAGS = {
    "avx512": "-mcpu=x86_64_v4", "avx2": "-mcpu=x86_64_v3", "sse2": "-mcpu=x86_64", "portable": "-mcpu=baseline",
}  # fmt: skip


@dataclass(frozen=True)
class Isa:
    """An instruction set.

    Attributes:
        name: `avx512`, `avx2` or `sse2`; `portable` on machines other than x86-64.
        machine: the processor's family.
    """

    name: str
    machine: str

    def __str__(self) -> str:
        return f"{self.machine.replace('_', '-')} {self.name}"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that works.

    Attributes:
        command: how to call it.
        version: the first line that it prints for `--version`.
    """

    command: tuple[str, ...]
    version: str

    @property
    def zig(self) -> bool:
        """Whether it is clang from the package ziglang, which names instruction sets in its own way."""
        return "ziglang" in self.command

    def flags(self, isa: Isa) -> tuple[str, ...]:
        """List the compiler's options for an instruction set."""
        if self.zig:
            return (*_COMMON, _ZIG_FLAGS[isa.name])
        return (*_COMMON, *_FLAGS[isa.name])


def native_isa() -> Isa:
    """Find the widest instruction set of this processor that lanes has code for."""
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if machine != "x86_64":
        return Isa("portable", machine)
    # torch has asked the processor and the operating system: its AVX512 means f, bw, dq, vl and fma, its AVX2 fma too
    found = {"AVX512": "avx512", "AVX2": "avx2"}.get(_capability(), "sse2")
    return Isa(found, machine)


def _capability() -> str:
    # ATEN_CPU_CAPABILITY is meant for torch alone, but a user who sets it wants the same limit here
    return str(torch.backends.cpu.get_cpu_capability())


def chosen_isa(name: str | None = None) -> Isa:
    """Find the instruction set to compile for: the argument, else CELLBENCH_ISA, else this processor's widest.

    Raises:
        Refused: there is no such instruction set.
    """
    native = native_isa()
    name = name or os.environ.get(ISA_VARIABLE)
    if name is None:
        return native
    if name not in _FLAGS or (name == "portable") != (native.name == "portable"):
        there = "portable alone" if native.name == "portable" else "avx512, avx2 and sse2"
        raise Refused(f"no instruction set {name!r}; on this machine there are {there}")
    return Isa(name, native.machine)


def runs_here(isa: Isa) -> bool:
    """Return whether this processor has an instruction set."""
    order = ("sse2", "avx2", "avx512")
    native = native_isa()
    return isa == native or (
        isa.name in order and native.name in order and order.index(isa.name) <= order.index(native.name)
    )


def find_compiler() -> Compiler | None:
    """Find the first compiler that works: $CXX, g++, clang++, c++, or the PyPI package ziglang.

    Raises:
        Refused: $CXX is no command.
    """
    try:
        found = compiler.find()
    except ValueError as error:
        raise Refused(str(error)) from None
    return None if found is None else Compiler(*found)


@functools.lru_cache(maxsize=1)
def engine_text() -> str:
    """Hash the sources of this engine: what other sources built is not used."""
    here = Path(__file__).parent
    found = hashlib.sha256()
    for path in sorted([*here.rglob("*.py"), *here.rglob("*.h")]):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


_PATIENCE = 600.0
"""Seconds that a compiler may take for one program."""


def compile_program(
    texts: Sequence[str], compiler: Compiler, isa: Isa, folder: Path, ended: threading.Event | None = None
) -> bytes:
    """Compile translation units to a shared object, and return its bytes.

    Args:
        texts: C++, one per translation unit.
        compiler: the compiler to use.
        isa: the instruction set to compile for.
        folder: a private folder, for intermediate files.
        ended: once it is set, the compiler is ended.

    Raises:
        OSError: the disk is full.
        Refused: the compiler does not accept the program, takes too long, or is ended.
    """
    headers = str(Path(__file__).parent / "runtime")
    commands, objects = [], []
    for number, text in enumerate(texts):
        source, target = f"cell{number}.cpp", f"cell{number}.o"
        (folder / source).write_text(text, encoding="utf-8")
        commands.append([*compiler.flags(isa), "-c", "-I", headers, source, "-o", target])
        objects.append(target)
    # all units at the same time, then the linker
    _all(compiler, commands, folder, ended)
    link = ["-shared", *objects, "-o", "cell.so", "-lm"]
    try:
        _all(compiler, [[*link, "-s"]], folder, ended)  # without symbols the file is smaller
    except Refused:  # not every linker knows -s: that of macOS does not
        _all(compiler, [link], folder, ended)
    return (folder / "cell.so").read_bytes()


def _all(compiler: Compiler, commands: Sequence[Sequence[str]], folder: Path, ended: threading.Event | None) -> None:
    """Run several commands of the compiler at the same time, and wait for all."""
    # the compiler's temporary files go to the same folder, and its errors are read below, so they must be in English
    environment = {**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"}
    running: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen(
                    [*compiler.command, *command],
                    cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                    errors="replace",
                )
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE
        said = [_said(compiler, process, until, ended) for process in running]
    finally:
        # after a timeout or an interrupt, no compiler may go on in a folder that is removed
        for process in running:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    _check(compiler, running, said)


def _said(compiler: Compiler, process: subprocess.Popen[str], until: float, ended: threading.Event | None) -> str:
    """Wait for a process, and return its output; `until` and `ended` are looked at twice a second.

    Raises:
        Refused: it took too long.
        RefusedOnce: `ended` was set.
    """
    while True:
        try:
            return process.communicate(timeout=0.5)[0]
        except subprocess.TimeoutExpired as error:
            if ended is not None and ended.is_set():
                raise RefusedOnce(f"{compiler.version} was ended") from error
            if time.monotonic() > until:
                raise Refused(f"{compiler.version} took longer than 10 minutes") from error


def _check(compiler: Compiler, processes: Sequence[subprocess.Popen[str]], said: Sequence[str]) -> None:
    """Check that compilers have accepted what they were given.

    Raises:
        OSError: the disk is full.
        Refused: one has not; or was ended by a signal.
    """
    for process, output in zip(processes, said, strict=True):
        if process.returncode == 0:
            continue
        if process.returncode < 0:  # an interrupt ends the compiler, too
            raise RefusedOnce(f"{compiler.version} was ended by signal {-process.returncode}")
        # a full disk is not the cell's fault: the caller may try another folder
        if "No space left" in output or "Disk quota" in output:
            raise OSError(output.strip().splitlines()[0])
        # the first error says enough; a template's notes and warnings come before and after it
        lines = [line for line in output.splitlines() if "error" in line] or output.splitlines()
        reason = lines[0][:200] if lines else f"exit {process.returncode}"
        raise Refused(f"{compiler.version} did not accept the program: {reason}")
