"""Cortex-M4 under QEMU's system mode: the generated C on the bare mps2-an386, talking by semihosting."""

from __future__ import annotations

from pathlib import Path

from devices import tools
from devices.emulators.icount import SOURCES
from devices.emulators.machine import COMPILE_LIMIT_S, Build, EmulatedSession, Machine, open_part
from devices.emulators.trial import missing
from devices.errors import DeviceError
from export.runtimes.session import Runtime
from quant.formats import Array
from quant.graph import Graph

#: The exit code of the fault handler in `sources/cortex_m_main.c`.
FAULT_EXIT_CODE = 70


def _link(machine: Machine, build: Build, images: Array) -> Path:
    (build.work / "inputs.bin").write_bytes(images.tobytes())
    elf = build.object.with_suffix(".elf")
    argv = [machine.compiler.name, *machine.flags, *build.macros, f"-DEDGEMILL_IMAGES={len(images)}"]
    argv += [f"-I{SOURCES}", f"-I{build.folder}", "--specs=nano.specs", "-nostartfiles"]
    argv += ["-T", str(SOURCES / "mps2.ld"), "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
    argv += [str(SOURCES / "cortex_m_main.c"), str(SOURCES / "inputs.S"), str(build.object), "-o", str(elf)]
    tools.call(argv, f"linking the runner of '{build.name}' for {machine.name}", COMPILE_LIMIT_S, build.work)
    return elf


def _command(elf: Path, options: str | None) -> tuple[str, ...]:
    plugin = ("-plugin", options) if options else ()
    board = ("-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none")
    console = ("-chardev", "stdio,id=console", "-semihosting-config", "enable=on,target=native,chardev=console")
    return (tools.QEMU_SYSTEM_ARM.name, *board, *console, "-icount", "shift=0", *plugin, "-kernel", str(elf))


def _markers(elf: Path) -> str:
    symbols = tools.call([tools.ARM_NM.name, str(elf)], f"symbols of {elf.name}", 20.0).decode()
    found = {line.split()[-1]: line.split()[0] for line in symbols.splitlines() if len(line.split()) == 3}
    try:
        return f"begin=0x{found['edgemill_begin']},end=0x{found['edgemill_end']}"
    except KeyError as error:
        raise DeviceError(f"{elf.name} has no marker {error}; the runner was not linked as it should be.") from error


MACHINE = Machine(
    name="mps2-an386",
    compiler=tools.ARM_GCC,
    size=tools.ARM_SIZE,
    emulator=tools.QEMU_SYSTEM_ARM,
    extra_tools=(tools.ARM_NM, tools.GCC),
    flags=(
        "-O2",
        "-std=c99",
        "-mcpu=cortex-m4",
        "-mthumb",
        "-mfpu=fpv4-sp-d16",
        "-mfloat-abi=hard",
        "-ffunction-sections",
        "-fdata-sections",
    ),
    link=_link,
    command=_command,
    markers=_markers,
    fault_code=FAULT_EXIT_CODE,
)


def open_session(folder: Path, name: str, graph: Graph) -> EmulatedSession:
    """Open a part of target arm-m on the emulated Cortex-M4."""
    return open_part(MACHINE, folder, name, graph)


RUNTIME = Runtime(name=MACHINE.name, target="arm-m", exact=True, missing=lambda: missing(MACHINE), open=open_session)
