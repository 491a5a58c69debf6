"""Make the peers that the engines are timed beside: the same training by other libraries.

Every peer is made for (cell, hidden size, time, batch, replicas), trains on two binary inputs per time step with a
readout to one logit, cross-entropy, clipping to norm 1 and Adam with rate 0.01, and has `run()`, which trains all its
replicas through `steps` steps. Each uses one thread. Our engines, nn.* and JAX also train ten classes or a number.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cellbench.cells.gru import gru
from cellbench.cells.lstm import lstm
from cellbench.cells.rnn import rnn
from cellbench.engines import OPTIMIZERS, lanes, reference, stack
from cellbench.engines.lanes import build
from cellbench.engines.lanes.program import aligned
from cellbench.model import Blueprint, Objective
from cellbench.task import Kind

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
SEEDS = 8
"""Streams of data that the replicas of a stack share, as learning rates share a seed's."""


@dataclass(frozen=True)
class Setting:
    """One configuration."""

    cell: str = "lstm"
    hidden: int = 20
    time: int = 10
    batch: int = 16
    replicas: int = 32
    kind: Kind = "bits"

    @property
    def outputs(self) -> int:
        """Raw outputs of the readout: a bit, ten classes, or a number."""
        return 10 if self.kind == "classes" else 1

    def __str__(self) -> str:
        what = "" if self.kind == "bits" else f", {self.kind} ({self.outputs} outputs)"
        return f"{self.cell} hidden {self.hidden}, bits {self.time}, batch {self.batch}, replicas {self.replicas}{what}"


@dataclass
class Peer:
    """Something to time.

    Attributes:
        name: its name in the table.
        run: trains all replicas through some steps.
        replica_steps: replicas times steps per call of `run`.
        started: seconds until it was ready.
    """

    name: str
    run: Callable[[], Any]
    replica_steps: int
    started: float


def data(setting: Setting, steps: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw two bits a step, (seeds, steps, time, batch, 2), and what is asked of them.

    Bits: their sum as binary numbers, (..., 1). Classes: how many were 1 so far, modulo 10, of shape (seeds, steps,
    time, batch). Numbers: the mean so far, (..., 1).
    """
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, (seeds, steps, setting.time, setting.batch, 2))
    so_far = bits.sum(-1).cumsum(axis=2)
    if setting.kind == "classes":
        return bits.astype(np.float32), so_far % setting.outputs
    if setting.kind == "numbers":
        mean = so_far / (2 * np.arange(1, setting.time + 1)[:, None])
        return bits.astype(np.float32), mean[..., None].astype(np.float32)
    bits[:, :, -1] = 0
    total, carry = np.zeros(bits.shape[:-1], np.int64), np.zeros(bits.shape[:2] + bits.shape[3:4], np.int64)
    for t in range(setting.time):
        both = bits[:, :, t].sum(-1) + carry
        total[:, :, t], carry = both % 2, both // 2
    return bits.astype(np.float32), total[..., None].astype(np.float32)


def blueprint(setting: Setting) -> Blueprint:
    objective = Objective(setting.kind)
    return Blueprint(CELLS[setting.cell], setting.cell, (), 2, setting.hidden, setting.outputs, objective=objective)


def ours(name: str, setting: Setting, steps: int) -> Peer:
    """Make a peer of one of cellbench's engines."""
    begun = time.perf_counter()
    plan = blueprint(setting)
    prepare: Any = {"lanes": lanes, "stack": stack, "reference": reference}[name].prepare
    engine = prepare(plan, optimizer=OPTIMIZERS["adam"], clip_norm=1.0)
    started = time.perf_counter() - begun
    count = min(setting.replicas, 2) if name == "reference" else setting.replicas
    replicas = engine.begin([plan.build("bench", s) for s in range(count)], [0.01] * count)
    x, y = data(setting, steps, min(SEEDS, count))
    which = np.arange(count) % len(x)
    return Peer(name, lambda: replicas.advance(x, y, which), steps * count, started)


def torch_module(setting: Setting, steps: int) -> Peer:
    """Make a peer of torch's fused module for whole sequences: the usual loop, one replica at a time."""
    kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[setting.cell]
    module, readout = kind(2, setting.hidden), nn.Linear(setting.hidden, setting.outputs)
    parameters = [*module.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    x, y = (torch.from_numpy(a[0]) for a in data(setting, steps, 1))

    def run() -> None:
        for step in range(steps):
            optimizer.zero_grad()
            logits = readout(module(x[step])[0])
            if setting.kind == "classes":
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), y[step].flatten())
            elif setting.kind == "numbers":
                loss = nn.functional.mse_loss(logits, y[step])
            else:
                loss = nn.functional.binary_cross_entropy_with_logits(logits, y[step])
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    return Peer(f"nn.{kind.__name__} one at a time", run, steps, 0.0)


def floor(setting: Setting, steps: int) -> Peer:
    """Compile floor.cpp with the compiler and flags of lanes; it takes batches of whole vectors only."""
    compiler = build.find_compiler()
    assert compiler is not None, "the floor needs a C++ compiler"
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        text = f"#define H {setting.hidden}\n" + (Path(__file__).parent / "floor.cpp").read_text()
        path = Path(folder) / "floor.so"
        path.write_bytes(build.compile_program([text], compiler, build.chosen_isa(), Path(folder)))
        library = ctypes.CDLL(str(path))
    started = time.perf_counter() - begun
    row = library.row()
    library.scratch_floats.restype = ctypes.c_long
    width = library.lanes_width()
    assert setting.batch % width == 0, f"batch {setting.batch} is not whole groups of {width} lanes"
    groups = setting.batch // width
    weights, slots = aligned(setting.replicas, row), aligned(setting.replicas, 2 * row)
    for r in range(setting.replicas):
        flat = torch.cat([p.detach().flatten() for p in blueprint(setting).build("bench", r).parameters()]).numpy()
        weights[r, : len(flat)] = flat
    x, y = (
        a[0].reshape(steps, setting.time, groups, width, -1).transpose(0, 2, 1, 4, 3) for a in data(setting, steps, 1)
    )
    packed = [aligned(*a.shape) for a in (x, y)]
    packed[0][:], packed[1][:] = x, y
    scratch = aligned(library.scratch_floats(ctypes.c_long(setting.time)))
    losses = np.zeros((setting.replicas, steps))
    done = [0]

    def run() -> np.ndarray:
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*packed, weights, slots)]
        numbers = [ctypes.c_long(n) for n in (setting.replicas, steps, setting.time, groups)]
        ends = [ctypes.c_void_p(a.ctypes.data) for a in (losses, scratch)]
        rate, clip = ctypes.c_double(0.01), ctypes.c_double(1.0)
        library.train(*numbers, *pointers, rate, clip, ctypes.c_long(done[0]), *ends)
        done[0] += steps
        return losses

    return Peer("C++ by hand (floor.cpp)", run, steps * setting.replicas, started)


def jax_peer(setting: Setting, steps: int) -> Peer:
    """Make a peer of JAX at its best: scan over time and steps, vmap over replicas, jit of it all, optax."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax
    import jax.numpy as jnp
    import optax

    width, gates = setting.hidden, {"rnn": 1, "lstm": 4, "gru": 3}[setting.cell]

    def init(key: Any) -> Any:
        shapes = {
            "wi": (2, gates * width),
            "wh": (width, gates * width),
            "bi": (gates * width,),
            "bh": (gates * width,),
        }
        shapes |= {"wo": (width, setting.outputs), "bo": (setting.outputs,)}
        keys = jax.random.split(key, len(shapes))
        limit = width**-0.5
        return {
            name: jax.random.uniform(k, shape, minval=-limit, maxval=limit)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def cell(p: Any, state: Any, x: Any) -> Any:
        h = state[0]
        a, b = x @ p["wi"] + p["bi"], h @ p["wh"] + p["bh"]
        if setting.cell == "rnn":
            return (jnp.tanh(a + b),)
        if setting.cell == "lstm":
            i, f, u, o = jnp.split(a + b, 4, 1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(u)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c)
        (ar, az, an), (br, bz, bn) = jnp.split(a, 3, 1), jnp.split(b, 3, 1)
        r, z = jax.nn.sigmoid(ar + br), jax.nn.sigmoid(az + bz)
        return ((1 - z) * jnp.tanh(an + r * bn) + z * h,)

    def loss(p: Any, x: Any, y: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            state = cell(p, state, x)
            return state, state[0] @ p["wo"] + p["bo"]

        start = (jnp.zeros((setting.batch, width)),) * (2 if setting.cell == "lstm" else 1)
        logits = jax.lax.scan(step, start, x)[1]
        if setting.kind == "classes":
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        if setting.kind == "numbers":
            return optax.squared_error(logits[..., 0], y).mean()
        return optax.sigmoid_binary_cross_entropy(logits[..., 0], y).mean()

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))

    def draw(key: Any) -> Any:
        bits = jax.random.bernoulli(key, 0.5, (setting.time, setting.batch, 2)).astype(jnp.int32)
        so_far = bits.sum(-1).cumsum(axis=0)
        if setting.kind == "classes":
            return bits.astype(jnp.float32), so_far % setting.outputs
        if setting.kind == "numbers":
            return bits.astype(jnp.float32), so_far / (2.0 * jnp.arange(1, setting.time + 1)[:, None])
        bits = bits.at[-1].set(0)

        def add(carry: Any, pair: Any) -> Any:
            total = pair.sum(-1) + carry
            return total // 2, total % 2

        return bits.astype(jnp.float32), jax.lax.scan(add, jnp.zeros(setting.batch, jnp.int32), bits)[1].astype(
            jnp.float32
        )

    def one(carry: Any, key: Any) -> Any:
        p, state = carry
        value, gradient = jax.value_and_grad(loss)(p, *draw(key))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(p, updates), state), value

    trained = jax.jit(jax.vmap(lambda p, state, keys: jax.lax.scan(one, (p, state), keys)))
    p = jax.vmap(init)(jax.random.split(jax.random.key(0), setting.replicas))
    state = jax.vmap(optimizer.init)(p)
    keys = jax.random.split(jax.random.key(1), (setting.replicas, steps))
    begun = time.perf_counter()
    jax.block_until_ready(trained(p, state, keys))
    started = time.perf_counter() - begun
    return Peer(
        "JAX scan+jit+vmap, optax",
        lambda: jax.block_until_ready(trained(p, state, keys)),
        steps * setting.replicas,
        started,
    )


def compiled_step(setting: Setting, steps: int) -> Peer:
    """Make a peer of torch.compile: a whole stacked step, unrolled, with clipping and Adam in one graph."""
    from torch.func import functional_call, grad_and_value, stack_module_state, vmap

    from cellbench.model import loss

    models = [blueprint(setting).build("bench", s) for s in range(setting.replicas)]
    stacked = {k: v.detach() for k, v in stack_module_state(models)[0].items()}  # type: ignore[arg-type]
    base = models[0]
    both = vmap(grad_and_value(lambda p, x, y: loss(functional_call(base, p, (x,)), y)))

    def step(p: Any, m: Any, v: Any, x: Any, y: Any, t: Any) -> Any:
        g, value = both(p, x, y)
        norm = torch.stack([q.flatten(1).square().sum(1) for q in g.values()]).sum(0).sqrt()
        scale = (1.0 / (norm + 1e-6)).clamp(max=1.0)
        out = {}
        for k in p:
            q = g[k] * scale.reshape(-1, *[1] * (g[k].dim() - 1))
            m[k] = torch.lerp(m[k], q, 0.1)
            v[k] = v[k] * 0.999 + q * q * 0.001
            out[k] = p[k] - 0.01 * (m[k] / (1 - 0.9**t)) / ((v[k] / (1 - 0.999**t)).sqrt() + 1e-8)
        return out, m, v, value

    fast = torch.compile(step)
    x, y = (torch.from_numpy(a[np.arange(setting.replicas) % SEEDS]) for a in data(setting, steps, SEEDS))
    state = [
        stacked,
        {k: torch.zeros_like(q) for k, q in stacked.items()},
        {k: torch.zeros_like(q) for k, q in stacked.items()},
    ]

    def run() -> None:
        for s in range(steps):
            *state[:], _ = fast(*state, x[:, s], y[:, s], torch.tensor(float(s + 1)))

    begun = time.perf_counter()
    run()
    return Peer("torch.compile of the stacked step", run, steps * setting.replicas, time.perf_counter() - begun)


def keras_peer(setting: Setting, steps: int, *, xla: bool) -> Peer:
    """Make a peer of Keras on TensorFlow, one replica at a time: `train_on_batch`, or a `tf.function` with XLA."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    layer = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[setting.cell]
    model = keras.Sequential(
        [keras.Input((setting.time, 2)), layer(setting.hidden, return_sequences=True), keras.layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(0.01, global_clipnorm=1.0)
    criterion = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer, criterion)
    x, y = (np.ascontiguousarray(a[0].transpose(0, 2, 1, 3)) for a in data(setting, steps, 1))

    @tf.function(jit_compile=True)
    def fast(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            value = criterion(targets, model(inputs, training=True))
        optimizer.apply_gradients(
            zip(tape.gradient(value, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return value

    def run() -> None:
        for step in range(steps):
            if xla:
                fast(x[step], y[step])
            else:
                model.train_on_batch(x[step], y[step])

    begun = time.perf_counter()
    run()
    name = "Keras, tf.function with XLA" if xla else "Keras train_on_batch"
    return Peer(name, run, steps, time.perf_counter() - begun)
