"""Save and load a binary network exactly: one `.bnn` file, a zip of `network.json` and one `.npy` per array.

Binary weights take one bit each. The bytes depend on the network alone, so the file can be hashed, and a file that is
not spelt exactly so is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from quant.binary import BinaryWeight
from quant.binary_net import Affine, BinaryLayer, BinaryNetwork, Stem, Threshold, check
from quant.errors import QuantError
from quant.formats import Array
from quant.graph_file import DAMAGE, write_member

SCHEMA = 1
SUFFIX = ".bnn"
_HEADER = "network.json"


def to_bytes(network: BinaryNetwork) -> bytes:
    """Serialise a binary network."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write_member(archive, _HEADER, json.dumps(_header(network), indent=1, sort_keys=True).encode())
        for name, value in sorted(_arrays(network).items()):
            array = io.BytesIO()
            np.save(array, np.ascontiguousarray(value), allow_pickle=False)
            write_member(archive, f"{name}.npy", array.getvalue())
    return buffer.getvalue()


def save(network: BinaryNetwork, path: Path) -> None:
    """Write a binary network to `path` through a temporary name.

    Raises:
        QuantError: the network is not well formed, or the file cannot be written.
    """
    data, part = to_bytes(check(network)), path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise QuantError(f"cannot write {path}: {error.strerror}.") from error


def load(path: Path) -> BinaryNetwork:
    """Read a binary network.

    Raises:
        QuantError: the file is damaged, of another schema, or describes a network that is not well formed.
    """
    try:
        data = path.read_bytes()
        network = _from_bytes(data)
        exact = to_bytes(network) == data
    except QuantError as error:
        raise QuantError(f"{path}: {error}") from error
    except DAMAGE as error:
        raise QuantError(f"{path} is not a readable binary network: {error}.") from error
    if not exact:
        raise QuantError(f"{path} is not spelt as edgemill writes it, so it was changed; train or convert it again.")
    return network


def _header(network: BinaryNetwork) -> dict[str, Any]:
    stem = network.stem
    return {
        "schema": SCHEMA,
        "name": network.name,
        "shape": list(network.shape),
        "stem": {"strides": list(stem.strides), "pads": list(stem.pads)},
        "layers": [_layer_record(layer) for layer in network.layers],
    }


def _layer_record(layer: BinaryLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "weight": list(layer.weight.shape),
        "strides": list(layer.strides),
        "pads": list(layer.pads),
        "pad_value": layer.pad_value,
        "skip": layer.skip,
        "finish": "threshold" if isinstance(layer.finish, Threshold) else "affine",
    }


def _arrays(network: BinaryNetwork) -> dict[str, Array]:
    found = {
        "stem/weight": network.stem.weight,
        "stem/offset": network.stem.offset,
        "head/weight": network.head,
        "head/bias": network.bias,
    }
    for index, layer in enumerate(network.layers):
        found[f"layers/{index}/bits"] = layer.weight.bits
        if isinstance(layer.finish, Threshold):
            found[f"layers/{index}/least"] = layer.finish.least
        else:
            found[f"layers/{index}/gain"] = layer.finish.gain
            found[f"layers/{index}/offset"] = layer.finish.offset
    return found


def _from_bytes(data: bytes) -> BinaryNetwork:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = json.loads(archive.read(_HEADER))
        if header.get("schema") != SCHEMA:
            raise QuantError(f"binary network schema {header.get('schema')}; this version reads {SCHEMA}.")
        stem = header["stem"]
        return check(
            BinaryNetwork(
                name=str(header["name"]),
                shape=_whole(header["shape"], 3),
                stem=Stem(
                    _array(archive, "stem/weight"),
                    _array(archive, "stem/offset"),
                    _whole(stem["strides"], 2),
                    _whole(stem["pads"], 4),
                ),
                layers=tuple(_layer(archive, index, record) for index, record in enumerate(header["layers"])),
                head=_array(archive, "head/weight"),
                bias=_array(archive, "head/bias"),
            )
        )


def _layer(archive: zipfile.ZipFile, index: int, record: dict[str, Any]) -> BinaryLayer:
    finish = Threshold(_array(archive, f"layers/{index}/least")) if record["finish"] == "threshold" else None
    return BinaryLayer(
        name=str(record["name"]),
        weight=BinaryWeight(_whole(record["weight"], 4), _array(archive, f"layers/{index}/bits")),
        strides=_whole(record["strides"], 2),
        pads=_whole(record["pads"], 4),
        pad_value=_whole([record["pad_value"]], 1)[0],
        skip=record["skip"] is True,
        finish=finish or Affine(_array(archive, f"layers/{index}/gain"), _array(archive, f"layers/{index}/offset")),
    )


def _whole(values: list[Any], count: int) -> Any:
    """Return whole numbers as a tuple; the caller's field says how many."""
    if len(values) != count or any(type(value) is not int for value in values):
        raise QuantError(f"{values} are not {count} whole numbers.")
    return tuple(values)


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    array: Array = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    return array
