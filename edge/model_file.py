"""MODEL on the command line: an ONNX file, a saved graph, or a torch factory with weights."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from quant.graph import Graph
from quant.graph_file import load


def load_model(model: str, weights: Path | None = None, shape: tuple[int, int, int] | None = None) -> Graph:
    """Load a model as a graph.

    Args:
        model: `FILE.onnx`, `FILE.graph`, or `package.module:factory`, a function without arguments that returns a
            `torch.nn.Module`.
        weights: `.npz` or `.safetensors` for the factory's module.
        shape: channels, height, width of the factory's input.

    Raises:
        EdgeError: there is no such file or factory, or the factory needs something that was not given.
        QuantError: the file cannot be imported.
    """
    path = Path(model)
    if path.suffix in (".onnx", ".graph"):
        if not path.is_file():
            raise EdgeError(f"there is no file '{model}'.")
        if path.suffix == ".graph":
            return load(path)
        from quant.onnx_import import load_onnx

        return load_onnx(path)
    if ":" in model:
        return _from_factory(model, weights, shape)
    raise EdgeError(f"'{model}' is no model: give FILE.onnx, FILE.graph, or package.module:factory with --weights.")


#: What code that is not ours may raise when it is imported or called; none of it is a reason for a traceback.
_FOREIGN = (ImportError, AttributeError, SyntaxError, TypeError, ValueError, LookupError, ArithmeticError, RuntimeError)


def _from_factory(model: str, weights: Path | None, shape: tuple[int, int, int] | None) -> Graph:
    from edge.onnx_file import to_onnx
    from edge.weights import load_weights
    from quant.onnx_import import load_onnx

    if weights is None or shape is None:
        raise EdgeError(f"'{model}' is a factory: give its weights (--weights) and data that shows its input's shape.")
    module = _call(model)
    load_weights(module, weights)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{model.rpartition(':')[2].lower()}.onnx"
        to_onnx(module, shape, file)
        return load_onnx(file)


def _call(model: str) -> Any:
    import torch

    package, _, name = model.rpartition(":")
    # As `python -m` does: the person's own modules lie in the folder they stand in.
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(package), name)
        module = factory()
    except _FOREIGN as error:
        raise EdgeError(
            f"cannot make a model of '{model}': {error}. It must name a function without arguments in a module that "
            "can be imported from here."
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(module, torch.nn.Module):
        raise EdgeError(f"'{model}' made {type(module).__name__}; it must make a torch.nn.Module.")
    return module
