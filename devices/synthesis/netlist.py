"""Runs yosys on a core: the flat netlist of the whole, and every instance of the top module on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices import tools
from devices.circuit import Layer
from devices.errors import DeviceError
from devices.synthesis import elaborate, stat
from devices.synthesis.commands import YOSYS, require
from devices.synthesis.family import Family, usage
from export.atomic import write_text

#: Seconds for one run of yosys.
LIMIT_S = 5400.0
_TOP_ROW = "(top)"


@dataclass(frozen=True, slots=True)
class Design:
    """A core that lies in a work folder with its memory files: Verilog files, and the name of the top module."""

    work: Path
    sources: tuple[str, ...]
    top: str


@dataclass(frozen=True, slots=True)
class Netlist:
    """What yosys made: primitive cells of the whole, and the file for the placer.

    `attempt` says which of the family's attempts it took, `notes` what to know about it.
    """

    cells: Mapping[str, int]
    file: str
    attempt: int
    notes: tuple[str, ...]


def look(design: Design) -> elaborate.Top:
    """Return the ports of the top module and its instances, without synthesis.

    Raises:
        DeviceError: yosys is missing, or does not take the Verilog.
    """
    script = [
        *_read(design),
        f"tee -q -o ports.txt dump {design.top}/i:* {design.top}/o:*",
        *_instances(design),
        "tee -q -o instances.txt dump @instances",
    ]
    _run(design, "elaborate", script, ("ports.txt",))
    found = design.work / "instances.txt"
    return elaborate.parse((design.work / "ports.txt").read_text(), found.read_text() if found.is_file() else "")


def flat(design: Design, family: Family, *, write: bool) -> Netlist:
    """Synthesise the whole core as one flat netlist.

    Args:
        design: the core.
        family: what for.
        write: also write the netlist for the placer.

    Raises:
        DeviceError: yosys is missing, fails, or takes too long.
    """
    file = f"{design.top}_netlist.json"
    output = (f"write_json {file}",) if write else ()

    def script(command: str) -> list[str]:
        return [*_read(design), f"{command} -top {design.top}", "tee -q -o flat.json stat -json", *output]

    attempt, notes = _attempt(design, family, 0, "flat", script)
    modules = stat.parse_json((design.work / "flat.json").read_bytes(), "stat of the flat netlist")
    return Netlist(stat.total(modules, design.top), file, attempt, notes)


def layers(
    design: Design, family: Family, top: elaborate.Top, attempt: int
) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    """Synthesise with the modules that the top instantiates kept apart; return what each instance takes, and notes.

    `attempt` is the one that the whole took.

    Raises:
        DeviceError: as `flat`.
    """
    if not top.instances:
        return (), ()

    def script(command: str) -> list[str]:
        keep = ["setattr -mod -set keep_hierarchy 1 @kept", "select -clear"]
        count = ["tee -q -o layers.json stat -json"]
        return [*_read(design), *_instances(design), *keep, f"{command} -top {design.top}", *count]

    _, notes = _attempt(design, family, attempt, "layers", script)
    modules = stat.parse_json((design.work / "layers.json").read_bytes(), "stat of the layers")
    found = tuple(
        Layer(name, usage(family, stat.total(modules, kind))) for name, kind in top.instances if kind in modules
    )
    return (*found, Layer(_TOP_ROW, usage(family, stat.own(modules, design.top)))), notes


def _read(design: Design) -> list[str]:
    reads = [f"read_verilog {'-sv ' if file.endswith('.sv') else ''}{file}" for file in design.sources]
    return [*reads, f"hierarchy -top {design.top}"]


def _instances(design: Design) -> list[str]:
    """Select the modules that the top instantiates as `kept`, and those instances as `instances`."""
    return [
        f"select -set kept {design.top}/c:* %M",
        "select -set implementing @kept %C",
        f"select -set instances {design.top}/c:* @implementing %i",
    ]


def _attempt(
    design: Design, family: Family, first: int, name: str, script: Callable[[str], list[str]]
) -> tuple[int, tuple[str, ...]]:
    """Run a script with the family's options from `first` on; the next ones when a signal kills yosys."""
    notes: list[str] = []
    last = len(family.attempts) - 1
    for number in range(first, last + 1):
        extra = family.attempts[number]
        command = f"{family.command} {extra}".strip()
        crash = _run(design, name, script(command), (f"{name}.json",), may_crash=number < last)
        if crash is None:
            return number, tuple(notes)
        notes.append(f"yosys {crash} with '{extra}', so the figures are without it")
    raise AssertionError("the last attempt returns or raises")


def _run(
    design: Design, name: str, script: Sequence[str], results: tuple[str, ...], *, may_crash: bool = False
) -> str | None:
    """Run yosys; return None, or how a signal ended it where that may be.

    Results are files: the WebAssembly build of yosys loses what it prints late, and still ends with exit code 0.
    """
    for file in results:
        (design.work / file).unlink(missing_ok=True)
    write_text(design.work / f"{name}.ys", "\n".join(script) + "\n")
    argv = (require(YOSYS), "-q", "-l", f"{name}.log", f"{name}.ys")
    what = f"synthesis of '{design.top}' ({name})"
    done = tools.run(argv, what, LIMIT_S, design.work)
    if done.code < 0 and may_crash:
        return tools.ending(done.code)
    if done.code != 0:
        raise DeviceError(f"{what}: yosys {tools.ending(done.code)}: {_complaint(done.stderr)}")
    lacking = [file for file in results if not (design.work / file).is_file()]
    if lacking:
        raise DeviceError(f"{what}: yosys ended without writing {', '.join(lacking)}. Try another version of yosys.")
    return None


def _complaint(stderr: bytes) -> str:
    """Return yosys' line with ERROR, else the last one."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "ERROR" in line), lines[-1] if lines else "it wrote nothing to stderr.")
