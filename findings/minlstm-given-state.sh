#!/usr/bin/env bash
# minGRU-pytorch 0.2.1: minLSTM continues from another state when it is given two steps or more than when given one.
#
# forward returns its last state, to be passed back in. Passed back with one step, the state is taken as it is, and
# stepping equals the whole sequence; passed back with more steps, it is first put through the activation of the
# candidates, which adds 0.5 to it, and the continuation departs. Of minGRU in the same package both ways are right.
#
# Why: the parallel form needs the logarithm of the state; minLSTM takes the logarithm of the activation of the state.
#
# Seen on 2026-11-27 with minGRU-pytorch 0.2.1, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install torch==2.13.0 numpy==2.4.6 einops==0.8.1
install --no-deps minGRU-pytorch==0.2.1

expected=$(
    cat <<'END'
minGRU: off by 0.000 in single steps, by 0.000 in one piece of three
minLSTM: off by 0.000 in single steps, by 0.355 in one piece of three
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from minGRU_pytorch import minGRU
from minGRU_pytorch.minLSTM import minLSTM

for kind in minGRU, minLSTM:
    torch.manual_seed(0)
    layer = kind(4).double()
    x = torch.randn(1, 6, 4, dtype=torch.float64)
    whole = layer(x)[:, 3:]
    _, state = layer(x[:, :3], return_next_prev_hidden=True)
    chunk = layer(x[:, 3:], state)
    steps, h = [], state
    for t in range(3, 6):
        y, h = layer(x[:, t : t + 1], h, return_next_prev_hidden=True)
        steps.append(y)
    steps = torch.cat(steps, dim=1)
    print(f"{kind.__name__}: off by {(steps - whole).abs().max():.3f} in single steps, "
          f"by {(chunk - whole).abs().max():.3f} in one piece of three")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
