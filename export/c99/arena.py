"""The static memory plan: buffers that are alive at the same time never overlap, others share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Every buffer starts at a multiple of this, for vector loads.
ALIGNMENT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that must be kept from step `first` to step `last`, both included."""

    name: str
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Plan:
    """Where each buffer starts, and how many bytes the arena has."""

    offsets: dict[str, int]
    arena_bytes: int


def plan(buffers: Sequence[Buffer]) -> Plan:
    """Place buffers first-fit, trying several orders, and return the smallest arena found.

    Placing the largest first is the usual heuristic for this (NP-hard) problem; placing by birth, or the
    longest-lived first, wins on some chains, and trying all three costs nothing.
    """
    orders = (
        lambda b: (-b.size_bytes, b.first),
        lambda b: (b.first, -b.size_bytes),
        lambda b: (b.first - b.last, -b.size_bytes),
    )
    plans = [_place(sorted(buffers, key=order)) for order in orders]
    return min(plans, key=lambda p: p.arena_bytes)


def busiest_bytes(buffers: Sequence[Buffer]) -> int:
    """Return the bytes alive at the busiest step: no plan can be smaller."""
    steps = {b.first for b in buffers}
    return max((sum(_aligned(b.size_bytes) for b in buffers if b.first <= s <= b.last) for s in steps), default=0)


def _place(buffers: Sequence[Buffer]) -> Plan:
    placed: list[tuple[int, Buffer]] = []
    for buffer in buffers:
        placed.append((_lowest_gap(buffer, placed), buffer))
    ends = [offset + _aligned(b.size_bytes) for offset, b in placed]
    return Plan({b.name: offset for offset, b in placed}, max(ends, default=0))


def _lowest_gap(buffer: Buffer, placed: Sequence[tuple[int, Buffer]]) -> int:
    rivals = sorted(
        (offset, offset + _aligned(b.size_bytes))
        for offset, b in placed
        if b.first <= buffer.last and buffer.first <= b.last
    )
    offset = 0
    for start, end in rivals:
        if start - offset >= _aligned(buffer.size_bytes):
            break
        offset = max(offset, end)
    return offset


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
