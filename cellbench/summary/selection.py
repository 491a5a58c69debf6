"""Turn frames into arrays, and decide what each replica counts as. Every selection and exclusion is made here, once.

- solved: T is its steps. Censored, diverged, or failed in the cell's own code: T is `inf`, it never solved
- failed through the machine, timed out, or not run: missing, T is `nan`. Its seed is left out of every number that
  would need it, and the report lists it
- diverged replicas, and those that failed in the cell's own code, have accuracy 0; no other number is filled in
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellbench.statistics.arrays import Counts, Flags, Floats
from cellbench.statistics.intervals import LEAST_SEEDS, Estimate
from cellbench.statistics.learning_rate import Tuned, across, tuned
from cellbench.statistics.survival import log_steps, solved
from cellbench.summary.design import OPTIONS, Design, Point, Setting, Value, plain, value_order

METRICS = ("sequence_accuracy", "bit_accuracy")
"""Sequence accuracy comes first: bit accuracy, the share of right answers, is high even if little was learnt."""

STATES = ("solved", "censored", "diverged", "failed", "machine", "missing")
"""What became of a replica. `failed`: in the cell's own code; `machine`: its worker crashed, or it timed out."""

PROGRAM = ("engine", "engine_version", "isa", "compiler", "device")
"""Columns of what trained a replica: its numbers depend on them to the last bits."""

SOLVED, CENSORED, DIVERGED, FAILED, ON_MACHINE, MISSING = range(len(STATES))
NOT_PLANNED = -1

Codes: TypeAlias = NDArray[np.intp]

Seeds: TypeAlias = tuple[int, ...]
"""Positions in `Design.seeds`."""

Key: TypeAlias = tuple[str, Value]
"""What a model was evaluated on: (by, value); ("", nan) is the length it was trained at."""


@dataclass(frozen=True)
class Common:
    """The points that can be used together, and the seeds complete at all of them."""

    points: tuple[int, ...]
    seeds: Seeds
    dropped: int
    """Seeds complete at some of these points, not at all."""


def common(seeds_at: Sequence[tuple[int, Seeds]]) -> Common:
    """Keep the points that can be used together, and the seeds complete at all of them.

    A point with fewer than 3 complete seeds is left out where others have 3 or more: a pooled number needs the same
    seeds at every point, so one point still in progress would cost all others their seeds.

    >>> common([(0, (0, 1, 2, 3)), (1, (0, 1, 2)), (2, (0,)), (3, ())])
    Common(points=(0, 1), seeds=(0, 1, 2), dropped=1)
    """
    enough = min(LEAST_SEEDS, max((len(seeds) for _, seeds in seeds_at), default=0))
    kept = [(point, seeds) for point, seeds in seeds_at if seeds and len(seeds) >= enough]
    if not kept:
        return Common((), (), 0)
    at_all = set.intersection(*(set(seeds) for _, seeds in kept))
    at_some = set.union(*(set(seeds) for _, seeds in kept))
    return Common(tuple(point for point, _ in kept), tuple(sorted(at_all)), len(at_some) - len(at_all))


@dataclass(frozen=True)
class Selection:
    """All replicas as arrays; the axes are cells, points, seeds, rates and, for scores, evaluations.

    What is called a rate is a setting: a learning rate, with a choice of options where a cell's options are tuned. A
    cell that is tried at fewer settings than another has nothing planned at the last places of that axis; `of` leaves
    them out.
    """

    design: Design
    points: tuple[Point, ...]
    keys: tuple[Key, ...]
    state: Counts
    """(cells, points, seeds, rates): position in `STATES`, or `NOT_PLANNED`."""
    steps: Floats
    """(cells, points, seeds, rates): T, steps to solved; `inf`: never, `nan`: missing."""
    tie_break: Floats
    """(cells, points, seeds, rates): the final sequence accuracy at the trained length, which breaks ties of rates."""
    scores: dict[str, Floats]
    """By metric: (cells, points, seeds, rates, keys); `nan`: not known."""
    size: dict[str, Floats]
    """`multiply_adds`, `parameters`, `state`, `hidden_size`: (cells, points, rates)."""
    diverged_at: Floats
    """(cells, points, seeds, rates): the step at which a replica diverged; `nan` for one that did not."""
    tracebacks: dict[str, tuple[str, ...]]
    """By label: one for each replica that failed in the cell's own code."""
    trained_by: tuple[tuple[str, int], ...] = ()
    """What replicas of one cell were trained by, and how many by each, where that differs; else empty."""
    fates: dict[str, str] = field(default_factory=dict, repr=False)
    """By label: what `fates.fate` answered, once it was asked."""
    _complete: dict[tuple[int, int], Seeds] = field(default_factory=dict, repr=False)
    _tuned: dict[tuple[int, int, Seeds], Tuned | None] = field(default_factory=dict, repr=False)
    _values: dict[tuple[int, int, Seeds, str], Floats] = field(default_factory=dict, repr=False)

    def cell(self, label: str) -> int:
        """Return the position of a cell on the first axis."""
        return self.design.labels.index(label)

    def tried(self, cell: int) -> tuple[Setting, ...]:
        """List what a cell is tried at, in the order of the rates' axis."""
        return self.design.tried(self.design.labels[cell])

    def of(self, cell: int, point: int) -> Floats:
        """Return the steps of a cell at a point, (seeds, rates), over the settings that it is tried at."""
        result: Floats = self.steps[cell, point][:, : len(self.tried(cell))]
        return result

    def ties(self, cell: int, point: int, seeds: Seeds) -> Floats:
        """Return what breaks ties of settings, (seeds, rates), on these seeds."""
        result: Floats = self.tie_break[cell, point][list(seeds)][:, : len(self.tried(cell))]
        return result

    def rates(self, cell: int) -> Floats:
        """Return the learning rate of each setting that a cell is tried at, (rates,)."""
        return np.array([setting.rate for setting in self.tried(cell)])

    def shown(self, cell: int, point: int) -> tuple[int, ...]:
        """List the settings, by position, that figures by learning rate show: those of the options that are picked."""
        tried = self.tried(cell)
        seeds = self.complete(cell, point)
        pick = self.tuned(cell, point, seeds) if seeds else None
        options = tried[pick.picked if pick is not None else 0].options
        return tuple(r for r, setting in enumerate(tried) if setting.options == options)

    def sizes(self, what: str, cell: int, point: int) -> Floats:
        """Return a size at each setting that a cell is tried at, (rates,); see `size`."""
        result: Floats = self.size[what][cell, point][: len(self.tried(cell))]
        return result

    def size_of(self, what: str, cell: int, point: int) -> float:
        """Return a size of the model that is picked; of the first that is known, if none is."""
        found = self.sizes(what, cell, point)
        seeds = self.complete(cell, point)
        pick = self.tuned(cell, point, seeds) if seeds else None
        if pick is not None and not math.isnan(found[pick.picked]):
            return float(found[pick.picked])
        known = found[~np.isnan(found)]
        return float(known[0]) if len(known) else math.nan

    def log_cost(self, one: int, two: int, point: int, seeds: Seeds, at: str) -> Estimate:
        """Estimate the log of the ratio of multiply-adds per step of two cells over these seeds, `tuned` or `across`.

        It is a constant, unless options are tuned that change what a step costs.
        """
        both = [self.sizes("multiply_adds", cell, point) for cell in (one, two)]
        first, second = (set(found[~np.isnan(found)].tolist()) for found in both)
        if len(first) == len(second) == 1:
            constant = math.log(first.pop() / second.pop())
            return Estimate(constant, np.full(len(seeds), constant))
        logs = [np.broadcast_to(np.log(found), (len(seeds), len(found))) for found in both]
        picks = [self.tuned(cell, point, seeds) if at == "tuned" else None for cell in (one, two)]
        each = [across(x) if pick is None else pick.estimate(x) for x, pick in zip(logs, picks, strict=True)]
        return each[0] - each[1]

    def complete(self, cell: int, point: int) -> Seeds:
        """Return the seeds for which every learning rate is known: only over those can rates be compared."""
        if (cell, point) not in self._complete:
            known = ~np.isnan(self.of(cell, point)).any(axis=1)
            self._complete[cell, point] = tuple(np.flatnonzero(known).tolist())
        return self._complete[cell, point]

    def solves(self, cell: int, point: int) -> bool:
        """Tell whether at least one replica solved."""
        return bool(np.isfinite(self.steps[cell, point]).any())

    def seen(self, cell: int, point: int) -> bool:
        """Tell whether at least one replica is known."""
        return not bool(np.isnan(self.steps[cell, point]).all())

    def y(self, cell: int, point: int, seeds: Seeds) -> Floats:
        """Return the log steps, (seeds, rates), unsolved ones at the budget."""
        return log_steps(self.of(cell, point)[list(seeds)], self.design.max_steps)

    def tuned(self, cell: int, point: int, seeds: Seeds) -> Tuned | None:
        """Pick the learning rate on these seeds; computed once."""
        key = (cell, point, seeds)
        if key not in self._tuned:
            self._tuned[key] = tuned(self.y(cell, point, seeds), self.ties(cell, point, seeds), self.rates(cell))
        return self._tuned[key]

    def speed(self, cell: int, point: int, seeds: Seeds, at: str) -> Estimate:
        """Estimate the log steps over these seeds, `tuned` or `across`."""
        y = self.y(cell, point, seeds)
        if at == "across":
            return across(y)
        pick = self.tuned(cell, point, seeds)
        return pick.estimate(y) if pick is not None else Estimate(math.nan, np.full(len(seeds), math.nan))

    def values(self, cell: int, point: int, seeds: Seeds, at: str) -> Floats:
        """Return log steps, steps up to the budget and solved, one number per seed, `tuned` or `across`: (3, seeds)."""
        key = (cell, point, seeds, at)
        if key not in self._values:
            steps = self.of(cell, point)[list(seeds)]
            kept = np.minimum(steps, self.design.max_steps)
            metrics = np.stack([self.y(cell, point, seeds), kept, solved(steps)], axis=-1)
            pick = self.tuned(cell, point, seeds)
            if at == "across":
                self._values[key] = metrics.mean(axis=1).T
            else:
                self._values[key] = pick.values(metrics).T if pick is not None else np.full((3, len(seeds)), math.nan)
        return self._values[key]

    def at_end(self, cell: int, point: int, seeds: Seeds) -> float:
        """Return the picked rate if it is the least or greatest of several; else `nan`."""
        rates = self.rates(cell)
        pick = self.tuned(cell, point, seeds)
        if pick is None or rates.min() == rates.max() or rates[pick.picked] not in (rates.min(), rates.max()):
            return math.nan
        return float(rates[pick.picked])


def _codes(column: pd.Series[Any], values: Sequence[Any], what: str) -> Codes:
    """Return the position of each entry in `values`; `what` names the column where one is not there."""
    codes: Codes = pd.Index(values).get_indexer(pd.Index(column))
    if (codes < 0).any():
        strange = sorted({repr(plain(found)) for found in column[codes < 0]})
        raise ValueError(f"{what}: found {', '.join(strange)}, which the design does not plan")
    return codes


def settings(frame: pd.DataFrame, design: Design) -> Codes:
    """Return the position of each row's setting among those that its cell is tried at.

    Raises:
        ValueError: a cell was not to be tried at it.
    """
    if not design.settings:
        return _codes(frame["learning_rate"], design.rates, "learning_rate")
    known = [(label, *setting, r) for label in design.labels for r, setting in enumerate(design.tried(label))]
    names = pd.MultiIndex.from_tuples([row[:3] for row in known])
    options = frame[OPTIONS] if OPTIONS in frame.columns else [""] * len(frame)
    found = names.get_indexer(pd.MultiIndex.from_arrays([frame["label"], options, frame["learning_rate"]]))
    if (found < 0).any():
        row = frame[found < 0].iloc[0]
        raise ValueError(f"{row['label']} at learning rate {row['learning_rate']}: a setting that is not planned")
    places: Codes = np.array([row[3] for row in known], dtype=np.intp)[found]
    return places


def select(runs: pd.DataFrame, evaluations: pd.DataFrame, design: Design) -> Selection:
    """Lay all planned replicas out as arrays; see `summarise` for the frames' columns.

    Raises:
        ValueError: nothing is planned, a value is not in the design, or two rows are one replica.
    """
    if runs.empty:
        raise ValueError("runs: no replica is planned, there is nothing to report")
    # the points that occur, each as one number in the grid of all values
    axes = design.axes
    values = [sorted((plain(v) for v in runs[axis].unique()), key=value_order) for axis in axes]
    shape = tuple(len(v) for v in values)

    def flat(frame: pd.DataFrame) -> Codes:
        codes = tuple(_codes(frame[a], v, a) for a, v in zip(axes, values, strict=True))
        return np.ravel_multi_index(codes, shape)

    present = np.unique(flat(runs))
    corners = zip(*np.unravel_index(present, shape), strict=True)
    points = tuple(tuple(v[i] for v, i in zip(values, corner, strict=True)) for corner in corners)

    def place(frame: pd.DataFrame) -> tuple[Codes, Codes, Codes, Codes]:
        return (
            _codes(frame["label"], design.labels, "label"),
            np.searchsorted(present, flat(frame)),
            _codes(frame["seed"], design.seeds, "seed"),
            settings(frame, design),
        )

    where = place(runs)
    full = (
        len(design.labels),
        len(points),
        len(design.seeds),
        max(len(design.tried(label)) for label in design.labels),
    )
    if len(np.unique(np.ravel_multi_index(where, full))) != len(runs):
        raise ValueError("runs: two rows for one label, point, seed and learning rate")

    # T by state: solved ones have steps, those that never solve are infinite, missing ones stay unknown
    codes = _states(runs)
    state = np.full(full, -1, dtype=np.int64)
    state[where] = codes
    reached = runs["steps_to_solved"].to_numpy(dtype=np.float64)
    if np.isnan(reached[codes == SOLVED]).any():
        raise ValueError("runs: a replica with status solved has no steps_to_solved")
    never = np.isin(codes, (CENSORED, DIVERGED, FAILED))
    steps = np.full(full, math.nan)
    steps[where] = np.where(codes == SOLVED, reached, np.where(never, math.inf, math.nan))
    # a rate whose accuracy is not known loses a tie
    ties = np.zeros(full)
    ties[where] = np.nan_to_num(runs["final_sequence_accuracy"].to_numpy(dtype=np.float64), nan=0.0)
    diverged_at = np.full(full, math.nan)
    diverged_at[where] = runs["diverged_at"].to_numpy(dtype=np.float64)
    # whose numbers were lost: accuracy 0, even for one that had solved before it diverged
    dead = np.zeros(full, dtype=bool)
    dead[where] = np.isin(codes, (DIVERGED, FAILED)) | runs["diverged_at"].notna().to_numpy()

    sizes = {}
    for column in ("multiply_adds", "parameters", "state", "hidden_size"):
        measured = runs[column].to_numpy(dtype=np.float64)
        known = ~np.isnan(measured)  # a replica that never started has no size
        sizes[column] = np.full((*full[:2], full[3]), math.nan)
        sizes[column][where[0][known], where[1][known], where[3][known]] = measured[known]
    keys, which = _keys(evaluations, axes)
    scores = _scores(evaluations, keys, which, place(evaluations), full, steps, dead)
    return Selection(
        design,
        points,
        keys,
        state,
        steps,
        ties,
        scores,
        sizes,
        diverged_at,
        _tracebacks(runs, codes),
        _trained_by(runs),
    )


def _tracebacks(runs: pd.DataFrame, codes: Counts) -> dict[str, tuple[str, ...]]:
    """Collect what the cell's own code raised, by label; a frame need not have tracebacks."""
    if "traceback" not in runs.columns:
        return {}
    failed = runs.loc[codes == FAILED, ["label", "traceback"]]
    return {str(label): tuple(map(str, rows["traceback"])) for label, rows in failed.groupby("label", sort=False)}


def _trained_by(runs: pd.DataFrame) -> tuple[tuple[str, int], ...]:
    """Count, over the cells whose replicas were not all trained alike, the replicas by what they were trained by."""
    if not set(PROGRAM) <= set(runs.columns):
        return ()
    trained = runs.loc[runs["engine"] != "", ["label", *PROGRAM]]
    kinds = trained.value_counts(sort=False).reset_index(name="replicas")
    mixed = kinds[kinds["label"].duplicated(keep=False)]
    if mixed.empty:
        return ()
    said = mixed["engine"] + " " + mixed["engine_version"].astype(str)
    for word, name in (("on", "isa"), ("built by", "compiler"), ("computed by", "device")):  # where they differ
        if mixed.groupby("label")[name].nunique().max() > 1:
            said = said + f" {word} " + mixed[name]
    counts = mixed.groupby(said)["replicas"].sum()
    return tuple((str(name), int(count)) for name, count in counts.items())


def _states(runs: pd.DataFrame) -> Counts:
    """Read each row's state; a failure is the cell's only where its cause says so."""
    status = runs["status"].to_numpy()
    known = {"solved": SOLVED, "censored": CENSORED, "diverged": DIVERGED, "failed": ON_MACHINE, "missing": MISSING}
    strange = sorted(set(map(str, status)) - set(known))
    if strange:
        raise ValueError(f"status: found {', '.join(strange)}, expected one of {', '.join(known)}")
    codes = np.array([known[s] for s in status], dtype=np.int64)
    codes[(codes == ON_MACHINE) & (runs["cause"] == "cell").to_numpy()] = FAILED
    return codes


def _keys(evaluations: pd.DataFrame, axes: Sequence[str]) -> tuple[tuple[Key, ...], Codes]:
    """List what was evaluated (the trained length first, then in the order of the axes), and each row's place there."""
    grouped = evaluations.groupby(["by", "value"], dropna=False, sort=False)
    codes = np.asarray(grouped.ngroup(), dtype=np.intp)
    firsts = np.unique(codes, return_index=True)[1]
    found: list[Key] = [
        (str(by), math.nan if by == "" else plain(value))
        for by, value in zip(evaluations["by"].iloc[firsts], evaluations["value"].iloc[firsts], strict=True)
    ]
    rank = {"": 0, **{axis: 1 + i for i, axis in enumerate(axes)}}

    def order(k: int) -> tuple[int, str, tuple[str, float, str]]:
        by, value = found[k]
        return rank.get(by, len(rank)), by, value_order(0 if by == "" else value)

    places = sorted(range(len(found)), key=order)
    return tuple(found[k] for k in places), np.argsort(places).astype(np.intp)[codes]


def _scores(
    evaluations: pd.DataFrame,
    keys: Sequence[Key],
    which: Codes,
    where: tuple[Codes, ...],
    full: tuple[int, ...],
    steps: Floats,
    dead: Flags,
) -> dict[str, Floats]:
    """Lay the accuracies out by metric: (cells, points, seeds, rates, keys)."""
    known_at = np.zeros((full[1], len(keys)), dtype=bool)
    known_at[where[1], which] = True
    missing = np.isnan(steps)
    scores = {}
    for metric in METRICS:
        table = np.full((*full, len(keys)), math.nan)
        # a model whose outputs were not finite has nothing right
        table[(*where, which)] = np.nan_to_num(evaluations[metric].to_numpy(dtype=np.float64), nan=0.0)
        # one that diverged or failed may never have been evaluated: 0 wherever others were
        unseen = np.isnan(table) & dead[..., None] & known_at[None, :, None, None, :]
        table[unseen] = 0.0
        # a missing replica has no accuracy in any number, like its steps
        table[missing] = math.nan
        scores[metric] = table
    return scores
