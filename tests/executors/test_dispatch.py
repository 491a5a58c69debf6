"""Chunks out, outcomes in: whatever workers do, every chunk ends once, and no chunk pays for its neighbour."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellbench.errors import Interrupted
from cellbench.executors import Executor, Here, WorkerDied, dispatch
from cellbench.executors.dispatch import Finished
from cellbench.records import CellSpec, Chunk, Evaluate, Final, Outcome, Point, Replica, Settings, Solved, Train

SETTINGS = Settings(
    "binary_addition", Train(20, "adam", 1.0, False, timeout=600.0), Evaluate(5, 0.05, 32),
    Solved("sequence_accuracy", 0.99, 2), Final(20, (), False),
)  # fmt: skip


def chunk(number: int) -> Chunk:
    """A chunk with two replicas, whose keys have its number."""
    replicas = tuple(Replica(f"{number}/{seed}", seed, 0.1) for seed in (0, 1))
    return Chunk(CellSpec("rnn", "rnn", "x:Y"), Point((), 4, "hidden 3"), 3, SETTINGS, "reference", replicas)


def job(chunk: Chunk) -> Callable[[], list[Outcome]]:
    return partial(list, [Outcome(r.key, "censored", attempt=chunk.attempt) for r in chunk.replicas])


class Killed(Exception):
    """What a job raises here where one on a real machine would kill its worker."""


class Hung(Exception):
    """What a job raises here where a real one would never end."""


class Workers:
    """Threads for worker processes: a job that kills its worker takes with it what a real one would.

    Args:
        slots: jobs at a time.
        isolated: whether a death takes nothing but its own job, as on a cluster, or the whole pool.
    """

    def __init__(self, slots: int, *, isolated: bool = False) -> None:
        self.slots, self.isolated = slots, isolated
        self.most = self.restarts = self.checks = 0
        self._flying: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._flying.add(future)
            self.most = max(self.most, len(self._flying))
        threading.Timer(0.001, self._work, (future, function, args)).start()
        return future

    def _work(self, future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
        except Hung:
            return
        except Killed:
            with self._lock:
                alive = future in self._flying  # or a neighbour was killed first, and it with the pool
                died = ({future} if self.isolated else set(self._flying)) if alive else set()
                self._flying -= died
            for one in died:
                one.set_exception(WorkerDied("gone") if self.isolated else BrokenExecutor("the pool is gone"))
            return
        with self._lock:
            if future not in self._flying:
                return  # it died with its neighbour
            self._flying.remove(future)
        future.set_result(result)

    def restart(self, stuck: Collection[Future[Any]] = ()) -> bool:
        self.restarts += 1
        with self._lock:
            self._flying -= set(stuck) if self.isolated else set(self._flying)
        return not self.isolated

    def check(self) -> None:
        self.checks += 1
        assert self.checks < 100, "it waits for what does not end"

    def close(self) -> None:
        """There is nothing to end."""


def killing(numbers: Collection[int], attempts: int = 2) -> Callable[[Chunk], Callable[[], list[Outcome]]]:
    """A job for each chunk; those of these numbers kill their worker, the first so many times."""

    def make(chunk: Chunk) -> Callable[[], list[Outcome]]:
        if int(chunk.replicas[0].key.partition("/")[0]) in numbers and chunk.attempt <= attempts:
            return die
        return job(chunk)

    return make


def die() -> list[Outcome]:
    raise Killed


def hang() -> list[Outcome]:
    raise Hung


def numbers(found: list[Finished]) -> list[int]:
    """The chunks that ended, in that order."""
    return [int(f.chunk.replicas[0].key.partition("/")[0]) for f in found]


class Growing:
    """A supply whose chunks become ready one by one, each when the one before it has been asked for."""

    def __init__(self, count: int) -> None:
        self.later = [chunk(i) for i in range(count)]
        self.ready: list[Chunk] = []
        self.awaited: list[Future[Any]] = []

    @property
    def open(self) -> bool:
        return bool(self.later)

    def settle(self) -> None:
        """Make one ready at every second call; in between, a timer ends what is awaited."""
        if self.awaited and self.awaited[0].done():
            self.ready.append(self.later.pop(0))
            self.awaited = []
        elif self.later and not self.awaited:
            future: Future[Any] = Future()
            self.awaited = [future]
            threading.Timer(0.002, future.set_result, (None,)).start()

    def take(self) -> Chunk | None:
        return self.ready.pop(0) if self.ready else None


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("slots", [1, 3])
def test_a_supply_is_waited_for(slots: int, isolated: bool) -> None:
    """Chunks that become ready later are run too, each once, whatever dies meanwhile; the end waits for all."""
    deaths = Workers(slots, isolated=isolated)
    found = list(dispatch.dispatch(Growing(9), deaths, killing({2, 5}, attempts=1)))
    assert sorted(numbers(found)) == list(range(9))
    assert deaths.most <= slots
    assert all(o.status == "censored" for f in found for o in f.outcomes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 12), st.integers(1, 4), st.booleans(), st.sets(st.integers(0, 11), max_size=4), st.integers(1, 2))
def test_every_chunk_ends_once(count: int, slots: int, isolated: bool, killers: set[int], deaths: int) -> None:
    """Whichever chunks kill their workers, once or always: they alone are failed by the machine, and only if always."""
    executor = Workers(slots, isolated=isolated)
    found = list(dispatch.dispatch(map(chunk, range(count)), executor, killing(killers, deaths)))
    assert sorted(numbers(found)) == list(range(count))
    assert executor.most <= slots
    for number, finished in zip(numbers(found), found, strict=True):
        assert [o.key for o in finished.outcomes] == [f"{number}/0", f"{number}/1"]
        lost = number in killers and deaths == 2
        assert {(o.status, o.cause) for o in finished.outcomes} == {("failed", "machine") if lost else ("censored", "")}
        if lost:
            assert {o.attempt for o in finished.outcomes} == {dispatch.ATTEMPTS}
            assert {o.engine for o in finished.outcomes} == {"reference"}
            assert {o.traceback for o in finished.outcomes} == {
                "its worker died (killed, or crashed in native code), twice"
            }


@pytest.mark.parametrize("count", [0, 1, 5])
def test_in_this_process_they_end_in_order(count: int) -> None:
    """One at a time, first come, first served; nothing is submitted before the last one was taken."""
    executor: Executor = Here()
    submitted: list[int] = []

    def make(chunk: Chunk) -> Callable[[], list[Outcome]]:
        submitted.append(int(chunk.replicas[0].key[0]))
        return job(chunk)

    taken = []
    for finished in dispatch.dispatch(map(chunk, range(count)), executor, make):
        taken += numbers([finished])
        assert submitted == taken
    assert taken == list(range(count))


@pytest.mark.parametrize("isolated", [True, False])
def test_a_chunk_that_does_not_end(isolated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its patience is over it is tried again, then failed; what a new pool takes with it is tried again too."""
    monkeypatch.setattr(dispatch, "patience", lambda chunk: 0.0 if chunk.replicas[0].key == "1/0" else 600.0)

    def make(chunk: Chunk) -> Callable[[], list[Outcome]]:
        # the third is still under way, and in no way late, when the second is given up
        slow = chunk.replicas[0].key == "2/0" and chunk.attempt == 1 and not isolated
        return hang if slow or chunk.replicas[0].key == "1/0" else job(chunk)

    executor = Workers(3, isolated=isolated)
    found = list(dispatch.dispatch(map(chunk, range(4)), executor, make))
    assert sorted(numbers(found)) == [0, 1, 2, 3]
    late = ("failed", "it was still running long after train.timeout, twice")
    for number, finished in zip(numbers(found), found, strict=True):
        assert {(o.status, o.traceback) for o in finished.outcomes} == {late if number == 1 else ("censored", "")}
    assert executor.restarts == 2


def test_patience_is_longer_than_the_chunk_s_own_limit() -> None:
    """It is for code that never returns to Python: a chunk that hears its alarm has ended long before."""
    for timeout in (0.1, 1.0, 600.0, 1e6):
        short = replace(SETTINGS, train=replace(SETTINGS.train, timeout=timeout))
        assert dispatch.patience(replace(chunk(0), settings=short)) >= timeout + 10


def test_what_a_job_raises_is_not_swallowed() -> None:
    """A job is ours, and never raises for what a cell does; what it does raise ends the run."""

    def broken(chunk: Chunk) -> Callable[[], list[Outcome]]:
        return partial(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        list(dispatch.dispatch([chunk(0)], Here(), broken))


def test_a_cancelled_chunk_is_tried_again() -> None:
    """A scheduler that loses a future cancels it."""
    cancelled = Counter[str]()

    class Cancelling(Here):
        def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
            cancelled["all"] += 1
            if cancelled["all"] > 1:
                return super().submit(function, *args)
            future: Future[Any] = Future()
            future.set_exception(CancelledError())
            return future

    (found,) = dispatch.dispatch([chunk(0)], Cancelling(), job)
    assert {(o.status, o.attempt) for o in found.outcomes} == {("censored", 2)}


def test_an_executor_that_cannot_go_on_ends_the_run() -> None:
    """`check` is asked as often as anything ends; what it raises comes out, after what had ended."""

    class Gone(Here):
        def check(self) -> None:
            raise Interrupted("the scheduler is gone")

    ended = dispatch.dispatch(map(chunk, range(3)), Gone(), job)
    assert numbers([next(ended)]) == [0]
    with pytest.raises(Interrupted, match="the scheduler is gone"):
        next(ended)
