"""Read what benchopt wrote: the step of the first of two evaluations in a row with at most 1% of sequences wrong."""

import sys
from pathlib import Path

import pandas as pd


def solved_at(curve):
    good = curve.sort_values("stop_val").set_index("stop_val")["objective_value"] <= 0.01
    held = good & good.shift(-1, fill_value=False)
    return held.idxmax() if held.any() else None


def report(folder):
    newest = max(Path(folder, "outputs").glob("*.parquet"), key=lambda path: path.stat().st_mtime)
    runs = pd.read_parquet(newest)
    for (cell, rate), some in runs.groupby(["p_solver_cell", "p_solver_rate"], sort=False):
        steps = [solved_at(curve) for _, curve in some.groupby("idx_rep")]
        solved = pd.Series([s for s in steps if s is not None], dtype=float)
        median = f"{solved.median():.0f}" if len(solved) else None
        print(f"{cell} at rate {rate}: solved {len(solved)} of {len(steps)}, median step {median}")


if __name__ == "__main__":
    report(sys.argv[1])
