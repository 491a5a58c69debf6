"""The compiler of this machine, the instruction sets it may use, and the command that makes a shared object."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cellbench.engines.engine import Refused

ISA_VARIABLE = "CELLBENCH_ISA"
"""Forces an instruction set: `avx512`, `avx2` or `sse2`."""
_COMMON = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
# Named features, never -march=native: a home folder may be shared by nodes with unlike processors.
_FLAGS = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma"),
    "sse2": (),
    "portable": (),
}
_ZIG_FLAGS = {"avx512": "-mcpu=x86_64_v4", "avx2": "-mcpu=x86_64_v3", "sse2": "-mcpu=x86_64"}


@dataclass(frozen=True)
class Isa:
    """An instruction set.

    Attributes:
        name: `avx512`, `avx2`, `sse2`, or `portable` on other machines than x86-64.
        machine: the processor's family.
    """

    name: str
    machine: str

    def __str__(self) -> str:
        return f"{self.machine.replace('_', '-')} {self.name}"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that answered.

    Attributes:
        command: how to call it.
        version: the first line it says of itself.
    """

    command: tuple[str, ...]
    version: str

    @property
    def zig(self) -> bool:
        """Whether it is clang as packed by ziglang, which names instruction sets in its own way."""
        return "ziglang" in self.command

    def flags(self, isa: Isa) -> tuple[str, ...]:
        """The options for an instruction set."""
        if self.zig:
            return (*_COMMON, *([_ZIG_FLAGS[isa.name]] if isa.name in _ZIG_FLAGS else []))
        return (*_COMMON, *_FLAGS[isa.name])


def native_isa() -> Isa:
    """The widest instruction set of this processor that lanes has code for."""
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if machine != "x86_64":
        return Isa("portable", machine)
    # torch asks the processor and the operating system: its AVX512 means f, bw, dq, vl and fma, its AVX2 fma too
    found = {"AVX512": "avx512", "AVX2": "avx2"}.get(_capability(), "sse2")
    return Isa(found, machine)


def _capability() -> str:
    # ATEN_CPU_CAPABILITY only limits what torch uses, but whoever sets it wants that here too
    return str(torch.backends.cpu.get_cpu_capability())


def chosen_isa(name: str | None = None) -> Isa:
    """The instruction set asked for, by argument or by CELLBENCH_ISA, or this processor's widest.

    Raises:
        Refused: there is no such instruction set.
    """
    native = native_isa()
    name = name or os.environ.get(ISA_VARIABLE)
    if name is None:
        return native
    if name not in _FLAGS or (name == "portable") != (native.name == "portable"):
        raise Refused(f"no instruction set {name!r}; there are avx512, avx2 and sse2")
    return Isa(name, native.machine)


def runs_here(isa: Isa) -> bool:
    """Whether this processor has an instruction set."""
    order = ("sse2", "avx2", "avx512")
    native = native_isa()
    return isa == native or (
        isa.name in order and native.name in order and order.index(isa.name) <= order.index(native.name)
    )


def find_compiler() -> Compiler | None:
    """The first that answers of $CXX, g++, clang++, c++, and the PyPI package ziglang."""
    return _find(os.environ.get("CXX"), os.environ.get("PATH"))


@functools.lru_cache(maxsize=8)
def _find(cxx: str | None, path: str | None) -> Compiler | None:
    commands = [tuple(shlex.split(cxx))] if cxx else []
    commands += [("g++",), ("clang++",), ("c++",)]
    for command in commands:
        if command and shutil.which(command[0], path=path or os.defpath if path is None else path):
            version = _version(command)
            if version is not None:
                return Compiler(command, version)
    if importlib.util.find_spec("ziglang") is not None:
        command = (sys.executable, "-m", "ziglang", "c++")
        version = _version(command)
        if version is not None:
            return Compiler(command, version)
    return None


def _version(command: tuple[str, ...]) -> str | None:
    try:
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.strip().splitlines()
    return lines[0] if lines else None


@functools.lru_cache(maxsize=1)
def engine_text() -> str:
    """A hash of this engine's own sources: anything built by other ones is not used."""
    here = Path(__file__).parent
    found = hashlib.sha256()
    for path in sorted([*here.rglob("*.py"), *here.rglob("*.h")]):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def program_texts(generated: str) -> tuple[str, ...]:
    """The translation units around a generated program; they are compiled at the same time."""
    return tuple(f'#include "wide.h"\n{generated}#include "{driver}"\n' for driver in ("train.h", "evaluate.h"))


def compile_program(texts: Sequence[str], compiler: Compiler, isa: Isa, folder: Path) -> bytes:
    """A shared object.

    Args:
        texts: of the translation units.
        compiler, isa: with what, for what.
        folder: a private one, for the files in between.

    Raises:
        OSError: there is no room.
        Refused: the compiler does not accept the program.
    """
    headers = str(Path(__file__).parent / "runtime")
    commands, objects = [], []
    for number, text in enumerate(texts):
        source, target = f"cell{number}.cpp", f"cell{number}.o"
        (folder / source).write_text(text)
        commands.append([*compiler.flags(isa), "-c", "-I", headers, source, "-o", target])
        objects.append(target)
    for together in (commands, [["-shared", "-s", *objects, "-o", "cell.so", "-lm"]]):
        _all(compiler, together, folder)
    return (folder / "cell.so").read_bytes()


def _all(compiler: Compiler, commands: Sequence[Sequence[str]], folder: Path) -> None:
    """Run the compiler several times at once, and wait for all."""
    # its own temporary files stay in the same folder
    environment = {**os.environ, "TMPDIR": str(folder)}
    running: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen(
                    [*compiler.command, *command],
                    cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                )
            )  # fmt: skip
        said = [process.communicate(timeout=600)[0] for process in running]
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{compiler.version} took longer than 10 minutes") from error
    finally:
        for process in running:
            process.kill()
            process.wait()
    for process, told in zip(running, said, strict=True):
        if process.returncode == 0:
            continue
        if "No space left" in told or "Disk quota" in told:
            raise OSError(told.strip().splitlines()[0])
        lines = [line for line in told.splitlines() if "error" in line] or told.splitlines()
        reason = lines[0][:200] if lines else f"exit {process.returncode}"
        raise Refused(f"{compiler.version} did not accept the program: {reason}")
