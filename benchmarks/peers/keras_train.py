"""Does a GRU learn to add 8-bit numbers in fewer steps than an LSTM? Keras, batch by batch."""

import statistics

import keras
import numpy as np

BITS, BATCH, HIDDEN, SEEDS, RATES = 8, 16, 20, range(5), (0.01, 0.03)
MAX_STEPS, EVERY, EXAMPLES = 1000, 5, 256


def additions(generator, count):
    bits = generator.integers(0, 2, (count, BITS, 2))
    bits[:, -1] = 0  # room for the last carry
    carry, sums = np.zeros(count, int), []
    for t in range(BITS):
        total = bits[:, t].sum(-1) + carry
        sums.append(total % 2)
        carry = total // 2
    return bits.astype("float32"), np.stack(sums, 1)[..., None].astype("float32")


def compiled(layer, rate):
    model = keras.Sequential([keras.Input((BITS, 2)), layer(HIDDEN, return_sequences=True), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(layer, seed, rate):
    keras.utils.set_random_seed(seed)
    model = compiled(layer, rate)
    data, evaluation = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
    held = 0
    for step in range(1, MAX_STEPS + 1):
        model.train_on_batch(*additions(data, BATCH))
        if step % EVERY == 0:
            x, y = additions(evaluation, EXAMPLES)
            exact = ((model.predict_on_batch(x) > 0) == (y > 0)).all((1, 2)).mean()
            held = held + 1 if exact >= 0.99 else 0
            if held == 2:
                return step - EVERY
    return None


if __name__ == "__main__":
    for layer in keras.layers.LSTM, keras.layers.GRU:
        for rate in RATES:
            steps = [train(layer, seed, rate) for seed in SEEDS]
            solved = [s for s in steps if s is not None]
            median = statistics.median(solved) if solved else None
            print(f"{layer.__name__} at rate {rate}: solved {len(solved)} of {len(steps)}, median step {median}")
