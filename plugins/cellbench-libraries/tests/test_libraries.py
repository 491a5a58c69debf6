"""Each cell gives what the library's own cell gives, and starts from weights of the library's distribution.

What the libraries answer is in oracles.json, written by oracles.py; a long test asks the installed libraries again.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cellbench_libraries
import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from torch import Tensor

from cellbench.conformance import LAWS, OBSERVATIONS, Check, Subject

HERE = Path(__file__).parent
ORACLES: dict[str, Any] = json.loads((HERE / "oracles.json").read_text(encoding="utf-8"))

Weights = dict[str, Tensor]


def together(weights: Weights, *names: str) -> Tensor:
    """Put one tensor per gate side by side."""
    return torch.cat([weights[name] for name in names], dim=-1)


def same(weights: Weights) -> Weights:
    return weights


def flax_lstm(w: Weights) -> Weights:
    forget = "if.kernel" if "if.kernel" in w else "if_.kernel"
    return {
        "kernel": together(w, "ii.kernel", forget, "ig.kernel", "io.kernel"),
        "recurrent_kernel": together(w, *(f"h{gate}.kernel" for gate in "ifgo")),
        "bias": together(w, *(f"h{gate}.bias" for gate in "ifgo")),
    }


def nnx_optimized(w: Weights) -> Weights:
    return {"kernel": w["dense_i.kernel"], "recurrent_kernel": w["dense_h.kernel"], "bias": w["dense_h.bias"]}


def flax_gru(w: Weights) -> Weights:
    return {
        "kernel": together(w, *(f"i{gate}.kernel" for gate in "rzn")),
        "recurrent_kernel": together(w, *(f"h{gate}.kernel" for gate in "rzn")),
        "bias": together(w, *(f"i{gate}.bias" for gate in "rzn")),
        "inner_bias": w["hn.bias"],
    }


def nnx_gru(w: Weights) -> Weights:
    return {"kernel": w["dense_i.kernel"], "recurrent_kernel": w["dense_h.kernel"], "bias": w["dense_i.bias"]}


def haiku_lstm(w: Weights) -> Weights:
    return {"weight": w["w"], "bias": w["b"]}


def haiku_gru(w: Weights) -> Weights:
    return {"kernel": w["w_i"], "recurrent_kernel": w["w_h"], "bias": w["b"]}


PAIRS: dict[str, tuple[str, Callable[[Weights], Weights]]] = {
    "keras.layers.LSTM": ("lstm-keras", same),
    "keras.layers.GRU": ("gru-keras", same),
    "flax.linen.LSTMCell": ("lstm-flax", flax_lstm),
    "flax.linen.OptimizedLSTMCell": ("lstm-flax", flax_lstm),
    "flax.linen.GRUCell": ("gru-flax", flax_gru),
    "flax.nnx.LSTMCell": ("lstm-flax", flax_lstm),
    "flax.nnx.OptimizedLSTMCell": ("lstm-flax-nnx-optimized", nnx_optimized),
    "flax.nnx.GRUCell": ("gru-flax-nnx", nnx_gru),
    "haiku.LSTM": ("lstm-haiku", haiku_lstm),
    "haiku.GRU": ("gru-haiku", haiku_gru),
}
"""Each original, our cell, and how its weights are put into ours."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def registered() -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {}
    cellbench_libraries.register_cells(register=lambda **cell: cells.update({cell["name"]: cell}))
    return cells


def factory_of(name: str) -> Callable[..., Any]:
    module, _, attribute = registered()[name]["factory"].partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return factory


def tensors(arrays: dict[str, Any]) -> Weights:
    return {name: torch.tensor(array) for name, array in arrays.items()}


def unroll(cell: Any, inputs: Tensor) -> Tensor:
    state, outputs = cell.initial_state(inputs.shape[1]), []
    for x in inputs:
        y, state = cell(x, state)
        outputs.append(y)
    return torch.stack(outputs)


def test_every_original_has_a_cell_and_every_cell_an_original() -> None:
    assert list(ORACLES) == list(PAIRS)
    assert {cell for cell, _ in PAIRS.values()} | {"lstm-one-bias"} == set(registered())
    for original, (cell, _) in PAIRS.items():
        library, _, name = original.partition(".")
        assert library in registered()[cell]["reference"]
        assert name.rpartition(".")[2] in registered()[cell]["reference"]


@pytest.mark.parametrize("original", PAIRS)
def test_gives_what_the_original_gives(original: str) -> None:
    """At the original's weights, noise and all, the outputs are the original's to float32's rounding."""
    name, carried = PAIRS[original]
    answer = ORACLES[original]
    inputs, expected = torch.tensor(answer["inputs"]), torch.tensor(answer["outputs"])
    cell = factory_of(name)(inputs.shape[2], expected.shape[2])
    cell.load_state_dict(carried(tensors(answer["weights"])))  # strict: all weights, and no others
    with torch.no_grad():
        torch.testing.assert_close(unroll(cell, inputs), expected, rtol=1e-5, atol=1e-6)


def kernels(state: Weights) -> dict[str, Tensor]:
    """Name kernels as oracles.json does."""
    names = {"kernel": "input", "recurrent_kernel": "recurrent", "weight": "both"}
    return {names[name]: tensor for name, tensor in state.items() if name in names}


@cache
def drawn(name: str, inputs: int, hidden: int) -> tuple[dict[str, list[float]], Weights]:
    """Draw one number of each kernel from each of 300 cells, another place each time; also the last cell's weights."""
    torch.manual_seed(0)
    numbers: dict[str, list[float]] = {}
    for i in range(300):
        state = factory_of(name)(inputs, hidden).state_dict()
        for kind, tensor in kernels(state).items():
            numbers.setdefault(kind, []).append(tensor.flatten()[7 * i % tensor.numel()].item())
    return numbers, state


@pytest.mark.parametrize("original", PAIRS)
def test_starts_from_the_original_s_distribution(original: str) -> None:
    """Two-sample Kolmogorov-Smirnov and deviations of 200 draws of theirs beside 300 of ours; equal biases."""
    name, carried = PAIRS[original]
    answer = ORACLES[original]
    ours, state = drawn(name, len(answer["inputs"][0][0]), len(answer["outputs"][0][0]))
    initial = carried(tensors(answer["initial"]))
    for parameter, tensor in state.items():
        assert tensor.shape == initial[parameter].shape
        if "bias" in parameter:
            assert torch.equal(tensor, initial[parameter]), parameter
    assert set(ours) == set(answer["draws"])
    for kind, theirs in answer["draws"].items():
        assert stats.ks_2samp(ours[kind], theirs).pvalue > 0.001, kind
        assert 0.8 < np.std(ours[kind]) / np.std(theirs) < 1.25, kind


def spectra(recurrent: Tensor) -> tuple[bool, bool]:
    """Tell whether each gate's part is orthogonal, and whether the rows over all gates are orthonormal."""
    hidden = recurrent.shape[0]
    one = torch.eye(hidden)
    gates = all(torch.allclose(g @ g.T, one, atol=1e-5) for g in recurrent.split(hidden, dim=1))
    return gates, torch.allclose(recurrent @ recurrent.T, one, atol=1e-5)


@pytest.mark.parametrize("original", [name for name in PAIRS if not name.startswith("haiku")])
def test_is_orthogonal_where_the_original_is(original: str) -> None:
    name, carried = PAIRS[original]
    theirs = carried(tensors(ORACLES[original]["initial"]))["recurrent_kernel"]
    ours = factory_of(name)(2, 20).recurrent_kernel.detach()
    assert spectra(ours) == spectra(theirs)
    assert sum(spectra(ours)) == 1


TRUNCATED = stats.truncnorm(-2, 2)
RULES: dict[tuple[str, str], Any] = {
    ("lstm-one-bias", "kernel"): stats.uniform(-(20**-0.5), 2 * 20**-0.5),
    ("lstm-one-bias", "recurrent_kernel"): stats.uniform(-(20**-0.5), 2 * 20**-0.5),
    ("lstm-one-bias", "bias"): stats.triang(0.5, -2 * 20**-0.5, 4 * 20**-0.5),
    ("lstm-keras", "kernel"): stats.uniform(-math.sqrt(6 / 82), 2 * math.sqrt(6 / 82)),
    ("gru-keras", "kernel"): stats.uniform(-math.sqrt(6 / 62), 2 * math.sqrt(6 / 62)),
    **{
        (name, "kernel"): stats.truncnorm(-2, 2, scale=math.sqrt(1 / 2) / TRUNCATED.std())
        for name in ("lstm-flax", "lstm-flax-nnx-optimized", "gru-flax", "gru-flax-nnx", "gru-haiku")
    },
    ("gru-haiku", "recurrent_kernel"): stats.truncnorm(-2, 2, scale=math.sqrt(1 / 20) / TRUNCATED.std()),
    ("lstm-haiku", "weight"): stats.truncnorm(-2, 2, scale=math.sqrt(1 / 22)),
}
"""The distribution of each weight that is drawn number by number, at 2 inputs and hidden size 20, by scipy."""


@pytest.mark.parametrize(("name", "parameter"), RULES, ids=[".".join(pair) for pair in RULES])
def test_draws_by_its_rule(name: str, parameter: str) -> None:
    """At the sizes of experiments/initial-weights.yaml, thousands of numbers follow the rule that is documented."""
    torch.manual_seed(1)
    draws = [factory_of(name)(2, 20).state_dict()[parameter].flatten() for _ in range(100)]
    values = torch.cat(draws).double().numpy()
    assert stats.kstest(values, RULES[name, parameter].cdf).pvalue > 0.001
    assert abs(values.std() / RULES[name, parameter].std() - 1) < 0.02


def test_one_bias_is_the_built_in_lstm_with_its_biases_added() -> None:
    """torch's own LSTM with weights (gates, in) gives the same from kernels (in, gates)."""
    torch.manual_seed(0)
    cell, theirs = factory_of("lstm-one-bias")(2, 5), torch.nn.LSTM(2, 5)
    inputs = torch.randn(7, 3, 2)
    with torch.no_grad():
        cell.kernel.copy_(theirs.weight_ih_l0.T)
        cell.recurrent_kernel.copy_(theirs.weight_hh_l0.T)
        cell.bias.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
        torch.testing.assert_close(unroll(cell, inputs), theirs(inputs)[0])


def test_kernel_deviation_changes_the_input_kernel_alone() -> None:
    torch.manual_seed(0)
    plain = factory_of("lstm-one-bias")(2, 200).state_dict()
    torch.manual_seed(0)
    wide = factory_of("lstm-one-bias")(2, 200, kernel_deviation=0.7).state_dict()
    assert wide["kernel"].std().item() == pytest.approx(0.7, rel=0.03)
    assert all(torch.equal(plain[n], wide[n]) for n in ("recurrent_kernel", "bias"))
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"kernel_deviation must be positive, not"):
            factory_of("lstm-one-bias")(2, 5, kernel_deviation=wrong)


@pytest.mark.parametrize("check", LAWS, ids=str)
@pytest.mark.parametrize("name", registered())
def test_keeps_the_laws(name: str, check: Check) -> None:
    result = check(Subject(factory_of(name), registered()[name].get("defaults", {}), name))
    assert result.ok, result.message


@pytest.mark.slow
@pytest.mark.parametrize("name", registered())
def test_lanes_carries_it(name: str) -> None:
    (engines,) = (check for check in OBSERVATIONS if check.name == "engines")
    result = engines(Subject(factory_of(name), registered()[name].get("defaults", {}), name))
    assert result.data["engines"] == ["lanes", "stack", "reference"], result.message


def test_the_readme_has_every_cell_in_both_tables() -> None:
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    results = text.partition("<!-- results -->")[2].partition("<!-- end of results -->")[0]
    for name in registered():
        assert f"| {name} | 13 of 13 | lanes, stack, reference |" in results
        assert text.count(f"\n| {name} |") == 2


def test_the_experiment_has_every_cell() -> None:
    path = HERE.parents[2] / "experiments" / "initial-weights.yaml"
    cells = yaml.safe_load(path.read_text(encoding="utf-8"))["cells"]
    assert set(registered()) <= {cell if isinstance(cell, str) else cell["name"] for cell in cells}


def test_listing_needs_no_torch() -> None:
    code = "import sys, cellbench_libraries; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_installed_libraries_still_answer_so() -> None:
    """The pins of the extra `live`, asked again, give oracles.json. Outside CI: it takes minutes and a gigabyte."""
    for library in ("keras", "flax", "haiku"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed: pip install ./plugins/cellbench-libraries[live]")
    code = "import json, oracles; print(json.dumps(oracles.plain(oracles.answers())))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE)

    def compare(new: Any, old: Any) -> None:
        if isinstance(old, dict):
            assert list(new) == list(old)
            for key in old:
                compare(new[key], old[key])
        else:
            np.testing.assert_allclose(np.array(new), np.array(old), rtol=1e-4, atol=1e-6)

    compare(json.loads(answer.stdout), ORACLES)
