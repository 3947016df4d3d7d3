"""One FPGA on one board: the part number and what it has."""

from __future__ import annotations

from dataclasses import dataclass

from devices.circuit import Usage


@dataclass(frozen=True, slots=True)
class Fpga:
    """One FPGA.

    Attributes:
        name: of the board.
        summary: the board in a few words.
        family: one of `devices.synthesis.family.FAMILIES`, by name.
        device: the part number without package and speed.
        package, speed: as the maker writes them.
        option: the placer's option that names the device; empty where nothing is placed.
        budget: what the device has: look-up tables, flip-flops, block memories in the family's unit, DSP blocks.
        pins: how many of its pins a design can have.
        target_hz: the clock that the tools are asked for.
    """

    name: str
    summary: str
    family: str
    device: str
    package: str
    speed: str
    option: str
    budget: Usage
    pins: int
    target_hz: float

    @property
    def title(self) -> str:
        """Device, package and speed grade."""
        return f"{self.device} {self.package}, speed grade {self.speed}"
