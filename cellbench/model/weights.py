"""What a trained model holds as bytes: all its tensors as an .npz file of numpy, without pickle.

`numpy.load(file)` reads one: each tensor by its path, as in `named_parameters`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cellbench.model.contents import Contents

Tensors = Mapping[str, NDArray[np.generic]]
"""Tensors by path, such as `cell.h.weight`, each in its own shape."""


def tensors_of(model: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Copy all tensors of a model, buffers and plain attributes included; a type that numpy lacks is left out."""
    found = {}
    for path, place in Contents(model).tensors.items():
        tensor = place.tensor
        if not nn.parameter.is_lazy(tensor) and tensor.layout == torch.strided and tensor.dtype != torch.bfloat16:
            found[path] = tensor.detach().cpu().numpy().copy()
    return found


def pack(tensors: Tensors) -> bytes:
    """Write tensors as an .npz file. Equal tensors give equal bytes.

    Raises:
        ValueError: a tensor holds objects, which numpy would pickle.
    """
    file = io.BytesIO()
    # zip allows any name; a path is one that `named_parameters` gives
    if any(tensor.dtype.hasobject for tensor in tensors.values()):
        raise ValueError("a tensor holds objects")
    np.savez(file, **tensors)  # type: ignore[arg-type]  # numpy takes the names for its own keyword's
    return file.getvalue()


def unpack(content: bytes, most: int) -> dict[str, NDArray[np.generic]]:
    """Read the tensors of an .npz file, which may be a stranger's.

    Args:
        content: the file.
        most: bytes that it may unpack to.

    Raises:
        ValueError: it is no such file, holds objects, or unpacks to more.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > most:
                raise ValueError(f"unpacks to more than {most:,} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"not an .npz file: {error}") from None


def fill(model: nn.Module, tensors: Tensors) -> None:
    """Put tensors in the places of a model's own.

    Raises:
        ValueError: the model has no such tensor, or one of another shape.
    """
    contents = Contents(model)
    for path, value in tensors.items():
        place = contents.tensors.get(path)
        if place is None:
            raise ValueError(f"the model has no tensor {path}")
        if tuple(place.tensor.shape) != value.shape:
            raise ValueError(f"{path} has the shape {value.shape}, in the model {tuple(place.tensor.shape)}")
        # a copy: the array may be read-only, and a parameter must not share its memory
        new = torch.from_numpy(np.array(value)).to(place.tensor.dtype)
        if place.tensor.is_leaf and (isinstance(place.tensor, nn.Parameter) or not place.put):
            with torch.no_grad():
                place.tensor.copy_(new)
        else:
            for put in place.put:
                put(new)
