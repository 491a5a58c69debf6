"""The front end: from a cell to two small graphs.

`tape` hashes what the cell computes. `trace` makes the graphs, with `decompositions` for torch's composed operations;
`graphs` helps to make and to run them. `tensors` lists what the graphs read of a model.
"""
