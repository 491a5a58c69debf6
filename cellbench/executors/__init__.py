"""Where chunks run: here, in worker processes, or on a Dask cluster.

`executor` is the contract that `here`, `processes` and `dask` implement; `dispatch` hands out chunks and copes with
workers that die; `agreement` checks that a cluster's workers compute what this machine computes.
"""

from cellbench.executors.agreement import Agreement
from cellbench.executors.dask import Dask
from cellbench.executors.executor import Executor, WorkerDied
from cellbench.executors.here import Here
from cellbench.executors.processes import Processes, start_server

__all__ = ["Agreement", "Dask", "Executor", "Here", "Processes", "WorkerDied", "start_server"]
