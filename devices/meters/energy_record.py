"""Energy as strict JSON."""

from __future__ import annotations

import math
from dataclasses import fields

from devices import strict
from devices.errors import DeviceError
from devices.meters.curve import PowerCurve
from devices.meters.energy import Energy


def energy_from_record(value: object, where: str) -> Energy:
    """Read what `dataclasses.asdict` made of an `Energy`.

    Raises:
        DeviceError: naming `where` and the key: one is missing, unknown, or of a wrong type or value.
    """
    body = strict.fields(value, tuple(f.name for f in fields(Energy)), where)

    def texts(key: str) -> tuple[str, ...]:
        place = f"{where}.{key}"
        return tuple(strict.typed(item, str, place) for item in strict.typed(body[key], list, place))

    def optional(key: str) -> float | None:
        return None if body[key] is None else strict.real(body[key], f"{where}.{key}")

    return Energy(
        gross_j=strict.reals(body["gross_j"], f"{where}.gross_j"),
        net_j=None if body["net_j"] is None else strict.reals(body["net_j"], f"{where}.net_j"),
        net_reason=strict.optional(body["net_reason"], str, f"{where}.net_reason"),
        idle_w=None if body["idle_w"] is None else _finite(body["idle_w"], f"{where}.idle_w"),
        power_w=strict.reals(body["power_w"], f"{where}.power_w"),
        inferences=strict.counts(body["inferences"], f"{where}.inferences"),
        meter=strict.typed(body["meter"], str, f"{where}.meter"),
        rails=texts("rails"),
        by_rail=tuple(
            _pair(item, f"{where}.by_rail") for item in strict.typed(body["by_rail"], list, f"{where}.by_rail")
        ),
        method=strict.typed(body["method"], str, f"{where}.method"),
        u_a_j=optional("u_a_j"),
        u_b_j=strict.real(body["u_b_j"], f"{where}.u_b_j"),
        expanded_j=optional("expanded_j"),
        samples_per_window=strict.counts(body["samples_per_window"], f"{where}.samples_per_window"),
        notes=texts("notes"),
        curve=None if body["curve"] is None else _curve(body["curve"], f"{where}.curve"),
    )


def _curve(value: object, where: str) -> PowerCurve:
    body = strict.fields(value, tuple(f.name for f in fields(PowerCurve)), where)
    powers = strict.typed(body["power_w"], list, f"{where}.power_w")
    windows = strict.typed(body["windows_s"], list, f"{where}.windows_s")
    return PowerCurve(
        step_s=strict.real(body["step_s"], f"{where}.step_s"),
        power_w=tuple(None if item is None else _finite(item, f"{where}.power_w") for item in powers),
        windows_s=tuple(_span(item, f"{where}.windows_s") for item in windows),
        idle_s=None if body["idle_s"] is None else _span(body["idle_s"], f"{where}.idle_s"),
    )


def _span(value: object, where: str) -> tuple[float, float]:
    found = strict.reals(value, where)
    if len(found) != 2:
        raise DeviceError(f"{where}: a span has a begin and an end, not {len(found)} numbers.")
    return found[0], found[1]


def _pair(value: object, where: str) -> tuple[str, float]:
    """Return a rail and its energy, which may be below 0: current can flow backwards through a rail."""
    found = strict.typed(value, list, where)
    if len(found) != 2:
        raise DeviceError(f"{where}: a pair of a rail and its energy has two items, not {len(found)}.")
    return strict.typed(found[0], str, where), _finite(found[1], where)


def _finite(value: object, where: str) -> float:
    found = strict.typed(value, float, where)
    if not math.isfinite(found):
        raise DeviceError(f"{where} is {found}; it must be a number.")
    return found
