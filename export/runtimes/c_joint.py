"""The C of a bundle with rules as one program: `NAME_invoke` says who answers, and runs only what an input needs.

Runners know one part of one output. For them a header with a few lines more makes the joint network such a part:
its output is its answer.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.bundle import c_stem
from export.c99.layout import to_c
from export.errors import ExportError
from export.runtimes.c_host import checked, compiled
from export.runtimes.session import Told
from quant.formats import Array, find_format

if TYPE_CHECKING:
    from export.bundle_read import Bundle

#: What the joint network is called where the bundle's name has no letter of ASCII.
NAMELESS = "network"
#: `part` and `label` stand first in an answer, int32 each, little endian; a pointer follows.
_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class JointFiles:
    """The sources of a joint network: its own, those of its parts, and where their headers lie."""

    stem: str
    folder: Path
    parts: tuple[Path, ...]
    places: tuple[Path, ...]

    @property
    def own(self) -> Path:
        """NAME.c, which decides."""
        return self.folder / f"{self.stem}.c"


def bundle_stem(bundle: Bundle) -> str:
    """Return what names in C of a joint network begin with."""
    return c_stem(bundle.manifest.name) or NAMELESS


def joint_arena_bytes(folder: Path, stem: str) -> int | None:
    """Return what NAME.h says about the memory that all parts share, None where it says nothing."""
    header = folder / f"{stem}.h"
    text = header.read_text(encoding="utf-8") if header.is_file() else ""
    found = re.search(rf"^#define {stem.upper()}_ARENA_BYTES (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def joint_files(bundle: Bundle) -> JointFiles:
    """Return the sources that make a bundle one program.

    Raises:
        ExportError: the bundle has no such C: it has no rules, or another target.
    """
    stem, folder = bundle_stem(bundle), bundle.path.resolve()
    if not (folder / f"{stem}.c").is_file():
        raise ExportError(
            f"{bundle.path} holds no {stem}.c that joins its parts: only bundles of target arm-m whose parts have "
            "rules or sources do. Export it to arm-m, or run its parts one by one."
        )
    sources = tuple(part.folder.resolve() / name for part in bundle.parts for name in _sources(part.facts, part.name))
    return JointFiles(stem, folder, sources, tuple(part.folder.resolve() for part in bundle.parts))


def _sources(facts: object, part: str) -> tuple[str, ...]:
    named = facts.get("sources") if isinstance(facts, dict) else None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ExportError(f"part '{part}' does not say which sources it is compiled from; export the bundle again.")
    return tuple(named)


def runner_header(files: JointFiles) -> str:
    """Return NAME.h with what a runner asks of a part: an output, its size, and an arena."""
    upper = files.stem.upper()
    text = (files.folder / f"{files.stem}.h").read_text(encoding="utf-8")
    return (
        f"{text}\n#ifndef {upper}_RUNNER\n#define {upper}_RUNNER\n"
        f"typedef {files.stem}_answer_t {files.stem}_output_t;\n"
        f"#define {upper}_OUTPUT_SIZE 1\n#define {upper}_ARENA(memory) \\\n"
        f"    unsigned char memory[{upper}_ARENA_BYTES] __attribute__((aligned({upper}_ARENA_ALIGNMENT)))\n#endif\n"
    )


def prepare(files: JointFiles, folder: Path) -> None:
    """Write NAME.h for a runner, and NAME.c beside it, into a folder."""
    (folder / f"{files.stem}.h").write_text(runner_header(files), encoding="utf-8")
    (folder / f"{files.stem}.c").write_bytes(files.own.read_bytes())


def told(answers: Sequence[bytes]) -> Told:
    """Read the bytes of `NAME_answer_t` of each input."""
    short = next((len(answer) for answer in answers if len(answer) < _HEAD_BYTES), None)
    if short is not None:
        raise ExportError(f"an answer came back with {short} bytes; part and label take {_HEAD_BYTES}.")
    heads = np.frombuffer(b"".join(answer[:_HEAD_BYTES] for answer in answers), "<i4").reshape(-1, 2).astype(np.int64)
    return Told(heads[:, 0], heads[:, 1])


def memory_order(bundle: Bundle, codes: Array) -> Array:
    """Return a bundle's input codes [N, ...] (graph layout) as C takes them.

    Raises:
        ExportError: their shape is not the bundle's.
    """
    spec = bundle.manifest.parts[0].input
    if codes.shape[1:] != spec.shape[1:]:
        raise ExportError(f"input codes have shape {codes.shape}; the bundle takes [N, {str(spec.shape[1:])[1:-1]}].")
    dtype = find_format(spec.format).dtype.newbyteorder("<")
    return np.ascontiguousarray(to_c(np.asarray(codes)), dtype=dtype)


def answers_on_host(bundle: Bundle, codes: Array) -> Told:
    """Compile a bundle's joint C for this machine and return what it answers.

    Raises:
        ExportError: the bundle has no joint C, or it does not compile without a warning or run.
    """
    with tempfile.TemporaryDirectory(prefix="edgemill_c_") as home:
        program = _program(joint_files(bundle), Path(home))
        made = checked(
            [str(program)], f"c-host: bundle '{bundle.manifest.name}'", memory_order(bundle, codes).tobytes()
        )
    size = len(made) // max(1, len(codes))
    return told([made[start : start + size] for start in range(0, len(made), max(1, size))])


def nanoseconds_on_host(bundle: Bundle, codes: Array, loops: int, repeats: int = 1) -> list[float]:
    """Return the nanoseconds of each input on this machine.

    Args:
        bundle: with rules.
        codes: inputs, graph layout, [N, ...].
        loops: inferences one after another, whose mean is taken.
        repeats: processes whose least mean counts: others on the machine only ever add time.

    Raises:
        ExportError: as `answers_on_host`.
    """
    with tempfile.TemporaryDirectory(prefix="edgemill_c_") as home:
        command = [str(_program(joint_files(bundle), Path(home))), str(loops)]
        what = f"c-host: timing bundle '{bundle.manifest.name}'"
        given = [one.tobytes() for one in memory_order(bundle, codes)]
        return [min(float(checked(command, what, one)) for _ in range(repeats)) for one in given]


def _program(files: JointFiles, home: Path) -> Path:
    source = home / "source"
    source.mkdir()
    prepare(files, source)
    flags = [*(f"-I{place}" for place in files.places), *(str(part) for part in files.parts)]
    return compiled(source, files.stem, home, "pipe", *flags)
