"""How many final examples a report needs: how much the intervals of its accuracies widen with fewer.

    python benchmarks/final_examples.py results/default
    python benchmarks/final_examples.py results/default --examples 500 250 125 --draws 10

Each stored accuracy is that of N examples. A random n of them have a hypergeometric number of right ones, so a report
on n examples is drawn without training. For bit accuracy that is an upper bound: bits of one example count as all right
or all wrong. An interval is the one that the report prints, of the mean over seeds; its width is averaged over the
draws and compared with the width on all N examples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cellbench.results.results import laid_out
from cellbench.store.frames import Frames, read


def thinned(stored: Frames, every: int, kept: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the final evaluations as if each were of `kept` of its `every` examples; per difficulty, a quarter."""
    drawn = stored.evaluations.copy()
    trained_at = {"", *stored.experiment["resolved"]["final"]}
    quarter = ~drawn["by"].isin(trained_at)
    for metric in ("bit_accuracy", "sequence_accuracy"):
        shares = drawn[metric].to_numpy(dtype=np.float64)
        for part, divisor in ((~quarter, 1), (quarter, 4)):
            rows = part.to_numpy()
            total, few = every // divisor, kept // divisor
            right = np.rint(shares[rows] * total).astype(np.int64)
            shares[rows] = rng.hypergeometric(right, total - right, few) / few
        drawn[metric] = shares
    return drawn


def widths(stored: Frames, evaluations: pd.DataFrame) -> pd.Series:
    """Compute the widths of the intervals of every published accuracy, by what it is of."""
    stored = Frames(**{**vars(stored), "evaluations": evaluations})
    frame = laid_out(stored).summary.accuracy
    names = [c for c in frame.columns if c not in ("mean", "low", "high", "least", "seeds", "learning_rate")
             and not c.startswith("share")]  # fmt: skip
    return (frame["high"] - frame["low"]).set_axis(pd.MultiIndex.from_frame(frame[names].astype(str)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int, nargs="+", default=[500, 250])
    parser.add_argument("--draws", type=int, default=5)
    given = parser.parse_args()
    stored = read(given.folder, curves=False)
    every = stored.experiment["resolved"]["final"]["examples"]
    whole = widths(stored, stored.evaluations)
    print(f"{given.folder}: {len(whole):,} accuracies with an interval, on {every:,} examples each")
    print(
        "| examples | metric | sum of widths | median | 99 % | most | over 3 % wider |\n| --- | --- "
        + "| ---: " * 5
        + "|"
    )
    for kept in given.examples:
        rng = np.random.default_rng(kept)
        drawn = [widths(stored, thinned(stored, every, kept, rng)) for _ in range(given.draws)]
        mean = pd.concat(drawn, axis=1).mean(axis=1)
        for metric in ("sequence_accuracy", "bit_accuracy"):
            mine = whole.index.get_level_values("metric") == metric
            known = mine & (whole > 0).to_numpy()
            ratio = (mean[known] / whole[known]).dropna()
            total = mean[known].sum() / whole[known].sum()
            median, nearly, most = ratio.quantile([0.5, 0.99, 1])
            wider = f"{(ratio > 1.03).sum()} of {len(ratio):,}"
            print(f"| {kept} | {metric} | {total:.4f} | {median:.4f} | {nearly:.3f} | {most:.3f} | {wider} |")


if __name__ == "__main__":
    main()
