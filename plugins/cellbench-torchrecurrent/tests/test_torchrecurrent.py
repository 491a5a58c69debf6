"""Each adapted cell gives what the library's own layer gives, and starts from the weights that its row states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cellbench_torchrecurrent
import pytest
import torch
import torchrecurrent
from cellbench_torchrecurrent import ROWS, Row, cells
from cellbench_torchrecurrent.adapters import INITIALISERS

from cellbench.conformance import LAWS, OBSERVATIONS, Subject

ids = [row.name for row in ROWS]
LAYERS = {row.name: getattr(cells, row.wrapper).wraps.__name__.removesuffix("Cell") for row in ROWS}


def make(row: Row, input_size: int = 2, hidden_size: int = 5, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(cells, row.wrapper)(input_size, hidden_size, **{**row.defaults, **options})


def unroll(cell: Any, inputs: torch.Tensor) -> torch.Tensor:
    state, outputs = cell.initial_state(inputs.shape[1]), []
    for x in inputs:
        y, state = cell(x, state)
        outputs.append(y)
    return torch.stack(outputs)


def test_every_exported_cell_is_registered_once() -> None:
    exported = {name for name in torchrecurrent.__all__ if name.endswith("Cell")}
    assert sorted(getattr(cells, row.wrapper).wraps.__name__ for row in ROWS) == sorted(exported)
    assert len(set(ids)) == len(ROWS) == 41


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_gives_what_the_library_s_layer_gives(row: Row) -> None:
    cell, inputs = make(row), torch.randn(6, 3, 2)
    if row.name == "intersection-rnn":  # the layer takes what the cell's projection gives
        layer, layer_inputs = torchrecurrent.IntersectionRNN(5, 5), cell.projection(inputs)
    else:
        layer, layer_inputs = getattr(torchrecurrent, LAYERS[row.name])(2, 5, **row.defaults), inputs
    layer.cells[0].load_state_dict(cell.module.state_dict())
    expected, _ = layer(layer_inputs)
    torch.testing.assert_close(unroll(cell, inputs), expected)


def test_tau_gru_delays_as_many_steps_as_it_is_told() -> None:
    row = ROWS[ids.index("tau-gru")]
    cell, layer, inputs = make(row, delay=3), torchrecurrent.tauGRU(2, 5, delay=3), torch.randn(9, 3, 2)
    layer.cells[0].load_state_dict(cell.module.state_dict())
    torch.testing.assert_close(unroll(cell, inputs), layer(inputs)[0])
    with pytest.raises(ValueError, match="delay must be 1 or more"):
        make(row, delay=0)


def stated(module: Any) -> str:
    """What the library's table of initialisers amounts to, in the words of `ROWS`."""
    words = {
        "normal": "normal(0, 1)",
        "uniform": "uniform(0, 1)",
        "uniform_centered": "uniform(-0.1, 0.1)",
        "xavier_uniform": "Xavier uniform",
    }
    parts: dict[str, tuple[str, str | tuple[str, ...]]] = {
        "kernel": ("input kernel", "weight_ih"),
        "recurrent_kernel": ("recurrent kernel", ("weight_hh", "vector_u")),
        "cell_kernel": ("cell kernel", "weight_ch"),
        "context_kernel": ("context kernel", "weight_ch"),
        "control_kernel": ("control kernel", "weight_ch"),
        "memory_kernel": ("memory kernel", "weight_m"),
        "multiplicative_kernel": ("multiplicative kernel", "weight_mh"),
        "peephole_kernel": ("peepholes", "weight_ph"),
        "proj": ("projection", "weight_proj"),
        "residual": ("residual kernel", "weight_res"),
    }
    names = [name for name, _ in module.named_parameters()]
    kernels, biases = {}, set()
    for key, initialiser in module.init_cfg.items():
        if "bias" in key:
            biases.add(initialiser)
        elif any(name.startswith(parts[key][1]) for name in names):
            kernels[parts[key][0]] = words[initialiser]
    assert biases == {"zeros"}
    xavier = [name for name, how in kernels.items() if how == "Xavier uniform"]
    if len(xavier) > 1:
        kernels = {"kernels": "Xavier uniform", **{n: how for n, how in kernels.items() if n not in xavier}}
    return ", ".join([*(f"{name} {how}" for name, how in kernels.items()), "biases 0"])


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_the_stated_initialisation_is_the_library_s(row: Row) -> None:
    assert stated(make(row).module) == row.weights


def test_initialisers_are_taken_by_name_alone() -> None:
    row = ROWS[ids.index("mgu")]
    orthogonal = make(row, recurrent_kernel_init="orthogonal").module.weight_hh
    torch.testing.assert_close(orthogonal.T @ orthogonal, torch.eye(5))
    with pytest.raises(TypeError, match="must be the name of an initialiser"):
        make(row, recurrent_kernel_init=torch.nn.init.dirac_)  # the library would silently use its default
    with pytest.raises(ValueError, match="no initialiser 'dirac'"):
        make(row, recurrent_kernel_init="dirac")
    with pytest.raises(TypeError, match="MGUCell has no option 'hidden'; it has bias"):
        make(row, hidden=3)


def test_the_names_of_initialisers_are_the_library_s() -> None:
    for name in INITIALISERS:
        torchrecurrent.base.apply_init_(torch.empty(4, 4), name)
    with pytest.raises(ValueError, match="Unknown initializer"):
        torchrecurrent.base.apply_init_(torch.empty(4, 4), "truncated_normal")


def test_fastrnn_starts_near_its_last_state() -> None:
    module = make(ROWS[ids.index("fastrnn")]).module
    assert module.alpha.sigmoid().item() < 0.05 < 0.95 < module.beta.sigmoid().item()


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_keeps_the_laws(row: Row) -> None:
    subject = Subject(getattr(cells, row.wrapper), row.defaults, row.name)
    found = {check.name: check(subject) for check in LAWS}
    assert {name: result.message for name, result in found.items() if result.status != "pass"} == {}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_lanes_carries_it(row: Row) -> None:
    (engines,) = (check for check in OBSERVATIONS if check.name == "engines")
    result = engines(Subject(getattr(cells, row.wrapper), row.defaults, row.name))
    assert result.data["engines"] == ["lanes", "stack", "reference"], result.message


def test_the_readme_has_the_results_of_every_cell() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    results = text.partition("<!-- results -->")[2].partition("<!-- end of results -->")[0]
    rows = [line for line in results.splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[:2] for row in rows] == [[f"| {name}", "13 of 13"] for name in ids]


def test_listing_needs_no_torch() -> None:
    code = "import sys, cellbench_torchrecurrent as c; assert len(c.ROWS) == 41; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_the_hook_registers_every_row() -> None:
    registered: dict[str, dict[str, Any]] = {}
    cellbench_torchrecurrent.register_cells(register=lambda **cell: registered.update({cell["name"]: cell}))
    assert list(registered) == ids
    assert all(cell["description"] and cell["reference"] for cell in registered.values())
    assert registered["lstm-1997"]["factory"] == "cellbench_torchrecurrent.cells:LSTM1997"
