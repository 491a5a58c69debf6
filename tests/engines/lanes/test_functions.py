"""The vector functions of lanes.h against float64, over the whole range of float32, for each instruction set."""

from __future__ import annotations

import ctypes
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from cellbench.engines.lanes import build
from tests.helpers.tools import missing

FUNCTIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "exp": (np.exp, 1.0),
    "expm1": (np.expm1, 2.0),
    "sigmoid": (special.expit, 2.5),
    "tanh": (np.tanh, 2.0),
    "log": (np.log, 1.0),
    "log1p": (np.log1p, 2.0),
    "sqrt": (np.sqrt, 0.5),
    "sin": (np.sin, 1.0),
    "cos": (np.cos, 1.0),
    "erf": (special.erf, 1.0),
}
"""The true function, and the bound in units of the last place."""

CODE = """
#include "kernels.h"
#define EXPORT(name) \\
  extern "C" void name##_of(const float *x, float *y, long n) { \\
    for (long i = 0; i < n; i += LANES) { \\
      vf v; memcpy(&v, x + i, sizeof v); \\
      v = v##name(v); memcpy(y + i, &v, sizeof v); } }
""" + "\n".join(f"EXPORT({name})" for name in FUNCTIONS)
CODE += """
extern "C" void cross_entropy_of(const float *z, const float *y, float *loss, long n) {
  for (long i = 0; i < n; i += LANES) {
    vf a, b; memcpy(&a, z + i, sizeof a); memcpy(&b, y + i, sizeof b);
    a = cross_entropy(a, b); memcpy(loss + i, &a, sizeof a); } }
"""


@pytest.fixture(scope="module", params=itertools.product(("avx512", "avx2", "sse2"), ("g++", "clang++")), ids="-".join)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    isa = build.Isa(request.param[0], build.native_isa().machine)
    if not build.runs_here(isa):
        pytest.skip(f"this processor has no {isa.name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", shutil.which(request.param[1]) or missing(request.param[1]))
        compiler = build.find_compiler()
    assert compiler is not None
    folder = tmp_path_factory.mktemp("functions")
    path = Path(folder / "functions.so")
    path.write_bytes(build.compile_program([CODE], compiler, isa, folder))
    return ctypes.CDLL(str(path))


def compute(library: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    getattr(library, f"{name}_of")(
        x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(x))
    )
    return y


def numbers() -> np.ndarray:
    """Every 16411th bit pattern of float32, and a dense grid where recurrent cells live."""
    patterns = np.arange(0, 2**32, 16411, dtype=np.uint64).astype(np.uint32).view(np.float32)
    dense = np.concatenate([np.linspace(-20, 20, 200_001), np.linspace(-100, 100, 100_001), np.linspace(0, 2, 50_001)])
    x = np.concatenate([patterns, dense.astype(np.float32)])
    return np.ascontiguousarray(x[: len(x) // 64 * 64])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_function_keeps_its_bound_over_the_whole_range(library: ctypes.CDLL, name: str) -> None:
    true, bound = FUNCTIONS[name]
    x = numbers()
    want = true(x.astype(np.float64))
    got = compute(library, name, x)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    # results below the normal numbers may become 0: no cell and no loss can tell
    want32 = want.astype(np.float32)
    finite = np.isfinite(want32) & (np.abs(want) >= 2.0**-125)
    assert np.array_equal(got[np.isinf(want32)], want32[np.isinf(want32)])
    tiny = np.isfinite(want32) & ~finite
    assert np.abs(got[tiny].astype(np.float64) - want[tiny]).max(initial=0.0) <= 2.0**-125
    units = np.abs(got[finite].astype(np.float64) - want[finite]) / np.spacing(np.abs(want32[finite])).astype(
        np.float64
    )
    assert units.max() <= bound, f"{units.max():.2f} ulp at {x[finite][units.argmax()]!r}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("exp", np.inf, np.inf), ("exp", -np.inf, 0), ("exp", 89, np.inf),
        ("exp", 88.7, np.exp(np.float64(np.float32(88.7)))),
        ("expm1", -np.inf, -1), ("expm1", np.inf, np.inf), ("expm1", 0.0, 0.0),
        ("sigmoid", np.inf, 1), ("sigmoid", -np.inf, 0), ("sigmoid", 0, 0.5),
        ("tanh", np.inf, 1), ("tanh", -np.inf, -1), ("tanh", 0, 0),
        ("log", 0, -np.inf), ("log", np.inf, np.inf), ("log", -1, np.nan), ("log", 1, 0),
        ("log", 1e-45, np.log(2.0**-149)),
        ("log1p", -1, -np.inf), ("log1p", np.inf, np.inf), ("log1p", -1.5, np.nan), ("log1p", 0, 0),
    ],
)  # fmt: skip
def test_a_function_at_its_ends(library: ctypes.CDLL, name: str, x: float, y: float) -> None:
    got = compute(library, name, np.full(64, x, dtype=np.float32))
    np.testing.assert_allclose(got, np.full(64, y), rtol=2e-7, atol=2.0**-125)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_comes_out_of_every_function(library: ctypes.CDLL, name: str) -> None:
    assert np.isnan(compute(library, name, np.full(64, np.nan, dtype=np.float32))).all()


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_the_cross_entropy_of_a_logit_keeps_its_bound(library: ctypes.CDLL, target: float) -> None:
    """Relative to the loss itself, however small: log(1 + e^-z) where the target is 1, log(1 + e^z) where it is 0."""
    z = np.concatenate([np.linspace(-90, 90, 200_001), np.linspace(-1, 1, 100_001)]).astype(np.float32)
    z = np.ascontiguousarray(z[: len(z) // 64 * 64])
    y, loss = np.full_like(z, target), np.empty_like(z)
    library.cross_entropy_of(*(a.ctypes.data_as(ctypes.c_void_p) for a in (z, y, loss)), ctypes.c_long(len(z)))
    want = np.logaddexp(0.0, z.astype(np.float64) * (1 - 2 * target))
    seen = want >= 2.0**-125
    units = np.abs(loss - want)[seen] / np.spacing(want.astype(np.float32)[seen])
    assert units.max() <= 3.5, f"{units.max():.2f} ulp at {z[seen][units.argmax()]!r}"
    assert np.abs(loss - want)[~seen].max(initial=0.0) <= 2.0**-125
