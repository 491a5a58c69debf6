#!/usr/bin/env bash
# jax 0.10.2: unrolling a scan keeps the bits of the outputs and changes those of the gradients.
#
# lax.scan over an LSTM step, compiled for the CPU in float32, gives bit for bit the same outputs for every unroll, and
# the same as a Python loop over the compiled step. Its gradient has other bits for unroll 2, 5 and 20 than for 1. Of a
# plain tanh step the gradient keeps its bits too. The documentation says how many steps unroll joins, and nothing of bits.
#
# Why: in the backward pass XLA may add up the terms of neighbouring steps in another order once they share a loop body.
#
# Seen on 2026-11-27 with jax 0.10.2, Python 3.11, Linux x86-64 with AVX-512: the text in "expected" below, and the same
# with XLA_FLAGS=--xla_cpu_max_isa=AVX2.
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
install jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

expected=$(
    cat <<'END'
tanh, outputs against unroll=1: 2 same bits, 5 same bits, 20 same bits, loop same bits; all close: True
tanh, gradients against unroll=1: 2 same bits, 5 same bits, 20 same bits; all close: True
LSTM, outputs against unroll=1: 2 same bits, 5 same bits, 20 same bits, loop same bits; all close: True
LSTM, gradients against unroll=1: 2 other bits, 5 other bits, 20 other bits; all close: True
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import jax
import jax.numpy as jnp

hidden, batch, time = 16, 8, 20
keys = jax.random.split(jax.random.key(0), 4)
xs = jax.random.normal(keys[0], (time, batch, 2))
w = {}
for gates in 1, 4:
    w[gates] = (
        jax.random.normal(keys[1], (2, gates * hidden)),
        jax.random.normal(keys[2], (hidden, gates * hidden)) / 4,
    )
zeros = jnp.zeros((batch, hidden))


def tanh_step(h, x):
    h = jnp.tanh(x @ w[1][0] + h @ w[1][1])
    return h, h


def lstm_step(state, x):
    h, c = state
    i, f, g, o = jnp.split(x @ w[4][0] + h @ w[4][1], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


for name, step, state in ("tanh", tanh_step, zeros), ("LSTM", lstm_step, (zeros, zeros)):
    def unrolled(xs, unroll):
        return jax.lax.scan(step, state, xs, unroll=unroll)[1]

    outputs = {u: jax.jit(lambda xs, u=u: unrolled(xs, u))(xs) for u in (1, 2, 5, time)}
    gradients = {u: jax.jit(jax.grad(lambda xs, u=u: unrolled(xs, u).sum()))(xs) for u in outputs}
    carry, loop = state, []
    for x in xs:
        carry, y = jax.jit(step)(carry, x)
        loop.append(y)
    outputs["loop"] = jnp.stack(loop)
    for what, runs in ("outputs", outputs), ("gradients", gradients):
        same = [f"{u} {'same' if (runs[1] == run).all() else 'other'} bits" for u, run in runs.items() if u != 1]
        close = all(jnp.allclose(runs[1], run, atol=1e-4) for run in runs.values())
        print(f"{name}, {what} against unroll=1: {', '.join(same)}; all close: {close}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
