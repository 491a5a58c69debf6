"""runs.sqlite and its folder: every outcome, durable as soon as its chunk ends.

`store` writes and reads it, `folder` locks it, `merge` unites several, `replica` gives one replica whole, `frames`
all of them as DataFrames, `checksum` notices a changed number.
"""

from cellbench.store.folder import FILE, locked, set_aside
from cellbench.store.schema import NUMBERS, OUTCOME, VOLATILE, WHO
from cellbench.store.store import Store

__all__ = ["FILE", "NUMBERS", "OUTCOME", "VOLATILE", "WHO", "Store", "locked", "set_aside"]
