#!/usr/bin/env bash
# neuralfields 0.5.2: no gradient flows through time; each output's gradient sees its own step only.
#
# forward unrolls NeuralField or SimpleNeuralField over a sequence and returns all outputs and potentials with a graph,
# but the state is detached at each step. The last output depends on the first input, and its derivative by it is
# exactly zero: training by backward() is blind to everything that the state carries.
#
# Why: a step detaches the potentials it is given. A comment in the source says so; neither the docstrings nor the
# documentation do, and a network used step by step cannot switch it off either.
#
# Seen on 2026-11-27 with neuralfields 0.5.2, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install --no-deps neuralfields==0.5.2

expected=$(
    cat <<'END'
NeuralField: the first input moves the last output: True; inputs with a gradient, by step: [0, 0, 0, 0, 0, 1]
SimpleNeuralField: the first input moves the last output: True; inputs with a gradient, by step: [0, 0, 0, 0, 0, 1]
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from neuralfields import NeuralField, SimpleNeuralField, pd_linear

for kind in NeuralField, SimpleNeuralField:
    torch.manual_seed(0)
    size = {"hidden_size": 8} if kind is NeuralField else {"output_size": 8, "potentials_dyn_fcn": pd_linear}
    net = kind(input_size=2, **size).double()
    x = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)
    net(x)[0][0, -1].sum().backward()
    by_step = (x.grad[0].abs().sum(dim=1) > 0).int().tolist()
    moved = x.detach().clone()
    moved[0, 0] += 0.1
    change = (net(moved)[0][0, -1].sum() - net(x)[0][0, -1].sum()).abs().item()
    print(f"{kind.__name__}: the first input moves the last output: {change > 1e-6}; "
          f"inputs with a gradient, by step: {by_step}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
