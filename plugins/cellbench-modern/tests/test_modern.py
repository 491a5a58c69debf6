"""Each cell gives what an independent formula gives: numpy in float64, complex numbers where the paper has them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cellbench_modern
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import cont2discrete

from cellbench.conformance import LAWS, OBSERVATIONS, Check, Subject

Array = NDArray[Any]
INPUT, HIDDEN, TIME, BATCH = 2, 5, 7, 3


def registered() -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {}
    cellbench_modern.register_cells(register=lambda **cell: cells.update({cell["name"]: cell}))
    return cells


def factory_of(name: str) -> Callable[..., Any]:
    module, _, attribute = registered()[name]["factory"].partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return factory


def make(name: str, **options: Any) -> Any:
    torch.manual_seed(1)
    return factory_of(name)(INPUT, HIDDEN, **{**registered()[name].get("defaults", {}), **options})


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


Formula = Callable[[dict[str, Array], Array], list[Array]]
"""Weights by name and one example's inputs (time, input) to one output a step."""


def mingru(w: dict[str, Array], xs: Array) -> list[Array]:
    h, out = np.zeros(HIDDEN), []
    for x in xs:
        z = sigmoid(w["gate.weight"] @ x + w["gate.bias"])
        h = (1 - z) * h + z * (w["candidate.weight"] @ x + w["candidate.bias"])
        out.append(h)
    return out


def minlstm(w: dict[str, Array], xs: Array) -> list[Array]:
    h, out = np.zeros(HIDDEN), []
    for x in xs:
        f = sigmoid(w["forget.weight"] @ x + w["forget.bias"])
        i = sigmoid(w["input.weight"] @ x + w["input.bias"])
        h = f / (f + i) * h + i / (f + i) * (w["candidate.weight"] @ x + w["candidate.bias"])
        out.append(h)
    return out


def lru(w: dict[str, Array], xs: Array) -> list[Array]:
    eigenvalues = np.exp(-np.exp(w["nu"]) + 1j * np.exp(w["theta"]))
    b, c = w["b_re"] + 1j * w["b_im"], w["c_re"] + 1j * w["c_im"]
    s, out = np.zeros(HIDDEN, complex), []
    for x in xs:
        s = eigenvalues * s + np.exp(w["gamma"]) * (b @ x)
        out.append((c @ s).real + w["d"] @ x)
    return out


def rg_lru(w: dict[str, Array], xs: Array) -> list[Array]:
    h, out = np.zeros(HIDDEN), []
    for x in xs:
        u = w["projection.weight"] @ x + w["projection.bias"]
        r = sigmoid(w["recurrence_gate.weight"] @ u + w["recurrence_gate.bias"])
        i = sigmoid(w["input_gate.weight"] @ u + w["input_gate.bias"])
        a = sigmoid(w["decay"]) ** (8 * r)
        h = a * h + np.sqrt(1 - a**2) * (i * u)
        out.append(h)
    return out


def slstm(w: dict[str, Array], xs: Array) -> list[Array]:
    # Equations (8) to (14) as they stand, without the stabiliser.
    h, c, n, out = np.zeros(HIDDEN), np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for x in xs:
        z, i, f, o = np.split(w["weight"] @ x + w["recurrent"] @ h + w["bias"], 4)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        out.append(h)
    return out


def hgrn(w: dict[str, Array], xs: Array) -> list[Array]:
    h, out = np.zeros(HIDDEN, complex), []
    for x in xs:
        re, im = np.split(silu(w["candidate.weight"] @ x + w["candidate.bias"]), 2)
        decay = sigmoid(w["forget.weight"] @ x + w["forget.bias"])
        h = decay * np.exp(1j * w["theta"]) * h + (1 - decay) * (re + 1j * im)
        out.append(silu(w["gate.weight"] @ x + w["gate.bias"]) * np.concatenate([h.real, h.imag]))
    return out


def lmu(w: dict[str, Array], xs: Array) -> list[Array]:
    order, theta = 8, 16.0
    a, b = np.zeros((order, order)), np.zeros((order, 1))
    for i in range(order):
        b[i] = (2 * i + 1) * (-1) ** i
        for j in range(order):
            a[i, j] = (2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1))
    a, b, *_ = cont2discrete((a / theta, b / theta, np.eye(order), np.zeros((order, 1))), dt=1.0, method="zoh")
    h, m, out = np.zeros(HIDDEN), np.zeros(order), []
    for x in xs:
        u = w["encode_x.weight"] @ x + w["encode_h.weight"] @ h + w["encode_m.weight"] @ m
        m = a @ m + b @ u
        h = np.tanh(w["from_x.weight"] @ x + w["from_h.weight"] @ h + w["from_m.weight"] @ m)
        out.append(h)
    return out


def selective_ssm(w: dict[str, Array], xs: Array) -> list[Array]:
    states = w["log_a"].shape[1]
    s, out = np.zeros((HIDDEN, states)), []
    for x in xs:
        u = silu(w["projection.weight"] @ x + w["projection.bias"])
        b, c = w["to_b.weight"] @ u, w["to_c.weight"] @ u
        steps = softplus(w["step_bias"] + float(w["to_step.weight"][0] @ u))
        y = np.zeros(HIDDEN)
        for channel in range(HIDDEN):
            for k in range(states):
                da = steps[channel] * -np.exp(w["log_a"][channel, k])
                # (Δ A)^-1 (exp(Δ A) - 1) Δ B
                s[channel, k] = np.exp(da) * s[channel, k] + np.expm1(da) / da * steps[channel] * b[k] * u[channel]
                y[channel] += c[k] * s[channel, k]
        out.append(y + w["d"] * u)
    return out


def gated_deltanet(w: dict[str, Array], xs: Array) -> list[Array]:
    keys = w["key.weight"].shape[0]
    s, out = np.zeros((HIDDEN, keys)), []
    for x in xs:
        q, k, v = (silu(w[f"{name}.weight"] @ x) for name in ("query", "key", "value"))
        q, k = q / np.sqrt(q @ q + 1e-6), k / np.sqrt(k @ k + 1e-6)
        alpha = np.exp(-np.exp(w["log_rate"]) * softplus(w["forget.weight"] @ x + w["forget.bias"]))
        beta = sigmoid(w["write.weight"] @ x)
        s = s @ (alpha * (np.eye(keys) - beta * np.outer(k, k))) + beta * np.outer(v, k)
        out.append(s @ q)
    return out


def irnn(w: dict[str, Array], xs: Array) -> list[Array]:
    h, out = np.zeros(HIDDEN), []
    for x in xs:
        h = np.maximum(w["weight"] @ x + w["recurrent"] @ h + w["bias"], 0)
        out.append(h)
    return out


def lstm_forget_1(w: dict[str, Array], xs: Array) -> list[Array]:
    h, c, out = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    bias = w["module.bias_ih"] + w["module.bias_hh"]
    for x in xs:
        i, f, g, o = np.split(w["module.weight_ih"] @ x + w["module.weight_hh"] @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return out


FORMULAS: dict[str, Formula] = {
    "mingru": mingru,
    "minlstm": minlstm,
    "lru": lru,
    "rg-lru": rg_lru,
    "slstm": slstm,
    "hgrn": hgrn,
    "lmu": lmu,
    "selective-ssm": selective_ssm,
    "gated-deltanet": gated_deltanet,
    "lstm-forget-1": lstm_forget_1,
    "irnn": irnn,
}


def test_every_cell_has_a_formula() -> None:
    assert list(registered()) == list(FORMULAS)
    assert all(cell["description"] and cell["reference"] for cell in registered().values())


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", FORMULAS)
def test_gives_what_the_formula_gives(name: str) -> None:
    cell = make(name)
    with torch.no_grad():  # away from zeros and identities, which hide mistakes
        for parameter in cell.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    inputs = torch.randn(TIME, BATCH, INPUT)
    state, outputs = cell.initial_state(BATCH), []
    for x in inputs:
        y, state = cell(x, state)
        outputs.append(y.detach().numpy())
    weights = {n: p.detach().numpy() for n, p in cell.named_parameters()}
    got = np.stack(outputs)
    assert got.shape == (TIME, BATCH, cell.output_size)
    for example in range(BATCH):
        expected = np.stack(FORMULAS[name](weights, inputs[:, example].numpy()))
        np.testing.assert_allclose(got[:, example], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("check", LAWS, ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_keeps_the_laws(name: str, check: Check) -> None:
    result = check(Subject(factory_of(name), registered()[name].get("defaults", {}), name))
    assert result.ok, result.message


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_lanes_carries_it(name: str) -> None:
    (engines,) = (check for check in OBSERVATIONS if check.name == "engines")
    result = engines(Subject(factory_of(name), registered()[name].get("defaults", {}), name))
    assert result.data["engines"] == ["lanes", "stack", "reference"], result.message


def test_the_readme_has_every_cell_in_both_tables() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    results = text.partition("<!-- results -->")[2].partition("<!-- end of results -->")[0]
    for name in FORMULAS:
        assert f"| {name} | 13 of 13 | lanes, stack, reference |" in results
        assert text.count(f"\n| {name} |") == 2


@pytest.mark.usefixtures("double")
def test_slstm_stays_finite_where_plain_exponentials_overflow() -> None:
    cell = make("slstm")
    with torch.no_grad():
        cell.bias[HIDDEN : 2 * HIDDEN] = 800.0  # exp(800) is infinite in float64
    state = cell.initial_state(1)
    for _ in range(3):
        y, state = cell(torch.ones(1, INPUT), state)
    assert torch.isfinite(y).all()


def test_lru_starts_in_its_ring() -> None:
    cell = make("lru", r_min=0.7, r_max=0.9)
    size = torch.exp(-torch.exp(cell.nu.detach()))
    assert ((size > 0.7) & (size < 0.9)).all()
    torch.testing.assert_close(torch.exp(cell.gamma.detach()), torch.sqrt(1 - size**2))


def test_rg_lru_starts_with_slow_decays() -> None:
    decay = torch.sigmoid(make("rg-lru").decay.detach()) ** 8
    assert ((decay > 0.9) & (decay < 0.999)).all()


def test_selective_ssm_starts_with_its_steps() -> None:
    step = torch.nn.functional.softplus(make("selective-ssm").step_bias.detach())
    assert ((step > 0.001) & (step < 0.1)).all()


@pytest.mark.usefixtures("double")
def test_the_legendre_memory_holds_its_window() -> None:
    """A constant input fills the window: m becomes the Legendre coefficients of a constant, (1, 0, ..., 0)."""
    from cellbench_modern.lmu import legendre

    a, b = legendre(8, 16.0)
    m = torch.zeros(8)
    for _ in range(200):
        m = a @ m + b
    torch.testing.assert_close(m, torch.eye(8)[0], atol=1e-6, rtol=0)


def test_hgrn_refuses_a_lower_bound_of_1() -> None:
    with pytest.raises(ValueError, match="lower_bound must be in"):
        make("hgrn", lower_bound=1.0)


def test_hgrn_forgets_no_more_than_its_lower_bound() -> None:
    cell = make("hgrn", lower_bound=0.9)
    with torch.no_grad():
        cell.forget.bias.fill_(-30.0)
        cell.candidate.weight.zero_()
        cell.candidate.bias.zero_()
        _, (re, im) = cell(torch.zeros(1, INPUT), (torch.ones(1, HIDDEN), torch.zeros(1, HIDDEN)))
    torch.testing.assert_close(torch.hypot(re, im), torch.full((1, HIDDEN), 0.9))


def test_irnn_starts_from_the_identity() -> None:
    cell = make("irnn")
    assert torch.equal(cell.recurrent.detach(), torch.eye(HIDDEN))
    assert cell.weight.detach().abs().max() < 0.01


def test_lstm_forget_1_starts_with_its_bias() -> None:
    module = make("lstm-forget-1").module
    assert torch.equal((module.bias_ih + module.bias_hh).detach()[HIDDEN : 2 * HIDDEN], torch.ones(HIDDEN))


def test_listing_needs_no_torch() -> None:
    code = "import sys, cellbench_modern; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
