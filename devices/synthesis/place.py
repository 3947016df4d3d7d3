"""Runs nextpnr and the packer, and reads nextpnr's report: the clock, the longest path, what was placed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices import strict, tools
from devices.circuit import Usage
from devices.errors import DeviceError
from devices.synthesis.commands import find, require
from devices.synthesis.device import Fpga
from devices.synthesis.family import Family
from devices.synthesis.netlist import Design

#: Seconds for placing and routing, and for packing.
LIMIT_S = 5400.0
PACK_LIMIT_S = 600.0
#: What yosys hangs to the name of a register when it names a cell after it.
_DETAIL = re.compile(r"_(SB_|TRELLIS_|LUT4|CCU2C|DP16KD|MULT18).*$")


@dataclass(frozen=True, slots=True)
class Report:
    """What nextpnr reached: the lowest of the clocks in Hz, the longest path in words, and the resources."""

    clock_hz: float
    critical_path: str
    placed: Usage


def place(design: Design, family: Family, fpga: Fpga, netlist: str, seed: int) -> Report:
    """Place and route a netlist of the work folder; leaves `report.json` and the routed design there.

    Raises:
        DeviceError: nextpnr is missing, fails, or takes too long.
    """
    argv = (require(find(family.placer)), *_options(design, family, fpga, netlist, seed))
    what = f"place and route of '{design.top}' for {fpga.name}"
    done = tools.run(argv, what, LIMIT_S, design.work)
    if done.code != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("ERROR")]
        raise DeviceError(f"{what}: {family.placer} {tools.ending(done.code)}: {'; '.join(lines) or 'no reason given'}")
    file = design.work / "report.json"
    if not file.is_file():
        raise DeviceError(f"{what}: {family.placer} wrote no report.")
    return parse(file.read_bytes(), family, f"{family.placer}'s report")


def _options(design: Design, family: Family, fpga: Fpga, netlist: str, seed: int) -> tuple[str, ...]:
    asked = ("--freq", f"{fpga.target_hz / 1e6:g}", "--timing-allow-fail", "--seed", str(seed), "-q")
    shared = (fpga.option, "--package", fpga.package, "--json", netlist, "--report", "report.json", *asked)
    routed = f"{design.top}.routed"
    if family.placer == "nextpnr-ecp5":
        return (*shared, "--speed", fpga.speed, "--textcfg", routed, "--lpf-allow-unconstrained")
    return (*shared, "--asc", routed)


def pack(design: Design, family: Family) -> str:
    """Pack the routed design into a bitstream; return its file name.

    Raises:
        DeviceError: the packer is missing or fails.
    """
    routed, bitstream = f"{design.top}.routed", f"{design.top}.bit"
    ecp5 = family.packer == "ecppack"
    argv = (require(find(family.packer)), routed, *(("--bit", bitstream) if ecp5 else (bitstream,)))
    tools.call(argv, f"packing '{design.top}'", PACK_LIMIT_S, design.work)
    if not (design.work / bitstream).is_file():
        raise DeviceError(f"packing '{design.top}': {family.packer} wrote no bitstream.")
    return bitstream


def parse(text: str | bytes, family: Family, where: str) -> Report:
    """Read the JSON that `nextpnr --report` writes.

    Raises:
        DeviceError: it is no such report, or has no clock, as in a design without registers.
    """
    body = strict.parse_object(text, where)
    clocks = strict.typed(body.get("fmax"), dict, f"{where}: fmax")
    if not clocks:
        raise DeviceError(f"{where} has no clock: no path leads from one register to another.")
    name, slowest = min(((name, _achieved(clock, where)) for name, clock in clocks.items()), key=lambda pair: pair[1])
    paths = strict.typed(body.get("critical_paths", []), list, f"{where}: critical_paths")
    used = strict.typed(body.get("utilization"), dict, f"{where}: utilization")
    return Report(slowest * 1e6, _longest(paths, name), _placed(used, family, where))


def _achieved(clock: object, where: str) -> float:
    return strict.real(strict.typed(clock, dict, f"{where}: fmax").get("achieved"), f"{where}: fmax.achieved")


def _placed(used: Mapping[str, object], family: Family, where: str) -> Usage:
    def number(name: str) -> int:
        if not name or name not in used:
            return 0
        entry = strict.typed(used[name], dict, f"{where}: {name}")
        return strict.count(entry.get("used"), f"{where}: {name}.used")

    lut, ff, bram, dsp = (number(name) for name in family.placed)
    return Usage(lut=lut, ff=ff, bram=float(bram), dsp=dsp)


def _longest(paths: Sequence[object], clock: str) -> str:
    """Say where the longest path between registers begins and ends, and how much of its time is wires."""
    for path in paths:
        if isinstance(path, dict) and str(path.get("from", "")).endswith(clock) and path["from"] == path.get("to"):
            steps = [step for step in path.get("path", []) if isinstance(step, dict)]
            if steps:
                return _said(steps)
    return ""


def _said(steps: Sequence[Mapping[str, object]]) -> str:
    delays = [(step.get("type"), _number(step.get("delay"))) for step in steps]
    total = sum(delay for _, delay in delays)
    wires = sum(delay for kind, delay in delays if kind == "routing")
    logic = sum(kind == "logic" for kind, _ in delays)
    share = f", {wires / total:.0%} of it in wires" if total else ""
    return f"{_cell(steps[0])} to {_cell(steps[-1])}: {total:.2f} ns through {logic} cells{share}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _cell(step: Mapping[str, object]) -> str:
    source = step.get("from")
    return _DETAIL.sub("", str(source.get("cell", "?"))) if isinstance(source, dict) else "?"
