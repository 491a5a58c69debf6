"""A Dask cluster on this machine, as closed to its other users as Dask can make it.

Whoever reaches a scheduler's port runs code as its user, and on loopback every user of the machine reaches it. With TLS
only this process and its workers have the key, which is made for the cluster and is on no disk.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

from cellbench.errors import CellbenchError
from cellbench.wording import described

OPEN = (
    "The Dask cluster on this machine is not encrypted: any user of this machine who finds its port on 127.0.0.1 can "
    "run code as you. If others use this machine: pip install cryptography, and cellbench uses TLS."
)
"""What is said where TLS cannot be had."""


def can_encrypt() -> bool:
    """Tell whether the library is installed that makes a key for a cluster."""
    return importlib.util.find_spec("cryptography") is not None


def start(workers: int) -> Any:
    """Start a scheduler and workers, with TLS if it can be had, and without ports of HTTP.

    Raises:
        CellbenchError: they cannot be started.
    """
    import dask
    import distributed

    make_cluster: Any = distributed.LocalCluster
    settings = {
        # dispatch tries a chunk that killed its worker once more; Dask must not retry it as well
        "distributed.scheduler.allowed-failures": 0,
        # closes the pages on a cluster's state, which know no password
        "distributed.scheduler.preload": [__name__],
        "distributed.worker.preload": [__name__],
    }
    with dask.config.set(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its status page, which may take another port than 8787
        try:
            return make_cluster(
                n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", memory_limit=0,
                dashboard_address=None, worker_dashboard_address=None, silence_logs=logging.CRITICAL,
                security=True if can_encrypt() else None,
            )  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise CellbenchError(f"no Dask cluster could be started on this machine: {described(error)}") from None


def dask_setup(server: Any) -> None:
    """Close the HTTP server of a scheduler or worker that has just started; Dask calls this, by its name."""
    server.http_server.stop()
