"""What a server allows its clients: sizes, times and numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields

from edge.errors import EdgeError


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything a client could exhaust has a limit.

    Attributes:
        connections: at once; more are refused.
        payload_bytes: of a packet; None: as many as the codes at the cut take.
        idle_s: a connection without a packet for so long is closed.
        packet_s: from a packet's first byte to its last, and for an answer to be taken by the client.
        queue: frames that wait; when it is full, nothing is read from any client until there is room.
        batch: frames that run together at most.
        wait_s: how long a frame waits for others to run with.
        stop_s: how long a server that stops waits for what it has begun.
    """

    connections: int = 256
    payload_bytes: int | None = None
    idle_s: float = 300.0
    packet_s: float = 10.0
    queue: int = 256
    batch: int = 32
    wait_s: float = 0.001
    stop_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (value >= 0 if field.name in ("wait_s", "stop_s") else value > 0):
                raise EdgeError(f"limit {field.name} is {value}; it must be above 0.")
