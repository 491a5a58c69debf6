#!/usr/bin/env bash
# rnn-jax 0.0.2: the damping of AntiSymmetricRNNCell and LipschitzRNNCell damps nothing; it is subtracted as a constant.
#
# The papers put a term -gamma I into the recurrent matrix, so that a state decays. Here "diffusion", documented as a
# diagonal term for stability, and "gamma_a", documented as a diagonal stabilisation, are subtracted from the vector
# after the product: the Jacobian of a step at any state has the same eigenvalues' real parts whatever their value, and
# from a state of zeros without input the cell moves.
#
# Why: the identity matrix of the papers was left out; a remark in the Lipschitz cell calls it the same thing.
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
AntiSymmetricRNNCell, damping 0.0: eigenvalues' real parts 1.00 to 1.00, by the papers 1.00; zeros move to 0.00
AntiSymmetricRNNCell, damping 1.0: eigenvalues' real parts 1.00 to 1.00, by the papers 0.90; zeros move to -0.08
AntiSymmetricRNNCell, damping 5.0: eigenvalues' real parts 1.00 to 1.00, by the papers 0.50; zeros move to -0.10
LipschitzRNNCell, damping 0.0: eigenvalues' real parts 1.00 to 1.00, by the papers 1.00; zeros move to 0.00
LipschitzRNNCell, damping 1.0: eigenvalues' real parts 1.00 to 1.00, by the papers 0.90; zeros move to -0.10
LipschitzRNNCell, damping 5.0: eigenvalues' real parts 1.00 to 1.00, by the papers 0.50; zeros move to -0.50
END
)
seen=$(
    venv/bin/python -I -W ignore - <<'END'
import jax
import jax.numpy as jnp
import numpy as np
from rnn_jax.cells import AntiSymmetricRNNCell, LipschitzRNNCell

key, hidden, step = jax.random.key(0), 6, 0.1
x, h = jnp.zeros(2), jnp.zeros(hidden)


def antisymmetric(gamma):
    cell = AntiSymmetricRNNCell(2, hidden, stepsize=step, diffusion=gamma, nonlinearity=jnp.tanh, key=key)
    return lambda h: cell(x, (h,))[1]


def lipschitz(gamma):
    cell = LipschitzRNNCell(2, hidden, 1.0, gamma, beta_w=1.0, gamma_w=0.0, dt=step, weight_std=0.1, key=key)
    return lambda h: cell(x, (h, jnp.zeros(hidden)))[1]


for name, build in ("AntiSymmetricRNNCell", antisymmetric), ("LipschitzRNNCell", lipschitz):
    for gamma in 0.0, 1.0, 5.0:
        run = build(gamma)
        real = np.linalg.eigvals(np.asarray(jax.jacobian(run)(h), dtype=float)).real
        print(f"{name}, damping {gamma}: eigenvalues' real parts {real.min():.2f} to {real.max():.2f}, "
              f"by the papers {1 - step * gamma:.2f}; zeros move to {run(h)[0]:.2f}")
END
)

printf '%s\n' "$seen"
[[ $seen == "$expected" ]] || { echo "changed: the output recorded is" >&2; printf '%s\n' "$expected" >&2; exit 1; }
