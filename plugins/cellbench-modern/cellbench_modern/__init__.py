"""Recurrent cells of the last years for cellbench. Importing this package imports no torch."""

from __future__ import annotations

from cellbench import hookimpl
from cellbench.hookspecs import RegisterCell

_LINEAR = "kernels and biases uniform in ±1/sqrt(input size)"


@hookimpl
def register_cells(register: RegisterCell) -> None:
    """Eleven cells; what each keeps of its paper's block is in README.md."""
    register(
        name="mingru",
        factory="cellbench_modern.mingru:MinGRU",
        description=f"minimal GRU, gate and candidate from the input alone; {_LINEAR}",
        reference="Feng et al. 2024, arXiv:2410.01201, section 3.1, algorithm 1",
    )
    register(
        name="minlstm",
        factory="cellbench_modern.minlstm:MinLSTM",
        description=f"minimal LSTM, normalised gates and candidate from the input alone; {_LINEAR}",
        reference="Feng et al. 2024, arXiv:2410.01201, section 3.2, algorithm 3",
    )
    register(
        name="lru",
        factory="cellbench_modern.lru:LRU",
        description="linear recurrent unit, complex diagonal; eigenvalues uniform in the unit disk, kernels normal of "
        "variance 1/(2 inputs) in, 1/(hidden size) out, 1/inputs past the recurrence",
        reference="Orvieto et al. 2023, arXiv:2303.06349, equation 7, section 3",
    )
    register(
        name="rg-lru",
        factory="cellbench_modern.rg_lru:RGLRU",
        description="real-gated linear recurrent unit behind a projection; decays uniform in (0.9, 0.999), kernels "
        "normal with variance 1/inputs, biases 0",
        reference="De et al. 2024, arXiv:2402.19427, equations 1 to 4",
    )
    register(
        name="slstm",
        factory="cellbench_modern.slstm:SLSTM",
        description="LSTM with exponential input gate and normaliser, one head; kernels uniform in ±1/sqrt(hidden "
        "size), biases 0",
        reference="Beck et al. 2024, arXiv:2405.04517, equations 8 to 17",
    )
    register(
        name="hgrn",
        factory="cellbench_modern.hgrn:HGRN",
        description=f"complex gated linear recurrence with output gate, lower bound 0; {_LINEAR}, angles from 1 to "
        "about 10000^-2",
        reference="Qin, Yang & Zhong 2023, arXiv:2311.04823, figure 1",
    )
    register(
        name="lmu",
        factory="cellbench_modern.lmu:LMU",
        description="Legendre memory of order 8 over 16 steps; encoders uniform in ±sqrt(3/inputs), the memory's 0, "
        "kernels Xavier normal",
        reference="Voelker, Kajić & Eliasmith 2019, NeurIPS, equations 1, 2, 4, 6, 7",
    )
    register(
        name="selective-ssm",
        factory="cellbench_modern.selective_ssm:SelectiveSSM",
        description="diagonal selective state space (S6) behind a projection, 16 numbers a channel; A -1 to -16, steps "
        "log-uniform in (0.001, 0.1), kernels uniform in ±1/sqrt(inputs)",
        reference="Gu & Dao 2023, arXiv:2312.00752, equations 2 and 4, algorithm 2",
    )
    register(
        name="gated-deltanet",
        factory="cellbench_modern.gated_deltanet:GatedDeltaNet",
        description="gated delta rule on a matrix state, one head, keys of 8; decay rate uniform in (1, 16), steps "
        "log-uniform in (0.001, 0.1), kernels uniform in ±1/sqrt(input size)",
        reference="Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464, equation 10 (version 3)",
    )
    register(
        name="lstm-forget-1",
        factory="cellbench.cells.lstm:lstm",
        description="the built-in lstm with its forget gate's bias at 1; other weights and biases uniform in "
        "±1/sqrt(hidden size)",
        reference="Gers et al. 2000, Neural Computation 12(10); Jozefowicz et al. 2015, ICML, PMLR 37",
        defaults={"forget_bias": 1.0},
    )
    register(
        name="irnn",
        factory="cellbench_modern.irnn:IRNN",
        description="relu network; recurrent matrix the identity, input kernel normal(0, 0.001²), biases 0",
        reference="Le, Jaitly & Hinton 2015, arXiv:1504.00941",
    )
