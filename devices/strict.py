"""Strict JSON for what crosses a process or lies in a file: exact keys, exact types, DeviceError when not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from devices.errors import DeviceError

T = TypeVar("T")


def parse_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        DeviceError: it is not JSON, not an object, repeats a key, or holds NaN or infinity.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"{where} is not readable JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DeviceError(f"{where} must be a JSON object, not {type(value).__name__}.")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"the key '{twice}' stands there twice")
    return dict(pairs)


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not a number of JSON")


def fields(value: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return `value` when it is an object with exactly `keys`, else raise DeviceError that names the key."""
    if not isinstance(value, dict):
        raise DeviceError(f"{where} must be an object with {', '.join(keys)}.")
    missing = [key for key in keys if key not in value]
    if missing:
        raise DeviceError(f"{where} lacks the key '{missing[0]}'.")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise DeviceError(f"{where} has the unknown key '{unknown[0]}'; known are {', '.join(keys)}.")
    return value


def typed(value: object, kind: type[T], where: str) -> T:
    """Return `value` when it is exactly a `kind` (a bool is no int), else raise DeviceError."""
    if type(value) is not kind:
        raise DeviceError(f"{where} must be of type {kind.__name__}, not {type(value).__name__}.")
    return value


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
