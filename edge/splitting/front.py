"""Which choices no other one beats, and at which rates a split is the fastest way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge.link.model import Costs, Link, break_even
from edge.splitting.record import Choice, Cost, Figure, Rates

OBJECTIVES = ("accuracy", "latency", "energy", "wire bytes")
#: In place of a network that the device cannot run whole: no split is slower than that.
NEVER_S = 1e12


def with_front(choices: Sequence[Choice]) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """Mark the choices on the front; energy counts where every choice that runs something on the device has one.

    Returns:
        The choices, and what was weighed.
    """
    energy = all(choice.energy_j.value is not None for choice in choices if choice.device is not None)
    weighed = tuple(name for name in OBJECTIVES if energy or name != "energy")
    places = [_objectives(choice, energy=energy) for choice in choices]
    marked = tuple(
        replace(choice, front=not any(_beats(other, mine) for other in places))
        for choice, mine in zip(choices, places, strict=True)
    )
    return marked, weighed


def _objectives(choice: Choice, *, energy: bool) -> tuple[float, ...]:
    """Return what is weighed, smaller being better."""
    known = (-choice.accuracy, _value(choice.latency_s), float(choice.wire_bytes))
    spent = 0.0 if choice.device is None else _value(choice.energy_j)
    return (*known, spent) if energy else known


def _value(figure: Figure) -> float:
    return math.inf if figure.value is None else figure.value


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def latency(link: Link, sent: tuple[int, int], device: Cost | None, server: Cost | None) -> Figure:
    """Return the seconds of one frame: both sides that run, and the link where `sent` bytes go there and come back."""
    parts = [cost.seconds for cost in (device, server) if cost is not None]
    absent = next((part for part in parts if part.value is None), None)
    if absent is not None:
        return absent
    total = sum(part.value for part in parts if part.value is not None)
    if server is None:
        return Figure(total, parts[0].method)
    return Figure(total + link.transfer_s(*sent), "modelled")


def rates(link: Link, sent: tuple[int, int, int], local: Cost | None, remote: Cost, sides: tuple[Cost, Cost]) -> Rates:
    """Return where the split is fastest.

    Args:
        link: its round trip counts.
        sent: bytes of a frame: input, cut and answer.
        local: the whole network on the device; None where it does not run there.
        remote: the whole network on the server.
        sides: head on the device, tail on the server.
    """
    values = [cost.seconds.value for cost in (remote, *sides)]
    whole = NEVER_S if local is None else local.seconds.value
    if whole is None or None in values:
        return Rates(None, None)
    server_s, head_s, tail_s = (float(value) for value in values if value is not None)
    costs = Costs(whole, head_s, tail_s, server_s, sent[0], sent[1], answer_bytes=sent[2])
    found = break_even(costs, link.round_trip_s)
    if found.split_from is None:
        return Rates(None, None)
    return Rates(0.0 if local is None else found.split_from, found.split_to)
