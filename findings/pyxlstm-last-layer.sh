#!/usr/bin/env bash
# PyxLSTM 1.0.1: the last layer of its sLSTM and mLSTM is never run.
#
# With one layer both return their input unchanged, of the input's size whatever hidden_size says, with an empty
# state, and no parameter gets a gradient. With two layers both raise an error.
#
# Why: forward walks the layers beside their dropouts with zip, and there is one dropout fewer than there are layers,
# so zip stops early. As soon as a layer is run, the input gate is stored under the name of the loop's counter, which
# the next comparison cannot take; mLSTM fails before that, where a vector meets the matrix memory.
#
# Nothing in the package's documentation says so; a stack of such blocks still trains, because each block has
# feed-forward weights around the recurrence.
#
# Seen on 2026-11-27 with PyxLSTM 1.0.1, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install --no-deps PyxLSTM==1.0.1

expected=$(
    cat <<'END'
sLSTM, 1 layer: output is the input: True; state: []
sLSTM, 1 layer: parameters with a gradient: 0 of 8
sLSTM, 2 layers: RuntimeError
mLSTM, 1 layer: output is the input: True; state: []
mLSTM, 1 layer: parameters with a gradient: 0 of 16
mLSTM, 2 layers: RuntimeError
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from xLSTM import mLSTM, sLSTM

torch.manual_seed(0)
for kind in sLSTM, mLSTM:
    name = kind.__name__
    x = torch.randn(2, 6, 3, requires_grad=True)
    layer = kind(input_size=3, hidden_size=5, num_layers=1)
    y, state = layer(x)
    y.sum().backward()
    reached = sum(p.grad is not None for p in layer.parameters())
    print(f"{name}, 1 layer: output is the input: {torch.equal(x, y)}; state: {state}")
    print(f"{name}, 1 layer: parameters with a gradient: {reached} of {len(list(layer.parameters()))}")
    try:
        kind(input_size=3, hidden_size=3, num_layers=2)(x)
    except RuntimeError as error:
        print(f"{name}, 2 layers: {type(error).__name__}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
