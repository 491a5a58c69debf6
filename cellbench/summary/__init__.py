"""Every number that is published: from frames of replicas to small dataclasses and tables.

`summary` makes everything; `selection` picks replicas and rates, `cells` describes each cell, `comparisons` compares
two, `verdicts` states the result in fixed words.
"""

from cellbench.summary.design import Design
from cellbench.summary.summary import Summary, summarise
from cellbench.summary.verdicts import Finding, Verdict

__all__ = ["Design", "Finding", "Summary", "Verdict", "summarise"]
