#!/usr/bin/env bash
# ncps 1.0.1 under torch.func: LTCCell computes with its own parameters whatever functional_call passes.
#
# torch.func.functional_call runs a module with other parameters. LTCCell gives its unchanged output, torch.func.grad
# of it is zero for every parameter, and a parametrization from torch.nn.utils.parametrize has no effect. CfC's cell in
# the same package behaves as usual.
#
# Why: the cell registers each parameter and also keeps it in a plain dictionary, from which forward reads.
# functional_call and parametrize replace the attribute of the module, which nothing reads. An ensemble by
# stack_module_state and vmap would be copies of its first member.
#
# Seen on 2026-11-27 with ncps 1.0.1, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install torch==2.13.0 numpy==2.4.6 future==1.0.0 packaging==26.3
install --no-deps ncps==1.0.1

expected=$(
    cat <<'END'
LTC: parameters doubled change the output: False
LTC: parameters with a gradient: 0 of 15
LTC: the same by backward(): 15
LTC: a parametrization changes the output: False
CfC: parameters doubled change the output: True
CfC: parameters with a gradient: 10 of 10
CfC: the same by backward(): 10
CfC: a parametrization changes the output: True
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from ncps.torch import LTC, CfC
from torch.func import functional_call, grad
from torch.nn.utils import parametrize


class Twice(torch.nn.Module):
    def forward(self, w):
        return 2 * w


x, h = torch.randn(2, 3), torch.zeros(2, 4)
for kind, weight in (LTC, "gleak"), (CfC, "weight"):
    torch.manual_seed(0)
    cell = kind(3, 4).rnn_cell
    parameters = {n: p.detach() for n, p in cell.named_parameters() if p.requires_grad}
    doubled = {n: 2 * p for n, p in parameters.items()}
    y = cell(x, h, 1.0)[0]
    print(f"{kind.__name__}: parameters doubled change the output: "
          f"{not torch.equal(functional_call(cell, doubled, (x, h, 1.0))[0], y)}")
    g = grad(lambda p: functional_call(cell, p, (x, h, 1.0))[0].sum())(parameters)
    print(f"{kind.__name__}: parameters with a gradient: {sum(bool((v != 0).any()) for v in g.values())} of {len(g)}")
    y.sum().backward()
    plain = sum(p.grad is not None and bool((p.grad != 0).any()) for p in cell.parameters())
    print(f"{kind.__name__}: the same by backward(): {plain}")
    parametrize.register_parametrization(cell if kind is LTC else cell.ff1, weight, Twice())
    print(f"{kind.__name__}: a parametrization changes the output: {not torch.equal(cell(x, h, 1.0)[0], y)}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
