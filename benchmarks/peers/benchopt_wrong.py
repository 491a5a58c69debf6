"""Show what goes wrong with benchopt here: its usual stopping rule takes a plateau for the end."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchopt_report import report

HERE = Path(__file__).parent


def run(folder):
    command = [sys.executable, "-m", "benchopt", "run", str(folder), "--no-plot", "-r", "5", "-n", "201"]
    subprocess.run([*command, "-s", "recurrent[cell=LSTM,rate=0.03]"], check=True, stdout=subprocess.DEVNULL)
    report(folder)


with tempfile.TemporaryDirectory() as work:
    folder = Path(work, "addition")
    shutil.copytree(HERE / "benchopt", folder)
    objective = folder / "objective.py"
    ours = "    stopping_criterion = Solved()\n"
    assert ours in objective.read_text()
    objective.write_text(objective.read_text().replace(ours, ""))
    print("without a stopping criterion of our own:", flush=True)
    run(folder)
