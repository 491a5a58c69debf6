"""What people get wrong in a task is named before anything is trained, with their own line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import cellbench
from cellbench.conformance import TaskSubject, subject_of_task, task_checks
from cellbench.conformance.report import check
from cellbench.errors import CellbenchError, PluginError, TaskError
from tests.helpers.commands import Command
from tests.helpers.tasks import BASE, TINY, write

STREAM, ROWS, DECLARES, ALONE, OTHERS, EXACT = (
    "draws-from-the-stream-alone", "rows-do-not-depend-on-the-number", "draws-what-it-declares",
    "leaves-generators-alone", "depends-on-the-stream", "difficulty-is-exact",
)  # fmt: skip
BATCH = "    def batch(self, stream, examples, parameters):\n        n = parameters['length']\n"
DIFFICULT = """\
    difficulty = "ones"

    def batch(self, stream, examples, parameters):
        return self.answer(stream.bits(parameters["length"]).T)

    def difficulties(self, parameters):
        return (1, 2)

    def measured_difficulty(self, batch):
        return batch[0][:, :, 0].sum(0).astype(int)

    def batch_of_difficulty(self, stream, examples, parameters, difficulty):
"""
WRONG = {
    # the body of a task, the laws that it breaks, words of the message, the line that is shown
    "numpy's generator": (
        f"{BATCH}        bits = np.random.randint(0, 2, (n, examples))\n        return self.answer(bits)\n",
        {ALONE, STREAM, ROWS}, "numpy's generator was drawn from", "bits = np.random.randint(0, 2, (n, examples))",
    ),
    "Python's generator": (
        f"{BATCH}        random.seed(0)\n        return self.answer(stream.bits(n).T)\n",
        {ALONE}, "Python's generator was drawn from", "random.seed(0)",
    ),
    "torch's generator": (
        f"{BATCH}        noise = torch.rand(1)\n        return self.answer(stream.bits(n).T)\n",
        {ALONE}, "torch's generator was drawn from", "noise = torch.rand(1)",
    ),
    "a generator of its own": (
        f"{BATCH}        g = np.random.default_rng()\n        return self.answer(g.integers(0, 2, (n, examples)))\n",
        {STREAM, ROWS}, "two batches of one stream differ at length 8", "g = np.random.default_rng()",
    ),
    "one seed for all": (
        f"{BATCH}        g = np.random.default_rng(0)\n        return self.answer(g.integers(0, 2, (n, examples)))\n",
        {OTHERS, ROWS}, "every seed would train on the same data", "g = np.random.default_rng(0)",
    ),
    "memory": (
        "    drawn = 0\n" + BATCH +
        "        self.drawn += 1\n        return self.answer(stream.bits(n).T ^ (self.drawn % 2))\n",
        {STREAM, ROWS}, "differ at length 8 (the same task)", "def batch(self, stream, examples, parameters):",
    ),
    "a mixed axis": (
        f"{BATCH}        return self.answer(stream.bits(n).reshape(n, examples))\n",
        {ROWS}, "1 of 12 examples (from example 0 on) change", "def batch(self, stream, examples, parameters):",
    ),
    "a file of the folder": (
        f"{BATCH}        open('mytask.py').close()\n        return self.answer(stream.bits(n).T)\n",
        {STREAM}, "FileNotFoundError", "open('mytask.py').close()",
    ),
    "class numbers as bits": (
        f"{BATCH}        x = stream.integers(n, 0, 8).T[:, :, None]\n        return x / 8, x\n",
        {DECLARES}, 'declare `kind = "classes"`', "def batch(self, stream",
    ),
    "a name that is not there": (
        "    def batch(self, stream, examples, parameters):\n        n = parameters['lenght']\n",
        {DECLARES}, "raised KeyError: 'lenght'", "n = parameters['lenght']",
    ),
    "examples that nothing asks": (
        f"{BATCH}        bits = stream.bits(n).T\n        mask = np.broadcast_to(bits[:1], bits.shape)\n"
        "        return (*self.answer(bits), mask)\n",
        {DECLARES}, "has no step that counts", "def batch(self, stream",
    ),
    "another difficulty": (
        f"{DIFFICULT}        bits = stream.bits(parameters['length']).T\n        return self.answer(bits)\n",
        {EXACT}, "ones 1 at length 8: an example has", "def batch_of_difficulty(",
    ),
}  # fmt: skip
BY_DECLARING = {DECLARES, ALONE, STREAM, OTHERS, ROWS, EXACT, "works-in-a-worker"}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    """Each fault breaks the laws that it should, no other, and shows the line of the task's own file."""
    body, laws, words, line = WRONG[name]
    write(f"{BASE}\nclass Wrong(Base):\n{body}")
    subject = subject_of_task("./mytask.py:Wrong")
    quick = [law for law in task_checks if law.quick]
    found = {law.name: law(subject) for law in quick}
    broken = {law for law, result in found.items() if not result.ok}
    # what cannot be drawn at all keeps no law that draws
    assert broken == laws or (DECLARES in laws and laws <= broken <= BY_DECLARING)
    said = next(result for law, result in found.items() if not result.ok and words in result.message)
    assert said.place is not None
    assert line in said.place.code
    assert said.place.file == "mytask.py"
    assert Path("mytask.py").read_text().splitlines()[said.place.line - 1].strip() == said.place.code


def test_a_run_refuses(command: Command) -> None:
    """`run` and its dry run exit with 2 and the user's line, and leave no folder; --trust trains what it can."""
    write(f"{BASE}\nclass Parity(Base):\n{WRONG['a mixed axis'][0]}")
    line = 1 + Path("mytask.py").read_text().splitlines().index(BATCH.splitlines()[0])
    Path("own.yaml").write_text(yaml.safe_dump(TINY))
    for arguments in (["run", "own.yaml"], ["run", "own.yaml", "--dry-run"]):
        ended = command(*arguments)
        assert ended.status == 2
        assert "mytask.py:Parity breaks a law of tasks:\n  rows-do-not-depend-on-the-number: " in ended.err
        assert f"mytask.py:{line}\n        def batch(self, stream, examples, parameters):" in ended.err
        assert "`cellbench check ./mytask.py:Parity` asks it alone." in ended.err
        assert "Traceback" not in ended.err
    assert not Path("results").exists()
    assert command("run", "own.yaml", "--trust").status == 0
    report = Path("results/own/summary.md").read_text()
    assert "mytask.py:Parity breaks a law of tasks: rows-do-not-depend-on-the-number: at length 4, 1 of 12" in report


def test_what_cannot_be_trained_is_not_trusted(command: Command) -> None:
    """A task whose answers are no bits is refused with --trust too."""
    write(f"{BASE}\nclass Parity(Base):\n{WRONG['class numbers as bits'][0]}")
    Path("own.yaml").write_text(yaml.safe_dump(TINY))
    ended = command("run", "own.yaml", "--trust")
    assert ended.status == 2
    assert "--trust" not in ended.err.splitlines()[-1]


@pytest.mark.slow
def test_sound_tasks(command: Command) -> None:
    """A sound task keeps every law, in a worker too; the verdict is the exit status."""
    write()
    ended = command("check", "./mytask.py:Parity,length=5")
    assert ended.status == 0, ended.out
    assert ended.out.splitlines()[-1] == "mytask.py:Parity: all 7 laws hold"
    assert "at length 5: inputs " in ended.out
    told = json.loads(command("check", "binary_addition", "--json").out)
    assert told["passed"]
    assert told["task"] == "binary_addition"
    assert [c["status"] for c in told["checks"]] == ["pass"] * 7 + ["note"] * 2


@pytest.mark.slow
def test_a_task_that_no_worker_draws(command: Command) -> None:
    """What this process alone has set is missed by a worker."""
    write(
        f"{BASE}\nimport os\n\nclass Parity(Base):\n{BATCH}"
        "        return self.answer(stream.bits(n).T ^ (os.getpid() == int(os.environ['ONLY'])))\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        import os

        patch.setenv("ONLY", str(os.getpid()))
        ended = command("check", "./mytask.py:Parity")
    assert ended.status == 1
    assert "fail  works-in-a-worker                 a worker draws another batch" in ended.out


def test_parameters() -> None:
    """Those given are taken, unknown and refused ones are named; others are values that the task takes."""
    write()
    assert subject_of_task("./mytask.py:Parity").points == ({"length": 8}, {"length": 4})
    assert subject_of_task("./mytask.py:Parity", {"length": 3}).points == ({"length": 3},)
    assert subject_of_task("binary_addition").points == ({"bits": 8}, {"bits": 16})
    with pytest.raises(TaskError, match="no parameter 'bits'; it has length"):
        subject_of_task("./mytask.py:Parity", {"bits": 3})
    with pytest.raises(TaskError, match="length is 0: length must be a whole number"):
        subject_of_task("./mytask.py:Parity", {"length": 0})


def test_names() -> None:
    """A name that is neither a cell's nor a task's is said to be so; a cell's name is a cell."""
    with pytest.raises(PluginError, match="no cell and no task named 'pariti'"):
        check("pariti")
    with pytest.raises(CellbenchError, match=r"no file none\.py"):
        check("none.py:Parity")


def test_a_file_without_a_class(command: Command) -> None:
    """The classes of the file are listed, tasks among them."""
    write()
    ended = command("check", "mytask.py")
    assert ended.status == 2
    assert "It defines:\n  mytask.py:Base\n  mytask.py:Parity" in ended.err


def test_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cellbench.check` takes a class from a module of the user's own."""
    write()
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(__import__("sys").modules, "mytask", raising=False)
    from mytask import Parity  # type: ignore[import-not-found]

    subject = subject_of_task(Parity)
    assert isinstance(subject, TaskSubject)
    assert str(subject) == "mytask.py:Parity"
    assert all(law(subject).ok for law in task_checks if law.quick)
    with pytest.raises(CellbenchError, match=r"give a class that derives from cellbench\.Task"):
        cellbench.run(task=Parity(), cells=["rnn"], grid=TINY["grid"], quiet=True)
