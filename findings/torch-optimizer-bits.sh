#!/usr/bin/env bash
# torch 2.13.0: which variants of an optimiser end on the same bits (float32, CPU, 50 steps, equal gradients).
#
# Against the plain loop (foreach=False):
# - foreach=True gives the same bits for SGD, Adam, AdamW, RMSprop, Adagrad, Adamax, Adadelta and Rprop, and other bits
#   for NAdam, RAdam and ASGD.
# - fused=True gives the same bits for SGD without momentum and for Adagrad, other bits for SGD with momentum, Adam
#   and AdamW.
# - a learning rate as a tensor of float64 changes nothing; as one of float32 it changes the bits of Adam, AdamW,
#   Adamax, NAdam and ASGD, and not those of the others.
#
# The documentation offers foreach and fused as faster implementations and says nothing about bits. A study that
# resumes, or compares runs bit by bit, must keep the variant; the default differs by device (foreach on CUDA, the loop
# on the CPU).
#
# Why: the same update in another order of operations, bias corrections among them; with a float32 learning rate scalar
# factors are computed in float32 that Python computes in float64.
#
# Seen on 2026-11-27 with torch 2.13.0 (CPU), Python 3.11, Linux x86-64 with AVX-512: the text in "expected" below, and
# the same with ATEN_CPU_CAPABILITY=avx2. With ATEN_CPU_CAPABILITY=default (no fused multiply-add) the fused SGD with
# momentum, too, keeps the bits.
set -euo pipefail

skip() { echo "not run: $*" >&2; exit 77; }
grep -qw avx2 /proc/cpuinfo 2>/dev/null || skip "these bits are those of an x86-64 processor with AVX2, under Linux"
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
SGD: foreach same, fused same, lr float64 same, lr float32 same
SGD with momentum: foreach same, fused other, lr float64 same, lr float32 same
Adam: foreach same, fused other, lr float64 same, lr float32 other
AdamW: foreach same, fused other, lr float64 same, lr float32 other
RMSprop: foreach same, fused -, lr float64 same, lr float32 same
Adagrad: foreach same, fused same, lr float64 same, lr float32 same
Adamax: foreach same, fused -, lr float64 same, lr float32 other
Adadelta: foreach same, fused -, lr float64 same, lr float32 same
Rprop: foreach same, fused -, lr float64 same, lr float32 same
NAdam: foreach other, fused -, lr float64 same, lr float32 other
RAdam: foreach other, fused -, lr float64 same, lr float32 same
ASGD: foreach other, fused -, lr float64 same, lr float32 other
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import torch
from torch import optim


def train(kind, **options):
    torch.manual_seed(1)
    parameters = [torch.randn(7, 5).requires_grad_(), torch.randn(5).requires_grad_()]
    optimiser = kind(parameters, **{"lr": 0.01, **options})
    draws = torch.Generator().manual_seed(2)
    for _ in range(50):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=draws)
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in parameters])


kinds = [(optim.SGD, {}), (optim.SGD, {"momentum": 0.9})]
names = "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "Adadelta", "Rprop", "NAdam", "RAdam", "ASGD"
kinds += [(getattr(optim, name), {}) for name in names]
for kind, options in kinds:
    plain = train(kind, foreach=False, **options)
    variants = {
        "foreach": {"foreach": True},
        "fused": {"fused": True},
        "lr float64": {"foreach": False, "lr": torch.tensor(0.01, dtype=torch.float64)},
        "lr float32": {"foreach": False, "lr": torch.tensor(0.01)},
    }
    row = []
    for name, variant in variants.items():
        try:
            row.append(f"{name} {'same' if torch.equal(train(kind, **options, **variant), plain) else 'other'}")
        except TypeError:
            row.append(f"{name} -")
    print(f"{kind.__name__}{' with momentum' if options else ''}: {', '.join(row)}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
