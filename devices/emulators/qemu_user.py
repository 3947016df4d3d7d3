"""Cortex-A under QEMU's user mode: the generated C as a static AArch64 Linux program, one machine for each core."""

from __future__ import annotations

from pathlib import Path

from devices import tools
from devices.emulators.icount import MARK_SYSCALL, SOURCES
from devices.emulators.machine import COMPILE_LIMIT_S, Build, Machine
from quant.formats import Array


def _link(machine: Machine, build: Build, images: Array) -> Path:
    (build.work / "inputs.bin").write_bytes(images.tobytes())
    elf = build.object.with_suffix(".elf")
    if not elf.exists():
        argv = [machine.compiler.name, *machine.flags, *build.macros, f"-I{SOURCES}", f"-I{build.folder}", "-static"]
        argv += [str(SOURCES / "linux_main.c"), str(build.object), "-o", str(elf)]
        tools.call(argv, f"linking the runner of '{build.name}' for {machine.name}", COMPILE_LIMIT_S)
    return elf


def _command(machine: Machine, elf: Path, options: str | None) -> tuple[str, ...]:
    plugin = ("-plugin", options) if options else ()
    return (tools.QEMU_AARCH64.name, "-cpu", machine.emulated, *plugin, str(elf), "inputs.bin")


def _markers(elf: Path) -> str:
    return f"mark={MARK_SYSCALL}"


def _alone(machine: Machine, build: Build) -> Path:
    """Return the object: the C library is the system's."""
    return build.object


def _cortex_a(name: str, core: str) -> Machine:
    """Return the machine of a core; the compiler may use all that this core has, such as dot products."""
    return Machine(
        name=name,
        emulated=core,
        memory=None,
        compiler=tools.AARCH64_GCC,
        size=tools.AARCH64_SIZE,
        nm=tools.AARCH64_NM,
        emulator=tools.QEMU_AARCH64,
        extra_tools=(tools.GCC,),
        flags=("-O2", "-std=c99", f"-mcpu={core}"),
        link=_link,
        command=_command,
        markers=_markers,
        alone=_alone,
    )


A53 = _cortex_a("qemu-aarch64-a53", "cortex-a53")
A72 = _cortex_a("qemu-aarch64", "cortex-a72")
A76 = _cortex_a("qemu-aarch64-a76", "cortex-a76")
MACHINES = (A72, A53, A76)
