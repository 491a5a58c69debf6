"""LSTM and GRU as other libraries define and initialise them. Importing this package imports no torch."""

from __future__ import annotations

from cellbench import hookimpl
from cellbench.hookspecs import RegisterCell


@hookimpl
def register_cells(register: RegisterCell) -> None:
    """Register the cells of Keras, Flax and Haiku, and the control that tells weights from biases."""
    register(
        name="lstm-one-bias",
        factory="cellbench_libraries.one_bias:OneBiasLSTM",
        description="the built-in lstm with one bias per gate, the sum of torch's two; kernels uniform in "
        "±1/sqrt(hidden size), option kernel_deviation sets the input kernel's",
        reference="equations of torch.nn.LSTMCell, b and c added",
    )
    register(
        name="lstm-keras",
        factory="cellbench_libraries.keras:KerasLSTM",
        description="LSTM of Keras; kernel Glorot uniform, recurrent kernel one orthogonal matrix over the gates, bias "
        "0, of the forget gate 1",
        reference="keras.layers.LSTM, Keras 3.15.1",
    )
    register(
        name="gru-keras",
        factory="cellbench_libraries.keras:KerasGRU",
        description="GRU of Keras, reset after the product; kernel Glorot uniform, recurrent kernel one orthogonal "
        "matrix over the gates, biases 0",
        reference="keras.layers.GRU, Keras 3.15.1",
    )
    register(
        name="lstm-flax",
        factory="cellbench_libraries.flax:FlaxLSTM",
        description="LSTM of Flax; kernel truncated normal of variance 1/inputs, recurrent kernel orthogonal per gate, "
        "bias 0",
        reference="flax.linen.LSTMCell, .OptimizedLSTMCell, flax.nnx.LSTMCell, Flax 0.12.8",
    )
    register(
        name="lstm-flax-nnx-optimized",
        factory="cellbench_libraries.flax:NnxOptimizedLSTM",
        description="optimised LSTM of Flax's nnx; lstm-flax with one orthogonal matrix over the gates",
        reference="flax.nnx.OptimizedLSTMCell, Flax 0.12.8",
    )
    register(
        name="gru-flax",
        factory="cellbench_libraries.flax:FlaxGRU",
        description="GRU of Flax's linen; kernel truncated normal of variance 1/inputs, recurrent kernel orthogonal "
        "per gate, biases 0",
        reference="flax.linen.GRUCell, Flax 0.12.8",
    )
    register(
        name="gru-flax-nnx",
        factory="cellbench_libraries.flax:NnxGRU",
        description="GRU of Flax's nnx, without a bias inside the reset; kernel truncated normal of variance 1/inputs, "
        "recurrent kernel one orthogonal matrix over the gates, bias 0",
        reference="flax.nnx.GRUCell, Flax 0.12.8",
    )
    register(
        name="lstm-haiku",
        factory="cellbench_libraries.haiku:HaikuLSTM",
        description="LSTM of Haiku, 1 added inside the forget gate; kernels normal(0, 1/(inputs + hidden size)) cut at "
        "2 deviations, bias 0",
        reference="haiku.LSTM, Haiku 0.0.17",
    )
    register(
        name="gru-haiku",
        factory="cellbench_libraries.haiku:HaikuGRU",
        description="GRU of Haiku, reset before the product; kernels truncated normal of variance 1/inputs and "
        "1/(hidden size), bias 0",
        reference="haiku.GRU, Haiku 0.0.17; Chung et al. 2014, arXiv:1412.3555",
    )
