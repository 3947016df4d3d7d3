"""JSON in one canonical spelling, read strictly: exact keys, no duplicates, no NaN, no surprises."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from export.errors import ExportError

T = TypeVar("T")

#: No record of a bundle comes near this; a larger file is damaged or hostile.
MAX_BYTES = 64 << 20


def canonical(record: object) -> bytes:
    """Serialise a record in the one spelling that `read` accepts: sorted keys, two spaces, one newline at the end.

    Raises:
        ExportError: the record holds NaN, infinity or something JSON has no word for.
    """
    try:
        text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ExportError(f"cannot be written as JSON: {error}.") from error
    return text.encode() + b"\n"


def sha256_of(record: object) -> str:
    """Return the SHA-256 of a record's canonical spelling, in hex."""
    return hashlib.sha256(canonical(record)).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        ExportError: naming the file: it cannot be read, is too large, is not JSON (truncated, say), repeats a key,
            holds NaN, is not an object, or is not in canonical spelling (so that every changed byte shows).
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExportError(f"{path} is larger than {MAX_BYTES} bytes; it is no record of edgemill.")
        data = path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror or error}.") from error
    record = parse_object(data, str(path))
    if not _is_canonical(record, data):
        raise ExportError(f"{path} is not spelt as edgemill writes it, so it was changed; export the bundle again.")
    return record


def _is_canonical(record: object, data: bytes) -> bool:
    try:
        return canonical(record) == data
    except ExportError:  # a number like 1e999 reads as infinity
        return False


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        ExportError: it is not JSON, not an object, repeats a key, or holds NaN.
    """
    try:
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{where} is not readable JSON: {error}.") from error
    if not isinstance(record, dict):
        raise ExportError(f"{where} must hold a JSON object, not {type(record).__name__}.")
    return record


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' stands there twice")
    return record


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not a number of JSON")


def fields(value: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return `value` when it is an object with exactly `keys`; ExportError names `where` and the key."""
    if not isinstance(value, dict):
        raise ExportError(f"{where} must be an object with {', '.join(keys)}.")
    missing = [key for key in keys if key not in value]
    if missing:
        raise ExportError(f"{where} lacks the key '{missing[0]}'.")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise ExportError(f"{where} has the unknown key '{unknown[0]}'; known are {', '.join(keys)}.")
    return value


def typed(value: object, kind: type[T], where: str) -> T:
    """Return `value` when it is a `kind` (a bool is no int, an int is no float), else raise ExportError."""
    if type(value) is not kind:
        raise ExportError(f"{where} must be of type {kind.__name__}, not {type(value).__name__}.")
    return value
