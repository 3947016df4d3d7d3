"""Cortex-A72 under QEMU's user mode: the generated C as a static AArch64 Linux program."""

from __future__ import annotations

from pathlib import Path

from devices import tools
from devices.emulators.icount import MARK_SYSCALL, SOURCES
from devices.emulators.machine import COMPILE_LIMIT_S, Build, EmulatedSession, Machine, open_part
from devices.emulators.trial import missing
from export.runtimes.session import Runtime
from quant.formats import Array
from quant.graph import Graph

CPU = "cortex-a72"


def _link(machine: Machine, build: Build, images: Array) -> Path:
    (build.work / "inputs.bin").write_bytes(images.tobytes())
    elf = build.object.with_suffix(".elf")
    if not elf.exists():
        argv = [machine.compiler.name, *machine.flags, *build.macros, f"-I{SOURCES}", f"-I{build.folder}", "-static"]
        argv += [str(SOURCES / "linux_main.c"), str(build.object), "-o", str(elf)]
        tools.call(argv, f"linking the runner of '{build.name}' for {machine.name}", COMPILE_LIMIT_S)
    return elf


def _command(elf: Path, options: str | None) -> tuple[str, ...]:
    plugin = ("-plugin", options) if options else ()
    return (tools.QEMU_AARCH64.name, "-cpu", CPU, *plugin, str(elf), "inputs.bin")


def _markers(elf: Path) -> str:
    return f"mark={MARK_SYSCALL}"


MACHINE = Machine(
    name="qemu-aarch64",
    compiler=tools.AARCH64_GCC,
    size=tools.AARCH64_SIZE,
    emulator=tools.QEMU_AARCH64,
    extra_tools=(tools.GCC,),
    flags=("-O2", "-std=c99"),
    link=_link,
    command=_command,
    markers=_markers,
)


def open_session(folder: Path, name: str, graph: Graph) -> EmulatedSession:
    """Open a part of target arm-m on the emulated Cortex-A72."""
    return open_part(MACHINE, folder, name, graph)


RUNTIME = Runtime(name=MACHINE.name, target="arm-m", exact=True, missing=lambda: missing(MACHINE), open=open_session)
