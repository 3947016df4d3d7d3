"""What a link costs in time, and at which rates a network is best run here, split, or there.

    local(r)  = t_device(all)
    remote(r) = transfer(input) + t_server(all)
    split(r)  = t_device(head) + p * (transfer(cut) + t_server(tail))

transfer(n) = (n + answer) * 8 / r + round trip. p is the share of frames that pass the filter (Neural Compression and
Filtering, arXiv 2007.15818, which mixes KiB and kbit and leaves the answer out; here bytes * 8 / bit/s).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edge.errors import EdgeError

WAYS = ("local", "split", "remote")
_UNITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


@dataclass(frozen=True, slots=True)
class Link:
    """A link: bits per second, and the round trip in seconds that a frame waits beside its transfer."""

    rate_bit_s: float
    round_trip_s: float

    def __post_init__(self) -> None:
        """Refuse a link that carries nothing."""
        if not (self.rate_bit_s > 0 and math.isfinite(self.rate_bit_s)) or not self.round_trip_s >= 0:
            raise EdgeError(f"a link of {self.rate_bit_s:g} bit/s and {self.round_trip_s:g} s carries nothing.")

    def transfer_s(self, count_bytes: float, answer_bytes: float = 0.0) -> float:
        """Return the seconds until bytes are there and an answer is back; one of a few bytes takes no time."""
        return (count_bytes + answer_bytes) * 8 / self.rate_bit_s + self.round_trip_s


def parse_link(text: str) -> Link:
    """Read `4mbit,20ms`: a rate, then a round trip; the round trip may be left out.

    Raises:
        EdgeError: it is none.
    """
    rate, _, trip = text.replace(" ", "").lower().partition(",")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(bit|kbit|mbit|gbit)", rate)
    waited = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", trip or "0ms")
    if not found or not waited:
        raise EdgeError(f"a link is written as 4mbit,20ms (bit, kbit, mbit, gbit; ms, s), not '{text}'.")
    scale = 1e-3 if waited[2] == "ms" else 1.0
    return Link(float(found[1]) * _UNITS[found[2]], float(waited[1]) * scale)


@dataclass(frozen=True, slots=True)
class Costs:
    """Times and bytes of one frame, measured or counted elsewhere.

    Attributes:
        device_s: the whole network on the device. head_s: only its head. tail_s: the tail on the server.
        server_s: the whole network on the server, with the decoding of its input.
        input_bytes: what a device sends that runs nothing. cut_bytes: what crosses the cut.
        passed: share of frames that are sent at all.
        answer_bytes: what comes back.
    """

    device_s: float
    head_s: float
    tail_s: float
    server_s: float
    input_bytes: int
    cut_bytes: int
    passed: float = 1.0
    answer_bytes: int = 0


def seconds(costs: Costs, link: Link) -> dict[str, float]:
    """Return the expected seconds of one frame by each of WAYS."""
    return {
        "local": costs.device_s,
        "split": costs.head_s + costs.passed * (link.transfer_s(costs.cut_bytes, costs.answer_bytes) + costs.tail_s),
        "remote": link.transfer_s(costs.input_bytes, costs.answer_bytes) + costs.server_s,
    }


def best_way(costs: Costs, link: Link) -> str:
    """Return the fastest way; the one that sends less where two are alike."""
    found = seconds(costs, link)
    return min(WAYS, key=lambda way: (found[way], WAYS.index(way)))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Rates in bit/s where the fastest way changes, for one round trip.

    `local_below`: split and local take the same time there; `remote_above`: split and remote do; None: nowhere.
    `split_from` and `split_to` bound the rates at which split is the best of all three; None where it never is.
    """

    local_below: float | None
    remote_above: float | None
    split_from: float | None
    split_to: float | None


def break_even(costs: Costs, round_trip_s: float) -> BreakEven:
    """Solve for the rates at which two ways take the same time.

    Every way's time is a + b / rate, so that two of them cross at most once.
    """
    sent, asked = (8.0 * (count + costs.answer_bytes) for count in (costs.cut_bytes, costs.input_bytes))
    split = (costs.head_s + costs.passed * (round_trip_s + costs.tail_s), costs.passed * sent)
    remote = (round_trip_s + costs.server_s, asked)
    local = (costs.device_s, 0.0)
    over_local, over_remote = _crossing(split, local), _crossing(split, remote)
    start, end = _interval(split, local), _interval(split, remote)
    low, high = max(start[0], end[0]), min(start[1], end[1])
    found = low < high
    return BreakEven(over_local, over_remote, low if found else None, high if found else None)


def _crossing(one: tuple[float, float], other: tuple[float, float]) -> float | None:
    """Return the rate at which a + b / rate is the same for both, None where that is nowhere."""
    over, bits = one[0] - other[0], other[1] - one[1]
    return bits / over if over != 0 and bits / over > 0 else None


def _interval(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the rates, lowest and highest, at which `one` is faster than `other`."""
    rate = _crossing(one, other)
    if rate is None:
        faster = one[0] < other[0] or (one[0] == other[0] and one[1] < other[1])
        return (0.0, math.inf) if faster and one[1] <= other[1] else (math.inf, 0.0)
    return (rate, math.inf) if one[0] < other[0] else (0.0, rate)
