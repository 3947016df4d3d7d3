"""Save and load a graph exactly: one `.graph` file, a zip of `graph.json` and one `.npy` array per weight.

The bytes depend on the graph alone (fixed time stamps, sorted order, no compression, which would differ between zlib
versions), so the file can be hashed, and a file that is not spelt exactly so is refused.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.operators import OPERATORS, Operator

SCHEMA = 1
_HEADER = "graph.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: What the readers of zip, JSON and npy raise on bytes that are none of these, and on records of another structure.
DAMAGE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


def to_bytes(graph: Graph) -> bytes:
    """Serialise a graph."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write_member(archive, _HEADER, json.dumps(_header(graph), indent=1, sort_keys=True).encode())
        for index, name in enumerate(sorted(graph.weights)):
            array = io.BytesIO()
            np.save(array, np.ascontiguousarray(graph.weights[name]), allow_pickle=False)
            write_member(archive, f"weights/{index}.npy", array.getvalue())
    return buffer.getvalue()


def save(graph: Graph, path: Path) -> None:
    """Write a graph to `path` through a temporary name."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(to_bytes(graph))
    part.replace(path)


def load(path: Path) -> Graph:
    """Read a graph.

    Raises:
        QuantError: the file is damaged, of another schema, or describes a graph that is not well formed.
    """
    try:
        return from_bytes(path.read_bytes())
    except QuantError as error:
        raise QuantError(f"{path}: {error}") from error
    except OSError as error:
        raise QuantError(f"{path} is not a readable edgemill graph: {error}.") from error


def from_bytes(data: bytes) -> Graph:
    """Read what `to_bytes` made.

    Raises:
        QuantError: as for `load`.
    """
    try:
        graph = _from_bytes(data)
        exact = to_bytes(graph) == data
    except DAMAGE as error:
        raise QuantError(f"this is not a readable edgemill graph: {error}.") from error
    if not exact:
        raise QuantError("this graph is not spelt as edgemill writes it, so it was changed; quantise the model again.")
    return graph


def _from_bytes(data: bytes) -> Graph:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = json.loads(archive.read(_HEADER))
        if header.get("schema") != SCHEMA:
            raise QuantError(f"graph schema {header.get('schema')}; this version reads {SCHEMA}.")
        return check(_graph(archive, header))


def write_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file to an archive with a fixed time stamp and uncompressed, so that the bytes depend on it alone."""
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)


def _header(graph: Graph) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": graph.name,
        "input": graph.input,
        "output": graph.output,
        "nodes": [_node_record(node) for node in graph.nodes],
        "tensors": {name: _tensor_record(tensor) for name, tensor in graph.tensors.items()},
        "weights": sorted(graph.weights),
    }


def _node_record(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.kind,
        "attributes": dataclasses.asdict(node.op),
        "inputs": list(node.inputs),
        "output": node.output,
        "clip": node.clip,
    }


def _tensor_record(tensor: Tensor) -> dict[str, Any]:
    record: dict[str, Any] = {"shape": list(tensor.shape)}
    if tensor.quant is not None:
        q = tensor.quant
        record["quant"] = {"format": q.format.name, "scale": list(q.scale), "zero": q.zero, "axis": q.axis}
    return record


def _graph(archive: zipfile.ZipFile, header: dict[str, Any]) -> Graph:
    return Graph(
        name=header["name"],
        input=header["input"],
        output=header["output"],
        nodes=tuple(_node(record) for record in header["nodes"]),
        tensors={name: _tensor(record) for name, record in header["tensors"].items()},
        weights={name: _array(archive, index) for index, name in enumerate(header["weights"])},
    )


def _array(archive: zipfile.ZipFile, index: int) -> Array:
    data = io.BytesIO(archive.read(f"weights/{index}.npy"))
    array: Array = np.load(data, allow_pickle=False)
    return array


def _node(record: dict[str, Any]) -> Node:
    clip = None if record["clip"] is None else (float(record["clip"][0]), float(record["clip"][1]))
    op = _operator(record["op"], record["attributes"])
    return Node(record["name"], op, tuple(record["inputs"]), record["output"], clip)


def _operator(kind: str, attributes: dict[str, Any]) -> Operator:
    found = next((op for op in OPERATORS if op.__name__ == kind), None)
    if found is None:
        raise QuantError(f"unknown operator '{kind}' in a graph file.")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in attributes.items()}
    make: Callable[..., Operator] = found
    return make(**values)


def _tensor(record: dict[str, Any]) -> Tensor:
    quant = record.get("quant")
    if quant is None:
        return Tensor(tuple(record["shape"]))
    scale = tuple(float(s) for s in quant["scale"])
    return Tensor(tuple(record["shape"]), Quant(find_format(quant["format"]), scale, quant["zero"], quant["axis"]))
