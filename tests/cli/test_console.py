"""The command line as a whole: what it imports, what it prints, how it ends."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.core import TyperGroup
from typer.main import get_command

import cellbench
from cellbench.cli import app
from tests.helpers.commands import TINY, Command
from tests.helpers.runs import trained


def succeeds(code: str) -> None:
    """Run code in a Python of its own, which has imported nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["--version"], ["run", "--help"]])
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    """`--help` and `list` import neither torch, pandas nor scipy."""
    code = (
        "import sys\nfrom cellbench.cli import main\n"
        f"sys.argv = ['cellbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'pandas', 'scipy'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    succeeds(code)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "out"], ["report", "out"], ["rank", "out"], ["merge", "both", "out"], ["schema"],
        ["new", "my-cell"], ["new", "--experiment", "mine.yaml"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)  # fmt: skip
@pytest.mark.slow
def test_commands_that_train_nothing_import_no_torch(arguments: list[str]) -> None:
    """torch takes longer to import than most of them take."""
    trained(TINY)
    code = (
        "import sys\nfrom cellbench.cli import main\n"
        f"sys.argv = ['cellbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    succeeds(code)


def test_training_imports_nothing_that_reports_need() -> None:
    """What a run and its progress need: pandas and scipy would come before the first replica."""
    code = (
        "import sys\nimport cellbench.running, cellbench.terminal.progress\n"
        "heavy = {'pandas', 'scipy', 'altair', 'cellbench.summary', 'cellbench.results'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    succeeds(code)


def test_a_report_imports_little() -> None:
    """No torch (200 MiB), no scipy.stats (45 MiB and 0.3 s), no vl_convert, whose V8 takes 100 MiB when it draws."""
    code = (
        "import sys\nimport cellbench.results.results, cellbench.report.charts, cellbench.report.page\n"
        "heavy = {'torch', 'scipy.stats', 'scipy.optimize', 'vl_convert'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    succeeds(code)


def test_public_names() -> None:
    """The table of contents is exact, and each name is there."""
    assert cellbench.__all__ == [
        "Cell", "CellbenchError", "Results", "SequenceCell", "State", "Task", "TorchCell", "check", "compare",
        "hookimpl", "load", "run", "train",
    ]  # fmt: skip
    for name in cellbench.__all__:
        assert getattr(cellbench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cellbench.nothing  # noqa: B018


def test_help_is_made_of_sentences() -> None:
    """Every command, argument and option is explained by sentences, whole in the list of commands too."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for name, found in group.commands.items():
        explained = [found.get_short_help_str(65), *(str(getattr(p, "help", "")) for p in found.params)]
        for text in explained:
            assert text[:1].isupper(), f"{name}: {text}"
            assert text.endswith("."), f"{name}: {text}"
            assert not text.endswith("..."), f"{name}: {text}"


def test_python_dash_m() -> None:
    """`python -m cellbench` is the command."""
    done = subprocess.run([sys.executable, "-m", "cellbench", "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"cellbench {cellbench.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["run", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "--only", "cell"], "--only cell: must be KEY=VALUE"),
        (["run", "--only", "cel=rnn"], "no such key. Did you mean cell?"),
        (["run", "--shard", "4/3"], "--shard 4/3: must be I/N with I from 1 to N"),
        (["run", "--shard", "1/" + "9" * 5000], "must be I/N with I from 1 to N"),
        (["report", "nothere"], "nothere holds no runs.sqlite: no results yet"),
        (["status", "nothere"], "nothere holds no runs.sqlite: no results yet"),
        (["run", "--only", "seed=77", "--dry-run"], "--only seed=77 leaves nothing of the experiment default"),
    ],
)
def test_bad_input_ends_with_2(arguments: list[str], said: str, command: Command) -> None:
    """Bad input: a message, exit 2, no traceback."""
    ended = command(*arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_info(command: Command) -> None:
    """Versions, hardware and plugins, as text and as JSON."""
    facts = json.loads(command("info", "--json").out)
    assert facts["cellbench"] == cellbench.__version__
    assert facts["packages"]["torch"].startswith("2.")
    assert facts["cores"] >= 1
    assert f"python: {facts['python']}" in command("info").out
    # a list of names, or what torch says of cards that it does not find
    assert isinstance(facts["cards"], list) == torch.cuda.is_available()
    assert facts["cards"]


def test_shell_completion() -> None:
    """What bash gets at a Tab, and the script that asks for it, which bash accepts."""
    wanted = {"_CELLBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "cellbench ver", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "cellbench"]
    ended = subprocess.run(command, env={**os.environ, **wanted}, capture_output=True, text=True, check=False)
    assert (ended.stdout.split(), ended.stderr) == (["verify"], "")
    wanted |= {"COMP_WORDS": "cellbench run --dry", "COMP_CWORD": "2"}
    ended = subprocess.run(command, env={**os.environ, **wanted}, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["--dry-run"]
    wanted = {"_CELLBENCH_COMPLETE": "source_bash"}
    ended = subprocess.run(command, env={**os.environ, **wanted}, capture_output=True, text=True, check=False)
    assert "complete -o default -F" in ended.stdout
    assert subprocess.run(["bash", "-n"], input=ended.stdout, text=True, check=False).returncode == 0


def test_no_output_at_all() -> None:
    """`cellbench list >&-`, as some schedulers start programs: no output, no failure."""
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m cellbench list >&-"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_a_reader_that_goes_away(write: Callable[..., Path]) -> None:
    """`cellbench run ... | head -1`: ended as by the signal it would be, not as if replicas had failed."""
    commands = {"stdout": ["list"], "stderr": ["run", str(write()), "--workers", "1", "--no-report"]}
    for stream, arguments in commands.items():
        other = "stderr" if stream == "stdout" else "stdout"
        command = [sys.executable, "-m", "cellbench", *arguments]
        process = subprocess.Popen(command, **{stream: subprocess.PIPE, other: subprocess.DEVNULL})  # type: ignore[call-overload]
        getattr(process, stream).close()
        assert process.wait(120) == 141, stream


def test_commands_print_through_one_door() -> None:
    """Each command prints with `show`, which escapes what a store or a plugin may hold; `print` writes JSON alone."""
    for path in (Path(cellbench.__file__).parent / "cli").glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printed = [ast.unparse(call) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not [text for text in printed if not text.startswith("print(json.dumps(")], path.name
