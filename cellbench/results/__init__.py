"""From results folders to a report.

`results` takes one folder, `several` take many, `seal` knows whether a report is still right.
"""

from cellbench.results.results import Results, gather, load, write

__all__ = ["Results", "gather", "load", "write"]
