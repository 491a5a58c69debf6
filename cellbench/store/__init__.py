"""runs.sqlite and its folder: every outcome, durable as soon as its chunk ends.

`store` writes and reads the file, `folder` locks its folder, `merge` merges several, `replica` reads one replica whole,
`frames` reads all of them as DataFrames, `weights` keeps trained weights beside them, `answers` what cells answered to
laws, `neighbours` copies replicas from other folders, `earlier` is about replicas that earlier versions of the engines
trained, `tally` counts how they ended, `checksum` detects a changed number, `guard` looks at files before they are
opened.
"""

from cellbench.store.folder import FILE, locked, set_aside
from cellbench.store.schema import NUMBERS, OUTCOME, VOLATILE, WHO
from cellbench.store.store import Store

__all__ = ["FILE", "NUMBERS", "OUTCOME", "VOLATILE", "WHO", "Store", "locked", "set_aside"]
