"""MODEL on the command line: an ONNX or TFLite file, a saved graph, an elastic network at a width, a torch factory."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from quant.binary_file import SUFFIX as BINARY_SUFFIX
from quant.elastic import ElasticNetwork, at
from quant.graph import Graph
from quant.graph_file import load
from quant.subnet import SUFFIX

#: Files that are one network as they stand.
FILES = (".onnx", ".tflite", ".graph")


def load_model(model: str, weights: Path | None = None, shape: tuple[int, int, int] | None = None) -> Graph:
    """Load a model as a graph.

    Args:
        model: `FILE.onnx`, `FILE.tflite` (quantised), `FILE.graph`, `FILE.elastic@4` (an elastic network at 4 bits, or
            at any subnet it names), or `package.module:factory`, a function without arguments that returns a
            `torch.nn.Module`.
        weights: `.npz` or `.safetensors` for the factory's module.
        shape: channels, height, width of the factory's input.

    Raises:
        EdgeError: there is no such file or factory, or the factory needs something that was not given.
        QuantError: the file cannot be imported.
    """
    path = Path(model)
    if path.suffix in FILES:
        return _from_file(path)
    if path.suffix == BINARY_SUFFIX:
        raise EdgeError(
            f"'{model}' is a binary network, which has no graph: 'edgemill eval' measures it, and 'edgemill export' "
            "takes it to arm-m."
        )
    file, subnet = split_subnet(model)
    if Path(file).suffix == SUFFIX:
        return _at(Path(file), subnet)
    if ":" in model:
        return _from_factory(model, weights, shape)
    raise EdgeError(
        f"'{model}' is no model: give FILE.onnx, FILE.graph, FILE.tflite, FILE.elastic@4, or package.module:factory "
        "with --weights."
    )


def load_model_file(model: str) -> Graph:
    """Load a model where several are taken at once, so that there is no place for a factory's weights.

    Raises:
        EdgeError: as `load_model`; or it is a factory: says how to make a file of it.
        QuantError: the file cannot be imported.
    """
    known = (*FILES, BINARY_SUFFIX, SUFFIX)
    if ":" in model and Path(split_subnet(model)[0]).suffix not in known:
        raise EdgeError(
            f"'{model}' is a factory; files are taken here. Make one: edgemill quantize {model} --weights FILE "
            "--scheme w8a8 --calib DATA -o OUT.graph"
        )
    return load_model(model)


def _from_file(path: Path) -> Graph:
    if not path.is_file():
        raise EdgeError(f"there is no file '{path}'.")
    if path.suffix == ".graph":
        return load(path)
    if path.suffix == ".tflite":
        from quant.tflite_import import load_tflite

        return load_tflite(path)
    from quant.onnx_import import load_onnx

    return load_onnx(path)


def split_subnet(model: str) -> tuple[str, str]:
    """Divide `FILE@SUBNET` into its two parts; what names something that exists, or has no @, is all file."""
    if "@" not in model or Path(model).exists():
        return model, ""
    file, _, subnet = model.rpartition("@")
    return file, subnet


def elastic_of(model: str) -> ElasticNetwork | None:
    """Return the elastic network that a MODEL is a subnet of; None for every other model.

    Raises:
        EdgeError: there is no such file.
        QuantError: the file cannot be read.
    """
    from quant.elastic_file import load as load_elastic

    path = Path(split_subnet(model)[0])
    if path.suffix != SUFFIX:
        return None
    if not path.is_file():
        raise EdgeError(f"there is no file '{path}'.")
    return load_elastic(path)


def _at(path: Path, subnet: str) -> Graph:
    """Make the graph of one subnet of an elastic network."""
    network = elastic_of(str(path))
    assert network is not None
    if not subnet:
        known = ", ".join(map(str, network.subnets))
        raise EdgeError(f"say which subnet of '{path}': {path}@4, for example. It has {known}.")
    return at(network, subnet)


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
