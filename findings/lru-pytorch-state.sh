#!/usr/bin/env bash
# lru-pytorch 0.1.3: a state that is passed in reaches only the first sequence of the batch.
#
# forward(input, state) takes sequences of shape (batch, time, features) and one state. The first sequence starts from
# that state, all others from zeros: three copies of one sequence give two different outputs.
#
# Why: the batch is a Python loop that carries the state in an attribute of the module and sets it to zeros after each
# sequence. The state at the end is not returned either, so a sequence cannot be continued.
#
# Seen on 2026-11-27 with lru-pytorch 0.1.3, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install --no-deps lru-pytorch==0.1.3

expected=$(
    cat <<'END'
sequence 0: the state makes a difference of up to 1.15
sequence 1: the state makes a difference of up to 0.00
sequence 2: the state makes a difference of up to 0.00
sequences 1 and 2, copies of 0, equal each other: True
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from LRU_pytorch import LRU

torch.manual_seed(0)
layer = LRU(in_features=2, out_features=3, state_features=4)
x = torch.randn(1, 5, 2).expand(3, -1, -1)
state = torch.randn(4, dtype=torch.complex64)
given = layer(x, state)
zeros = layer(x)
for i in range(3):
    print(f"sequence {i}: the state makes a difference of up to {(given[i] - zeros[i]).abs().max():.2f}")
print("sequences 1 and 2, copies of 0, equal each other:", torch.equal(given[1], given[2]))
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
