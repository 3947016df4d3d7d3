"""Weights of a torch module as plain arrays by name, in `.npz` or `.safetensors` files, never pickled."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError
from edge.npz import read_npz
from edge.safetensors_file import read_safetensors
from export.atomic import write_file


def save_weights(module: Any, path: Path) -> None:
    """Write every parameter and buffer of a `torch.nn.Module` to `path`, through a temporary name."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(path, buffer.getvalue())


def load_weights(module: Any, path: Path) -> None:
    """Fill a `torch.nn.Module` from a file that `save_weights` wrote, or from a `.safetensors` file.

    Raises:
        EdgeError: the file cannot be read, or belongs to a module with other names or shapes; names the first.
    """
    import torch

    arrays, state = _read(path), module.state_dict()
    for name in sorted(set(arrays) ^ set(state)):
        place = "in the file but not in the model" if name in arrays else "in the model but not in the file"
        raise EdgeError(f"{path}: weight '{name}' is {place}; build the model with the sizes it was trained with.")
    for name, tensor in state.items():
        if arrays[name].dtype.kind not in "biuf":
            raise EdgeError(f"{path}: weight '{name}' holds {arrays[name].dtype}; it must hold numbers.")
        if tuple(tensor.shape) != arrays[name].shape:
            raise EdgeError(f"{path}: weight '{name}' has shape {arrays[name].shape}, the model {tuple(tensor.shape)}.")
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    return read_safetensors(path) if path.suffix == ".safetensors" else read_npz(path)
