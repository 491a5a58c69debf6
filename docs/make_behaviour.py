"""Writes the measured tables of docs/behaviour.md from the results of experiments/behaviour: see the end of that page.

`python docs/make_behaviour.py [FOLDER]` reads the results folders in FOLDER (default: results). A table stands between
`<!-- measured: NAME -->` and `<!-- end -->`. A table whose results are missing is left as it is, and named.

Shares have Wilson's 95 % interval, ratios Student's over seeds of paired differences of log steps. A replica that was
not solved counts with the budget; "at least" or "at most" says that a ratio holds such a one.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from measured import fill
from scipy import stats

PAGE = Path(__file__).parent / "behaviour.md"
WHERE = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
LONG = 256
_RUNS = """
SELECT plan.label, json_extract(plan.parameters, '$.bits') AS bits, plan.batch_size, plan.hidden_size,
       plan.learning_rate, plan.seed, replica.key, replica.status, replica.steps_to_solved, replica.final_step,
       replica.final_bit_accuracy,
       (SELECT sequence_accuracy FROM evaluation WHERE replica = replica.id AND by = 'bits' AND value = 8) AS short,
       (SELECT sequence_accuracy FROM evaluation WHERE replica = replica.id AND by = 'bits' AND value = 256) AS long
FROM plan JOIN replica ON replica.key = plan.key
"""
_CURVES = """
SELECT plan.label, plan.seed, curve.step, curve.bit_accuracy, curve.sequence_accuracy, replica.steps_to_solved
FROM plan JOIN replica ON replica.key = plan.key JOIN curve ON curve.replica = replica.id
"""


def query(name: str, text: str = _RUNS) -> pd.DataFrame:
    """Read from the store of one experiment, as docs/results.md shows."""
    path = WHERE / name / "runs.sqlite"
    if not path.is_file():
        raise FileNotFoundError(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        return pd.read_sql(text, connection)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a markdown table; the first column is text, the others numbers."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def share(good: pd.Series) -> str:
    """Write a count of seeds with its Wilson interval in percent: `12/40 [18, 45]`."""
    k, n = int(good.sum()), len(good)
    if not n:
        return "0/0"
    low, high = stats.binomtest(k, n).proportion_ci(method="wilson")
    return f"{k}/{n} [{100 * low:.0f}, {100 * high:.0f}]"


def steps(runs: pd.DataFrame) -> pd.Series:
    """Steps to solved by seed; the budget where a replica was not solved."""
    return runs.set_index("seed")["steps_to_solved"].fillna(runs.set_index("seed")["final_step"]).astype(float)


def median(runs: pd.DataFrame) -> str:
    """Write the median of the steps to solved, or that it lies beyond the budget."""
    middle = runs["steps_to_solved"].astype(float).fillna(np.inf).median()
    return f"{middle:.0f}" if np.isfinite(middle) else f"over {runs['final_step'].max()}"


def ratio(runs: pd.DataFrame, to: pd.DataFrame) -> str:
    """Write the ratio of the steps of `runs` to those of `to`, over the seeds of both, with its interval."""
    logs = (np.log(steps(runs)) - np.log(steps(to))).dropna()
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std() / np.sqrt(len(logs))
    middle, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    ours, theirs = runs["steps_to_solved"].isna().any(), to["steps_to_solved"].isna().any()
    bound = {(True, False): "at least ", (False, True): "at most ", (True, True): "about "}.get((ours, theirs), "")
    return f"{bound}{middle:.2f} [{low:.2f}, {high:.2f}]"


def of(runs: pd.DataFrame, **at: object) -> pd.DataFrame:
    """Keep the rows with these values."""
    for name, value in at.items():
        runs = runs[runs[name] == value]
    return runs


def one_setting() -> str:
    """Compare variants with the cell that each varies."""
    runs = query("one-setting")
    pairs = (
        ("lstm", ""), ("rnn", "lstm"), ("gru", "lstm"), ("lstm-forget-1", "lstm"), ("no-forget", "lstm"),
        ("rnn-signed", "rnn"), ("lstm-signed", "lstm"), ("gru-signed", "gru"), ("lstm-h0", "lstm"), ("gru-h0", "gru"),
    )  # fmt: skip
    rows = []
    for label, to in pairs:
        mine = of(runs, label=label)
        beside = f"{to}: {ratio(mine, of(runs, label=to))}" if to else ""
        rows.append([label, share(mine.status == "solved"), median(mine), beside, share(mine.long == 1)])
    return table(["cell", "solved", "median steps", "times the steps of", f"exact on 1,000 pairs of {LONG} bits"], rows)


def past_solved() -> str:
    """Follow models beyond the step at which they were solved."""
    solved, on, curves = query("one-setting"), query("past-solved"), query("past-solved", _CURVES)
    rows = []
    for label in on["label"].unique():
        mine = of(curves, label=label)
        later = mine[mine.step > mine.steps_to_solved]
        failing = later.sequence_accuracy < 1
        plateau = mine[mine.step <= mine.steps_to_solved].groupby("seed").bit_accuracy.apply(lambda a: (a < 0.7).mean())
        rows.append([
            label, share(of(solved, label=label).long == 1), share(of(on, label=label).long == 1),
            share(failing.groupby(later.seed).any()), f"{100 * failing.mean():.1f} %", f"{plateau.median():.2f}",
        ])  # fmt: skip
    head = ["cell", f"exact at {LONG} bits when solved", "and at step 3,000", "seeds with a check that fails later",
            "checks that fail", "share of the steps to solved below 0.70 bit accuracy"]  # fmt: skip
    return table(head, rows)


def width() -> str:
    """Count solved replicas and compare steps by hidden size."""
    runs, rows = query("width"), []
    for size in sorted(runs.hidden_size.unique()):
        row = [size]
        for label in ("rnn", "lstm", "gru"):
            mine, to = of(runs, label=label, hidden_size=size), of(runs, label=label, hidden_size=32)
            row += [share(mine.status == "solved"), ratio(mine, to) if size != 32 else "1"]
        rows.append(row)
    names = [f"{label}: {what}" for label in ("rnn", "lstm", "gru") for what in ("solved", "times the steps at 32")]
    return table(["hidden size", *names], rows)


def batch() -> str:
    """Compare batch sizes at one rate."""
    runs, rows = query("batch"), []
    for label in ("rnn", "lstm", "gru"):
        at = {size: of(runs, label=label, batch_size=size) for size in (4, 16, 64)}
        rows.append([label, *(median(at[size]) for size in at), ratio(at[4], at[64])])
    return table(["cell", "median steps at batch 4", "16", "64", "steps at 4 : at 64"], rows)


def rates() -> str:
    """Give solved replicas and steps by optimizer, rate and cell."""
    rows = []
    for name in ("adam", "rmsprop", "sgd"):
        runs = query(f"rates-{name}")
        for rate in sorted(runs.learning_rate.unique()):
            at = {label: of(runs, label=label, learning_rate=rate) for label in ("rnn", "lstm", "gru")}
            cells = [f"{(mine.status == 'solved').sum()}/{len(mine)}, {median(mine)}" for mine in at.values()]
            both = all((at[label].status == "solved").any() for label in ("rnn", "lstm"))
            rows.append([name, f"{rate:g}", *cells, ratio(at["rnn"], at["lstm"]) if both else ""])
    return table(
        ["optimizer", "rate", *(f"{c}: solved, median steps" for c in ("rnn", "lstm", "gru")), "rnn : lstm"], rows
    )


def best() -> str:
    """Compare cells each at the rate with the least mean log steps, for each optimizer."""
    rows = []
    for name in ("adam", "rmsprop", "sgd"):
        runs, chosen = query(f"rates-{name}"), {}
        for label in ("rnn", "lstm", "gru"):
            mine = of(runs, label=label)
            rate = min(mine.learning_rate.unique(), key=lambda r: np.log(steps(of(mine, learning_rate=r))).mean())
            chosen[label] = (rate, of(mine, learning_rate=rate))
        cells = [f"{rate:g}, {median(mine)}" for rate, mine in chosen.values()]
        ratios = [ratio(chosen[label][1], chosen["lstm"][1]) for label in ("rnn", "gru")]
        rows.append([name, *cells, *ratios])
    head = ["optimizer", *(f"{c}: best rate, median steps" for c in ("rnn", "lstm", "gru")), "rnn : lstm", "gru : lstm"]
    return table(head, rows)


def inputs_alone() -> str:
    """Count solved replicas of cells whose gates do not see the state."""
    runs, rows = query("no-memory-in-gates"), []
    sizes = sorted(runs.hidden_size.unique())
    for label in runs["label"].unique():
        for rate in sorted(runs.learning_rate.unique()):
            at = [of(runs, label=label, learning_rate=rate, hidden_size=size) for size in sizes]
            rows.append([label, f"{rate:g}", *(share(mine.status == "solved") for mine in at)])
    return table(["cell", "rate", *(f"solved at hidden {size}" for size in sizes)], rows)


def luck() -> str:
    """Draw few seeds of lstm and gru from all, and count how often the medians name the wrong winner."""
    runs, rng, rows = query("one-setting"), np.random.default_rng(0), []
    a, b = (steps(of(runs, label=label)) for label in ("lstm", "gru"))
    truth = np.sign(np.log(a).mean() - np.log(b).mean())
    for n in (3, 5, 10, 20):
        drawn = [np.median(rng.choice(each, (20_000, n)), axis=1) for each in (a, b)]
        said = np.sign(drawn[0] - drawn[1])
        pick = rng.choice(len(a), (20_000, n))
        paired = np.sign(np.log(a.to_numpy()[pick] / b[a.index].to_numpy()[pick]).mean(axis=1))
        rows.append(
            [n, *(f"{100 * (x == -truth).mean():.0f} %" for x in (said, paired)), f"{100 * (said == 0).mean():.0f} %"]
        )
    return table(["seeds", "wrong winner by medians", "by paired means of log steps", "medians tie"], rows)


def ranking() -> str:
    """Correlate rankings of cells by mean log steps: between lengths, and between halves of the seeds."""
    runs, rng = query("ranking"), np.random.default_rng(0)
    logs = {
        bits: np.log(pd.DataFrame({c: steps(of(runs, label=c, bits=bits)) for c in runs["label"].unique()}))
        for bits in (8, 32)
    }
    rows = []
    for bits, frame in logs.items():
        near = frame.loc[:, (frame.mean() - frame["lstm"].mean()).abs() < np.log(1.5)]
        for cells, which in ((frame, "all"), (near, "those within a factor of 1.5 of lstm")):
            for half in (5, 10):
                found = []
                for _ in range(500):
                    order = rng.permutation(len(cells))
                    one, two = (cells.iloc[order[part * half : (part + 1) * half]].mean() for part in (0, 1))
                    found.append(stats.spearmanr(one, two).statistic)
                low, high = np.quantile(found, [0.1, 0.9])
                what = f"{half} seeds and {half} others at {bits} bits, {which} ({cells.shape[1]})"
                rows.append([what, f"{np.mean(found):.2f}", f"{low:.2f} to {high:.2f}"])
    between = stats.spearmanr(logs[8].mean(), logs[32].mean()).statistic
    rows.append([f"{len(logs[8])} seeds at 8 bits and at 32 bits, all", f"{between:.2f}", ""])
    return table(["rankings", "Spearman", "80 % of draws"], rows)


def exact(name: str, what: str) -> list[list[object]]:
    """List, per cell and size, how many of the solved replicas are exact at 256 bits at each of two rates."""
    runs, rows = query(name), []
    for label in runs["label"].unique():
        for bits in sorted(runs.bits.unique()):
            for size in sorted(runs.hidden_size.unique()):
                mine = of(runs, label=label, hidden_size=size, bits=bits)
                cells = []
                for rate in sorted(mine.learning_rate.unique()):
                    solved = of(mine, learning_rate=rate, status="solved")
                    cells.append(f"{share(solved.long == 1)} ({rate:g})")
                rows.append([what, label, bits, size, *cells])
    return rows


def optimizers() -> str:
    """Show what is exact at 256 bits, by optimizer."""
    named = (("adam", "Adam"), ("adamw", "AdamW"), ("rmsprop", "RMSprop"), ("sgd", "SGD"))
    rows = [row for name, what in named for row in exact(f"optimizer-{name}", what)]
    rows.sort(key=lambda row: (("rnn", "lstm", "gru").index(str(row[1])), row[3]))
    kept = [[row[1], row[3], row[0], *row[4:]] for row in rows]
    return table(
        ["cell", "hidden size", "optimizer", "exact, of those solved (at this rate)", "and at the larger rate"], kept
    )


def followed() -> str:
    """Show what mends Adam, for lstm and gru."""
    named = (("optimizer-adam", "Adam, 8 bits"), ("anneal", "cosine to 0"), ("optimizer-adamw", "AdamW, decay 0.01"),
             ("decay", "decay 0.1"), ("decay-1", "decay 1"), ("longer", "trained on 16 and 32 bits"))  # fmt: skip
    rows = [row for name, what in named for row in exact(name, what) if row[1] != "rnn" and row[3] != 4]
    rows.sort(key=lambda row: (("lstm", "gru").index(str(row[1])), row[3]))
    kept = [[row[1], row[3], row[0], row[2], *row[4:]] for row in rows]
    return table(
        ["cell", "hidden size", "training", "bits", "exact, of those solved (at this rate)", "and at the larger rate"],
        kept,
    )


def others() -> str:
    """Show Adam beside SGD for more cells."""
    rows = exact("other-cells", "Adam") + exact("other-cells-sgd", "SGD")
    rows.sort(key=lambda row: str(row[1]))
    return table(
        ["cell", "optimizer", "exact, of those solved (at this rate)", "and at the larger rate"],
        [[row[1], row[0], *row[4:]] for row in rows],
    )


def norms() -> str:
    """Compare the norm of trained recurrent weights, of models that are exact at 256 bits and of those not."""
    named = (("optimizer-adam", "Adam"), ("anneal", "Adam, cosine to 0"), ("decay-1", "AdamW, decay 1"),
             ("optimizer-sgd", "SGD"))  # fmt: skip
    rows = []
    for name, what in named:
        runs = of(query(name), label="lstm", status="solved")
        runs["norm"] = [_recurrent_norm(WHERE / name / "weights" / key[:2] / f"{key}.npz") for key in runs.key]
        for size in (8, 20):
            mine = of(runs, hidden_size=size)
            exact_ones, others = mine.norm[mine.long == 1], mine.norm[mine.long < 1]
            larger = ""
            if len(exact_ones) and len(others):
                wins = stats.mannwhitneyu(exact_ones, others).statistic
                larger = f"{wins / (len(exact_ones) * len(others)):.2f}"
            rows.append([what, size, len(exact_ones), tenths(exact_ones), len(others), tenths(others), larger])
    head = ["training", "hidden size", "exact", "their norm", "not exact", "their norm", "an exact one's is larger in"]
    return table(head, rows)


def tenths(values: pd.Series) -> str:
    """Write the median, and the tenths at both ends."""
    return f"{values.median():.1f} [{values.quantile(0.1):.1f}, {values.quantile(0.9):.1f}]" if len(values) else ""


def _recurrent_norm(path: Path) -> float:
    """Compute the Frobenius norm of the weights that multiply the state."""
    with np.load(path) as weights:
        return float(np.sqrt(sum((weights[name] ** 2).sum() for name in weights.files if "weight_hh" in name)))


def weights_or_data() -> str:
    """Divide the variance of the log of the steps between initial weights, data, and how the two meet."""
    path = WHERE / "weights-or-data" / "steps.csv"
    if not path.is_file():
        raise FileNotFoundError(path)
    found, rng, rows = pd.read_csv(path), np.random.default_rng(0), []
    for cell in ("rnn", "lstm", "gru"):
        mine = found[found.cell == cell]
        unsolved = int((mine.steps_to_solved < 0).sum())
        y = np.log(mine.steps_to_solved.where(mine.steps_to_solved >= 0, mine.budget))
        square = y.groupby([mine.weights, mine.data]).first().unstack().to_numpy()
        shares, spread = components(square), jackknife(square)
        cells = [
            f"{share:.2f} [{max(0, share - half):.2f}, {min(1, share + half):.2f}]"
            for share, half in zip(shares, 1.96 * spread, strict=True)
        ]
        few = [components(square[np.ix_(*(rng.permutation(n)[:8] for n in square.shape))])[0] for _ in range(1000)]
        low, high = np.quantile(few, [0.1, 0.9])
        cells.append(f"{low:.2f} to {high:.2f}")
        rows.append([cell, f"{len(mine)}, {unsolved}", f"{np.exp(np.median(square)):.0f}",
                     f"{square.std(ddof=1):.2f}", *cells])  # fmt: skip
    head = [
        "cell",
        "replicas, not solved",
        "median steps",
        "sd of log steps",
        "initial weights",
        "data",
        "how they meet",
        "initial weights, in 8 by 8 seeds",
    ]
    return table(head, rows)


def components(y: np.ndarray) -> np.ndarray:
    """Estimate the shares of the variance of a two-way table: of its rows, of its columns, and of the rest.

    The model is y = mean + row + column + rest, all random; components are estimated from mean squares and are 0 where
    the estimate is negative (Searle, Casella & McCulloch, "Variance components", 1992, chapter 4).

    Args:
        y: shape (rows, columns), one number each.

    >>> rows, columns = np.meshgrid([0.0, 2.0, 4.0], [1.0, 1.0, 1.0], indexing="ij")
    >>> components(rows + columns).round(2).tolist()
    [1.0, 0.0, 0.0]
    """
    a, b = y.shape
    of_row, of_column = y.mean(1, keepdims=True), y.mean(0, keepdims=True)
    rest = y - of_row - of_column + y.mean()
    square = (rest**2).sum() / ((a - 1) * (b - 1))
    by_row, by_column = b * of_row.var(ddof=1), a * of_column.var(ddof=1)
    parts = np.array([max(0.0, by_row - square) / b, max(0.0, by_column - square) / a, square])
    return np.asarray(parts / parts.sum())


def jackknife(y: np.ndarray) -> np.ndarray:
    """Estimate the standard errors of `components`: rows are left out one at a time, then columns; variances add up."""
    total = np.zeros(3)
    for axis in (0, 1):
        n = y.shape[axis]
        left = np.array([components(np.delete(y, i, axis)) for i in range(n)])
        total += (n - 1) / n * ((left - left.mean(0)) ** 2).sum(0)
    return np.asarray(np.sqrt(total))


def msb() -> str:
    """Show what can be learnt of sums that are read from the most significant bit on, beside the best that is known."""
    runs, rows = query("msb"), []
    best = sum((1 + 2.0**-i) / 2 for i in range(8)) / 8
    for label in ("rnn", "lstm", "gru"):
        for size in sorted(runs.hidden_size.unique()):
            mine = of(runs, label=label, hidden_size=size)
            bits = mine.final_bit_accuracy
            rows.append([label, size, share(mine.status == "solved"),
                         f"{bits.median():.3f} ({bits.min():.3f} to {bits.max():.3f})", f"{best:.3f}"])  # fmt: skip
    head = [
        "cell",
        "hidden size",
        "solved",
        "bit accuracy at the end (least to greatest)",
        "the best that can be known",
    ]
    return table(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "one-setting": one_setting, "past-solved": past_solved, "width": width, "batch": batch, "rates": rates,
    "best": best, "inputs-alone": inputs_alone, "luck": luck, "ranking": ranking, "optimizers": optimizers,
    "followed": followed, "others": others, "norms": norms, "weights-or-data": weights_or_data, "msb": msb,
}  # fmt: skip


if __name__ == "__main__":
    fill(PAGE, lambda name: TABLES[name]())
