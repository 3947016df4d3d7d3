"""Families of FPGAs, and amounts of their resources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """What matters of a family of FPGAs here.

    Attributes:
        family: `xc` (Xilinx 7 and later), `ecp5` or `ice40`.
        shapes: how a block memory can be used: bits of a word, words.
        blocks_per_unit: such blocks in what data sheets count (two of 18 kbit in one of 36 kbit on Xilinx).
        wide_bits, narrow_bits: the signed inputs of a DSP block.
        lut_inputs: inputs of a look-up table.
    """

    family: str
    shapes: tuple[tuple[int, int], ...]
    blocks_per_unit: int
    wide_bits: int
    narrow_bits: int
    lut_inputs: int

    @property
    def table_words(self) -> int:
        """Words of the largest table that is better in look-up tables than in block memory: one look-up table a bit."""
        return 1 << self.lut_inputs


XILINX = Device("xc", ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)), 2, 25, 18, 6)
LATTICE_ECP5 = Device("ecp5", ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)), 1, 18, 18, 4)
LATTICE_ICE40 = Device("ice40", ((16, 256), (8, 512), (4, 1024), (2, 2048)), 1, 16, 16, 4)
FAMILIES = (XILINX, LATTICE_ECP5, LATTICE_ICE40)


@dataclass(frozen=True, slots=True)
class Resources:
    """Look-up tables, DSP blocks and block memories (in the unit data sheets count: 36 kbit on Xilinx)."""

    lut: float = 0.0
    dsp: int = 0
    bram: float = 0.0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.lut + other.lut, self.dsp + other.dsp, self.bram + other.bram)

    def fits(self, budget: Resources) -> bool:
        """Whether nothing exceeds a budget."""
        return self.lut <= budget.lut and self.dsp <= budget.dsp and self.bram <= budget.bram


def total(parts: list[Resources]) -> Resources:
    """Return the sum of resources."""
    return sum(parts, Resources())
