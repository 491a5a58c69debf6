"""The CPU engine: a cell is traced once, becomes C++, and trains any number of replicas as fast as hand-written code.

The way of a cell through the modules: `graph.tape` (what does it compute, and is it in the cache?), `graph.trace`
(two graphs), `code.lower` with the tables of `code.operations` and `code.products` (C++), `build` (a shared object),
`cache` (kept), `program` (loaded), `proof` (checked against autograd), `engine` (trains). The headers are in
`runtime`.
"""

from cellbench.engines.lanes.engine import build_ahead, prepare

__all__ = ["build_ahead", "prepare"]
