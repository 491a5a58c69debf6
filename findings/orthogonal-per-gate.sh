#!/usr/bin/env bash
# "Orthogonal" recurrent weights of LSTM and GRU are two different things in flax, Keras and torch.
#
# With the default initialiser "orthogonal", flax's linen.LSTMCell, linen.OptimizedLSTMCell, linen.GRUCell and
# nnx.LSTMCell draw one orthogonal matrix per gate: all its singular values are 1. nnx.OptimizedLSTMCell, nnx.GRUCell
# and Keras' LSTM and GRU draw one orthogonal matrix for all gates side by side: no gate's own matrix is orthogonal, its
# singular values run from about 0 to below 1, with a root mean square of 0.5 in an LSTM and 0.58 in a GRU.
# torch.nn.init.orthogonal_ on weight_hh of torch's cells does as Keras does. nnx.LSTMCell and nnx.OptimizedLSTMCell,
# said to be the same cell with compatible parameters, thus start from recurrent weights that differ by a factor of 2.
#
# Why: an initialiser sees the shape of one parameter, (hidden, gates * hidden) where gates are stored side by side.
#
# Seen on 2026-11-27 with flax 0.12.8, keras 3.15.1 (on jax 0.10.2), torch 2.13.0, Python 3.11, Linux x86-64: the text
# in "expected" below.
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
install jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8 keras==3.15.1 torch==2.13.0

expected=$(
    cat <<'END'
flax linen.LSTMCell: 4 gates, singular values above 0.95: 100%, root mean square 1.00
flax linen.OptimizedLSTMCell: 4 gates, singular values above 0.95: 100%, root mean square 1.00
flax linen.GRUCell: 3 gates, singular values above 0.95: 100%, root mean square 1.00
flax nnx.LSTMCell: 4 gates, singular values above 0.95: 100%, root mean square 1.00
flax nnx.OptimizedLSTMCell: 4 gates, singular values above 0.95: 0%, root mean square 0.50
flax nnx.GRUCell: 3 gates, singular values above 0.95: 0%, root mean square 0.58
keras.layers.LSTM: 4 gates, singular values above 0.95: 0%, root mean square 0.50
keras.layers.GRU: 3 gates, singular values above 0.95: 0%, root mean square 0.58
torch.nn.init.orthogonal_ on LSTMCell: 4 gates, singular values above 0.95: 0%, root mean square 0.50
torch.nn.init.orthogonal_ on GRUCell: 3 gates, singular values above 0.95: 0%, root mean square 0.58
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import os

os.environ["KERAS_BACKEND"] = "jax"
import jax
import jax.numpy as jnp
import keras
import numpy as np
import torch
from flax import linen, nnx

HIDDEN = 64
key, x = jax.random.key(0), jnp.zeros((1, 3))


def tell(name, matrices):
    values = np.array([np.linalg.svd(np.asarray(m), compute_uv=False) for m in matrices])
    print(f"{name}: {len(matrices)} gates, singular values above 0.95: {(values > 0.95).mean():.0%}, "
          f"root mean square {np.sqrt((values**2).mean()):.2f}")


def gates(matrix):
    return np.split(np.asarray(matrix), matrix.shape[1] // HIDDEN, axis=1)


for kind in linen.LSTMCell, linen.OptimizedLSTMCell, linen.GRUCell:
    cell = kind(features=HIDDEN)
    weights = cell.init(key, cell.initialize_carry(key, x.shape), x)["params"]
    tell(f"flax linen.{kind.__name__}", [w["kernel"] for n, w in weights.items() if n.startswith("h")])
cell = nnx.LSTMCell(3, HIDDEN, rngs=nnx.Rngs(0))
tell("flax nnx.LSTMCell", [getattr(cell, n).kernel[...] for n in ("hi", "hf", "hg", "ho")])
for kind in nnx.OptimizedLSTMCell, nnx.GRUCell:
    tell(f"flax nnx.{kind.__name__}", gates(kind(3, HIDDEN, rngs=nnx.Rngs(0)).dense_h.kernel[...]))
keras.utils.set_random_seed(0)
for kind in keras.layers.LSTM, keras.layers.GRU:
    layer = kind(HIDDEN)
    layer.build((None, None, 3))
    tell(f"keras.layers.{kind.__name__}", gates(layer.cell.recurrent_kernel))
torch.manual_seed(0)
for kind in torch.nn.LSTMCell, torch.nn.GRUCell:
    cell = kind(3, HIDDEN)
    torch.nn.init.orthogonal_(cell.weight_hh)
    tell(f"torch.nn.init.orthogonal_ on {kind.__name__}", gates(cell.weight_hh.detach().T))
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
