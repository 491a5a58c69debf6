"""Hold one frame per figure: the summary's numbers, with their points in words. No other number is drawn.

In every frame `cell` is a label, `point` a grid point in words or "all points", and `kind` says which mark of the
figure a row belongs to. Numbers that are not known are `nan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from cellbench.statistics.intervals import LEAST_SEEDS, interval, mean, pool, wilson
from cellbench.statistics.survival import solved
from cellbench.summary import words
from cellbench.summary.cells import overview
from cellbench.summary.curves import lay, learning_curves, seed_curves
from cellbench.summary.design import Design, place_word, plain, point_name, setting
from cellbench.summary.differences import differences
from cellbench.summary.inventory import microseconds
from cellbench.summary.seen import intervals
from cellbench.summary.selection import Selection, common
from cellbench.summary.summary import Summary

ALL_POINTS = "all points"
PICKED, TUNED = "picked", "tuned"

COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds per step",
    "work": "multiply-adds to solved, one example",
    "microseconds": "microseconds per step, as trained",
    "hidden_size": "hidden size",
}
"""What the axis of the cost figure can show, in words."""


@dataclass(frozen=True)
class Figures:
    """The frames of all figures of one report.

    Attributes:
        summary: the numbers.
        runs, raw_curves: one row per planned replica; one row per evaluation during training.
        references: accuracies of predictors that see only a window, by `<axis>=<value>` and name.
    """

    summary: Summary
    runs: pd.DataFrame
    raw_curves: pd.DataFrame
    references: Mapping[str, Mapping[str, float]]

    @property
    def design(self) -> Design:
        return self.summary.design

    @property
    def points(self) -> list[str]:
        """The grid points in words, in order."""
        return [point_name(self.design.axes, point) for point in self.summary.replicas.points]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The labels by ratio of steps to the baseline, the baseline first, those without a ratio last."""
        main = self.summary.comparisons
        main = main[(main["metric"] == "steps") & (main["scope"] == "all") & (main["at"] == "tuned")]
        main = main[main["baseline"] == self.design.against]
        ratios = dict(zip(main["cell"], main["ratio"], strict=True))

        def key(label: str) -> tuple[bool, float]:
            ratio = ratios.get(label, math.nan)
            return (label != self.design.against, ratio if ratio == ratio else math.inf)

        return tuple(sorted(self.design.labels, key=key))

    @cached_property
    def forest(self) -> pd.DataFrame:
        """Ratios with intervals: all points, then each value of each axis. `row` is the scope in words."""
        frame = self._steps()
        frame = frame[frame["scope"] != "point"]
        return _compared(frame.assign(row=[self._scope(r) for r in frame.to_dict("records")]))

    @cached_property
    def looks(self) -> pd.DataFrame:
        """The ratio over all points at each look, where seeds were added until decided; else no rows."""
        frame = intervals(self.summary.standing)
        return frame[frame["baseline"] == self.design.against].reset_index(drop=True)

    @cached_property
    def heat(self) -> pd.DataFrame:
        """The ratio at each grid point."""
        frame = self._steps()
        frame = frame[frame["scope"] == "point"]
        return _compared(frame.assign(point=[point_name(self.design.axes, p) for p in self._points_of(frame)]))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Learning curves (kind `curve`) and the accuracies of window predictors (kind `reference`)."""
        laid = lay(self.summary.replicas, self.raw_curves)
        frame = learning_curves(self.summary.replicas, self.raw_curves, laid)
        frame["point"] = self._names(frame)
        frame["rate"] = frame["learning_rate"].map(words.number)
        at_picked = frame[frame["picked"]].assign(rate=PICKED)
        rows = _stacked(at_picked, frame).assign(kind="curve", name="")
        columns = ["kind", "cell", "point", "rate", "learning_rate", "metric", "step", "middle", "low", "high", "seeds",
                   "name", "seed"]  # fmt: skip
        rows["seed"] = math.nan
        if rows.empty:
            return rows[columns]
        singles = seed_curves(self.summary.replicas, self.raw_curves, laid)
        singles["point"] = self._names(singles)
        singles = singles.assign(kind="seed", rate=PICKED, name="")
        return _stacked(rows[columns], singles.reindex(columns=columns), self._ladder())

    def _ladder(self) -> pd.DataFrame:
        """Return the window predictors' bit accuracy at each point."""
        rows = [
            {"kind": "reference", "cell": "", "point": name, "metric": "bit_accuracy", "name": predictor, "middle": x}
            for name, point in zip(self.points, self.summary.replicas.points, strict=True)
            for axis, value in zip(self.design.axes, point, strict=True)
            for predictor, x in self.references.get(f"{axis}={value}", {}).items()
        ]
        return pd.DataFrame(rows, columns=["kind", "cell", "point", "metric", "name", "middle"])

    @cached_property
    def solved(self) -> pd.DataFrame:
        """The share solved over steps, at the steps where it changes; kind `censored` marks what the budget cut off."""
        # each point, and the mean over points
        frame = self.summary.solved_over_steps.copy()
        frame["point"] = self._names(frame)
        frame["rate"] = np.where(frame["at"] == TUNED, TUNED, frame["learning_rate"].map(words.number))
        pooled = frame.groupby(["cell", "rate", "step"], sort=False, as_index=False).agg(
            share=("share", "mean"), points=("point", "size")
        )
        rows = _stacked(pooled.assign(point=ALL_POINTS), frame.assign(points=1))
        rows["seeds"] = self._seeds(rows)
        # a step function: only the steps at which it changes, its first and its last
        curve = ["cell", "point", "rate"]
        before, after = rows.groupby(curve, sort=False)["share"].shift(1), rows.groupby(curve, sort=False)["step"]
        first, last = rows["step"] == after.transform("min"), rows["step"] == after.transform("max")
        kept = rows[(rows["share"] != before) | first | last].assign(kind="curve")
        # a mark where not all had solved when the budget ended
        ends = rows[last & (rows["share"] < 1 - 1e-9)].assign(kind="censored")
        # Wilson's interval is of one share of seeds, not of a mean over points
        limits = [
            wilson(share, int(n)) if n >= LEAST_SEEDS and point != ALL_POINTS else None
            for share, n, point in zip(kept["share"], kept["seeds"], kept["point"], strict=True)
        ]
        kept["low"] = [found.low if found else math.nan for found in limits]
        kept["high"] = [found.high if found else math.nan for found in limits]
        columns = ["kind", "cell", "point", "rate", "step", "share", "low", "high", "seeds", "points"]
        return _stacked(kept, ends)[columns]

    def _seeds(self, rows: pd.DataFrame) -> list[int]:
        """Count the seeds behind each row of the share solved; over all points, those at the point with the fewest."""
        replicas, axes = self.summary.replicas, self.design.axes
        known = np.logical_not(np.isnan(replicas.steps)).sum(axis=2)
        found: dict[tuple[str, str, str], int] = {}
        for c, label in enumerate(self.design.labels):
            for g, point in enumerate(replicas.points):
                name = point_name(axes, point)
                found[label, name, TUNED] = len(replicas.complete(c, g))
                for r in replicas.shown(c, g):
                    found[label, name, words.number(replicas.tried(c)[r].rate)] = int(known[c, g, r])
        for label in self.design.labels:
            for at in (TUNED, *map(words.number, self.design.rates)):
                here = [n for name in self.points if (n := found.get((label, name, at), 0))]
                found[label, ALL_POINTS, at] = min(here, default=0)
        return [found[key] for key in zip(rows["cell"], rows["point"], rows["rate"], strict=True)]

    @cached_property
    def rates(self) -> pd.DataFrame:
        """Typical steps and solved share of each rate (kind `rate`), and of each seed (`solved`, `never`).

        Where options are tuned, at the options that are picked.
        """
        frame = self.summary.rate_profile.copy()
        frame["point"] = self._names(frame)
        frame = frame.rename(columns={"typical_steps": "steps", "typical_low": "low", "typical_high": "high"})
        frame = frame.rename(columns={"solved": "share"}).assign(kind="rate")
        replicas, design = self.summary.replicas, self.design
        names, seeds = (np.array(list(n), object) for n in (self.points, design.seeds))
        parts = [frame]
        for c, label in enumerate(design.labels):
            parts.append(pd.DataFrame(_pooled_rates(replicas, c, label)))
            drawn = np.zeros((len(names), 1, replicas.steps.shape[3]), dtype=bool)
            for at in range(len(names)):
                drawn[at, 0, list(replicas.shown(c, at))] = True
            g, i, r = np.nonzero(~np.isnan(replicas.steps[c]) & drawn)
            steps = replicas.steps[c, g, i, r]
            ever = np.isfinite(steps)
            one = {"kind": np.where(ever, "solved", "never").astype(object), "cell": label, "point": names[g],
                   "learning_rate": replicas.rates(c)[r], "seed": seeds[i].astype(float),
                   "steps": np.where(ever, steps, design.max_steps)}  # fmt: skip
            parts.append(pd.DataFrame(one))
        columns = ["kind", "cell", "point", "learning_rate", "seed", "steps", "low", "high", "share", "seeds"]
        result = _stacked(*parts)
        result["sure"] = np.where(result["share"] < 1 - 1e-12, "no", "yes")
        return result.reindex(columns=[*columns, "sure"])

    def accuracy(self, by: str) -> pd.DataFrame:
        """Select the accuracies by one quantity, over all points, by axis value and at each point."""
        frame = self.summary.accuracy
        frame = frame[(frame["by"] == by) & (frame["at"] == TUNED)]
        rows = frame.to_dict("records")
        where = [self._scope(row) if row["scope"] != "point" else self._name(row) for row in rows]
        columns = ["cell", "point", "metric", "value", "mean", "low", "high", "least", "share_99", "seeds"]
        return frame.assign(point=where)[columns].reset_index(drop=True)

    def differences(self, by: str) -> pd.DataFrame:
        """Select the paired differences of accuracies by one quantity, over all points and by axis value."""
        frame = self._differences
        frame = frame[frame["by"] == by]
        where = [self._scope(row) for row in frame.to_dict("records")]
        columns = ["kind", "cell", "point", "metric", "value", "difference", "low", "high", "corrected_low",
                   "corrected_high", "seeds", "seed", "verdict"]  # fmt: skip
        return frame.assign(point=where)[columns].reset_index(drop=True)

    @cached_property
    def _differences(self) -> pd.DataFrame:
        standing = self.summary.standing
        at = {pair: reading.seeds for pair, reading in standing.readings.items()} if standing is not None else None
        return differences(self.summary.replicas, self.summary.comparisons, at)

    @cached_property
    def cost(self) -> pd.DataFrame:
        """Typical steps against what a step costs, at each size; `measure` is one of `COSTS`."""
        tuned = self.summary.cells[self.summary.cells["at"] == TUNED].copy()
        tuned["point"] = self._names(tuned)
        # of these columns alone: the whole frame of a large run is not copied
        few = self.runs[["label", "parameters", "multiply_adds", "hidden_size", "final_step", "seconds"]]
        sizes = _sizes(few.assign(point=self._names(self.runs)))
        each = tuned.merge(sizes, left_on=["cell", "point"], right_on=["label", "point"])
        each["work"] = each["typical_steps"] * each["multiply_adds"]
        # over all points of one size, which no two cells share: geometric means, as for steps
        replicas = self.summary.replicas
        pooled = []
        for size in dict.fromkeys(point[-1] for point in replicas.points):
            here = overview(replicas, [g for g, point in enumerate(replicas.points) if point[-1] == size])
            of_size = each[each["size"] == size]
            for name in ("microseconds", "work", "hidden_size"):
                logs = of_size[name].astype("float64").transform(np.log).groupby(of_size["cell"]).mean()
                here[name] = here["cell"].map(logs.transform(np.exp))
            here["hidden_size"] = here["hidden_size"].round()
            pooled.append(here.assign(point=ALL_POINTS, size=size))
        both = _stacked(*pooled, each)
        frames = [both.assign(measure=measure, value=both[measure]) for measure in COSTS]
        columns = [
            "cell",
            "point",
            "size",
            "measure",
            "value",
            "typical_steps",
            "typical_low",
            "typical_high",
            "solved",
        ]
        return _stacked(*frames)[columns].dropna(subset=["value", "typical_steps"])

    @cached_property
    def profile(self) -> pd.DataFrame:
        """The share solved within a factor of the baseline's typical steps."""
        return self.summary.performance_profile

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """Typical steps to expect after trying 1, 2, ... settings."""
        frame = self.summary.tuning_curve
        pooled = frame[list(self.design.axes)].isna().all(axis=1)
        names = [ALL_POINTS if p else self._name(row) for p, row in zip(pooled, frame.to_dict("records"), strict=True)]
        return frame.assign(point=names)[["cell", "point", "tried", "typical_steps"]]

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """Each cell's numbers at each size: cell, size, hidden_size, parameters, state, multiply_adds."""
        columns = ["label", "size", "hidden_size", "parameters", "state", "multiply_adds"]
        found = self.runs[columns].dropna()
        # options that are tuned may change a cell's sizes: those of the first choice are shown
        found = found.drop_duplicates(["label", "size"] if self.design.tunes_options else None)
        return found.rename(columns={"label": "cell"}).reset_index(drop=True)

    def _steps(self) -> pd.DataFrame:
        frame = self.summary.comparisons
        return frame[(frame["metric"] == "steps") & frame["ratio"].notna()]

    def _points_of(self, frame: pd.DataFrame) -> list[tuple[Any, ...]]:
        return list(zip(*(frame[axis] for axis in self.design.axes), strict=True))

    def _names(self, frame: pd.DataFrame) -> list[str]:
        """Name the point of each row in words, each made once."""
        known: dict[tuple[Any, ...], str] = {}
        for point in dict.fromkeys(self._points_of(frame)):
            known[point] = point_name(self.design.axes, point)
        return [known[point] for point in self._points_of(frame)]

    def _name(self, row: Mapping[Any, Any]) -> str:
        return ", ".join(setting(axis, row[axis]) for axis in self.design.axes)

    def _scope(self, row: Mapping[Any, Any]) -> str:
        """Name a scope: `all points`, or the axis's value in the words of the tables."""
        if row["scope"] == "all":
            return ALL_POINTS
        axis = next(a for a in self.design.axes if not pd.isna(row[a]))
        value = plain(row[axis])
        return place_word(axis, value)


def _stacked(*frames: pd.DataFrame) -> pd.DataFrame:
    """Stack frames one below the other; those without rows do not count for the columns' types."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Give rows of comparisons.csv the columns that charts draw; `sign` marks a ratio that is a bound."""
    names = {"ratio_low": "low", "ratio_high": "high", "points": "averaged"}
    columns = ["row", "point", "cell", "baseline", "at", "ratio", "low", "high", "corrected_low",
               "corrected_high", "work_ratio", "p_holm", "seeds",
               "averaged", "bound", "bounded", "sign", "verdict"]  # fmt: skip
    sign = frame["bound"].map({"at least": "≥", "at most": "≤"}).fillna("")
    frame = frame.rename(columns=names).assign(sign=sign, bounded=np.where(sign == "", "no", "yes"))
    return frame[[name for name in columns if name in frame.columns]].reset_index(drop=True)


def _pooled_rates(replicas: Selection, c: int, label: str) -> list[dict[str, Any]]:
    """Average one cell's rates over all its points, within each seed first."""
    rows = []
    for rate in replicas.design.rates_of(replicas.design.labels[c]):
        # where options are tuned: at each point with the options that are picked there
        place = {
            g: r for g in range(len(replicas.points)) for r in replicas.shown(c, g) if replicas.rates(c)[r] == rate
        }
        known = [(g, np.flatnonzero(~np.isnan(replicas.steps[c, g, :, r])).tolist()) for g, r in place.items()]
        # as everywhere: the points that can be used together, and the seeds known at all of them
        found = common([(g, tuple(seeds)) for g, seeds in known])
        if not found.seeds:
            continue
        chosen = list(found.seeds)
        average = pool([mean(replicas.y(c, g, found.seeds)[:, place[g]]) for g in found.points])
        limits = interval(average)
        share = np.mean([solved(replicas.steps[c, g][chosen, place[g]]).mean() for g in found.points])
        rows.append({"kind": "rate", "cell": label, "point": ALL_POINTS, "learning_rate": rate,
                     "steps": math.exp(average.centre), "low": math.exp(limits.low), "high": math.exp(limits.high),
                     "share": float(share), "seeds": len(chosen)})  # fmt: skip
    return rows


def _sizes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the sizes and the median microseconds per step of each cell at each point."""
    frame = runs.assign(microseconds=microseconds(runs))
    columns = {
        "parameters": "first", "multiply_adds": "first", "hidden_size": "first", "microseconds": "median",
    }  # fmt: skip
    return frame.groupby(["label", "point"], sort=False, as_index=False).agg(columns)
