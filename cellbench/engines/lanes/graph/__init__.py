"""The front end: from a cell to two small graphs, of its step and of its gradient.

`tape` records what the cell computes, `trace` makes the graphs, with `decompositions` for what torch composes.
"""
