"""The built-in cells, registered through the hook that every plugin uses."""

from __future__ import annotations

from cellbench.hookspecs import RegisterCell, hookimpl


@hookimpl
def register_cells(register: RegisterCell) -> None:
    """Register rnn, lstm and gru: torch's own cells with torch's own initial weights."""
    register(
        name="rnn",
        factory="cellbench.cells.rnn:rnn",
        description="Elman network with tanh; all weights and biases uniform in ±1/sqrt(hidden size)",
        reference="Elman 1990, Cognitive Science 14(2); equations of torch.nn.RNNCell",
    )
    register(
        name="lstm",
        factory="cellbench.cells.lstm:lstm",
        description="LSTM with forget gate; all weights and biases uniform in ±1/sqrt(hidden size), "
        "option forget_bias sets the forget gate's bias",
        reference="Hochreiter & Schmidhuber 1997; Gers et al. 2000; equations of torch.nn.LSTMCell",
    )
    register(
        name="gru",
        factory="cellbench.cells.gru:gru",
        description="gated recurrent unit, reset after the product; all weights and biases uniform in "
        "±1/sqrt(hidden size)",
        reference="Cho et al. 2014, arXiv:1406.1078; equations of torch.nn.GRUCell",
    )
