"""Where chunks run: here, in worker processes, or on a Dask cluster. All speak concurrent.futures."""

from cellbench.executors.executor import Executor, WorkerDied
from cellbench.executors.here import Here
from cellbench.executors.processes import Processes

__all__ = ["Executor", "Here", "Processes", "WorkerDied"]
