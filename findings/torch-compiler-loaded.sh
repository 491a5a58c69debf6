#!/usr/bin/env bash
# torch 2.13.0: everyday calls that compile nothing load torch's compiler when they are first made.
#
# To construct torch.optim.Adam, to take torch.func.grad or jvp, to checkpoint a function or to trace it with make_fx
# imports torch._dynamo and torch._inductor, and with them sympy, parts of torch.distributed and of torch.onnx: some 800
# modules, a second or more on a laptop. vmap, functionalize, functional_call, symbolic_trace, jit.trace, autograd's own
# grad and parametrizations load neither.
#
# Why: these calls are wrapped so that torch.compile leaves them alone, and the wrapper imports dynamo when it is first
# called; make_fx reads an option of torch._inductor.config.
#
# Seen on 2026-11-28 with torch 2.13.0 (CPU), Python 3.11, Linux x86-64: the text in "expected" below.
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
optim.Adam: dynamo and inductor, more than 500 modules
func.grad: dynamo and inductor, more than 500 modules
func.jvp: dynamo and inductor, more than 500 modules
checkpoint: dynamo and inductor, more than 500 modules
make_fx: dynamo and inductor, more than 500 modules
autograd.grad: neither
vmap: neither
functionalize: neither
functional_call: neither
symbolic_trace: neither
jit.trace: neither
orthogonal: neither
END
)
cat > loads.py <<'END'
import sys

import torch
import torch.utils.checkpoint
from torch.fx.experimental.proxy_tensor import make_fx


def double(x):
    return 2 * x


one, ones = torch.ones(3, requires_grad=True), torch.ones(3)
layer = torch.nn.Linear(3, 3)
calls = {
    "optim.Adam": lambda: torch.optim.Adam([one]),
    "func.grad": lambda: torch.func.grad(lambda x: double(x).sum())(ones),
    "func.jvp": lambda: torch.func.jvp(double, (ones,), (ones,)),
    "checkpoint": lambda: torch.utils.checkpoint.checkpoint(double, one, use_reentrant=False),
    "make_fx": lambda: make_fx(double)(ones),
    "autograd.grad": lambda: torch.autograd.grad(double(one).sum(), one),
    "vmap": lambda: torch.vmap(double)(ones),
    "functionalize": lambda: torch.func.functionalize(double)(ones),
    "functional_call": lambda: torch.func.functional_call(layer, dict(layer.named_parameters()), (ones,)),
    "symbolic_trace": lambda: torch.fx.symbolic_trace(double),
    "jit.trace": lambda: torch.jit.trace(double, ones),
    "orthogonal": lambda: torch.nn.utils.parametrizations.orthogonal(layer),
}
if len(sys.argv) == 1:
    print("\n".join(calls))
else:
    before = set(sys.modules)
    calls[sys.argv[1]]()
    new = set(sys.modules) - before
    both = {"torch._dynamo", "torch._inductor"} <= new
    said = "dynamo and inductor, more than 500 modules" if both and len(new) > 500 else "neither"
    if not both and {"torch._dynamo", "torch._inductor"} & new:
        said = "one of the two"
    print(f"{sys.argv[1]}: {said}")
END
# each call in a process of its own: what one has loaded stays loaded
seen=$(for call in $(venv/bin/python -I -W ignore loads.py); do venv/bin/python -I -W ignore loads.py "$call"; done)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
