"""The manifest of a bundle as frozen values: what `manifest.json` holds, strict in both directions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from export.errors import ExportError
from export.preprocess import Preprocess
from export.rule import COMBINATIONS, Rule
from export.rule import from_record as rule_from_record
from export.rule import to_record as rule_record
from export.strict_json import canonical, fields, sha256_of, typed
from export.target import check_name
from quant.errors import QuantError
from quant.formats import find_format
from quant.graph import Graph

#: A chain of parts, and parts with sources and rules; a chain is written as it always was.
SCHEMA, DYNAMIC_SCHEMA = 1, 2
#: The source of a part that reads the bundle's own input, as the first one does.
INPUT = "input"
#: The version of edgemill that writes; the same as in pyproject.toml.
VERSION = "0.1.0"
#: What turns the output codes into probabilities; None leaves the dequantised logits.
POSTPROCESSES = ("softmax", None)

_KEYS = ("schema", "edgemill", "name", "target", "scheme", "preprocess", "labels", "parts", "postprocess", "files")
_PART_KEYS = ("name", "input", "output", "macs", "facts", "after")
_DYNAMIC_KEYS = ("combine",)
_DYNAMIC_PART_KEYS = ("source",)
_TENSOR_KEYS = ("shape", "format", "scale", "zero")
_FILE_KEYS = ("path", "bytes", "sha256")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What crosses the edge of a part: shape (graph layout, batch 1), format name, float32 scale, zero point."""

    shape: tuple[int, ...]
    format: str
    scale: float
    zero: int


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of the bundle: relative POSIX path, size in bytes, SHA-256 in hex."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, eq=False)
class PartRecord:
    """One part: what goes in and out, multiply-accumulates per inference, the target's facts.

    `source` is the part whose output it reads, or INPUT; None: the part before, the bundle's input for the first.
    `after` is the rule that decides whether the next parts run; None: they do.
    """

    name: str
    input: TensorSpec
    output: TensorSpec
    macs: int
    facts: Mapping[str, object]
    after: Rule | None = None
    source: str | None = None


@dataclass(frozen=True, eq=False)
class Manifest:
    """Everything a bundle says about itself. `files` is sorted by path and leaves out the manifest and certificate.

    `combine` says whose answer counts where the last part was asked after others: its own, or the surer one's.
    """

    edgemill: str
    name: str
    target: str
    scheme: str
    preprocess: Preprocess
    labels: tuple[str, ...]
    parts: tuple[PartRecord, ...]
    postprocess: str | None
    files: tuple[FileRecord, ...]
    combine: str = COMBINATIONS[0]

    @property
    def is_dynamic(self) -> bool:
        """Whether parts read others than the one before, or rules decide what runs."""
        parts = any(part.source is not None or part.after is not None for part in self.parts)
        return parts or self.combine != COMBINATIONS[0]

    @property
    def digest(self) -> str:
        """SHA-256 over this record, file hashes included: the same whenever and wherever the bundle was written."""
        return sha256_of(_body(self))


def tensor_spec(graph: Graph, tensor: str) -> TensorSpec:
    """Describe the input or output of a quantised graph."""
    quant = graph.quant(tensor)
    return TensorSpec(graph.shape(tensor), quant.format.name, quant.scale[0], quant.zero)


def to_record(manifest: Manifest) -> dict[str, object]:
    """Turn a manifest into the object that `manifest.json` holds."""
    return {**_body(manifest), "digest": manifest.digest}


def _body(manifest: Manifest) -> dict[str, object]:
    dynamic = manifest.is_dynamic
    return {
        "schema": DYNAMIC_SCHEMA if dynamic else SCHEMA,
        **({"combine": manifest.combine} if dynamic else {}),
        "edgemill": manifest.edgemill,
        "name": manifest.name,
        "target": manifest.target,
        "scheme": manifest.scheme,
        "preprocess": manifest.preprocess.to_record(),
        "labels": list(manifest.labels),
        "parts": [_part_record(part, dynamic=dynamic) for part in manifest.parts],
        "postprocess": manifest.postprocess,
        "files": [{"path": f.path, "bytes": f.size_bytes, "sha256": f.sha256} for f in manifest.files],
    }


def _part_record(part: PartRecord, *, dynamic: bool) -> dict[str, object]:
    return {
        **({"source": part.source} if dynamic else {}),
        "name": part.name,
        "input": _tensor_record(part.input),
        "output": _tensor_record(part.output),
        "macs": part.macs,
        "facts": dict(part.facts),
        "after": None if part.after is None else rule_record(part.after),
    }


def _tensor_record(spec: TensorSpec) -> dict[str, object]:
    return {"shape": list(spec.shape), "format": spec.format, "scale": spec.scale, "zero": spec.zero}


def from_record(record: object, where: str) -> Manifest:
    """Read the object of `manifest.json`.

    Raises:
        ExportError: naming `where` and the key: a key is missing, unknown or of a wrong type, the schema is another,
            a path leaves the bundle, or the digest is not that of the record.
    """
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema not in (SCHEMA, DYNAMIC_SCHEMA) or type(schema) is not int:
        known = f"{SCHEMA} and {DYNAMIC_SCHEMA}"
        raise ExportError(f"{where}: bundle schema {schema!r}; this version reads {known}. Export the model again.")
    dynamic = schema == DYNAMIC_SCHEMA
    body = fields(record, (*_KEYS, *(_DYNAMIC_KEYS if dynamic else ()), "digest"), where)
    manifest = Manifest(
        edgemill=typed(body["edgemill"], str, f"{where}: edgemill"),
        name=check_title(body["name"], f"{where}: name"),
        target=typed(body["target"], str, f"{where}: target"),
        scheme=typed(body["scheme"], str, f"{where}: scheme"),
        preprocess=_preprocess(body["preprocess"], where),
        labels=check_labels(body["labels"], where),
        parts=_parts(body["parts"], where, dynamic=dynamic),
        postprocess=check_postprocess(body["postprocess"], where),
        files=file_records(body["files"], where),
        combine=_combine(body.get("combine", COMBINATIONS[0]), where),
    )
    if manifest.is_dynamic != dynamic:
        raise ExportError(f"{where}: schema {schema} is not that of its parts; the bundle was changed after export.")
    if body["digest"] != manifest.digest:
        raise ExportError(f"{where}: the digest is not that of the manifest; the bundle was changed after export.")
    return manifest


def _preprocess(value: object, where: str) -> Preprocess:
    try:
        return Preprocess.from_record(typed(value, dict, "pre-processing"))
    except ExportError as error:
        raise ExportError(f"{where}: {error}") from error


def check_title(value: object, where: str) -> str:
    """Return `value` when it can name a bundle: 1 to 100 printable characters."""
    name = typed(value, str, where)
    if not (name.isprintable() and name.strip() and len(name) <= 100):
        raise ExportError(f"{where}: {name!r} cannot name a bundle; use 1 to 100 printable characters.")
    return name


def check_labels(value: object, where: str) -> tuple[str, ...]:
    """Return labels (a list or tuple of one-line texts) as a tuple."""
    if not isinstance(value, list | tuple) or not value:
        raise ExportError(f"{where}: labels must be a list with a text for every class.")
    for label in value:
        if not isinstance(label, str) or not label.isprintable() or not label.strip():
            raise ExportError(f"{where}: the label {label!r} is not one line of printable text.")
    return tuple(value)


def check_postprocess(value: object, where: str) -> str | None:
    """Return the post-processing when this version knows it."""
    if value is not None and value not in POSTPROCESSES:
        raise ExportError(f"{where}: unknown postprocess {value!r}; known are 'softmax' and null.")
    return None if value is None else str(value)


def plain_facts(facts: Mapping[str, object], where: str) -> dict[str, object]:
    """Return a target's facts as JSON gives them back (lists, not tuples).

    Raises:
        ExportError: a fact is not JSON-able, or a key is no text.
    """
    if not all(isinstance(key, str) for key in facts):
        raise ExportError(f"{where}: every key of the facts must be a text.")
    try:
        plain: dict[str, object] = json.loads(canonical(dict(facts)))
    except ExportError as error:
        raise ExportError(f"{where}: the facts {error}") from error
    return plain


def _combine(value: object, where: str) -> str:
    if value not in COMBINATIONS:
        raise ExportError(f"{where}: unknown combination {value!r}; known are {', '.join(COMBINATIONS)}.")
    return str(value)


def _parts(value: object, where: str, *, dynamic: bool) -> tuple[PartRecord, ...]:
    records = typed(value, list, f"{where}: parts")
    parts = tuple(_part(record, f"{where}: parts[{index}]", dynamic=dynamic) for index, record in enumerate(records))
    names = [part.name for part in parts]
    if not parts or len(set(names)) != len(names):
        raise ExportError(f"{where}: parts must be at least one, each with its own name, not {names}.")
    return parts


def _part(value: object, where: str, *, dynamic: bool) -> PartRecord:
    record = fields(value, (*_PART_KEYS, *(_DYNAMIC_PART_KEYS if dynamic else ())), where)
    if record["after"] is not None and not dynamic:
        raise ExportError(f"{where}: a rule after a part is not known in schema {SCHEMA}; 'after' must be null.")
    macs = typed(record["macs"], int, f"{where}: macs")
    if macs < 0:
        raise ExportError(f"{where}: macs must not be negative, not {macs}.")
    name = check_name(typed(record["name"], str, f"{where}: name"))
    facts = typed(record["facts"], dict, f"{where}: facts")
    x, y = _tensor(record["input"], f"{where}: input"), _tensor(record["output"], f"{where}: output")
    after = None if record["after"] is None else rule_from_record(record["after"], f"{where}: after")
    source = record.get("source")
    return PartRecord(
        name, x, y, macs, facts, after, None if source is None else typed(source, str, f"{where}: source")
    )


def _tensor(value: object, where: str) -> TensorSpec:
    record = fields(value, _TENSOR_KEYS, where)
    shape = tuple(typed(size, int, f"{where}: shape") for size in typed(record["shape"], list, f"{where}: shape"))
    scale = typed(record["scale"], float, f"{where}: scale")
    if not shape or shape[0] != 1 or min(shape) < 1 or not (math.isfinite(scale) and scale > 0):
        raise ExportError(f"{where}: needs a shape that starts with batch 1, and a positive scale.")
    try:
        fmt = find_format(typed(record["format"], str, f"{where}: format"))
    except QuantError as error:
        raise ExportError(f"{where}: {error}") from error
    return TensorSpec(shape, fmt.name, scale, typed(record["zero"], int, f"{where}: zero"))


def file_records(value: object, where: str) -> tuple[FileRecord, ...]:
    """Read the list of a bundle's files; ExportError when it is not sorted, or a path leaves the bundle."""
    files = tuple(_file(record, f"{where}: files") for record in typed(value, list, f"{where}: files"))
    paths = [file.path for file in files]
    if paths != sorted(set(paths)):
        raise ExportError(f"{where}: files must be sorted by path, each listed once.")
    return files


def _file(value: object, where: str) -> FileRecord:
    record = fields(value, _FILE_KEYS, where)
    path = typed(record["path"], str, f"{where}: path")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or str(pure) != path or path in ("", "."):
        raise ExportError(f"{where}: the path {path!r} leaves the bundle or is not in its plainest form.")
    size_bytes = typed(record["bytes"], int, f"{where}: bytes of {path}")
    return FileRecord(path, size_bytes, typed(record["sha256"], str, f"{where}: sha256 of {path}"))
