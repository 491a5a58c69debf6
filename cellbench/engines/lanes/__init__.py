"""The CPU engine: traces a cell, compiles it as C++, and trains replicas as fast as hand-written code would.

The modules in the order in which a cell passes them: `identity` hashes what it is made of and what it computes (by
`graph.tape`), by which `cache` finds it compiled. If it is not there, `graph.steady` refuses memory outside the state,
`graph.trace` makes two graphs of it, `code.lower` writes them as C++ by the tables of `code.operations` and
`code.products`, and `build` compiles that to a shared object. `program` loads the object, `proof` checks it against
autograd; `compiled` goes this way for all units of a model, and `engine` trains with them. `pool` has the threads that
wait for compilers. The C++ headers are in `runtime`.
"""

from cellbench.engines.lanes.cache import described
from cellbench.engines.lanes.compiled import Programs
from cellbench.engines.lanes.engine import begin, build_ahead, prepare, together
from cellbench.engines.lanes.pool import Compilers, compilers

__all__ = ["Compilers", "Programs", "begin", "build_ahead", "compilers", "described", "prepare", "together"]
