"""From a core's files to a circuit: synthesis of the whole, of its layers, place and route, bitstream."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from devices import tools
from devices.circuit import Circuit, Usage
from devices.errors import DeviceError
from devices.synthesis import commands, kept, netlist, place
from devices.synthesis.core import Core
from devices.synthesis.device import Fpga
from devices.synthesis.elaborate import Top
from devices.synthesis.family import Family, find_family, usage
from devices.synthesis.netlist import Design, Netlist
from devices.synthesis.wrap import wrapper
from export.atomic import write_text

SEED = 1
Say = Callable[[str], None]


def silent(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Synthesised:
    """A circuit, the versions of the commands it was made with, and the folder with reports and bitstream.

    `folder` is None where the result was not kept, as the placer failed.
    """

    circuit: Circuit
    versions: tuple[tuple[str, str], ...]
    folder: Path | None


def versions(family: Family) -> dict[str, str]:
    """Return the versions of those commands of a family that are here; yosys has to be.

    Raises:
        DeviceError: yosys is missing.
    """
    commands.require(commands.YOSYS)
    return {c.name: commands.version(c) for c in commands.needed(family) if commands.missing(c) is None}


def synthesise(
    core: Core, fpga: Fpga, *, seed: int = SEED, say: Say = silent, cache: Path | None = None
) -> Synthesised:
    """Find what a core takes of an FPGA and how fast it can be clocked; take it from the cache where it is known.

    Args:
        core: its files.
        fpga: the device.
        seed: of the placer; the clock depends on it by some per cent.
        say: told what is being done.
        cache: where results are kept; None: the user's cache folder.

    Raises:
        DeviceError: yosys is missing, fails or takes too long; nothing is kept then.
    """
    used = versions(find_family(fpga.family))
    folder = (cache or tools.cache_folder() / "synthesis") / kept.key(core, fpga, seed, used)
    circuit = kept.read(folder)
    if circuit is not None:
        say(f"{core.top} on {fpga.name}: known already")
        return Synthesised(circuit, tuple(sorted(used.items())), folder)
    with tempfile.TemporaryDirectory(prefix="edgemill-synthesis-") as scratch:
        circuit, final = _synthesise(core, fpga, Path(scratch), seed, say)
        if final:
            kept.write(circuit, Path(scratch), folder)
    return Synthesised(circuit, tuple(sorted(used.items())), folder if final else None)


def _synthesise(core: Core, fpga: Fpga, work: Path, seed: int, say: Say) -> tuple[Circuit, bool]:
    """Return the circuit, and whether the same would come out again."""
    family = find_family(fpga.family)
    for path in core.files:
        shutil.copyfile(path, work / path.name)
    design = Design(work, tuple(path.name for path in core.sources), core.top)
    top = netlist.look(design)
    whole, notes = _wrapped(design, top, fpga, family)
    say(f"{core.top} on {fpga.name}: yosys, the whole")
    made = netlist.flat(whole, family, write=bool(family.placer))
    say(f"{core.top} on {fpga.name}: yosys, layer by layer")
    layers, more = netlist.layers(design, family, top, made.attempt)
    circuit = Circuit(
        device=fpga.title,
        bram_unit=family.bram_unit,
        bram_bits=family.bram_bits,
        used=usage(family, made.cells),
        placed=None,
        available=fpga.budget,
        cells=tuple(sorted(made.cells.items())),
        layers=layers,
        clock_hz=None,
        clock_reason=_not_placed(usage(family, made.cells), family, fpga),
        target_hz=fpga.target_hz,
        seed=seed,
        notes=tuple(dict.fromkeys((*notes, *made.notes, *more))),
    )
    return (circuit, True) if circuit.clock_reason else _routed(circuit, whole, made, fpga, say)


def _wrapped(design: Design, top: Top, fpga: Fpga, family: Family) -> tuple[Design, tuple[str, ...]]:
    """Put a core that has more ports than the device has pins into a wrapper; only what is placed needs one."""
    if not family.placer or top.pins <= fpga.pins:
        return design, ()
    module, text = wrapper(design.top, top)
    write_text(design.work / f"{module}.v", text)
    note = f"{top.pins} ports and {fpga.pins} pins: placed behind shift registers, which are in the figures"
    return Design(design.work, (*design.sources, f"{module}.v"), module), (note,)


def _not_placed(used: Usage, family: Family, fpga: Fpga) -> str:
    """Return why a netlist is not placed, or an empty text."""
    if not family.placer:
        return f"no open tool places {fpga.device}; timing is the vendor's tool's, which was not executed here"
    excess = used.beyond(fpga.budget)
    if excess:
        return f"the core does not fit: {over(used, fpga.budget)}"
    return commands.missing(commands.find(family.placer)) or ""


def over(used: Usage, budget: Usage) -> str:
    """Say what is beyond a budget, as `LUT 90,000 of 83,640`."""
    excess = used.beyond(budget)
    return ", ".join(f"{name.upper()} {getattr(used, name):,g} of {getattr(budget, name):,g}" for name in excess)


def _routed(circuit: Circuit, design: Design, made: Netlist, fpga: Fpga, say: Say) -> tuple[Circuit, bool]:
    """Place, route and pack; a placer that fails is a reason, and no result to keep."""
    family = find_family(fpga.family)
    say(f"{design.top} on {fpga.name}: {family.placer}, {circuit.used.lut:,} look-up tables")
    try:
        report = place.place(design, family, fpga, made.file, circuit.seed)
    except DeviceError as error:
        return replace(circuit, clock_reason=str(error)), False
    lacking = commands.missing(commands.find(family.packer))
    size = None if lacking else (design.work / place.pack(design, family)).stat().st_size
    notes = (*circuit.notes, f"no bitstream: {lacking}") if lacking else circuit.notes
    return replace(
        circuit,
        placed=report.placed if family.placed[1] else replace(report.placed, ff=circuit.used.ff),
        clock_hz=report.clock_hz,
        critical_path=report.critical_path,
        bitstream_bytes=size,
        notes=notes,
    ), True
