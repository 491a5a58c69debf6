"""Show what goes wrong in keras_train.py: an accuracy of logits read as probabilities, one compilation per replica."""

import time

import keras
import keras_train
import numpy as np

keras.utils.set_random_seed(0)
model = keras_train.compiled(keras.layers.LSTM, 0.01)
data = np.random.default_rng(0)
for _ in range(60):
    model.train_on_batch(*keras_train.additions(data, keras_train.BATCH))
x, y = keras_train.additions(data, keras_train.EXAMPLES)
reported = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
right = ((model.predict_on_batch(x) > 0) == (y > 0)).mean()
print(f"after 60 steps: accuracy reported {reported:.4f}, share of bits on the right side {right:.4f}")

for seed in 0, 1:
    model, spent = keras_train.compiled(keras.layers.LSTM, 0.01), []
    for _ in range(11):
        batch = keras_train.additions(data, keras_train.BATCH)
        start = time.process_time()
        model.train_on_batch(*batch)
        spent.append(time.process_time() - start)
    rest = sorted(spent[1:])[5]
    print(f"model {seed}: the first step takes {spent[0] / rest:,.0f} times as long as the next ones")
