#!/usr/bin/env bash
# torchxlstm 0.0.3: in its mLSTM the output of one sequence depends on the other sequences of the batch.
#
# A sequence alone gives other outputs than the same sequence in a batch, in evaluation mode and without dropout;
# changing the third sequence changes the outputs of the first. Its sLSTM keeps sequences apart.
#
# Why: the normaliser of the paper is a dot product of two vectors of one sequence, bounded below by 1. Here it is a
# matrix product over the batch (hidden x batch by batch x hidden) of which the maximum along a dimension is taken, so
# that its size does not even hold the batch, and the bound 1 became the number of that dimension.
#
# Seen on 2026-11-27 with torchxlstm 0.0.3, torch 2.13.0, Python 3.11, Linux x86-64: the text in "expected" below.
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
install --no-deps torchxlstm==0.0.3

expected=$(
    cat <<'END'
mLSTM: alone and in the batch differ by up to 0.14
mLSTM: another third sequence moves the first by up to 0.06
sLSTM: alone and in the batch differ by up to 0.00
sLSTM: another third sequence moves the first by up to 0.00
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from torchxlstm import mLSTM, sLSTM

for kind in mLSTM, sLSTM:
    torch.manual_seed(0)
    layer = kind(4, 4, 1, batch_first=True).eval()
    x = torch.randn(3, 5, 4)
    together = layer(x)[0]
    alone = torch.cat([layer(x[i : i + 1])[0] for i in range(3)])
    other = x.clone()
    other[2] = torch.randn(5, 4)
    moved = layer(other)[0][0] - together[0]
    print(f"{kind.__name__}: alone and in the batch differ by up to {(together - alone).abs().max():.2f}")
    print(f"{kind.__name__}: another third sequence moves the first by up to {moved.abs().max():.2f}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
