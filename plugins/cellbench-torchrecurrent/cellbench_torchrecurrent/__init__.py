"""The cells of torchrecurrent 0.2.5 for cellbench. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cellbench import hookimpl
from cellbench.hookspecs import RegisterCell


class Row(NamedTuple):
    """One cell to register.

    Attributes:
        name: as the literature names it, in lower case.
        wrapper: the class in `cells`.
        what: the cell in a few words.
        weights: how the library initialises it; a test holds this against the library.
        reference: the paper.
        defaults: options that differ from the library's defaults, and why they do is in README.md.
    """

    name: str
    wrapper: str
    what: str
    weights: str
    reference: str
    defaults: Mapping[str, Any] = {}


X = "kernels Xavier uniform, biases 0"
N = "input kernel Xavier uniform, recurrent kernel normal(0, 1), biases 0"

ANTISYMMETRIC = "Chang et al. 2019, arXiv:1902.09689"
BISTABLE = "Vecoven, Ernst & Drion 2021, PLOS ONE 16(6) e0252676"
FAST = "Kusupati et al. 2018, arXiv:1901.02358"
CAPACITY = "Collins, Sohl-Dickstein & Sussillo 2017, arXiv:1611.09913"
MINION = "Zyarah & Kudithipudi 2026, Neurocomputing 673, doi:10.1016/j.neucom.2026.132847"
EXPLORATION = "Jozefowicz, Zaremba & Sutskever 2015, ICML, PMLR 37"
DEEP_GATE = "Gao & Glowacka 2016, ACML, PMLR 63, arXiv:1604.02910"
TYPED = "Balduzzi & Ghifary 2016, arXiv:1602.02218"

ROWS = (
    Row("antisymmetric-rnn", "AntisymmetricRNN", "Euler steps of an antisymmetric network", N, ANTISYMMETRIC),
    Row("gated-antisymmetric-rnn", "GatedAntisymmetricRNN", "AntisymmetricRNN with an input gate", N, ANTISYMMETRIC),
    Row("atr", "ATR", "addition-subtraction twin gates", N, "Zhang et al. 2018, arXiv:1810.12546"),
    Row("brc", "BRC", "bistable cell, recurrent weights elementwise", N, BISTABLE),
    Row("nbrc", "NBRC", "bistable cell with neuromodulation, recurrent matrices", X, BISTABLE),
    Row("cfn", "CFN", "chaos-free network", X, "Laurent & von Brecht 2017, arXiv:1612.06212"),
    Row("cornn", "CoRNN", "coupled oscillators, Δt 0.1", X, "Rusch & Mishra 2021, arXiv:2010.00951"),
    Row(
        "fastrnn", "FastRNN", "residual update weighted by two trained scalars, σ(-3) new and σ(3) old", X, FAST,
        {"alpha_init": -3.0, "beta_init": 3.0},
    ),
    Row(
        "fastgrnn", "FastGRNN", "one gate that shares its kernels with the candidate, ζ 3 and ν -3", X, FAST,
        {"nonlinearity": "sigmoid"},
    ),
    Row("indrnn", "IndRNN", "tanh units that recur on themselves alone", N, "Li et al. 2018, arXiv:1803.04831"),
    Row("intersection-rnn", "IntersectionRNN", "+RNN: gates over depth and time, behind a projection", X, CAPACITY),
    Row("janet", "JANET", "LSTM with just the forget gate, β 1", X,
        "van der Westhuizen & Lasenby 2018, arXiv:1804.04849"),
    Row("lem", "LEM", "long expressive memory, Δt 1, output reads the old memory", X,
        "Rusch et al. 2022, arXiv:2110.04744"),
    Row("light-ru", "LightRU", "light recurrent unit", X, "Ye et al. 2024, Electronics 13(16) 3204"),
    Row("li-gru", "LiGRU", "GRU with relu, without reset gate", X, "Ravanelli et al. 2018, arXiv:1803.10225"),
    Row("mc-lstm", "MCLSTM", "LSTM with a memory controller apart from its output", X,
        "Ben-Ari & Shwartz-Ziv 2017, NIPS Time Series Workshop"),
    Row("mgu", "MGU", "minimal gated unit", X, "Zhou et al. 2016, arXiv:1603.09420"),
    Row("minimal-rnn", "MinimalRNN", "gated update towards a latent of the input", X, "Chen 2017, arXiv:1711.06788"),
    Row("miru-1", "MiRU1", "GRU with a constant update gate, 0.5", X, MINION),
    Row("miru-2", "MiRU2", "GRU with constant update and reset gates, 0.5", X, MINION),
    Row("multiplicative-lstm", "MultiplicativeLSTM", "LSTM whose gates read an input-dependent transition",
        "kernels Xavier uniform, multiplicative kernel normal(0, 1), biases 0", "Krause et al. 2016, arXiv:1609.07959"),
    Row("mut1", "MUT1", "first of the architecture search's three mutations", X, EXPLORATION),
    Row("mut2", "MUT2", "second of the architecture search's three mutations", X, EXPLORATION),
    Row("mut3", "MUT3", "third of the architecture search's three mutations", X, EXPLORATION),
    Row("nascell", "NAS", "found by neural architecture search", X, "Zoph & Le 2017, arXiv:1611.01578"),
    Row("lstm-1997", "LSTM1997", "LSTM without forget gate", X,
        "Hochreiter & Schmidhuber 1997, Neural Computation 9(8)"),
    Row("peephole-lstm", "PeepholeLSTM", "LSTM whose gates see the memory elementwise",
        "kernels Xavier uniform, peepholes normal(0, 1), biases 0",
        "Gers, Schraudolph & Schmidhuber 2002, JMLR 3"),
    Row("ran", "RAN", "recurrent additive network", X, "Lee, Levy & Zettlemoyer 2017, arXiv:1705.07393"),
    Row("residual-lstm", "ResidualLSTM", "peephole LSTM with the input added to its output",
        "kernels Xavier uniform, peepholes normal(0, 1), biases 0", "Kim, El-Khamy & Lee 2017, arXiv:1701.03360"),
    Row("scrn", "SCRN", "structurally constrained network, a slow context, α 0.5",
        "kernels Xavier uniform, context kernel normal(0, 1), biases 0", "Mikolov et al. 2014, arXiv:1412.7753"),
    Row("sgrn", "SGRN", "simple gated recurrent network", X,
        "Zu & Wei 2020, IET Generation, Transmission & Distribution 15(4)"),
    Row("sgu", "SGU", "simple gated unit", X, DEEP_GATE),
    Row("dsgu", "DSGU", "deep simple gated unit", X, DEEP_GATE),
    Row("star", "STAR", "stackable recurrent cell", X, "Turkoglu et al. 2021, arXiv:1911.11033"),
    Row("tau-gru", "TauGRU", "GRU with weighted feedback of a delayed state, delay 1", X,
        "Erichson, Lim & Mahoney 2022, arXiv:2212.00228"),
    Row("t-rnn", "TRNN", "strongly typed RNN", "input kernel Xavier uniform, biases 0", TYPED),
    Row("t-gru", "TGRU", "strongly typed GRU", X, TYPED),
    Row("t-lstm", "TLSTM", "strongly typed LSTM", X, TYPED),
    Row("ugrnn", "UGRNN", "update gate RNN", X, CAPACITY),
    Row("unicornn", "UnICORNN", "undamped independent oscillators, Δt 0.1, α 0",
        "input kernel Xavier uniform, recurrent kernel uniform(0, 1), control kernel uniform(-0.1, 0.1), biases 0",
        "Rusch & Mishra 2021, arXiv:2103.05487"),
    Row("wmc-lstm", "WMCLSTM", "LSTM with working memory connections", X, "Landi et al. 2021, arXiv:2109.00020"),
)  # fmt: skip
"""Every cell of torchrecurrent's own `__all__`, in its order of modules."""


@hookimpl
def register_cells(register: RegisterCell) -> None:
    """All of `ROWS`."""
    for row in ROWS:
        register(
            name=row.name,
            factory=f"cellbench_torchrecurrent.cells:{row.wrapper}",
            description=f"{row.what}; {row.weights}",
            reference=row.reference,
            defaults=row.defaults,
        )
