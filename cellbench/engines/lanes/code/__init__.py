"""The back end: from graphs to C++.

`lower` writes the program, `function` one function of it, `gradients` the sums over time. `operations`, `kernels`,
`products` and `views` are the table of operations that can be written. `values` describes where a tensor is in memory,
`nodes` where each result is.
"""
