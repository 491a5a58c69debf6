#!/usr/bin/env bash
# torch 2.13.0: which module hooks survive tracing depends on the tracer, the module and the kind of hook.
#
# A step with one hook that doubles, on the model itself ("root"), on a layer of torch.nn ("leaf") or on a module of
# the user's ("inner"), is captured in five ways, then run beside the model:
# - torch.fx.symbolic_trace drops the root's forward hooks without a word and keeps all others. Of backward hooks it
#   keeps a leaf's only.
# - torch.export.export and make_fx keep every forward hook and drop every backward hook without a word.
# - torch.export.export(strict=True) and torch.jit.trace refuse modules with backward hooks.
# - torch.func.functional_call runs them all.
#
# Why: symbolic_trace calls the class's forward, not the module, and keeps leaves as modules; the others run the module
# once and record operations, among which a backward hook is none.
#
# Seen on 2026-11-27 with torch 2.13.0 (CPU), Python 3.11, Linux x86-64: the text in "expected" below. "kept" and "lost"
# say whether output, or for backward hooks the gradient, is the model's.
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
forward on root: fx lost, make_fx kept, export kept, strict export kept, jit.trace kept, functional_call kept
forward on leaf: fx kept, make_fx kept, export kept, strict export kept, jit.trace kept, functional_call kept
forward on inner: fx kept, make_fx kept, export kept, strict export kept, jit.trace kept, functional_call kept
forward-pre on root: fx lost, make_fx kept, export kept, strict export kept, jit.trace kept, functional_call kept
forward-pre on leaf: fx kept, make_fx kept, export kept, strict export kept, jit.trace kept, functional_call kept
forward-pre on inner: fx kept, make_fx kept, export kept, strict export kept, jit.trace kept, functional_call kept
full-backward on root: fx lost, make_fx lost, export lost, strict export refused, jit.trace refused, functional_call kept
full-backward on leaf: fx kept, make_fx lost, export lost, strict export refused, jit.trace refused, functional_call kept
full-backward on inner: fx lost, make_fx lost, export lost, strict export refused, jit.trace refused, functional_call kept
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from torch import nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx


class Inner(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.leaf = nn.Linear(2, 3)
        self.inner = Inner()

    def forward(self, x):
        return self.inner(self.leaf(x))


def hooked(where, kind):
    torch.manual_seed(0)
    model = Step()
    module = model if where == "root" else getattr(model, where)
    if kind == "forward":
        module.register_forward_hook(lambda m, i, o: 2 * o)
    elif kind == "forward-pre":
        module.register_forward_pre_hook(lambda m, i: (2 * i[0],))
    else:
        module.register_full_backward_hook(lambda m, gi, go: tuple(g if g is None else 2 * g for g in gi))
    return model


def run(function, x):
    x = x.clone().requires_grad_()
    y = function(x)
    y.sum().backward()
    return y.detach(), x.grad


ways = {
    "fx": lambda m, x: torch.fx.symbolic_trace(m),
    "make_fx": lambda m, x: make_fx(m)(x),
    "export": lambda m, x: torch.export.export(m, (x,)).module(),
    "strict export": lambda m, x: torch.export.export(m, (x,), strict=True).module(),
    "jit.trace": lambda m, x: torch.jit.trace(m, (x,)),
    "functional_call": lambda m, x: lambda z: functional_call(m, dict(m.named_parameters()), (z,)),
}
torch.manual_seed(1)
x = torch.randn(4, 2)
for kind in "forward", "forward-pre", "full-backward":
    for where in "root", "leaf", "inner":
        row = []
        for name, way in ways.items():
            model = hooked(where, kind)
            at = 1 if kind == "full-backward" else 0
            try:
                same = torch.allclose(run(way(model, x), x)[at], run(model, x)[at])
                row.append(f"{name} {'kept' if same else 'lost'}")
            except Exception:
                row.append(f"{name} refused")
        print(f"{kind} on {where}: {', '.join(row)}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
