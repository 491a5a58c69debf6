"""The cells of torchrecurrent 0.2.5, each with the equations that the library computes.

Notation: W and w are weights (w elementwise), b biases (input and recurrent biases written as one), σ the logistic
function, products of vectors elementwise, h and c what the step before left, h' and c' what this step leaves. Where
the library departs from the paper, the docstring says so; README.md has the list.
"""

from __future__ import annotations

from typing import Any

import torch
import torchrecurrent as tr
from torch import Tensor, nn

from cellbench import State
from cellbench_torchrecurrent.adapters import (
    Adapted,
    DecoupledDoubleState,
    DecoupledSingleState,
    DoubleState,
    SingleState,
)


class AntisymmetricRNN(SingleState):
    """h' = h + ε tanh(W x + (U - Uᵀ - γ I) h + b)."""

    wraps = tr.AntisymmetricRNNCell


class GatedAntisymmetricRNN(SingleState):
    """A = U - Uᵀ - γ I; z = σ(Wz x + A h + bz); h' = h + ε z tanh(W x + A h + b)."""

    wraps = tr.GatedAntisymmetricRNNCell


class ATR(SingleState):
    """p = W x + b; q = U h + c; h' = σ(p + q) p + σ(p - q) h."""

    wraps = tr.ATRCell


class BRC(SingleState):
    """a = 1 + tanh(Wa x + wa h + ba); z = σ(Wz x + wz h + bz); h' = z h + (1 - z) tanh(W x + a h + b)."""

    wraps = tr.BRCell


class NBRC(SingleState):
    """As BRC, with matrices for wa and wz."""

    wraps = tr.NBRCell


class CFN(SingleState):
    """θ = σ(Wθ x + Uθ h + bθ); η = σ(Wη x + Uη h + bη); h' = θ tanh(h) + η tanh(W x + b)."""

    wraps = tr.CFNCell


class CoRNN(DoubleState):
    """z' = z + Δt (tanh(W x + U h + V z + b) - γ h - ε z); h' = h + Δt z'. The state is (h, z)."""

    wraps = tr.coRNNCell


class FastRNN(SingleState):
    """h' = σ(α) tanh(W x + U h + b) + σ(β) h, α and β trained scalars."""

    wraps = tr.FastRNNCell


class FastGRNN(SingleState):
    """p = W x + U h; z = tanh(p + bz); h' = (σ(ζ) (1 - z) + σ(ν)) tanh(p + b) + z h.

    The gate's nonlinearity is tanh by the library's default; the paper's is σ, which `nonlinearity: sigmoid` gives and
    which is how cellbench registers the cell.
    """

    wraps = tr.FastGRNNCell


class IndRNN(SingleState):
    """h' = tanh(W x + u h + b), u a vector."""

    wraps = tr.IndRNNCell


class IntersectionRNN(DecoupledSingleState):
    """u = P x; y', n, gy, gh from W u + U h + b by relu, tanh, σ, σ; y = gy u + (1 - gy) y'; h' = gh h + (1 - gh) n.

    The library mixes the input itself into the output, so input and hidden size must be equal there. Here a trained
    matrix P (hidden_size, input_size), Xavier uniform, brings the input to hidden_size first.
    """

    wraps = tr.IntersectionRNNCell

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(hidden_size, hidden_size, **options)
        self.input_size = input_size
        self.projection = nn.Linear(input_size, hidden_size, bias=False)
        nn.init.xavier_uniform_(self.projection.weight)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return super().forward(self.projection(x), state)


class JANET(SingleState):
    """s = Ws x + Us h + bs; h' = σ(s) h + (1 - σ(s - β)) tanh(W x + U h + b), β a trained scalar.

    The library calls this a state (h, c) with c = h; here it is what it is, one tensor.
    """

    wraps = tr.JANETCell

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, _ = self.module(x, (state, state))
        return h, h


class LEM(DoubleState):
    """d, e = Δt σ(W x + U h + b); z' = (1 - e) z + e tanh(Wz x + Uz h + bz); h' = (1 - d) h + d tanh(W x + V z + b).

    The state is (h, z). The paper's h' takes V z', the new z; the library takes the old one.
    """

    wraps = tr.LEMCell


class LightRU(SingleState):
    """f = σ(Wf x + Uf h + bf); h' = (1 - f) h + f tanh(W x + b)."""

    wraps = tr.LightRUCell


class LiGRU(SingleState):
    """z = σ(Wz x + Uz h + bz); h' = z h + (1 - z) relu(W x + U h + b); the paper's batch normalisation is missing."""

    wraps = tr.LiGRUCell


class MCLSTM(DecoupledDoubleState):
    """f, i, o, m = σ(W x + U v + b); c' = f c + i tanh(W x + U v + b); v' = m tanh(c'); the output is o tanh(c').

    The state is (v, c): the gates read v, never the output.
    """

    wraps = tr.MCLSTMCell


class MGU(SingleState):
    """f = σ(Wf x + Uf h + bf); h' = (1 - f) h + f tanh(W x + U (f h) + b)."""

    wraps = tr.MGUCell


class MinimalRNN(SingleState):
    """z = tanh(W x + b); u = σ(U h + V z + c); h' = u h + (1 - u) z."""

    wraps = tr.MinimalRNNCell


class MiRU1(SingleState):
    """r = σ(Wr x + Ur h + br); h' = λ h + (1 - λ) tanh(W x + U (r h) + b), λ = 0.5."""

    wraps = tr.MiRU1Cell


class MiRU2(SingleState):
    """h' = λ h + (1 - λ) tanh(W x + U (β h) + b), λ = β = 0.5."""

    wraps = tr.MiRU2Cell


class MultiplicativeLSTM(DoubleState):
    """m = (Wm x + bm) (U h + b); an LSTM whose gates read m in place of h."""

    wraps = tr.MultiplicativeLSTMCell


class MUT1(SingleState):
    """z = σ(Wz x + bz); r = σ(Wr x + Ur h + br); h' = (1 - z) h + z tanh(tanh(W x + b) + U (r h))."""

    wraps = tr.MUT1Cell


class MUT2(SingleState):
    """z = σ(Wz x + Uz h + bz); r = σ(Wr x + Ur h + br); h' = (1 - z) h + z tanh(W x + U (r h) + b)."""

    wraps = tr.MUT2Cell


class MUT3(SingleState):
    """z = σ(Wz x + Uz tanh(h) + bz); r = σ(Wr x + Ur h + br); h' = (1 - z) h + z tanh(W x + U (r h) + b)."""

    wraps = tr.MUT3Cell


class NAS(DoubleState):
    """The cell that the search found: eight products W x + U h + b, joined in a tree of σ, relu and tanh."""

    wraps = tr.NASCell


class LSTM1997(DoubleState):
    """i, o = σ(W x + U h + b); c' = c + i tanh(W x + U h + b); h' = o tanh(c'): no forget gate."""

    wraps = tr.OriginalLSTMCell


class PeepholeLSTM(DoubleState):
    """i, f = σ(W x + U h + w c + b); c' = f c + i tanh(W x + U h + b); h' = σ(W x + U h + w c' + b) tanh(c')."""

    wraps = tr.PeepholeLSTMCell


class RAN(DoubleState):
    """i, f = σ(W x + U h + b); c' = f c + i W x; h' = tanh(c')."""

    wraps = tr.RANCell


class ResidualLSTM(DoubleState):
    """A peephole LSTM with h' = o (P tanh(c') + R x)."""

    wraps = tr.ResLSTMCell


class SCRN(DoubleState):
    """s' = (1 - α) (B x + b) + α s; p = σ(A x + R h + P s' + b); h' = tanh(U p + V s' + b). The state is (h, s).

    α is a trained scalar. The recurrence goes through h'; in the paper it goes through p, and h' is the output alone.
    """

    wraps = tr.SCRNCell


class SGRN(SingleState):
    """p = W x + b; f = σ(p + U h + c); h' = tanh((1 - f) p + f h)."""

    wraps = tr.SGRNCell


class SGU(SingleState):
    """g = tanh(U ((W x + b) h) + c); z = hσ(Wz x + Uz h + bz); h' = (1 - z) h + z softplus(g h); hσ a hard sigmoid."""

    wraps = tr.SGUCell


class DSGU(SingleState):
    """As SGU, with σ(V (g h)) in place of softplus(g h)."""

    wraps = tr.DSGUCell


class STAR(SingleState):
    """k = σ(Wk x + Uk h + bk); h' = tanh((1 - k) h + k tanh(W x + b))."""

    wraps = tr.STARCell


class TauGRU(Adapted):
    """u = tanh(W x + U h + b); z = tanh(W x + U h(t-d) + b); g, a = σ(W x + U h + b); h' = (1 - g) h + g (u + a z).

    The library's cell takes the delayed state as one more argument. Here the state is the tuple (h, h of the step
    before, ..., h of d steps before), so the delay is inside the cell; before the first step it is zero.

    Args:
        input_size: features of x.
        hidden_size: units.
        delay: d, in steps.
        options: those of the library's cell.
    """

    wraps = tr.tauGRUCell

    def __init__(self, input_size: int, hidden_size: int, *, delay: int = 1, **options: Any) -> None:
        super().__init__(input_size, hidden_size, **options)
        if delay < 1:
            raise ValueError(f"delay must be 1 or more, not {delay}")
        self.delay = delay

    def initial_state(self, batch_size: int) -> State:
        return tuple(torch.zeros(batch_size, self.hidden_size) for _ in range(self.delay + 1))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.module(x, state[0], state[-1])
        return h, (h, *state[:-1])


class TRNN(SingleState):
    """f = σ(Wf x + bf); h' = f h + (1 - f) (W x + b)."""

    wraps = tr.TRNNCell


class TGRU(DoubleState):
    """With y the input of the step before: z, f, o from W x + V y + b by identity, σ, tanh; h' = f h + z o.

    The state is (h, y), y of shape (batch, input_size).
    """

    wraps = tr.TGRUCell

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.input_size)


class TLSTM(DecoupledDoubleState):
    """With y the input of the step before: z, f, o from W x + V y + b by identity, σ, tanh; c' = f c + (1 - f) z.

    The output is c' o; the state is (c, y), y of shape (batch, input_size).
    """

    wraps = tr.TLSTMCell

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.input_size)


class UGRNN(SingleState):
    """g = σ(Wg x + Ug h + bg); h' = g h + (1 - g) tanh(W x + U h + b)."""

    wraps = tr.UGRNNCell


class UnICORNN(DoubleState):
    """z' = z - Δt σ(c) (tanh(W x + w h + b) + α h); h' = h + Δt σ(c) z'. The state is (h, z); c is trained."""

    wraps = tr.UnICORNNCell


class WMCLSTM(DoubleState):
    """An LSTM whose gates also read the memory: σ(W x + U h + tanh(V c + d) + b), c' in the output gate."""

    wraps = tr.WMCLSTMCell
