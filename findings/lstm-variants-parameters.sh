#!/usr/bin/env bash
# lstm-variants 0.1.2: most weights are no parameters, so no optimiser sees them and no state_dict holds them.
#
# LSTM and BiLSTM have no parameter at all, FocusedLSTM one of six weights, LightweightLSTM two of four. The layers
# compute, and gradients flow to the inputs, so a model around them trains while they stay as they were drawn.
#
# Why: several weights are made as one stacked nn.Parameter and unpacked into attributes. Unpacking a Parameter gives
# plain tensors, which a module does not register; the Parameter itself is then held by nothing but the graph.
#
# Seen on 2026-11-27 with lstm-variants 0.1.2, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
set -euo pipefail

skip() { echo "not run: $*" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
install() {
    venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@" ||
        skip "pip cannot install $* here"
}
install torch==2.13.0 numpy==2.4.6
install --no-deps lstm-variants==0.1.2

expected=$(
    cat <<'END'
LSTM: parameters []; state_dict []; gradient reaches the input: True
BiLSTM: parameters []; state_dict []; gradient reaches the input: True
FocusedLSTM: parameters ['W']; state_dict ['W']; gradient reaches the input: True
LightweightLSTM: parameters ['W', 'Ri']; state_dict ['W', 'Ri']; gradient reaches the input: True
an optimiser of LSTM: optimizer got an empty parameter list
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from lstm_variants import LSTM, BiLSTM, FocusedLSTM, LightweightLSTM

torch.manual_seed(0)
for kind in LSTM, BiLSTM, FocusedLSTM, LightweightLSTM:
    layer = kind(3, 4)
    x = torch.randn(2, 5, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    print(f"{kind.__name__}: parameters {[n for n, _ in layer.named_parameters()]}; "
          f"state_dict {list(layer.state_dict())}; gradient reaches the input: {bool(x.grad.abs().sum() > 0)}")
try:
    torch.optim.SGD(LSTM(3, 4).parameters(), lr=0.1)
except ValueError as error:
    print("an optimiser of LSTM:", error)
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
