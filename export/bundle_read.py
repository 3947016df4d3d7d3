"""Read a bundle strictly: what is not exactly as it was written is refused, with the name of the file."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from export import strict_json
from export.chain import check_chain
from export.errors import ExportError
from export.manifest import FileRecord, Manifest, PartRecord, from_record, tensor_spec
from export.target import check_name
from quant import elastic, elastic_file, graph_file
from quant.elastic import ElasticNetwork
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, macs

MANIFEST = "manifest.json"
CERTIFICATE = "parity.json"
LABELS = "labels.txt"
GRAPH = "graph.graph"
VECTORS = "vectors.npz"
#: Optional.
ELASTIC = "network.elastic"
#: In place of the manifest, in the bundle of a binary network; see `export.binary_bundle`.
BINARY = "binary.json"


@dataclass(frozen=True, eq=False)
class BundlePart:
    """One part, opened: the quantised graph and its test vectors as codes in graph layout, [N, ...].

    `folder` holds the target's files; `record` is what the manifest says. `elastic` is the network that `graph` is a
    subnet of, or None.
    """

    name: str
    folder: Path
    graph: Graph
    inputs: Array
    outputs: Array
    record: PartRecord
    elastic: ElasticNetwork | None = None

    @property
    def facts(self) -> Mapping[str, object]:
        """What the target noted when it wrote the part."""
        return self.record.facts

    @property
    def stem(self) -> str:
        """What the names of the target's own files begin with: the part's name, or its C prefix (fact `c_prefix`)."""
        prefix = self.record.facts.get("c_prefix")
        return check_name(prefix) if isinstance(prefix, str) else self.name

    def at(self, subnet: str | int) -> Graph:
        """Make the graph of another width from the elastic network, without training or data.

        The target's own files stay those of `graph`.

        Raises:
            ExportError: the part carries no elastic network.
            QuantError: the elastic network does not have this subnet.
        """
        if self.elastic is None:
            raise ExportError(f"{self.folder} carries no elastic network, so its width cannot be switched.")
        return elastic.at(self.elastic, subnet)


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle. `certificate` is the record given to `add_certificate`, or None."""

    path: Path
    manifest: Manifest
    parts: tuple[BundlePart, ...]
    certificate: Mapping[str, object] | None

    @property
    def digest(self) -> str:
        """The bundle's content address (the certificate is not part of it)."""
        return self.manifest.digest

    @property
    def size_bytes(self) -> int:
        """Bytes of all listed files."""
        return sum(file.size_bytes for file in self.manifest.files)


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        ExportError: naming the file: the manifest is not exactly right, a file is missing, extra, changed, a symbolic
            link or no regular file, or graph, vectors and labels do not fit together.
    """
    path = Path(path)
    manifest = read_manifest(path)
    check_files(path, manifest.files)
    _check_labels(path, manifest)
    parts = tuple(_part(path, record) for record in manifest.parts)
    _check_chain(path, manifest, parts)
    return Bundle(path, manifest, parts, read_certificate(path, manifest.digest))


def read_manifest(path: Path) -> Manifest:
    """Read only a bundle's manifest; the files it lists are not opened."""
    if path.is_symlink():
        raise ExportError(f"{path} is a symbolic link; give the bundle's folder itself.")
    if not path.is_dir():
        raise ExportError(f"{path} is not a folder, so it is no bundle.")
    file = path / MANIFEST
    if (path / BINARY).is_file() and not file.exists():
        raise ExportError(f"{path} is the bundle of a binary network: only 'edgemill verify' reads it.")
    if file.is_symlink() or not file.is_file():
        raise ExportError(f"{path} is no bundle: {MANIFEST} is missing or is no regular file.")
    return from_record(strict_json.read(file), str(file))


def list_files(path: Path) -> tuple[str, ...]:
    """Return the relative POSIX paths of every file below a folder, sorted.

    Raises:
        ExportError: an entry is a symbolic link, neither file nor folder, or an empty folder.
    """
    found: list[str] = []
    for base, folders, files in os.walk(path, onerror=_raise):
        if not folders and not files:
            raise ExportError(f"{base} is an empty folder; a bundle has none.")
        for name in (*folders, *files):
            _check_entry(Path(base) / name)
        found += [(Path(base) / name).relative_to(path).as_posix() for name in files]
    return tuple(sorted(found))


def file_record(path: Path, relative: str) -> FileRecord:
    """Return the size and SHA-256 of a file below `path`."""
    with (path / relative).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(relative, file.tell(), digest)


def _raise(error: OSError) -> None:
    raise ExportError(f"cannot read {error.filename}: {error.strerror}.") from error


def _check_entry(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise ExportError(f"{path} is a symbolic link; a bundle holds only files and folders.")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ExportError(f"{path} is neither a file nor a folder.")


def check_files(path: Path, records: tuple[FileRecord, ...], manifest: str = MANIFEST) -> None:
    """Check that a folder holds the files of its manifest, unchanged, and no others; ExportError names the first."""
    present = set(list_files(path)) - {manifest, CERTIFICATE}
    listed = {record.path for record in records}
    for relative in sorted(listed - present):
        raise ExportError(f"{path / relative} is missing, though the manifest lists it.")
    for relative in sorted(present - listed):
        raise ExportError(f"{path / relative} is not in the manifest; a bundle has no extra files.")
    for record in records:
        _check_file(path, record)


def _check_file(path: Path, record: FileRecord) -> None:
    try:
        size = (path / record.path).stat().st_size
        if size != record.size_bytes:
            raise ExportError(f"{path / record.path} has {size} bytes; the manifest says {record.size_bytes}.")
        if file_record(path, record.path) != record:
            raise ExportError(f"{path / record.path} was changed: its SHA-256 is not the one in the manifest.")
    except OSError as error:
        raise ExportError(f"cannot read {path / record.path}: {error.strerror or error}.") from error


def labels_text(labels: tuple[str, ...]) -> bytes:
    """Return the content of `labels.txt`: one label a line, UTF-8."""
    return "".join(f"{label}\n" for label in labels).encode()


def _check_labels(path: Path, manifest: Manifest) -> None:
    _require_listed(path, manifest, LABELS)
    if (path / LABELS).read_bytes() != labels_text(manifest.labels):
        raise ExportError(f"{path / LABELS} does not hold the labels of the manifest.")


def _require_listed(path: Path, manifest: Manifest, relative: str) -> None:
    if relative not in {file.path for file in manifest.files}:
        raise ExportError(f"{path / MANIFEST} does not list {relative}, which every bundle has.")


def _part(path: Path, record: PartRecord) -> BundlePart:
    folder = path / record.name
    try:
        graph = graph_file.load(folder / GRAPH)
    except QuantError as error:
        raise ExportError(str(error)) from error
    _check_record(folder / GRAPH, graph, record)
    arrays = read_vectors(folder / VECTORS)
    for name, tensor in (("inputs", graph.input), ("outputs", graph.output)):
        check_vectors(graph, tensor, arrays[name], f"{folder / VECTORS}: {name}")
    if len(arrays["inputs"]) != len(arrays["outputs"]):
        raise ExportError(f"{folder / VECTORS}: as many outputs as inputs are needed.")
    network = _elastic(folder / ELASTIC, graph)
    return BundlePart(record.name, folder, graph, arrays["inputs"], arrays["outputs"], record, network)


def _elastic(file: Path, graph: Graph) -> ElasticNetwork | None:
    if not file.exists():
        return None
    try:
        network = elastic_file.load(file)
    except QuantError as error:
        raise ExportError(str(error)) from error
    check_elastic(network, graph, str(file))
    return network


def check_elastic(network: ElasticNetwork, graph: Graph, where: str) -> None:
    """Check that a part's graph is, byte for byte, one of the subnets of the elastic network beside it.

    Raises:
        ExportError: it is none of them.
    """
    wanted = graph_file.to_bytes(graph)
    if not any(graph_file.to_bytes(elastic.at(network, subnet)) == wanted for subnet in network.subnets):
        raise ExportError(f"{where}: the graph is none of the subnets of the elastic network that comes with it.")


def _check_record(file: Path, graph: Graph, record: PartRecord) -> None:
    if not graph.is_quantised:
        raise ExportError(f"{file} is a float graph; a bundle holds quantised ones.")
    for tensor, spec in ((graph.input, record.input), (graph.output, record.output)):
        if tensor_spec(graph, tensor) != spec:
            raise ExportError(f"{file}: tensor '{tensor}' is not as the manifest describes it.")
    if sum(macs(graph).values()) != record.macs:
        raise ExportError(f"{file}: the graph does not have the {record.macs} MACs of the manifest.")


def read_vectors(file: Path) -> dict[str, Array]:
    """Return the arrays `inputs` and `outputs` of a file of test vectors; ExportError when it holds anything else."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, LookupError, RuntimeError, MemoryError, zipfile.BadZipFile) as error:
        raise ExportError(f"{file} does not hold readable test vectors: {error}.") from error
    if set(arrays) != {"inputs", "outputs"}:
        raise ExportError(f"{file} must hold exactly the arrays inputs and outputs, not {', '.join(sorted(arrays))}.")
    return arrays


def check_vectors(graph: Graph, tensor: str, codes: Array, where: str) -> None:
    """Check that `codes` are [N, ...] codes of a graph's tensor, N at least 1; ExportError says what is not."""
    fmt, shape = graph.quant(tensor).format, graph.shape(tensor)
    if codes.dtype != fmt.dtype or codes.shape != (len(codes), *shape[1:]) or not len(codes):
        raise ExportError(
            f"{where} are {codes.dtype} {codes.shape}; tensor '{tensor}' needs {fmt.dtype} [N, {str(shape[1:])[1:-1]}]."
        )
    try:
        fmt.to_ordinals(codes)
    except QuantError as error:
        raise ExportError(f"{where}: {error}") from error


def _check_chain(path: Path, manifest: Manifest, parts: tuple[BundlePart, ...]) -> None:
    folders = {PurePosixPath(file.path).parts[0] for file in manifest.files if "/" in file.path}
    strange = sorted(folders - {part.name for part in parts})
    if strange:
        raise ExportError(f"{path / strange[0]} belongs to no part of the manifest.")
    check_chain(manifest, [(part.inputs, part.outputs) for part in parts], str(path / MANIFEST))


def read_certificate(path: Path, digest: str) -> Mapping[str, object] | None:
    """Return the record of `parity.json`, or None without one; ExportError: it is another bundle's, or was changed."""
    file = path / CERTIFICATE
    if not file.exists():
        return None
    body = strict_json.fields(strict_json.read(file), ("digest", "record", "sha256"), str(file))
    if body["digest"] != digest:
        raise ExportError(f"{file} certifies another bundle; verify this one again.")
    if body != certificate_record(digest, strict_json.typed(body["record"], dict, f"{file}: record")):
        raise ExportError(f"{file} was changed after it was written; verify the bundle again.")
    record: dict[str, object] = body["record"]
    return record


def certificate_record(digest: str, record: Mapping[str, object]) -> dict[str, object]:
    """Return the object of `parity.json`: the bundle it speaks of, the record, and a checksum of both."""
    body = {"digest": digest, "record": dict(record)}
    return {**body, "sha256": strict_json.sha256_of(body)}
