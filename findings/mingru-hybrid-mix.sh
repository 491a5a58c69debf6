#!/usr/bin/env bash
# minGRU-pytorch 0.2.1: the hybrid of recurrence and attention does not average its branches.
#
# minGRUAttnHybrid normalises two branches and mixes them with a weight, one half where nothing is learned; a comment
# in its source says that the paper averages the branches. What reaches the output projection is one half of the
# recurrence and one quarter of the attention; with a weight w it is w and w(1 - w) in place of w and 1 - w, so the
# attention never gets more than a quarter.
#
# Why: a parenthesis; the weight multiplies the sum of both branches, the second of which already has 1 - w.
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
weight of the recurrence 0.500, of the attention 0.250
what these weights leave unexplained: 0.000
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from minGRU_pytorch.hybrid import minGRUAttnHybrid

torch.manual_seed(0)
layer = minGRUAttnHybrid(dim=8, dim_head=4, heads=2, learned_mix=False)
seen = {}
layer.rnn_out_norm.register_forward_hook(lambda m, i, o: seen.update(rnn=o))
layer.attn_out_norm.register_forward_hook(lambda m, i, o: seen.update(attention=o))
layer.to_out.register_forward_pre_hook(lambda m, i: seen.update(mixed=i[0]))
layer(torch.randn(3, 7, 8))
branches = torch.stack([seen[k].transpose(1, 2).flatten() for k in ("rnn", "attention")], dim=1)
weights = torch.linalg.lstsq(branches, seen["mixed"].flatten()[:, None])
off = (branches @ weights.solution - seen["mixed"].flatten()[:, None]).abs().max()
print("weight of the recurrence {:.3f}, of the attention {:.3f}".format(*weights.solution.flatten().tolist()))
print(f"what these weights leave unexplained: {off:.3f}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
