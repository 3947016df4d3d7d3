"""The files of a core that go into synthesis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Core:
    """Verilog and memory files by path, and the name of the top module."""

    top: str
    sources: tuple[Path, ...]
    memories: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.sources, *self.memories)


def core_of(folder: Path, stem: str) -> Core:
    """Return the core of an exported part: `STEM.v`, `STEM_*.v` or `.sv` but no bench, and `STEM_*.mem`.

    Raises:
        DeviceError: there is no `STEM.v`.
    """
    if not (folder / f"{stem}.v").is_file():
        raise DeviceError(f"{folder} holds no {stem}.v; export the part to fpga first.")
    more = sorted(path for kind in ("v", "sv") for path in folder.glob(f"{stem}_*.{kind}"))
    sources = (folder / f"{stem}.v", *(path for path in more if not path.stem.endswith("_tb")))
    return Core(stem, sources, tuple(sorted(folder.glob(f"{stem}_*.mem"))))
