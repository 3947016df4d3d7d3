"""The state of a finetuning between two epochs, as an `.npz` of plain arrays: nothing is pickled."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError
from edge.npz import read_npz
from export.atomic import write_file


@dataclass(eq=False)
class Progress:
    """Held-out losses so far (the first is that of the start), the best of them, and the module's state there."""

    losses: list[float] = field(default_factory=list)
    best: int = 0
    best_state: dict[str, Any] = field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """Epochs that have been trained."""
        return max(0, len(self.losses) - 1)


def save_progress(path: Path, key: str, module: Any, optimiser: Any, progress: Progress) -> None:
    """Write the state to `path`, through a temporary name.

    Args:
        path: an `.npz`.
        key: digest of all that the training depends on; `load_progress` refuses another.
        module: a `torch.nn.Module`.
        optimiser: of its parameters, in order.
        progress: losses and best state.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "key": np.array(key),
        "losses": np.array(progress.losses),
        "best": np.array(progress.best),
    }
    arrays |= {f"module/{name}": value.numpy() for name, value in module.state_dict().items()}
    arrays |= {f"best/{name}": value.numpy() for name, value in progress.best_state.items()}
    for index, entries in optimiser.state_dict()["state"].items():
        arrays |= {f"optimiser/{index}/{name}": value.numpy() for name, value in entries.items() if value is not None}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(path, buffer.getvalue())


def load_progress(path: Path, key: str, module: Any, optimiser: Any) -> Progress:
    """Read what `save_progress` wrote, into the module and the optimiser.

    Raises:
        EdgeError: the file cannot be read, is no such state, or belongs to another training.
    """
    import torch

    arrays = read_npz(path)
    if "key" not in arrays or str(arrays["key"]) != key:
        raise EdgeError(
            f"{path} is not the state of this training: model, data, scheme or options differ. Delete it, or name "
            "another checkpoint."
        )
    try:
        state = {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "iuf"}
        module.load_state_dict(_under(state, "module/"))
        entries: dict[int, dict[str, Any]] = {}
        for name, value in _under(state, "optimiser/").items():
            index, _, entry = name.partition("/")
            entries.setdefault(int(index), {})[entry] = value
        optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
        losses = [float(loss) for loss in arrays["losses"]]
        return Progress(losses, int(arrays["best"]), _under(state, "best/"))
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise EdgeError(f"{path} is damaged ({error}); delete it and start again.") from error


def _under(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
