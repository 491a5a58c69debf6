#!/usr/bin/env bash
# auto-esn 0.0.7: the state_dict of an echo state network holds the readout and not the reservoir.
#
# A trained DeepESN saved by its state_dict and loaded into a DeepESN made anew is reported as complete and predicts
# something else: the readout is put on another random reservoir. The same holds for parameters() and to(device).
#
# Why: the cells of the layers are kept in a plain list, which a torch module does not look into. The package's own
# example saves the whole object by torch.save, which today's torch.load refuses unless weights_only=False is given.
#
# Seen on 2026-11-27 with auto-esn 0.0.7, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install torch==2.13.0 numpy==2.4.6 networkx==3.6.1
install --no-deps auto-esn==0.0.7

expected=$(
    cat <<'END'
state_dict: ['readout.readout.weight', 'readout.readout.bias']
loading into another: <All keys matched successfully>
error of the trained network below 0.01: True; of the loaded one above 0.1: True
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from auto_esn.esn.esn import DeepESN
from auto_esn.esn.reservoir.activation import tanh

x = torch.sin(torch.arange(301) * 0.3)[:, None]
models = []
for seed in 0, 1:
    torch.manual_seed(seed)
    models.append(DeepESN(input_size=1, hidden_size=30, num_layers=2, activation=tanh(), regularization=1e-4))
first, second = models
first.fit(x[:-1], x[1:])
print("state_dict:", list(first.state_dict()))
print("loading into another:", second.load_state_dict(first.state_dict(), strict=True))
errors = []
for model in models:
    errors.append((model(x[None, :-1])[0, 50:] - x[51:]).square().mean().sqrt().item())
print(f"error of the trained network below 0.01: {errors[0] < 0.01}; of the loaded one above 0.1: {errors[1] > 0.1}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
