#!/usr/bin/env bash
# ncps 1.0.1: backbone_dropout of CfC does nothing unless backbone_layers is 2 or more, and it is 1 by default.
#
# CfC(..., backbone_dropout=0.9) in training mode gives the same output twice, and no dropout is in the module. With
# two layers there is one, after the second layer; a layer in front never has any.
#
# Why: the first layer is made outside the loop that adds dropout after a layer. The documentation calls the option the
# rate in the backbone layers.
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
backbone_layers=None: 0 dropouts; two passes in training differ: False
backbone_layers=1: 0 dropouts; two passes in training differ: False
backbone_layers=2: 1 dropouts; two passes in training differ: True
backbone_layers=3: 2 dropouts; two passes in training differ: True
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from ncps.torch import CfC

torch.manual_seed(0)
x = torch.randn(2, 5, 3)
for layers in None, 1, 2, 3:
    net = CfC(3, 4, backbone_dropout=0.9, backbone_layers=layers).train()
    dropouts = sum(isinstance(m, torch.nn.Dropout) for m in net.modules())
    print(f"backbone_layers={layers}: {dropouts} dropouts; two passes in training differ: "
          f"{not torch.equal(net(x)[0], net(x)[0])}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
