"""The front end: from a cell to two small graphs.

`tape` hashes what the cell computes, `steady` finds out whether it takes the same step at all times. `trace` cuts one
step, which `forward` traces, in two graphs. `graphs` helps to make and to run them, `tensors` lists what they read of a
model, `states` what a state holds. `decompositions` is for torch's composed operations, `linear_algebra` for functions
of matrices, `reals` for complex numbers, `own_gradients` for gradients that a cell defines, `script` for TorchScript,
`elsewhere` for tensors that it keeps out of torch's sight. `lines` finds the user's own line.
"""
