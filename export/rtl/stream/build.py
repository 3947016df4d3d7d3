"""A finished design: units, depths of FIFOs and queues, files, and the clocks it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from export import strict_json
from export.rtl.stream.device import XILINX, Device
from export.rtl.stream.emit import memories, unit_files, verilog
from export.rtl.stream.folds import Fold
from export.rtl.stream.layer import UnitFiles
from export.rtl.stream.output import Output
from export.rtl.stream.plan import Design, design, with_depths
from export.rtl.stream.schedule import Schedule, bottleneck, schedule
from export.rtl.stream.units import Elementwise, Layer, Unit
from quant.program import Program

#: Frames after which the clocks between two of them no longer change.
FRAMES = 4
#: What stands for the digest while it is computed.
NO_DIGEST = "00000000"


@dataclass(frozen=True, eq=False)
class Core:
    """A streaming core: its design, the files of its units, and its clocks."""

    name: str
    plan: Design
    units: tuple[UnitFiles, ...]
    schedule: Schedule

    def files(self) -> dict[str, str]:
        """Return the Verilog and the memory files by name."""
        return self._files(self.digest() if self.plan.status else NO_DIGEST)

    def digest(self) -> str:
        """Return 8 hexadecimal digits that change with every file of the core: the head of a SHA-256 over them all.

        The Verilog is taken with zeros where the digest stands in it.
        """
        files = self._files(NO_DIGEST)
        return strict_json.sha256_of(files)[: len(NO_DIGEST)]

    def _files(self, digest: str) -> dict[str, str]:
        cycles = bottleneck(self.plan)
        return {f"{self.name}.v": verilog(self.name, self.plan, self.units, cycles, digest), **memories(self.units)}

    def folds(self) -> list[tuple[Unit, Fold]]:
        """Return the units that can be folded, with their folds."""
        pairs: list[tuple[Unit, Fold]] = [(unit, unit.fold) for unit in self.plan.units if isinstance(unit, Layer)]
        return pairs + [(unit, Fold(unit.lanes)) for unit in self.plan.units if isinstance(unit, Elementwise)]


def build(
    name: str,
    program: Program,
    folds: Mapping[str, Fold],
    input_lanes: int = 1,
    device: Device = XILINX,
    results: tuple[Output, ...] = (),
    *,
    status: bool = False,
) -> Core:
    """Build a core called `name`: design, FIFO depths that cover every latency, queues as deep as branches differ.

    `results` are its outputs; () for the codes of the program's output. With `status` it has registers that count.

    Raises:
        ExportError: a folding does not divide its layer, an output is none of the program's, or it cannot stream.
    """
    plan = design(program, folds, input_lanes, device, results)
    plan = replace(plan, fifo_bits=(4,) * len(plan.units), status=status)
    latencies = tuple(unit.latency for unit in unit_files(name, plan))
    bits = tuple(_fifo_bits(unit, latency) for unit, latency in zip(plan.units, latencies, strict=True))
    plan = replace(plan, fifo_bits=bits)
    waiting = schedule(plan, latencies, 2, unlimited=True).waiting
    queues = {port: max(1, (most + 2).bit_length()) for port, most in waiting.items()}
    plan = with_depths(plan, bits, queues)
    return Core(name, plan, unit_files(name, plan), schedule(plan, latencies, FRAMES))


def _fifo_bits(unit: Unit, latency: int) -> int:
    """Return log2 of the depth that keeps a unit busy: what is in flight, and two groups more."""
    cost = unit.beats_per_group if isinstance(unit, Layer) else 1
    terms = unit.walk.terms if isinstance(unit, Layer) else 1
    groups = -(-(latency + 3) // terms) + 2
    return (cost * groups - 1).bit_length()
