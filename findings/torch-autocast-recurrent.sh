#!/usr/bin/env bash
# torch 2.13.0: under CPU autocast to bfloat16 the recurrent layers disagree on the type of state and output.
#
# nn.RNN, nn.RNNCell and nn.LSTM return bfloat16; nn.GRU, nn.GRUCell and nn.LSTMCell return float32. A loop over
# LSTMCell therefore carries its state in 32 bits, the layer nn.LSTM of the same weights in 16. All six compute their
# matrix products in bfloat16: none gives the outputs of the run without autocast.
#
# Why: autocast lowers the linear maps inside the cells. The state that comes in is float32 and enters GRU and LSTMCell
# by a product of elements, which type promotion takes back to float32; nn.RNN only adds low-precision terms; nn.LSTM
# goes as a whole to a oneDNN kernel in bfloat16.
#
# Seen on 2026-11-27 with torch 2.13.0 (CPU), Python 3.11, Linux x86-64 with AVX-512: the text in "expected" below.
# Where oneDNN is held to AVX2 (ONEDNN_MAX_CPU_ISA=AVX2), nn.LSTM raises an error under autocast and the rest is equal.
set -euo pipefail

skip() { echo "not run: $*" >&2; exit 77; }
grep -qw avx512bw /proc/cpuinfo 2>/dev/null || skip "oneDNN's LSTM in bfloat16 needs a processor with AVX-512"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
install() {
    venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@" ||
        skip "pip cannot install $* here"
}
install torch==2.13.0 numpy==2.4.6

expected=$(
    cat <<'END'
RNN: bfloat16; equals the run without autocast: False
RNNCell: bfloat16; equals the run without autocast: False
GRU: float32; equals the run without autocast: False
GRUCell: float32; equals the run without autocast: False
LSTM: bfloat16; equals the run without autocast: False
LSTMCell: float32; equals the run without autocast: False
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from torch import nn

for kind in nn.RNN, nn.RNNCell, nn.GRU, nn.GRUCell, nn.LSTM, nn.LSTMCell:
    torch.manual_seed(0)
    layer = kind(3, 4)
    x = torch.randn(5, 2, 3)
    if kind.__name__.endswith("Cell"):
        x = x[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    full = layer(x)
    low, full = (y if isinstance(y, torch.Tensor) else y[0] for y in (low, full))
    print(f"{kind.__name__}: {str(low.dtype)[6:]}; equals the run without autocast: {torch.equal(low.float(), full)}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
