"""Strict JSON for what crosses a process or lies in a file: exact keys, exact types, DeviceError when not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields as attributes
from pathlib import Path
from typing import Any, TypeVar

from devices.errors import DeviceError
from export import strict_json
from export.errors import ExportError

T = TypeVar("T")


@contextmanager
def _as_device_error() -> Iterator[None]:
    try:
        yield
    except ExportError as error:
        raise DeviceError(str(error)) from error


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse one JSON object; DeviceError when it is none, repeats a key, or holds NaN."""
    with _as_device_error():
        return strict_json.parse_object(text, where)


def read_record(path: Path, name: str, make: str) -> tuple[bytes, str]:
    """Return the bytes of the record `name` in a folder, or of the file itself, and its name for messages.

    Args:
        path: the folder, or the file.
        name: the record's file name in a folder.
        make: what to do where there is none, such as "Make a run first: edgemill run CONFIG.toml".

    Raises:
        DeviceError: it cannot be read; the message ends with `make`.
    """
    file = path / name if path.is_dir() else path
    try:
        return file.read_bytes(), str(file)
    except OSError as error:
        raise DeviceError(f"cannot read {file}: {error.strerror}. {make}") from error


def names(kind: Any) -> tuple[str, ...]:
    """Return the names of a dataclass's attributes, which are the keys of its record."""
    return tuple(item.name for item in attributes(kind))


def fields(value: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return `value` when it is an object with exactly `keys`, else raise DeviceError that names the key."""
    with _as_device_error():
        return strict_json.fields(value, keys, where)


def typed(value: object, kind: type[T], where: str) -> T:
    """Return `value` when it is exactly a `kind` (a bool is no int), else raise DeviceError."""
    with _as_device_error():
        return strict_json.typed(value, kind, where)


def optional(value: object, kind: type[T], where: str) -> T | None:
    """Return None, or `value` when it is exactly a `kind`."""
    return None if value is None else typed(value, kind, where)


def at_least_zero(value: float, where: str) -> float:
    """Return a finite number that is not negative, else raise DeviceError."""
    if not math.isfinite(value) or value < 0:
        raise DeviceError(f"{where} is {value}; it must be a number from 0 up.")
    return value


def real(value: object, where: str) -> float:
    """Return a finite float that is not negative."""
    return at_least_zero(typed(value, float, where), where)


def count(value: object, where: str) -> int:
    """Return an int that is not negative."""
    return int(at_least_zero(typed(value, int, where), where))


def counts(value: object, where: str) -> tuple[int, ...]:
    """Return a list of ints that are not negative as a tuple."""
    return tuple(count(v, where) for v in typed(value, list, where))


def reals(value: object, where: str) -> tuple[float, ...]:
    """Return a list of floats that are not negative as a tuple."""
    return tuple(real(v, where) for v in typed(value, list, where))


def words(value: object, where: str) -> tuple[tuple[str, str], ...]:
    """Return an object of strings as sorted pairs."""
    pairs: Mapping[str, object] = typed(value, dict, where)
    return tuple((key, typed(pairs[key], str, f"{where} of '{key}'")) for key in sorted(pairs))
