"""Functions of matrices, written with products and sums, so that they are compiled and differentiated like these.

A library loops until a factorisation is done; a compiled cell has no loop that depends on numbers. So the exponential
squares as often as the largest matrix would need, and keeps what each matrix needs; factorisations take one round per
column. The inverse has code of its own (`code/kernels.py`), and what is solved is a product with it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import torch
from torch import Tensor

from cellbench.engines.engine import Refused

MOST_COLUMNS = 64
"""Of a matrix that is factorised: each column is some lines of C++."""
_HALVINGS = 8
"""The exponential is exact up to a norm of 2 ** (1 + this); a larger one makes the loss NaN, and ends the replica."""


def matrix_exp(a: Tensor) -> Tensor:
    """Compute the matrix exponential by scaling and squaring of its Taylor polynomial of degree 16.

    A norm of at most 2 leaves an error of 2^17 / 17! = 4e-10; with A^2, A^3 and A^4 that takes six products (Paterson &
    Stockmeyer 1973).
    """
    norm = a.detach().abs().sum(-2, keepdim=True).amax(-1, keepdim=True)
    halvings = torch.log2(norm.clamp(min=2.0) / 2.0).ceil()
    halvings = torch.where(halvings <= _HALVINGS, halvings, torch.nan)
    a = a * torch.exp2(-halvings)
    one = torch.eye(a.shape[-1])
    powers = [one, a, a @ a]
    powers += [powers[2] @ a, powers[2] @ powers[2]]
    found = powers[4] / factorial(16)
    for first in (12, 8, 4, 0):
        for i in range(4):
            found = found + powers[i] / factorial(first + i)
        if first:
            found = found @ powers[4]
    for done in range(_HALVINGS):
        found = torch.where(halvings > done, found @ found, found)
    return found


def householder_product(a: Tensor, scales: Tensor) -> Tensor:
    """Multiply Householder reflections, as LAPACK's orgqr does."""
    rows, columns = a.shape[-2:]
    _refuse_large(scales.shape[-1])
    found = torch.eye(rows, columns)
    below = torch.tril(torch.ones(rows, columns), -1)
    vectors = a * below + torch.eye(rows, columns)
    for i in reversed(range(scales.shape[-1])):
        vector = vectors[..., :, i : i + 1]
        found = found - scales[..., i : i + 1, None] * vector @ (vector.transpose(-1, -2) @ found)
    return found


def qr(a: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """Factorise by Householder reflections, with the signs of LAPACK's geqrf."""
    rows, columns = a.shape[-2:]
    count = min(rows, columns)
    _refuse_large(count)
    if mode == "r":
        raise Refused("torch.linalg.qr with mode='r'")
    r, reflections = a, []
    index = torch.arange(rows)[:, None]
    for i in range(count):
        x = r[..., :, i : i + 1] * (index >= i)
        if i == rows - 1:
            break  # LAPACK leaves a last single number as it is
        first = x[..., i : i + 1, :]
        length = (x * x).sum(-2, keepdim=True).sqrt()
        vector = x + torch.where(first >= 0, length, -length) * (index == i)
        reflections.append((vector, 2 / (vector * vector).sum(-2, keepdim=True)))
        r = r - reflections[-1][1] * vector @ (vector.transpose(-1, -2) @ r)
    kept = rows if mode == "complete" else count
    q = torch.eye(rows, kept).expand(*a.shape[:-2], rows, kept)
    for vector, scale in reversed(reflections):
        q = q - scale * vector @ (vector.transpose(-1, -2) @ q)
    return q, torch.triu(r[..., :kept, :])


def cholesky(a: Tensor, upper: bool = False) -> Tensor:
    """Factorise a positive definite matrix, column by column."""
    size = a.shape[-1]
    _refuse_large(size)
    a = a.transpose(-1, -2) if upper else a
    index = torch.arange(size)[:, None]
    columns: list[Tensor] = []
    for j in range(size):
        column = a[..., :, j : j + 1]
        for before in columns:
            column = column - before * before[..., j : j + 1, :]
        columns.append(column * (index >= j) / column[..., j : j + 1, :].sqrt())
    found = torch.cat(columns, -1)
    return found.transpose(-1, -2) if upper else found


def _refuse_large(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise Refused(f"a factorisation of a matrix with {columns} columns; {MOST_COLUMNS} are the most")


def _inverse(a: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten.linalg_inv_ex.default(a)[0]
    return found


def _solved(a: Tensor, b: Tensor, *, left: bool = True) -> Tensor:
    """Solve a x = b, or x a = b, for a matrix or a vector b."""
    if b.dim() == a.dim() - 1:
        return (_inverse(a) @ b[..., None])[..., 0]
    return _inverse(a) @ b if left else b @ _inverse(a)


def _solve_triangular(a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    a = torch.triu(a) if upper else torch.tril(a)
    if unitriangular:
        a = torch.where(torch.eye(a.shape[-1]) > 0, 1.0, a)
    return _solved(a, b, left=left)


def _solve_ex(a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> tuple[Any, ...]:
    return _solved(a, b, left=left), None, None, None


def _determinant(a: Tensor) -> tuple[Any, ...]:
    """Compute a determinant by QR: each reflection has determinant -1."""
    r = qr(a)[1]
    diagonal = torch.diagonal(r, dim1=-2, dim2=-1)
    sign = -1.0 if (a.shape[-1] - 1) % 2 else 1.0
    product = torch.ones(())
    for i in range(a.shape[-1]):
        product = product * diagonal[..., i]
    return sign * product, None, None


def _log_determinant(a: Tensor) -> tuple[Any, ...]:
    found = _determinant(a)[0]
    diagonal = torch.diagonal(qr(a)[1], dim1=-2, dim2=-1)
    return torch.sign(found.detach()), diagonal.abs().log().sum(-1), None, None


def _as_strided(x: Tensor, size: Any, stride: Any, offset: int | None = None) -> Tensor:
    """Take elements by their places in a dense tensor."""
    places = torch.arange(x.numel()).reshape(x.shape).as_strided(size, stride, offset or 0)
    return x.reshape(-1)[places]


def _to_copy(x: Tensor, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    """Convert; whole numbers that were computed stay floats, whose values they are."""
    if dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        if x.dtype == torch.float32:
            return x.detach().trunc()
        dtype = torch.float32 if x.dtype == torch.bool else dtype
    found: Tensor = torch.ops.aten._to_copy.default(x, dtype=dtype, **options)
    return found


_aten = torch.ops.aten
WRITTEN: dict[Any, Callable[..., Any]] = {
    _aten.linalg_matrix_exp.default: matrix_exp,
    _aten.linalg_householder_product.default: householder_product,
    _aten.linalg_qr.default: qr,
    _aten.linalg_cholesky_ex.default: lambda a, upper=False, check_errors=False: (cholesky(a, upper), None),
    _aten._linalg_solve_ex.default: _solve_ex,
    _aten.linalg_solve_triangular.default: _solve_triangular,
    _aten._linalg_det.default: _determinant,
    _aten._linalg_slogdet.default: _log_determinant,
    _aten._linalg_check_errors.default: lambda *given, **options: None,
    _aten.as_strided.default: _as_strided,
    _aten._to_copy.default: _to_copy,
    # what is left of an assignment
    _aten.copy.default: lambda old, new, wait=False: new.to(old.dtype).expand(old.shape).clone(),
}
"""Operations that are run as these functions when a forward graph is run again, with its gradient."""
