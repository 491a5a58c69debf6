"""Ask Keras, Flax and Haiku themselves, and write what they answer to oracles.json.

    pip install ./plugins/cellbench-libraries[live]
    python plugins/cellbench-libraries/tests/oracles.py

Nothing of cellbench is imported here. For each original: the weights of its first draw with noise added, so that no
zero or identity hides a mistake, the outputs at these weights, the biases that it starts from, and one number of each
kernel from each of many draws.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import haiku
import jax
import jax.numpy as jnp
import keras
import numpy as np
from flax import linen, nnx

INPUT, HIDDEN, TIME, BATCH, DRAWS = 3, 4, 6, 2, 200
ROWS = {INPUT: "input", HIDDEN: "recurrent", INPUT + HIDDEN: "both"}
"""What a kernel with so many rows is multiplied with."""
FILE = Path(__file__).parent / "oracles.json"

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Original:
    """A cell of a library.

    Attributes:
        draw: gives initial weights by name, from a seed.
        run: gives outputs (time, batch, hidden) from weights and inputs (time, batch, input).
    """

    draw: Callable[[int], Weights]
    run: Callable[[Weights, np.ndarray], np.ndarray]


def keras_layer(kind: Any) -> Original:
    """Take a layer of Keras."""

    def built(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        layer = kind(HIDDEN, return_sequences=True)
        layer.build((None, None, INPUT))
        return layer

    def draw(seed: int) -> Weights:
        return {w.name: np.asarray(w) for w in built(seed).weights if "seed" not in w.name}

    def run(weights: Weights, x: np.ndarray) -> np.ndarray:
        layer = built(0)
        layer.set_weights(list(weights.values()))
        return np.asarray(layer(x.transpose(1, 0, 2))).transpose(1, 0, 2)

    return Original(draw, run)


def linen_cell(kind: Any) -> Original:
    """Take a cell of Flax's linen; names are `MODULE.PARAMETER`."""
    cell, x = kind(features=HIDDEN), jnp.zeros((BATCH, INPUT))
    carry = cell.initialize_carry(jax.random.key(0), x.shape)

    def draw(seed: int) -> Weights:
        tree = cell.init(jax.random.key(seed), carry, x)["params"]
        return {f"{m}.{n}": np.asarray(p) for m, group in tree.items() for n, p in group.items()}

    def run(weights: Weights, xs: np.ndarray) -> np.ndarray:
        tree: dict[str, dict[str, Any]] = {}
        for name, value in weights.items():
            module, _, parameter = name.partition(".")
            tree.setdefault(module, {})[parameter] = value
        state, outputs = carry, []
        for x in xs:
            state, y = cell.apply({"params": tree}, state, x)
            outputs.append(np.asarray(y))
        return np.stack(outputs)

    return Original(draw, run)


def nnx_cell(kind: Any) -> Original:
    """Take a cell of Flax's nnx; names are `MODULE.PARAMETER`."""

    def draw(seed: int) -> Weights:
        state = nnx.state(kind(INPUT, HIDDEN, rngs=nnx.Rngs(seed)), nnx.Param)
        return {".".join(path): np.asarray(value[...]) for path, value in nnx.to_flat_state(state)}

    def run(weights: Weights, xs: np.ndarray) -> np.ndarray:
        cell = kind(INPUT, HIDDEN, rngs=nnx.Rngs(0))
        for name, value in weights.items():
            module, _, parameter = name.partition(".")
            getattr(getattr(cell, module), parameter)[...] = value
        state, outputs = cell.initialize_carry((BATCH, INPUT), nnx.Rngs(0)), []
        for x in xs:
            state, y = cell(state, x)
            outputs.append(np.asarray(y))
        return np.stack(outputs)

    return Original(draw, run)


def haiku_core(kind: Any) -> Original:
    """Take a recurrent core of Haiku; names are those of its parameters."""

    def unroll(xs: Any) -> Any:
        core = kind(HIDDEN)
        return haiku.static_unroll(core, xs, core.initial_state(BATCH))[0]

    function = haiku.without_apply_rng(haiku.transform(unroll))
    zeros = jnp.zeros((1, BATCH, INPUT))
    (module,) = function.init(jax.random.key(0), zeros)

    def draw(seed: int) -> Weights:
        return {n: np.asarray(p) for n, p in function.init(jax.random.key(seed), zeros)[module].items()}

    def run(weights: Weights, xs: np.ndarray) -> np.ndarray:
        return np.asarray(function.apply({module: weights}, xs))

    return Original(draw, run)


ORIGINALS: dict[str, Callable[[], Original]] = {
    "keras.layers.LSTM": lambda: keras_layer(keras.layers.LSTM),
    "keras.layers.GRU": lambda: keras_layer(keras.layers.GRU),
    "flax.linen.LSTMCell": lambda: linen_cell(linen.LSTMCell),
    "flax.linen.OptimizedLSTMCell": lambda: linen_cell(linen.OptimizedLSTMCell),
    "flax.linen.GRUCell": lambda: linen_cell(linen.GRUCell),
    "flax.nnx.LSTMCell": lambda: nnx_cell(nnx.LSTMCell),
    "flax.nnx.OptimizedLSTMCell": lambda: nnx_cell(nnx.OptimizedLSTMCell),
    "flax.nnx.GRUCell": lambda: nnx_cell(nnx.GRUCell),
    "haiku.LSTM": lambda: haiku_core(haiku.LSTM),
    "haiku.GRU": lambda: haiku_core(haiku.GRU),
}


def ask(original: Original) -> dict[str, Any]:
    """Put all questions to one original."""
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((TIME, BATCH, INPUT)).astype(np.float32)
    draws = [original.draw(seed) for seed in range(DRAWS)]
    weights = {n: (w + 0.5 * generator.standard_normal(w.shape)).astype(np.float32) for n, w in draws[0].items()}
    biases = {n: w for n, w in draws[0].items() if "kernel" not in n and n not in ("w", "w_i", "w_h")}
    for name, bias in biases.items():
        assert all(np.array_equal(draw[name], bias) for draw in draws), f"{name} is drawn at random"
    kernels: dict[str, list[str]] = {}
    for name in sorted(set(weights) - set(biases)):
        kernels.setdefault(ROWS[weights[name].shape[0]], []).append(name)
    return {
        "inputs": inputs,
        "weights": weights,
        "outputs": original.run(weights, inputs),
        "initial": draws[0],
        # one number per draw, so that they are independent; another gate and place each time
        "draws": {
            kind: [draw[names[i % len(names)]].flat[7 * i % weights[names[0]].size] for i, draw in enumerate(draws)]
            for kind, names in kernels.items()
        },
    }


def answers() -> dict[str, Any]:
    """Ask all originals."""
    return {name: ask(make()) for name, make in ORIGINALS.items()}


def plain(value: Any) -> Any:
    """Turn arrays into lists of numbers with the nine digits that tell float32 numbers apart."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | np.ndarray):
        return [plain(item) for item in value]
    return value if isinstance(value, str) else float(f"{value:.9g}")


def main() -> None:
    """Write the file, one line per array."""
    lines = []
    for name, answer in plain(answers()).items():
        parts = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items()]
        lines.append(f"{json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {FILE}: {FILE.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
