#!/usr/bin/env bash
# torch 2.13.0: vmap over nn.LSTMCell raises, except around grad, where it works.
#
# An ensemble of LSTMCells (stack_module_state, functional_call) cannot be evaluated under torch.vmap: "Batching rule
# not implemented". vmap(grad(...)) and vmap(grad_and_value(...)) of the same function work, without a warning, and
# give each member's gradients: such an ensemble can be trained, and its loss read, but not run. grad(vmap(...)) raises
# again. nn.GRUCell and nn.RNNCell run everywhere; outside grad they fall back to a loop with a warning.
#
# Why: the cells are composite operations. Under grad they are taken apart into linear maps and gates, which have
# batching rules; vmap alone meets the whole cell, for which there is no rule, and its fallback, a loop, takes no
# operation with a list of tensors among its arguments, as LSTMCell has for its two states.
#
# Seen on 2026-11-27 with torch 2.13.0 (CPU), Python 3.11, Linux x86-64: the text in "expected" below.
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

expected=$(
    cat <<'END'
LSTMCell, vmap: Batching rule not implemented for aten::lstm_cell
LSTMCell, vmap(grad): works
LSTMCell, vmap(grad_and_value): works
LSTMCell, grad(vmap): Batching rule not implemented for aten::lstm_cell
LSTMCell: the gradients of vmap(grad) are those of backward(): True
GRUCell, vmap: works, with a warning
GRUCell, vmap(grad): works
GRUCell, vmap(grad_and_value): works
GRUCell, grad(vmap): works, with a warning
GRUCell: the gradients of vmap(grad) are those of backward(): True
RNNCell, vmap: works, with a warning
RNNCell, vmap(grad): works
RNNCell, vmap(grad_and_value): works
RNNCell, grad(vmap): works, with a warning
RNNCell: the gradients of vmap(grad) are those of backward(): True
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import warnings

import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, stack_module_state, vmap

for kind in nn.LSTMCell, nn.GRUCell, nn.RNNCell:
    torch.manual_seed(0)
    cells = [kind(3, 4) for _ in range(3)]
    stacked, _ = stack_module_state(cells)
    x = torch.randn(2, 3)

    def output(p, x):
        y = functional_call(cells[0], p, (x,))
        return y[0] if isinstance(y, tuple) else y

    def loss(p, x):
        return output(p, x).square().sum()

    ways = {
        "vmap": lambda: vmap(output, (0, None))(stacked, x),
        "vmap(grad)": lambda: vmap(grad(loss), (0, None))(stacked, x),
        "vmap(grad_and_value)": lambda: vmap(grad_and_value(loss), (0, None))(stacked, x),
        "grad(vmap)": lambda: grad(lambda p: vmap(loss, (0, None))(p, x).sum())(stacked),
    }
    for name, way in ways.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                way()
                said = "works, with a warning" if caught else "works"
            except RuntimeError as error:
                said = str(error).split(". ")[0]
        print(f"{kind.__name__}, {name}: {said}")
    gradients = vmap(grad(loss), (0, None))(stacked, x)
    for i, cell in enumerate(cells):
        loss(dict(cell.named_parameters()), x).backward()
    pairs = [(gradients[n][i], p.grad) for i, c in enumerate(cells) for n, p in c.named_parameters()]
    right = all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    print(f"{kind.__name__}: the gradients of vmap(grad) are those of backward(): {right}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
