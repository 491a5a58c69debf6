"""The back end: from graphs to C++.

`lower` writes the program, `function` one function of it; `operations`, `kernels`, `products` and `views` are the
tables of what it can write; `values` and `nodes` say where things are.
"""
