#!/usr/bin/env bash
# auto-esn 0.0.7: the option spectral_radius sets the largest singular value, which leaves a spectral radius of half.
#
# dense(spectral_radius=0.9) and default_hidden(spectral_radius=0.9), the initialiser of every reservoir of the package,
# give recurrent matrices of spectral norm 0.9 and spectral radius 0.4 to 0.5. In reservoirpy the option of the same
# meaning (sr=0.9) gives a spectral radius of 0.9, of which the norm is about 1.8: a value tuned in one library is
# another network in the other, and reservoirs near the edge of stability cannot be had in auto-esn below a value of
# about 2.
#
# Why: the normalisation divides by the largest singular value from an SVD; the echo state literature means the largest
# absolute eigenvalue.
#
# Seen on 2026-11-27 with auto-esn 0.0.7, reservoirpy 0.4.2, torch 2.13.0, numpy 2.4.6, Python 3.11, Linux x86-64: the
# text in "expected" below.
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
install torch==2.13.0 numpy==2.4.6 networkx==3.6.1 reservoirpy==0.4.2 scipy==1.17.1
install --no-deps auto-esn==0.0.7

expected=$(
    cat <<'END'
auto-esn dense, 100 units: spectral radius 0.5, largest singular value 0.9
auto-esn dense, 300 units: spectral radius 0.5, largest singular value 0.9
auto-esn default_hidden, 300 units: spectral radius 0.5, largest singular value 0.9
reservoirpy, 100 units: spectral radius 0.9, largest singular value 1.8
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import numpy as np
import torch
from auto_esn.esn.reservoir.initialization import default_hidden, dense
from reservoirpy.nodes import Reservoir

torch.manual_seed(0)
reservoir = Reservoir(100, sr=0.9, seed=1)
reservoir.initialize(np.zeros((1, 2)))
matrices = {
    "auto-esn dense, 100 units": dense(spectral_radius=0.9)(torch.empty(100, 100)).numpy(),
    "auto-esn dense, 300 units": dense(spectral_radius=0.9)(torch.empty(300, 300)).numpy(),
    "auto-esn default_hidden, 300 units": default_hidden(spectral_radius=0.9)(torch.empty(300, 300)).numpy(),
    "reservoirpy, 100 units": reservoir.W.toarray(),
}
for name, w in matrices.items():
    radius = np.abs(np.linalg.eigvals(w.astype(float))).max()
    print(f"{name}: spectral radius {radius:.1f}, largest singular value {np.linalg.norm(w.astype(float), 2):.1f}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
