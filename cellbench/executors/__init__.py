"""Where chunks run: here, in worker processes, or on a Dask cluster.

`executor` is the contract, kept by `here`, `processes` and `dask`; `dispatch` hands chunks out, whatever happens to
workers; `agreement` asks a cluster whether it is like this machine.
"""

from cellbench.executors.agreement import Agreement
from cellbench.executors.dask import Dask
from cellbench.executors.executor import Executor, WorkerDied
from cellbench.executors.here import Here
from cellbench.executors.processes import Processes

__all__ = ["Agreement", "Dask", "Executor", "Here", "Processes", "WorkerDied"]
