"""Cortex-M under QEMU's system mode: the generated C on bare boards, talking by semihosting."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from devices import tools
from devices.emulators.footprint import address
from devices.emulators.icount import SOURCES
from devices.emulators.machine import COMPILE_LIMIT_S, Build, Machine, Memory
from devices.errors import DeviceError
from quant.formats import Array

#: The exit code of the fault handler in `sources/cortex_m_main.c`.
FAULT_EXIT_CODE = 70
_LINKER = ("-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments")
_SCRIPT = ("--specs=nano.specs", "-nostartfiles", "-T", str(SOURCES / "mps.ld"), *_LINKER)


def _link(machine: Machine, build: Build, images: Array) -> Path:
    (build.work / "inputs.bin").write_bytes(images.tobytes())
    elf = build.object.with_suffix(".elf")
    argv = [machine.compiler.name, *machine.flags, *build.macros, f"-DEDGEMILL_IMAGES={len(images)}"]
    argv += [f"-I{SOURCES}", f"-I{build.folder}", *_SCRIPT, *_memory_map(machine)]
    argv += [str(SOURCES / "cortex_m_main.c"), str(SOURCES / "inputs.S"), str(build.object), "-o", str(elf)]
    tools.call(argv, f"linking the runner of '{build.name}' for {machine.name}", COMPILE_LIMIT_S, build.work)
    return elf


def _memory_map(machine: Machine) -> list[str]:
    if machine.memory is None:
        raise DeviceError(f"{machine.name} has no memory map; a bare board needs one.")
    names = ("VECTORS_ORIGIN", "FLASH_ORIGIN", "FLASH_BYTES", "RAM_ORIGIN", "RAM_BYTES")
    return [f"-Wl,--defsym={name}={value:#x}" for name, value in zip(names, astuple(machine.memory), strict=True)]


def _command(machine: Machine, elf: Path, options: str | None) -> tuple[str, ...]:
    plugin = ("-plugin", options) if options else ()
    board = ("-M", machine.emulated, "-display", "none", "-monitor", "none", "-serial", "none")
    console = ("-chardev", "stdio,id=console", "-semihosting-config", "enable=on,target=native,chardev=console")
    return (tools.QEMU_SYSTEM_ARM.name, *board, *console, "-icount", "shift=0", *plugin, "-kernel", str(elf))


def _markers(elf: Path) -> str:
    return f"begin={address(tools.ARM_NM, elf, 'edgemill_begin')},end={address(tools.ARM_NM, elf, 'edgemill_end')}"


def _alone(machine: Machine, build: Build) -> Path:
    """Link the part with nothing but what it takes of the C library; such a program has no start and never runs."""
    elf = build.work / f"{build.name}_alone.elf"
    if not elf.exists():
        roots = (f"-Wl,-e,{build.name}_invoke", f"-Wl,-u,{build.name}_init")
        argv = [machine.compiler.name, *machine.flags, str(build.object), *_SCRIPT, *_memory_map(machine), *roots]
        tools.call([*argv, "-o", str(elf)], f"linking '{build.name}' alone for {machine.name}", COMPILE_LIMIT_S)
    return elf


MIB = 1 << 20
#: Boards with memory at the ends of the address space of an M3, M4 or M7.
_MPS2 = Memory(vectors=0, flash=0x40, flash_bytes=4 * MIB - 0x40, ram=0x20000000, ram_bytes=4 * MIB)
#: Secure addresses: a core with TrustZone starts there.
_AN505 = Memory(vectors=0x10000000, flash=0x10000040, flash_bytes=4 * MIB - 0x40, ram=0x38000000, ram_bytes=4 * MIB)
#: It starts in 512 KiB of tightly coupled memory; a network may be larger, so code and data lie in the SRAMs.
_AN547 = Memory(vectors=0, flash=0x11000000, flash_bytes=2 * MIB, ram=0x31000000, ram_bytes=4 * MIB)


def _cortex_m(board: str, core: str, memory: Memory, *unit: str) -> Machine:
    """Return the machine of a board; `unit` are the compiler's flags for floating point."""
    return Machine(
        name=board,
        emulated=board,
        memory=memory,
        compiler=tools.ARM_GCC,
        size=tools.ARM_SIZE,
        nm=tools.ARM_NM,
        emulator=tools.QEMU_SYSTEM_ARM,
        extra_tools=(tools.GCC,),
        flags=("-O2", "-std=c99", f"-mcpu={core}", "-mthumb", *unit, "-ffunction-sections", "-fdata-sections"),
        link=_link,
        command=_command,
        markers=_markers,
        alone=_alone,
        fault_code=FAULT_EXIT_CODE,
    )


M3 = _cortex_m("mps2-an385", "cortex-m3", _MPS2)
M4 = _cortex_m("mps2-an386", "cortex-m4", _MPS2, "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
M7 = _cortex_m("mps2-an500", "cortex-m7", _MPS2, "-mfpu=fpv5-d16", "-mfloat-abi=hard")
M33 = _cortex_m("mps2-an505", "cortex-m33", _AN505, "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")
M55 = _cortex_m("mps3-an547", "cortex-m55", _AN547, "-mfloat-abi=hard")
MACHINES = (M3, M4, M7, M33, M55)
