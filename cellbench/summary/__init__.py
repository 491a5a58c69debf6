"""Every number that is published: from frames of replicas to small dataclasses and tables.

`summary` is the whole; `selection` picks replicas and rates, `cells` describes each cell, `comparisons` two of them,
`verdicts` says what follows, in `words`.
"""

from cellbench.summary.design import Design
from cellbench.summary.summary import Summary, summarise
from cellbench.summary.verdicts import Verdict

__all__ = ["Design", "Summary", "Verdict", "summarise"]
