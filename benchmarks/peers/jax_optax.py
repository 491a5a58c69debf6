"""Does a GRU learn to add 8-bit numbers in fewer steps than an LSTM? JAX: all seeds and rates in one compiled call."""

import statistics
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

BITS, BATCH, HIDDEN, SEEDS, RATES = 8, 16, 20, range(5), (0.01, 0.03)
MAX_STEPS, EVERY, EXAMPLES = 1000, 5, 256


class Model(nn.Module):
    kind: type

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.RNN(self.kind(HIDDEN), time_major=True)(x))[..., 0]


def additions(key, count):
    bits = jax.random.bernoulli(key, 0.5, (BITS, count, 2)).astype(jnp.int32)
    bits = bits.at[-1].set(0)  # room for the last carry

    def add(carry, pair):
        total = pair.sum(-1) + carry
        return total // 2, total % 2

    return bits.astype(jnp.float32), jax.lax.scan(add, jnp.zeros(count, jnp.int32), bits)[1]


@partial(jax.jit, static_argnums=(0, 3))
@partial(jax.vmap, in_axes=(None, 0, 0, None))
def train(kind, seed, rate, max_steps=MAX_STEPS):
    model = Model(kind)
    start, data, evaluation = jax.random.split(jax.random.key(seed), 3)
    parameters = model.init(start, jnp.zeros((BITS, BATCH, 2)))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())

    def loss(parameters, x, y):
        return optax.sigmoid_binary_cross_entropy(model.apply(parameters, x), y).mean()

    def update(carry, step):
        parameters, state = carry
        gradients = jax.grad(loss)(parameters, *additions(jax.random.fold_in(data, step), BATCH))
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(parameters, jax.tree.map(lambda u: -rate * u, updates)), state), None

    def evaluated(carry, block):
        carry, _ = jax.lax.scan(update, carry, block * EVERY + jnp.arange(EVERY))
        x, y = additions(jax.random.fold_in(evaluation, block), EXAMPLES)
        return carry, ((model.apply(carry[0], x) > 0) == (y > 0)).all(0).mean()

    carry = parameters, optimizer.init(parameters)
    carry, exact = jax.lax.scan(evaluated, carry, jnp.arange(max_steps // EVERY))
    held = (exact[:-1] >= 0.99) & (exact[1:] >= 0.99)
    return jnp.where(held.any(), (held.argmax() + 1) * EVERY, -1), carry[0]


if __name__ == "__main__":
    pairs = [(seed, rate) for rate in RATES for seed in SEEDS]
    for kind in nn.OptimizedLSTMCell, nn.GRUCell:
        steps, _ = train(kind, *map(jnp.array, zip(*pairs, strict=True)), MAX_STEPS)
        for rate in RATES:
            mine = [int(s) for s, pair in zip(steps, pairs, strict=True) if pair[1] == rate]
            solved = [s for s in mine if s > 0]
            median = statistics.median(solved) if solved else None
            print(f"{kind.__name__} at rate {rate}: solved {len(solved)} of {len(mine)}, median step {median}")
