#!/usr/bin/env bash
# rnn-jax 0.0.2: the LSTM's "forget bias" of 1 is set on the candidate; the forget gate starts unbiased.
#
# LongShortTermMemory wraps equinox's LSTMCell and says that it starts the bias of the forget gate at 1. What
# starts at 1 is the third of the four blocks of the bias, which equinox orders input, forget, candidate, output: with
# all else at zero, the cell keeps one half of its memory and adds one half of tanh(1) at each step.
# LongShortTermMemoryCell, written out in the same package, has its 1 on the forget gate.
#
# The package's metadata ask for Python 3.11, where it cannot be imported: one module uses a statement of 3.12.
#
# Seen on 2026-11-27 with rnn-jax 0.0.2, equinox 0.13.8, jax 0.12.0.1, Python 3.12, Linux x86-64: the text in "expected"
# below.
set -euo pipefail

skip() { echo "not run: $*" >&2; exit 77; }
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 12))' ||
    skip "rnn-jax 0.0.2 needs Python 3.12 or later; name one by PYTHON=..."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
install() {
    venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@" ||
        skip "pip cannot install $* here"
}
install jax==0.12.0.1 jaxlib==0.12.0.1 equinox==0.13.8 jaxtyping==0.3.11 einops==0.8.2 numpy==2.5.5
install --no-deps rnn-jax==0.0.2

expected=$(
    cat <<'END'
LongShortTermMemory, block of the bias that is 1, in equinox's order: ['candidate']
LongShortTermMemory, only the ones left of its weights: keeps 0.500 of the memory and adds 0.381
LongShortTermMemoryCell, only the ones left of its weights: keeps 0.731 of the memory and adds 0.000
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import equinox as eqx
import jax
import jax.numpy as jnp
from rnn_jax.cells import LongShortTermMemory, LongShortTermMemoryCell

key, hidden = jax.random.key(0), 5
x, h = jnp.zeros(3), jnp.zeros(hidden)
wrapped = LongShortTermMemory(3, hidden, key=key)
names = "input", "forget", "candidate", "output"
ones = [n for n, block in zip(names, wrapped.lstm.bias.reshape(4, hidden)) if (block == 1).all()]
print("LongShortTermMemory, block of the bias that is 1, in equinox's order:", ones)
for cell in wrapped, LongShortTermMemoryCell(3, hidden, key=key):
    cell = jax.tree.map(lambda w: jnp.where(w == 1, w, 0) if eqx.is_array(w) else w, cell)
    kept = jax.jacobian(lambda c: cell(x, (h, c))[0][1])(jnp.zeros(hidden))[0, 0]
    added = cell(x, (h, jnp.zeros(hidden)))[0][1][0]
    name = type(cell).__name__
    print(f"{name}, only the ones left of its weights: keeps {kept:.3f} of the memory and adds {added:.3f}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
