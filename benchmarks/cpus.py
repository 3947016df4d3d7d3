"""The nine CPUs whose codes must be the reference's: eight emulated ones, and this machine, also with sanitizers."""

from __future__ import annotations

from pathlib import Path

from devices import tools
from devices.emulators.emulated import MACHINES
from devices.emulators.machine import COMPILE_LIMIT_S, Build, Machine
from devices.emulators.trial import missing
from quant.formats import Array

_MAIN = Path(__file__).with_name("batch_host.c")
_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_SANITIZERS = ("-g1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")


def _link(machine: Machine, build: Build, images: Array) -> Path:
    (build.work / "inputs.bin").write_bytes(images.tobytes())
    elf = build.object.with_suffix(".elf")
    argv = [machine.compiler.name, *machine.flags, f"-I{build.folder}", str(_MAIN), str(build.object), "-o", str(elf)]
    tools.call(argv, f"linking for {machine.name}", COMPILE_LIMIT_S)
    return elf


def _host(name: str, *flags: str) -> Machine:
    return Machine(
        name=name,
        emulated="",
        memory=None,
        compiler=tools.GCC,
        size=tools.GCC,
        nm=tools.GCC,
        emulator=tools.GCC,
        extra_tools=(),
        flags=("-std=c99", *flags),
        link=_link,
        command=lambda machine, elf, options: (str(elf), "inputs.bin"),
        markers=lambda elf: "",
        alone=lambda machine, build: build.object,
    )


HOST = _host("host", "-O2", *_WARNINGS)
# No warnings: GCC warns about what would happen on the paths on which a sanitizer stops.
HOST_SANITIZED = _host("host-sanitized", "-O1", *_SANITIZERS)
CPUS: tuple[Machine, ...] = (HOST, HOST_SANITIZED, *MACHINES)


def reason_not_to_run(machine: Machine) -> str | None:
    """Return None where a machine works here, else what is missing."""
    return tools.missing_tools(machine.tools) if machine in (HOST, HOST_SANITIZED) else missing(machine)


def versions(machine: Machine) -> tuple[str, str]:
    """Return the first lines that a machine's compiler and emulator print about themselves."""
    emulator = "this machine" if machine in (HOST, HOST_SANITIZED) else _version(machine.emulator)
    return _version(machine.compiler), f"{emulator} {machine.emulated}".strip()


def _version(tool: tools.Tool) -> str:
    return tools.first_line([tool.name, "--version"])
