"""From results folders to a report.

`results` reads one folder, `several` reads many as one, `seal` tells whether a report is up to date, `pick` finds the
replica that is meant, `models` gives its trained model.
"""

from cellbench.results.results import Results, gather, load, write

__all__ = ["Results", "gather", "load", "write"]
