"""Write a bundle: one directory that holds everything about a model for one target, and says what it should compute.

manifest.json            what the bundle is; SHA-256 of every other file; the digest of it all
labels.txt               one label a line
parity.json              optional: what was executed, and how it compared with the reference
<part>/                  `model`, or `head` and `tail`: the target's files,
    graph.graph          the quantised graph,
    vectors.npz          test vectors: `inputs` and `outputs`, codes in graph layout,
    network.elastic      and, optional, the elastic network that the graph is a subnet of
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.atomic import new_folder, write_file
from export.bundle_read import (
    CERTIFICATE,
    ELASTIC,
    GRAPH,
    LABELS,
    MANIFEST,
    VECTORS,
    Bundle,
    certificate_record,
    check_elastic,
    check_vectors,
    file_record,
    labels_text,
    list_files,
    read_bundle,
    read_manifest,
)
from export.c_headers import C_HEADERS
from export.chain import check_chain
from export.errors import ExportError
from export.manifest import (
    INPUT,
    VERSION,
    Manifest,
    PartRecord,
    check_labels,
    check_postprocess,
    check_title,
    plain_facts,
    tensor_spec,
    to_record,
)
from export.preprocess import Preprocess
from export.rule import COMBINATIONS
from export.strict_json import canonical
from export.target import Facts, Joint, Source, Target, check_capability, check_name
from quant import elastic_file, graph_file
from quant.graph import macs

#: The part's name of a network that is not cut.
WHOLE = "model"
#: Characters that a bundle's name may give to names in C, and the longest name.
MAX_PREFIX, MAX_NAME = 40, 63


@dataclass(frozen=True, eq=False)
class BundleSpec:
    """What to put into a bundle: `parts` in the order they run, `scheme` by name, `postprocess` "softmax" or None.

    `combine` says whose answer counts after a cascade; see `export.manifest.Manifest`.
    """

    name: str
    scheme: str
    preprocess: Preprocess
    labels: tuple[str, ...]
    parts: tuple[Source, ...]
    postprocess: str | None = None
    combine: str = COMBINATIONS[0]


def write_bundle(path: Path, spec: BundleSpec, target: Target, *, overwrite: bool = False) -> Bundle:
    """Write a bundle for `target` and return it, read back.

    The folder appears whole or not at all. With `overwrite` an existing bundle is replaced, and nothing else is.

    Raises:
        ExportError: the spec is not coherent, the target cannot express a graph, the outputs of the test vectors do
            not vary, or the folder cannot be written.
    """
    path = Path(path)
    _check_place(path, overwrite)
    _check_parts(spec, target)
    with new_folder(path, overwrite=overwrite) as folder:
        placed = _placed(spec)
        facts = tuple(_write_part(part, folder / part.name, target) for part in placed)
        if target.join is not None and len(placed) > 1:
            target.join(Joint(c_stem(spec.name) or "network", placed, facts, spec.combine), folder)
        write_file(folder / LABELS, labels_text(spec.labels))
        manifest = _manifest(spec, target, folder, facts)
        write_file(folder / MANIFEST, canonical(to_record(manifest)))
        written = read_bundle(folder)
    parts = tuple(replace(part, folder=path / part.name) for part in written.parts)
    return replace(written, path=path, parts=parts)


def add_certificate(bundle_path: Path, record: Mapping[str, object]) -> Bundle:
    """Put a parity certificate into a bundle (or replace the one it has) and return the bundle.

    Only `parity.json` is written, in one step. It names the bundle's digest, so it cannot be moved to another one.

    Raises:
        ExportError: the bundle is not intact, the record is not JSON-able, or the folder cannot be written.
    """
    path = Path(bundle_path)
    bundle = read_bundle(path)
    data = canonical(certificate_record(bundle.digest, record))
    write_file(path / CERTIFICATE, data)
    return read_bundle(path)


def _check_place(path: Path, overwrite: bool) -> None:
    if overwrite and (path.exists() or path.is_symlink()):
        try:
            read_manifest(path)
        except ExportError as error:
            raise ExportError(f"{path} is not a bundle, so it is not overwritten: {error}") from error


def _check_parts(spec: BundleSpec, target: Target) -> None:
    """Refuse, before anything is written, what the reader would refuse, and vectors that prove nothing."""
    check_title(spec.name, "bundle name")
    check_labels(spec.labels, f"bundle '{spec.name}'")
    check_postprocess(spec.postprocess, f"bundle '{spec.name}'")
    names = [check_name(part.name) for part in spec.parts]
    if not names or len(set(names)) != len(names):
        raise ExportError(f"bundle '{spec.name}': parts must be at least one, each with its own name, not {names}.")
    for part in spec.parts:
        check_capability(target, part.graph)
        _check_source(part)
    manifest = _manifest(spec, target, None, tuple({} for _ in spec.parts))
    check_chain(manifest, [(part.inputs, part.outputs) for part in spec.parts], f"bundle '{spec.name}'")


def _check_source(part: Source) -> None:
    graph, where = part.graph, f"part '{part.name}'"
    check_vectors(graph, graph.input, part.inputs, f"{where}: test inputs")
    check_vectors(graph, graph.output, part.outputs, f"{where}: test outputs")
    if len(part.inputs) != len(part.outputs):
        raise ExportError(f"{where}: {len(part.inputs)} test inputs, but {len(part.outputs)} outputs.")
    if not (part.outputs != part.outputs[:1]).any():
        raise ExportError(
            f"{where}: the outputs of the test vectors are all the same, so they prove nothing. Use at least two "
            "different inputs, and look whether the network answers every input alike."
        )
    if part.elastic is not None:
        check_elastic(part.elastic, graph, where)


def _placed(spec: BundleSpec) -> tuple[Source, ...]:
    """Tell each part its C prefix, those that read images where these come from, those that answer what that means."""
    last = len(spec.parts) - 1
    return tuple(_told(_prefixed(part, spec.name), spec, index, last) for index, part in enumerate(spec.parts))


def _told(part: Source, spec: BundleSpec, index: int, last: int) -> Source:
    answers = index == last or (part.after is not None and part.after.action == "answer")
    if (index == 0 and part.source is None) or part.source == INPUT:
        part = replace(part, preprocess=spec.preprocess)
    return replace(part, labels=tuple(spec.labels), postprocess=spec.postprocess) if answers else part


def _prefixed(part: Source, bundle: str) -> Source:
    """Give a part the C prefix of its bundle: the bundle's name alone for a whole network, else with the part's."""
    stem = c_stem(bundle)
    if part.c_prefix or not stem:
        return part
    return replace(part, c_prefix=stem if part.name == WHOLE else f"{stem}_{part.name}"[:MAX_NAME].rstrip("_"))


def c_stem(title: str) -> str:
    """Return what names in C begin with for a bundle of this title; empty where it has no letter or digit of ASCII."""
    plain = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:MAX_PREFIX].rstrip("_")
    return plain if not plain or (plain[0].isalpha() and plain not in C_HEADERS) else f"net_{plain}"


def _write_part(part: Source, folder: Path, target: Target) -> Facts:
    folder.mkdir()
    facts = target.write(part, folder)
    for name in (GRAPH, VECTORS, ELASTIC):
        if (folder / name).exists():
            raise ExportError(f"target {target.name} wrote '{name}', a name the bundle keeps for itself.")
    write_file(folder / GRAPH, graph_file.to_bytes(part.graph))
    vectors = io.BytesIO()
    np.savez(vectors, inputs=part.inputs, outputs=part.outputs)
    write_file(folder / VECTORS, vectors.getvalue())
    if part.elastic is not None:
        write_file(folder / ELASTIC, elastic_file.to_bytes(part.elastic))
    return facts


def _manifest(spec: BundleSpec, target: Target, folder: Path | None, facts: tuple[Facts, ...]) -> Manifest:
    """Describe the bundle; `folder` is None before there are files."""
    paths = () if folder is None else list_files(folder)
    return Manifest(
        edgemill=VERSION,
        name=spec.name,
        target=target.name,
        scheme=spec.scheme,
        preprocess=Preprocess.from_record(spec.preprocess.to_record()),
        labels=tuple(spec.labels),
        parts=tuple(_part(part, fact) for part, fact in zip(spec.parts, facts, strict=True)),
        postprocess=spec.postprocess,
        files=tuple(file_record(folder, name) for name in paths) if folder else (),
        combine=spec.combine,
    )


def _part(part: Source, facts: Facts) -> PartRecord:
    graph = part.graph
    return PartRecord(
        name=part.name,
        input=tensor_spec(graph, graph.input),
        output=tensor_spec(graph, graph.output),
        macs=sum(macs(graph).values()),
        facts=plain_facts(facts, f"part '{part.name}'"),
        after=part.after,
        source=part.source,
    )
