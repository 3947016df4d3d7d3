"""Compile the static C runner around a part's generated C, for the kinds of Linux boards there are."""

from __future__ import annotations

import platform
import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from devices import tools
from devices.errors import DeviceError
from devices.tools import Tool
from quant.formats import Format

SOURCES = Path(__file__).resolve().parent.parent / "runners" / "c"
COMPILE_LIMIT_S = 300.0
FLAGS = ("-O2", "-std=gnu11", "-static", "-pthread")
_CPU = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,40}")


@dataclass(frozen=True, slots=True)
class Triple:
    """A kind of Linux machine: its GNU triple, what `uname -m` says there, and the compiler for it elsewhere."""

    name: str
    machines: tuple[str, ...]
    cross: Tool
    cpu_flag: str

    @property
    def compiler(self) -> Tool:
        """The compiler to use on this machine."""
        return tools.GCC if platform.machine() in self.machines else self.cross


X86_64 = Triple(
    "x86_64-linux-gnu", ("x86_64",), Tool("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu libc6-dev-amd64-cross"), "march"
)
AARCH64 = Triple("aarch64-linux-gnu", ("aarch64", "arm64"), tools.AARCH64_GCC, "mcpu")
ARMHF = Triple(
    "arm-linux-gnueabihf",
    ("armv7l", "armv8l"),
    tools.ARMHF_GCC,
    "mcpu",
)
TRIPLES = (AARCH64, ARMHF, X86_64)


def check_cpu(cpu: str, where: str) -> str:
    """Return the name of a core as GCC knows it; DeviceError when it could be anything but a name."""
    if not _CPU.fullmatch(cpu):
        raise DeviceError(f"{where}: '{cpu}' is no name of a core, such as cortex-a72.")
    return cpu


class Runners:
    """Compiled runners, so that fifty boards of one kind take one call of the compiler. For use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[Path, str, str, str | None], bytes] = {}

    def build(self, folder: Path, name: str, output: Format, triple: Triple, cpu: str | None = None) -> bytes:
        """Return what `build_runner` returns, compiled when it is first asked for."""
        key = (folder, name, triple.name, cpu)
        with self._lock:
            if key not in self._made:
                self._made[key] = build_runner(folder, name, output, triple, cpu)
            return self._made[key]


def build_runner(folder: Path, name: str, output: Format, triple: Triple, cpu: str | None = None) -> bytes:
    """Compile and link the runner of one part; the same sources give the same bytes.

    Args:
        folder: of the part, with its generated C.
        name: what the files' names begin with.
        output: format of the output codes.
        triple: the kind of board.
        cpu: its core, so that the compiler may use all that this core has; None is the least of the triple.

    Returns:
        bytes: a static program.

    Raises:
        DeviceError: a compiler or the generated C is missing, or it does not compile.
    """
    tools.require((triple.compiler,))
    source = folder / f"{name}.c"
    if not source.is_file():
        raise DeviceError(f"{folder} holds no {name}.c; export the part to arm-m first.")
    own = (f'-DEDGEMILL_HEADER="{name}.h"', f"-DEDGEMILL_NAME={name}", f"-DEDGEMILL_UPPER={name.upper()}")
    sign = (f"-DEDGEMILL_SIGN_BIT={output.bits - 1}",) if output.is_minifloat else ()
    core = (f"-{triple.cpu_flag}={check_cpu(cpu, triple.name)}",) if cpu else ()
    with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
        program = Path(work) / "runner"
        argv = [triple.compiler.name, *FLAGS, *core, *own, *sign, f"-I{SOURCES}", f"-I{folder}"]
        argv += [*(str(path) for path in sorted(SOURCES.glob("*.c"))), str(source), "-lm", "-Wl,--build-id=none", "-s"]
        tools.call([*argv, "-o", str(program)], f"compiling the runner of '{name}' for {triple.name}", COMPILE_LIMIT_S)
        return program.read_bytes()
