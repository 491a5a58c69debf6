"""Answer one question with cellbench and with what one would write instead: lines, processor time, what goes wrong.

    python benchmarks/peers/compare.py                  # everything, each in a temporary environment of its own
    python benchmarks/peers/compare.py cellbench torch  # some
    python benchmarks/peers/compare.py jax --python /path/to/python    # in an environment that has the packages

The question is in cellbench.yaml: does a GRU learn to add 8-bit numbers in fewer steps than an LSTM? Lines are those of
code, without comments, docstrings and blank lines. Time is processor time, of one thread, with starting and compiling,
with nothing cached. For what goes wrong, `NAME_wrong.py` runs the program itself and prints what it sees.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import tokenize
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Peer:
    """One way to answer the question.

    Attributes:
        requirements: what pip installs, pinned.
        written: the files that a user writes.
        commands: run one after the other in a copy of this folder; "python" is the environment's.
        wrong: the script that shows what goes wrong, if there is one.
    """

    requirements: tuple[str, ...]
    written: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    wrong: str = ""


JAX = ("jax==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6")
PEERS = {
    "cellbench": Peer(
        (f"--constraint={ROOT / 'constraints.txt'}", str(ROOT)),
        ("cellbench.yaml",),
        (
            ("python", "-m", "cellbench", "run", "cellbench.yaml", "--workers", "1"),
            ("python", "cellbench_summary.py"),
        ),
        "cellbench_wrong.py",
    ),
    "torch": Peer(
        ("torch==2.13.0", "numpy==2.4.6"), ("torch_loop.py",), (("python", "torch_loop.py"),), "torch_loop_wrong.py"
    ),
    "keras": Peer(
        ("keras==3.15.1", *JAX), ("keras_train.py",), (("python", "keras_train.py"),), "keras_train_wrong.py"
    ),
    "jax": Peer(
        ("flax==0.12.8", "optax==0.2.8", *JAX),
        ("jax_optax.py",),
        (("python", "jax_optax.py"),),
        "jax_optax_wrong.py",
    ),
    "benchopt": Peer(
        ("benchopt==1.10.0", "torch==2.13.0", "numpy==2.4.6", "pandas==2.3.3"),
        (
            "benchopt/objective.py",
            "benchopt/datasets/addition.py",
            "benchopt/solvers/recurrent.py",
            "benchopt/benchmark_utils/recurrent.py",
            "benchopt_report.py",
        ),
        (
            ("python", "-m", "benchopt", "run", "benchopt", "-r", "5", "-n", "201", "--no-plot"),
            ("python", "benchopt_report.py", "benchopt"),
        ),
        "benchopt_wrong.py",
    ),
}


def code_lines(path: Path) -> int:
    """Count the lines of a file that hold code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in empty:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def environment(peer: Peer, folder: Path) -> str:
    """Make a virtual environment with the peer's packages; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements]
    subprocess.run(install, check=True)
    return python


def run(python: str, command: tuple[str, ...], folder: Path) -> tuple[str, float]:
    """Run a command; returns what it wrote to standard output, and its seconds of processor time."""
    own = os.environ | {
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "KERAS_BACKEND": "jax",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [python if word == "python" else word for word in command]
    done = subprocess.run(arguments, cwd=folder, env=own, text=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name: str, given: str | None) -> None:
    """Print everything about one peer."""
    peer = PEERS[name]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "work"
        shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "outputs", "__cache__", "results"))
        python = given or environment(peer, Path(work) / "venv")
        answers = [run(python, command, folder) for command in peer.commands]
        lines = sum(code_lines(HERE / file) for file in peer.written)
        print(f"{name}: {lines} lines, {sum(seconds for _, seconds in answers):.0f} s of processor time")
        print("  " + answers[-1][0].strip().replace("\n", "\n  "))
        if peer.wrong:
            wrong, _ = run(python, ("python", peer.wrong), folder)
            print("  beside that:\n    " + wrong.strip().replace("\n", "\n    "), flush=True)


def main() -> None:
    """Parse, then compare one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PEERS)}; default: all")
    parser.add_argument("--python", help="an interpreter that has the packages, instead of a new environment")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PEERS)
    if unknown:
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    for name in arguments.names or PEERS:
        compare(name, arguments.python)


if __name__ == "__main__":
    main()
