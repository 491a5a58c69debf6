#!/usr/bin/env bash
# ncps 1.0.1: with as many sequences as units, the time spans of the sequences go to the units.
#
# CfC and LTC take timespans of shape (batch, time) for irregularly sampled sequences. With 4 sequences and 4 units the
# span of sequence 3 changes unit 3 of every sequence, and nothing else; a batch gives other outputs than its
# sequences one by one. With any other size of batch above 1 it raises an error, as does (batch, time, 1), which is
# squeezed to the same.
#
# Why: the span of one step has shape (batch,) and is multiplied with values of shape (batch, units), which lines it
# up with the units. A batch of one is right, which hides it.
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
CfC: a batch equals its sequences one by one: False
CfC: changed by a longer span of sequence 3, a row per sequence: [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]
CfC, 6 units, spans of shape (4, 1): The size of tensor a (6) must match the size of tensor b (4) at non-singleton dimension 1
CfC, 6 units, spans of shape (4, 1, 1): The size of tensor a (6) must match the size of tensor b (4) at non-singleton dimension 1
LTC: a batch equals its sequences one by one: False
LTC, 6 units, spans of shape (4, 1): The size of tensor a (6) must match the size of tensor b (4) at non-singleton dimension 0
LTC, 6 units, spans of shape (4, 1, 1): The size of tensor a (6) must match the size of tensor b (4) at non-singleton dimension 0
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from ncps.torch import LTC, CfC

for kind in CfC, LTC:
    torch.manual_seed(0)
    layer = kind(3, 4)
    x, spans = torch.randn(4, 1, 3), torch.rand(4, 1) + 0.1
    y = layer(x, timespans=spans)[0]
    alone = torch.cat([layer(x[i : i + 1], timespans=spans[i : i + 1])[0] for i in range(4)])
    print(f"{kind.__name__}: a batch equals its sequences one by one: {torch.allclose(y, alone)}")
    if kind is CfC:
        longer = spans.clone()
        longer[3] *= 5
        changed = (layer(x, timespans=longer)[0] != y)[:, 0].int().tolist()
        print(f"{kind.__name__}: changed by a longer span of sequence 3, a row per sequence: {changed}")
    for shape in (4, 1), (4, 1, 1):
        try:
            kind(3, 6)(x, timespans=spans.reshape(shape))
        except RuntimeError as error:
            print(f"{kind.__name__}, 6 units, spans of shape {shape}: {error}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
