"""Runtime `c-host`: the C of target `arm-m`, compiled by this machine's C compiler and run here."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.c99.arena import ALIGNMENT_BYTES
from export.c99.layout import from_c, size, to_c
from export.errors import ExportError
from export.runtimes.session import Runtime, Told
from quant.formats import Array
from quant.graph import Graph, Quant

if TYPE_CHECKING:
    from export.bundle_read import Bundle

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
#: Before every piece of a tapped tensor stand its step and its bytes, int32 each.
PIECE_HEAD_BYTES = 8
#: A compiler or a model that takes longer than this hangs.
TIMEOUT_S = 300.0


class CHostSession:
    """One generated model compiled in a temporary folder. Each program is compiled when it is first needed."""

    def __init__(self, folder: Path, name: str, graph: Graph):
        self._source, self._name, self._graph = folder, name, graph
        self._arena: Array | None = None
        self._home = tempfile.TemporaryDirectory(prefix="edgemill_c_")

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch, [N, ...] in graph layout."""
        made = self._execute(self._program("pipe"), codes)
        return self._unpack(made, self._graph.output, len(codes))

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes every step made for a batch, by tensor name, each [N, ...] in graph layout."""
        made = self._execute(self._program("tap", "-DEDGEMILL_TAP"), codes)
        names = [node.output for node in self._graph.nodes]
        shown: dict[int, bytearray] = {index: bytearray() for index in range(len(names))}
        at = 0
        while at < len(made):
            index, size_bytes = np.frombuffer(made, np.int32, 2, at).tolist()
            shown[index] += made[at + PIECE_HEAD_BYTES : at + PIECE_HEAD_BYTES + size_bytes]
            at += PIECE_HEAD_BYTES + size_bytes
        return {name: self._unpack(bytes(shown[i]), name, len(codes)) for i, name in enumerate(names)}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return a function that runs one inference of `codes[:1]` inside this process."""
        library = ctypes.CDLL(str(self._program("library", "-shared", "-fPIC")))
        invoke, init = (getattr(library, f"{self._name}_{what}") for what in ("invoke", "init"))
        invoke.argtypes, invoke.restype = (ctypes.c_void_p,) * 3, None
        init.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        arena, network = _aligned(self._arena_bytes()), np.zeros(1, np.uintp)
        self._arena = arena  # kept, as the network points into it
        if init(network.ctypes.data, arena.ctypes.data, arena.nbytes) != 0:
            raise ExportError(f"c-host: '{self._name}' refuses its arena of {arena.nbytes} bytes.")
        given = self._packed(codes[:1])
        output = np.zeros(size(self._graph.shape(self._graph.output)), self._quant(self._graph.output).format.dtype)

        def once() -> None:
            invoke(network.ctypes.data, given.ctypes.data, output.ctypes.data)

        return once

    def nanoseconds(self, codes: Array, loops: int) -> float:
        """Return the mean nanoseconds per inference of `codes[:1]` over `loops` runs in a process of its own."""
        return float(self._execute(self._program("pipe"), codes[:1], str(loops)))

    def close(self) -> None:
        """Remove the temporary folder."""
        self._home.cleanup()

    def _arena_bytes(self) -> int:
        macro = rf"^#define {self._name.upper()}_ARENA_BYTES (\d+)$"
        header = (self._source / f"{self._name}.h").read_text(encoding="utf-8")
        found = re.search(macro, header, re.MULTILINE)
        if found is None:
            raise ExportError(f"c-host: {self._name}.h does not define the size of the arena; export the part again.")
        return int(found[1])

    def _quant(self, tensor: str) -> Quant:
        return self._graph.quant(tensor)

    def _bytes(self, tensor: str) -> int:
        return size(self._graph.shape(tensor)) * self._quant(tensor).format.dtype.itemsize

    def _packed(self, codes: Array) -> Array:
        """Codes in C memory order; refuses a wrong shape, which would shift every later sample."""
        shape = self._graph.shape(self._graph.input)
        if codes.shape[1:] != shape[1:]:
            raise ExportError(f"c-host: '{self._name}' takes codes of shape [N, *{shape[1:]}], not {codes.shape}.")
        return to_c(codes.astype(self._quant(self._graph.input).format.dtype, casting="same_kind"))

    def _unpack(self, made: bytes, tensor: str, count: int) -> Array:
        """Return a tensor of every sample."""
        expected = count * self._bytes(tensor)
        if len(made) != expected:
            raise ExportError(
                f"c-host: '{self._name}' wrote {len(made)} bytes of '{tensor}' for {count} inputs, not {expected}."
            )
        flat = np.frombuffer(made, self._quant(tensor).format.dtype).reshape(count, -1)
        return from_c(flat, self._graph.shape(tensor))

    def _execute(self, program: Path, codes: Array, *arguments: str) -> bytes:
        return checked([str(program), *arguments], f"c-host: model '{self._name}'", self._packed(codes).tobytes())

    def _program(self, kind: str, *flags: str) -> Path:
        return compiled(self._source, self._name, Path(self._home.name), kind, *flags)


def compiled(source: Path, name: str, home: Path, kind: str, *flags: str) -> Path:
    """Return the program, or the `library`, made of NAME.c in `source`, compiled into `home` if it is not there.

    Raises:
        ExportError: there is no compiler, or the source does not compile without a warning.
    """
    target = home / kind
    if target.exists():
        return target
    sources = [str(source / f"{name}.c")]
    if kind != "library":
        main = resources.files("export.c99").joinpath("harness", "pipe_main.c").read_text(encoding="utf-8")
        copy = home / "pipe_main.c"
        copy.write_text(main, encoding="utf-8")
        sources.append(str(copy))
    command = [_compiler(), *FLAGS, *flags, *_definitions(name), f"-I{source}", *sources]
    checked([*command, "-o", str(target)], f"c-host: compiling '{name}'")
    return target


def _aligned(size_bytes: int) -> Array:
    """Zeroed bytes that start at a multiple of 16."""
    whole = np.zeros(size_bytes + ALIGNMENT_BYTES, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT_BYTES
    return whole[start : start + size_bytes]


def _definitions(name: str) -> tuple[str, ...]:
    sizes = (f"-DPIPE_{what}_SIZE={name.upper()}_{what}_SIZE" for what in ("INPUT", "OUTPUT"))
    arena = f"-DPIPE_ARENA={name.upper()}_ARENA"
    return (f'-DPIPE_HEADER="{name}.h"', f"-DPIPE(x)={name}_##x", "-D_POSIX_C_SOURCE=199309L", *sizes, arena)


def _compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        raise ExportError("c-host: no C compiler 'cc' on this machine; install gcc (apt install gcc libc6-dev).")
    return found


def checked(command: list[str], what: str, given: bytes = b"") -> bytes:
    """Run a command and return what it writes.

    Raises:
        ExportError: it fails or takes longer than `TIMEOUT_S`; with the first lines it complained.
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=TIMEOUT_S, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise ExportError(f"{what}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[:800]
        raise ExportError(f"{what}: '{Path(command[0]).name}' ended with {done.returncode}: {said}")
    return done.stdout


def missing() -> str | None:
    """Compile and run an empty program; return None when that works, else the reason."""
    with tempfile.TemporaryDirectory(prefix="edgemill_c_") as home:
        source, program = Path(home) / "empty.c", Path(home) / "empty"
        source.write_text("#include <stdint.h>\nint main(void) { return 0; }\n", encoding="utf-8")
        try:
            checked([_compiler(), str(source), "-o", str(program)], "c-host: compiling an empty program")
            checked([str(program)], "c-host: an empty program")
        except ExportError as error:
            return str(error)
    return None


def _open(folder: Path, name: str, graph: Graph) -> CHostSession:
    if not (folder / f"{name}.c").is_file():
        raise ExportError(f"c-host: {folder / name}.c is not there; export the part for target arm-m first.")
    return CHostSession(folder, name, graph)


def _joint(bundle: Bundle, codes: Array) -> Told:
    from export.runtimes.c_joint import answers_on_host  # it compiles as this module does

    return answers_on_host(bundle, codes)


RUNTIME = Runtime(name="c-host", target="arm-m", exact=True, missing=missing, open=_open, joint=_joint)
