"""The ceilings of a roofline (Williams, Waterman and Patterson 2009): one value for a machine, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass, fields

from devices import strict
from devices.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one core of a machine reached at most.

    Attributes:
        machine: the processor, as conditions name it.
        macs_per_s: int8 multiply-accumulates per second on data in the first cache.
        bytes_per_s: bytes per second read from memory.
        kernel: the instructions that reached it.
        method: `measured`.
    """

    machine: str
    macs_per_s: float
    bytes_per_s: float
    kernel: str
    method: str = "measured"

    def __post_init__(self) -> None:
        """Refuse a ceiling of 0."""
        if not (self.macs_per_s > 0 and self.bytes_per_s > 0):
            raise DeviceError(f"a ceiling of {self.machine} is not above 0; measure it again.")

    def at(self, macs_per_byte: float) -> float:
        """Return the most multiply-accumulates per second at an intensity: min(compute, intensity * bandwidth)."""
        return min(self.macs_per_s, macs_per_byte * self.bytes_per_s)


def from_record(value: object, where: str) -> Ceiling:
    """Read one ceiling from parsed JSON.

    Raises:
        DeviceError: naming the key: missing, unknown or of a wrong type.
    """
    body = strict.fields(value, tuple(item.name for item in fields(Ceiling)), where)
    return Ceiling(
        machine=strict.typed(body["machine"], str, f"{where}.machine"),
        macs_per_s=strict.real(body["macs_per_s"], f"{where}.macs_per_s"),
        bytes_per_s=strict.real(body["bytes_per_s"], f"{where}.bytes_per_s"),
        kernel=strict.typed(body["kernel"], str, f"{where}.kernel"),
        method=strict.typed(body["method"], str, f"{where}.method"),
    )
