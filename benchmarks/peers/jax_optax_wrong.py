"""Show what goes wrong in jax_optax.py: compiling takes longer than training, and nothing stops early."""

import time

import jax
import jax.numpy as jnp
import jax_optax
import numpy as np
from flax import linen as nn

STEPS, SEEDS = 300, 5

spent = []
for _ in range(2):
    start = time.process_time()
    steps, _ = jax.block_until_ready(
        jax_optax.train(nn.OptimizedLSTMCell, jnp.arange(SEEDS), jnp.full(SEEDS, 0.01), STEPS)
    )
    spent.append(time.process_time() - start)
ratio = (spent[0] - spent[1]) / spent[1]
print(f"{SEEDS} seeds, {STEPS} steps: compiling takes {ratio:.1f} times as long as training")

needed = np.where(steps > 0, steps, STEPS)
more = STEPS * SEEDS / needed.sum()
print(f"solved at steps {sorted(needed.tolist())}, all trained to {STEPS}: {more:.1f} times the steps needed")
