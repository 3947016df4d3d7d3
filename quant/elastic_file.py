"""Save and load an elastic network exactly: one `.elastic` file, a zip with the shared weights once.

elastic.json             schema, layers, tensors and subnets by name, the order of the arrays
network.graph            the float graph with the shared weights, as `quant.graph_file` writes it
arrays/<n>.npy           float32 tables and batch norm statistics

As with `.graph` files, the bytes depend on the network alone, and a file that is not spelt exactly so is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from quant import graph_file
from quant.elastic import ElasticNetwork, Layer, Statistics, Table, check_network
from quant.errors import QuantError
from quant.formats import Array
from quant.operators import BatchNorm
from quant.subnet import parse_subnet

SCHEMA = 1
_HEADER, _GRAPH = "elastic.json", "network.graph"
_PARTS = ("symmetric", "asymmetric", "offset")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def to_bytes(network: ElasticNetwork) -> bytes:
    """Serialise an elastic network.

    Raises:
        QuantError: its parts do not fit together.
    """
    check_network(network)
    arrays = dict(_arrays(network))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _write(archive, _HEADER, json.dumps(_header(network, tuple(arrays)), indent=1, sort_keys=True).encode())
        _write(archive, _GRAPH, graph_file.to_bytes(network.graph))
        for index, array in enumerate(arrays.values()):
            data = io.BytesIO()
            np.save(data, np.ascontiguousarray(array), allow_pickle=False)
            _write(archive, f"arrays/{index}.npy", data.getvalue())
    return buffer.getvalue()


def save(network: ElasticNetwork, path: Path) -> None:
    """Write an elastic network to `path` through a temporary name."""
    data = to_bytes(network)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def load(path: Path) -> ElasticNetwork:
    """Read an elastic network.

    Raises:
        QuantError: the file is damaged, of another schema, or holds what does not fit together.
    """
    try:
        return from_bytes(path.read_bytes())
    except QuantError as error:
        raise QuantError(f"{path}: {error}") from error
    except OSError as error:
        raise QuantError(f"cannot read {path}: {error.strerror}.") from error


def from_bytes(data: bytes) -> ElasticNetwork:
    """Read what `to_bytes` made.

    Raises:
        QuantError: as for `load`.
    """
    try:
        network = _read(data)
        exact = to_bytes(network) == data
    except graph_file.DAMAGE as error:
        raise QuantError(f"this is not a readable elastic network: {error}.") from error
    if not exact:
        raise QuantError("this elastic network is not spelt as edgemill writes it, so it was changed.")
    return network


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)


def _header(network: ElasticNetwork, arrays: tuple[str, ...]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "layers": [{"node": layer.node, "widths": list(layer.per_layer.widths)} for layer in network.layers],
        "tensors": {name: {"widths": list(t.widths), "signed": t.signed} for name, t in network.tensors.items()},
        "subnets": [str(subnet) for subnet in network.subnets],
        "arrays": list(arrays),
    }


def _arrays(network: ElasticNetwork) -> Iterator[tuple[str, Array]]:
    """Yield every array with its name, in the order of the file."""
    for layer in network.layers:
        for kind, table in (("layer", layer.per_layer), ("channel", layer.per_channel)):
            yield from ((f"layers/{layer.node}/{kind}/{part}", getattr(table, part)) for part in _PARTS)
    for name in sorted(network.tensors):
        yield from ((f"tensors/{name}/{part}", getattr(network.tensors[name], part)) for part in _PARTS)
    for subnet, statistics in network.subnets.items():
        for name in sorted(statistics):
            yield from ((f"subnets/{subnet}/{name}/{k}", statistics[name][k]) for k in (0, 1))


def _read(data: bytes) -> ElasticNetwork:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = json.loads(archive.read(_HEADER))
        if header.get("schema") != SCHEMA:
            raise QuantError(f"elastic schema {header.get('schema')}; this version reads {SCHEMA}.")
        graph = graph_file.from_bytes(archive.read(_GRAPH))
        arrays = {name: _array(archive, index) for index, name in enumerate(header["arrays"])}
    layers = tuple(_layer(record, arrays) for record in header["layers"])
    tensors = {
        name: _table(arrays, f"tensors/{name}", record["widths"], record["signed"])
        for name, record in header["tensors"].items()
    }
    elastic = sum(layer.elastic for layer in layers)
    norms = [node.name for node in graph.nodes if isinstance(node.op, BatchNorm)]
    subnets = {parse_subnet(name, elastic): _statistics(arrays, name, norms) for name in header["subnets"]}
    return ElasticNetwork(graph, layers, tensors, subnets)


def _array(archive: zipfile.ZipFile, index: int) -> Array:
    array: Array = np.load(io.BytesIO(archive.read(f"arrays/{index}.npy")), allow_pickle=False)
    return array


def _layer(record: dict[str, Any], arrays: dict[str, Array]) -> Layer:
    place = f"layers/{record['node']}"
    tables = (_table(arrays, f"{place}/{kind}", record["widths"], True) for kind in ("layer", "channel"))
    return Layer(record["node"], *tables)


def _table(arrays: dict[str, Array], place: str, widths: list[int], signed: bool) -> Table:
    # JSON has more types than the table: 2.0 and "yes" would be written back as they came.
    if type(signed) is not bool or any(type(bits) is not int for bits in widths):
        raise QuantError(f"'{place}': widths must be whole numbers, and 'signed' true or false.")
    return Table(tuple(widths), signed, *(arrays[f"{place}/{part}"] for part in _PARTS))


def _statistics(arrays: dict[str, Array], subnet: str, norms: list[str]) -> Statistics:
    return {name: (arrays[f"subnets/{subnet}/{name}/0"], arrays[f"subnets/{subnet}/{name}/1"]) for name in norms}
