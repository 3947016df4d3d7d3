"""The bundle of a binary network: its C for arm-m, the network itself, and test vectors, in a folder read strictly.

binary.json              what it is; SHA-256 of every other file; the digest of it all
labels.txt               one label a line
parity.json              optional: what was executed, and how it compared with the reference
model/                   NAME.h, NAME.c, NAME_vectors.h, NAME_test.c; NAME_preprocess.* where raw values are bytes,
    network.bnn          the network,
    vectors.npz          `inputs` and `outputs` of the reference, float32 [N, C, H, W] and [N, classes]

Its inputs and outputs are float32, not codes of a format, and there is no integer graph: that is why it is another
folder than that of `export.bundle`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export import strict_json
from export.atomic import new_folder, write_file, write_text
from export.bundle import WHOLE, c_stem
from export.bundle_read import (
    BINARY,
    CERTIFICATE,
    LABELS,
    VECTORS,
    certificate_record,
    check_files,
    file_record,
    labels_text,
    list_files,
    read_certificate,
    read_vectors,
)
from export.c99.binary_emit import emit_binary
from export.c99.binary_files import binary_header, binary_self_test, binary_vectors
from export.embed.binary import binary_preprocess_files
from export.errors import ExportError
from export.manifest import VERSION, FileRecord, check_labels, check_title, file_records
from export.preprocess import Preprocess
from export.target import check_name
from quant import binary_file
from quant.binary_net import BinaryNetwork, run
from quant.errors import QuantError
from quant.formats import Array

SCHEMA = 1
NETWORK = "network.bnn"
TARGET = "arm-m"
_KEYS = ("schema", "edgemill", "name", "target", "stem", "preprocess", "labels", "facts", "files")


@dataclass(frozen=True, eq=False)
class BinarySpec:
    """What to put into a bundle: a network, pre-processed inputs for the test vectors, and what surrounds them."""

    name: str
    network: BinaryNetwork
    inputs: Array
    preprocess: Preprocess
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class BinaryBundle:
    """An opened bundle. `stem` is what names in C begin with; `outputs` are the reference's logits."""

    path: Path
    name: str
    stem: str
    network: BinaryNetwork
    inputs: Array
    outputs: Array
    preprocess: Preprocess
    labels: tuple[str, ...]
    facts: Mapping[str, object]
    files: tuple[FileRecord, ...]
    digest: str
    certificate: Mapping[str, object] | None

    @property
    def folder(self) -> Path:
        """The folder of the C."""
        return self.path / WHOLE


def is_binary_bundle(path: Path) -> bool:
    """Whether a folder is the bundle of a binary network."""
    return (path / BINARY).is_file()


def write_binary(path: Path, spec: BinarySpec, *, overwrite: bool = False) -> BinaryBundle:
    """Write the bundle of a binary network for arm-m and return it, read back.

    The folder appears whole or not at all. With `overwrite` an existing bundle of a binary network is replaced.

    Raises:
        ExportError: the spec is not coherent, the outputs of the test vectors do not vary, or the folder cannot be
            written.
        QuantError: the reference refuses an input.
    """
    check_title(spec.name, "bundle name")
    check_labels(spec.labels, f"bundle '{spec.name}'")
    outputs = _outputs(spec)
    if overwrite and (path.exists() or path.is_symlink()):
        _record(path)
    with new_folder(path, overwrite=overwrite) as folder:
        facts = _write_files(spec, outputs, folder)
        files = tuple(file_record(folder, name) for name in list_files(folder))
        body = _body(spec, facts, files)
        write_file(folder / BINARY, strict_json.canonical({**body, "digest": strict_json.sha256_of(body)}))
        written = read_binary(folder)
    return replace(written, path=path)


def read_binary(path: Path) -> BinaryBundle:
    """Read and check the bundle of a binary network.

    Raises:
        ExportError: naming the file: something is missing, extra, changed, or does not fit together.
    """
    body, where = _record(path), str(path / BINARY)
    files = file_records(body["files"], where)
    check_files(path, files, BINARY)
    labels = check_labels(body["labels"], where)
    network = _network(path / WHOLE / NETWORK)
    vectors = read_vectors(path / WHOLE / VECTORS)
    inputs, outputs = vectors["inputs"], vectors["outputs"]
    _check_vectors(network, inputs, outputs, str(path / WHOLE / VECTORS))
    if (path / LABELS).read_bytes() != labels_text(labels) or len(labels) != len(network.bias):
        raise ExportError(f"{path / LABELS} does not hold the labels of the manifest, one for each logit.")
    preprocess = Preprocess.from_record(body["preprocess"])
    if preprocess.shape != network.shape:
        raise ExportError(f"{where}: pre-processing gives {preprocess.shape}, the network takes {network.shape}.")
    return BinaryBundle(
        path=path,
        name=check_title(body["name"], where),
        stem=check_name(strict_json.typed(body["stem"], str, f"{where}: stem")),
        network=network,
        inputs=inputs,
        outputs=outputs,
        preprocess=preprocess,
        labels=labels,
        facts=strict_json.typed(body["facts"], dict, f"{where}: facts"),
        files=files,
        digest=body["digest"],
        certificate=read_certificate(path, body["digest"]),
    )


def certify_binary(path: Path, record: Mapping[str, object]) -> None:
    """Put a parity certificate into a bundle, or replace the one it has; ExportError when it is not intact."""
    write_file(path / CERTIFICATE, strict_json.canonical(certificate_record(read_binary(path).digest, record)))


def _outputs(spec: BinarySpec) -> Array:
    where = f"bundle '{spec.name}'"
    if len(spec.labels) != len(spec.network.bias) or spec.preprocess.shape != spec.network.shape:
        raise ExportError(
            f"{where}: {len(spec.labels)} labels and images {spec.preprocess.shape} for a network of "
            f"{len(spec.network.bias)} classes that takes {spec.network.shape}."
        )
    outputs = run(spec.network, spec.inputs)
    if not len(outputs) or not (outputs != outputs[:1]).any():
        raise ExportError(
            f"{where}: the outputs of the test vectors are all the same, so they prove nothing. Use at least two "
            "different inputs, and look whether the network answers every input alike."
        )
    return outputs


def _write_files(spec: BinarySpec, outputs: Array, folder: Path) -> dict[str, object]:
    """Write everything but the manifest and return the facts about the C."""
    name, part = _stem(spec.name), folder / WHOLE
    part.mkdir()
    unit = emit_binary(spec.network, name)
    texts = {
        f"{name}.h": binary_header(spec.network, name, unit),
        f"{name}.c": unit.source,
        f"{name}_vectors.h": binary_vectors(name, spec.inputs, outputs),
        f"{name}_test.c": binary_self_test(name),
        **binary_preprocess_files(spec.preprocess, name),
    }
    for file, text in texts.items():
        write_text(part / file, text)
    write_file(part / NETWORK, binary_file.to_bytes(spec.network))
    vectors = io.BytesIO()
    np.savez(vectors, inputs=spec.inputs, outputs=outputs)
    write_file(part / VECTORS, vectors.getvalue())
    write_file(folder / LABELS, labels_text(spec.labels))
    return {
        "layout": "NHWC",
        "arena_bytes": unit.arena_bytes,
        "busiest_bytes": unit.busiest_bytes,
        "weight_bytes": unit.weight_bytes,
        "sources": [f"{name}.c", *(file for file in texts if file.endswith("_preprocess.c"))],
    }


def _stem(name: str) -> str:
    return check_name(c_stem(name) or WHOLE)


def _body(spec: BinarySpec, facts: Mapping[str, object], files: tuple[FileRecord, ...]) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "edgemill": VERSION,
        "name": spec.name,
        "target": TARGET,
        "stem": _stem(spec.name),
        "preprocess": spec.preprocess.to_record(),
        "labels": list(spec.labels),
        "facts": dict(facts),
        "files": [{"path": f.path, "bytes": f.size_bytes, "sha256": f.sha256} for f in files],
    }


def _record(path: Path) -> dict[str, Any]:
    """Read `binary.json` and check schema, keys and digest."""
    file = path / BINARY
    if path.is_symlink() or file.is_symlink() or not file.is_file():
        raise ExportError(f"{path} is no bundle of a binary network: {BINARY} is missing or a symbolic link.")
    record = strict_json.read(file)
    if record.get("schema") != SCHEMA or type(record["schema"]) is not int:
        raise ExportError(f"{file}: schema {record.get('schema')!r}; this version reads {SCHEMA}. Export it again.")
    body = strict_json.fields(record, (*_KEYS, "digest"), str(file))
    if body["digest"] != strict_json.sha256_of({key: body[key] for key in _KEYS}):
        raise ExportError(f"{file}: the digest is not that of the manifest; the bundle was changed after export.")
    return body


def _network(file: Path) -> BinaryNetwork:
    try:
        return binary_file.load(file)
    except QuantError as error:
        raise ExportError(str(error)) from error


def _check_vectors(network: BinaryNetwork, inputs: Array, outputs: Array, where: str) -> None:
    count = len(inputs)
    for name, values, shape in (("inputs", inputs, network.shape), ("outputs", outputs, network.bias.shape)):
        if values.dtype != np.float32 or values.shape != (count, *shape) or not count or not np.isfinite(values).all():
            raise ExportError(f"{where}: {name} are {values.dtype} {values.shape}; float32 [N, {shape}] is needed.")
