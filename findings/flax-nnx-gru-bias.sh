#!/usr/bin/env bash
# flax 0.12.8: nnx.GRUCell has no bias inside the reset gate, though its documentation's equation has one.
#
# The docstrings of linen.GRUCell and nnx.GRUCell state the same equations, n = tanh(W x + b + r (U h + b')). linen has
# b', nnx has not: its recurrent map is made without a bias. A trained linen cell cannot be carried over to nnx, and
# "the GRU of flax" is two cells: in nnx the reset gate acts on U h alone.
#
# Why: nnx makes one map of the input for three gates, with bias, and one of the state, without. torch.nn.GRUCell and
# Keras (reset_after=True) have b', as linen has.
#
# Seen on 2026-11-27 with flax 0.12.8, jax 0.10.2, Python 3.11, Linux x86-64: the text in "expected" below.
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
install jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8

expected=$(
    cat <<'END'
linen.GRUCell: 100 parameters; with all biases 1 and all else 0 the state becomes 0.2526
nnx.GRUCell: 96 parameters; with all biases 1 and all else 0 the state becomes 0.2048
the documented equation: 0.2526; without the inner bias: 0.2048
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import jax
import jax.numpy as jnp
from flax import linen, nnx

key, hidden = jax.random.key(0), 4
x, h = jnp.zeros((1, 3)), jnp.zeros((1, hidden))


def biases_of_one(tree):
    return jax.tree.map(lambda leaf: jnp.ones_like(leaf) if leaf.ndim == 1 else jnp.zeros_like(leaf), tree)


cell = linen.GRUCell(features=hidden)
weights = cell.init(key, h, x)
count = sum(leaf.size for leaf in jax.tree.leaves(weights))
new = cell.apply(biases_of_one(weights), h, x)[1][0, 0]
print(f"linen.GRUCell: {count} parameters; with all biases 1 and all else 0 the state becomes {new:.4f}")

graph, weights = nnx.split(nnx.GRUCell(3, hidden, rngs=nnx.Rngs(0)))
count = sum(leaf.size for leaf in jax.tree.leaves(weights))
new = nnx.merge(graph, biases_of_one(weights))(h, x)[1][0, 0]
print(f"nnx.GRUCell: {count} parameters; with all biases 1 and all else 0 the state becomes {new:.4f}")

gate = jax.nn.sigmoid(1.0)
documented, without = (1 - gate) * jnp.tanh(1 + gate), (1 - gate) * jnp.tanh(1.0)
print(f"the documented equation: {documented:.4f}; without the inner bias: {without:.4f}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
