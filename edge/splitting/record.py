"""What a search for the best cut found. `split.json`, schema 1: plain values, every figure with its method."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
FILE = "split.json"
#: `measured` on a machine, `counted` instructions, `modelled`: computed from others by a formula that the notes state.
METHODS = ("measured", "counted", "modelled")


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its method, or None with the reason."""

    value: float | None
    method: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a value without a method, and an absent one without a reason."""
        if (self.value is None) == (self.method in METHODS) or (self.value is None) != bool(self.reason):
            raise ValueError(f"a figure {self.value} by '{self.method}' because '{self.reason}' says too little")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one inference of one part costs on one board: seconds, instructions, joules."""

    seconds: Figure
    instructions: Figure
    energy_j: Figure


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network is cut: tensor, its shape, the link's format, and both sides as in `edge.splitting.points`."""

    tensor: str
    shape: tuple[int, ...]
    format: str
    macs_before: int
    macs_after: int
    head_peak_bytes: int
    tail_peak_bytes: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates in bit/s between which the split is faster than local and remote, at the link's round trip; None: never.

    `to` is infinity where no rate is too high.
    """

    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a network.

    Attributes:
        way: local, split or remote.
        network: by name.
        place: of a split.
        accuracy: share of the sample that is right, by the integer reference.
        wire_bytes: sent per frame.
        device, server: costs on either side; None where that side runs nothing.
        latency_s: device + transfer there and back + round trip + server.
        energy_j: of the device's computing; the radio's is in no figure.
        rates: of a split.
        front: whether no other choice is as good in all and better in one of accuracy, latency, energy, bytes.
    """

    way: str
    network: str
    place: Place | None
    accuracy: float
    wire_bytes: int
    device: Cost | None
    server: Cost | None
    latency_s: Figure
    energy_j: Figure
    rates: Rates | None
    front: bool

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.place is None:
            return f"{self.way}: {self.network}"
        return f"{self.network} at {self.place.tensor}, {self.place.format}"


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """A whole search.

    Attributes:
        data, images, calibration, seed: what accuracies and ranges come from.
        rate_bit_s, round_trip_s: of the link.
        answer_bytes: what comes back for each frame that is sent.
        device, server: boards by name, with what executes there.
        whole: the network that runs undivided.
        choices: all of them; local and remote first.
        left_out: (what, why) of cuts that were not tried, or that a target or board refused.
        objectives: what the front weighs.
        notes: how modelled figures come about.
    """

    data: str
    images: int
    calibration: int
    seed: int
    rate_bit_s: float
    round_trip_s: float
    answer_bytes: int
    device: str
    server: str
    whole: str
    choices: tuple[Choice, ...]
    left_out: tuple[tuple[str, str], ...]
    objectives: tuple[str, ...]
    notes: tuple[str, ...]


def to_record(found: SplitRecord) -> dict[str, Any]:
    """Return a record that JSON can hold: an end of rates at infinity becomes null with `open_end` true."""
    record: dict[str, Any] = {"schema": SCHEMA, **asdict(found)}
    for choice in record["choices"]:
        rates = choice["rates"]
        if rates is not None:
            rates["open_end"] = rates["end"] == float("inf")
            rates["end"] = None if rates["open_end"] else rates["end"]
    return record
