"""What a user may ask of a core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.rtl.stream.device import XILINX, Device, Resources
from export.rtl.stream.folds import Fold
from export.rtl.stream.output import Output

#: The architectures: a unit for every layer, or one multiply-accumulate for all of them.
ARCHITECTURES = ("stream", "sequential")
#: Clocks of a frame that a core gets by itself where the device has room: 2,000 frames a second at 100 MHz.
CYCLES = 50_000
#: Look-up tables, DSP blocks and block memories of an XC7Z020 (Pynq-Z2), the device when none is named.
BUDGET = Resources(53_200, 220, 140)


@dataclass(frozen=True, eq=False)
class CircuitRequest:
    """A core for a device, at most so many clocks a frame, or with given folds.

    Attributes:
        architecture: `stream`, `sequential`, or empty: stream where it fits, else sequential.
        device: the family of the FPGA.
        budget: what the device has.
        cycles: clocks a frame, at most; None: at most `CYCLES` if that fits, else as few as fit.
        folds: fold by step name instead of a search.
        input_lanes: codes in a beat of the input, with `folds`.
        labels: the network's output leaves as labels, one a frame, instead of codes (`stream`).
        taps: further tensors that leave the core, each as a stream of its own (`stream`).
        status: the core has registers that count frames, clocks and waits (`stream`).
    """

    architecture: str = ""
    device: Device = XILINX
    budget: Resources = BUDGET
    cycles: int | None = None
    folds: Mapping[str, Fold] | None = None
    input_lanes: int = 1
    labels: bool = False
    taps: tuple[Output, ...] = ()
    status: bool = False

    @property
    def beyond_codes(self) -> bool:
        """Whether more, or something else, than the codes of the network's output is asked for."""
        return self.labels or bool(self.taps) or self.status

    def results(self, output: str) -> tuple[Output, ...]:
        """Return the outputs of the core of a network whose output is the tensor `output`."""
        return (Output(output, self.labels), *self.taps)
