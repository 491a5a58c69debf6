"""One chunk of replicas, from a cell to outcomes: what a worker runs.

`worker.work` trains a chunk and turns every failure into records, `loop` is the training itself, `data` draws
batches, `stopping` decides which replicas are solved, `timeout` ends a chunk that takes too long. `single.train` trains
one model. `fingerprint` lists what numbers depend on beside the key.
"""
