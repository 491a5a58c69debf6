"""Show what cellbench costs: time to compile the cells once, and a run that finds everything done."""

import os
import resource
import subprocess
import sys


def seconds(*options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "cellbench", "run", "cellbench.yaml", "--workers", "1", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


print(f"the same, cells compiled before: {seconds('--fresh'):.0f} s of processor time")
print(f"the same without a report: {seconds('--fresh', '--no-report'):.0f} s")
print(f"again, with nothing to train: {seconds('--no-report'):.0f} s")
