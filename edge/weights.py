"""Weights of a torch module as a plain `.npz` file: arrays by name, never pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import EdgeError
from edge.files import read_npz, replacing


def save_weights(module: Any, path: Path) -> None:
    """Write every parameter and buffer of a `torch.nn.Module` to `path`, through a temporary name."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def load_weights(module: Any, path: Path) -> None:
    """Fill a `torch.nn.Module` from a file that `save_weights` wrote.

    Raises:
        EdgeError: the file cannot be read, or belongs to a module with other names or shapes; names the first.
    """
    import torch

    arrays, state = read_npz(path), module.state_dict()
    for name in sorted(set(arrays) ^ set(state)):
        place = "in the file but not in the model" if name in arrays else "in the model but not in the file"
        raise EdgeError(f"{path}: weight '{name}' is {place}; build the model with the sizes it was trained with.")
    for name, tensor in state.items():
        if tuple(tensor.shape) != arrays[name].shape:
            raise EdgeError(f"{path}: weight '{name}' has shape {arrays[name].shape}, the model {tuple(tensor.shape)}.")
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
