"""The FPGA families: how yosys is asked, which of its cells are which resource, and what places and packs them.

A family is one value and one word in `FAMILIES`. Cells that are in none of a family's tables take no resource that is
counted: wires, multiplexers inside a slice, pads, buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.circuit import Usage
from devices.errors import DeviceError
from quant.names import find


@dataclass(frozen=True, slots=True)
class Family:
    """One family of devices.

    Attributes:
        name: as in boards.
        command: yosys' synthesis command with its options; `-nowidelut` keeps families and number formats comparable.
        attempts: options that are added, tried in order when yosys crashes with the ones before.
        luts, brams: cells by what one of them takes: look-up tables (a carry cell of two look-up tables counts 2),
            block memories.
        ffs, dsps: cells that are one flip-flop or one DSP block.
        bram_unit, bram_bits: the block memory.
        placer, packer: the commands that place, route and pack, by their plain names; empty where no open tool does.
        placed: the placer's names of look-up tables, flip-flops, block memories and DSP blocks.
    """

    name: str
    command: str
    attempts: tuple[str, ...]
    luts: Mapping[str, int]
    ffs: tuple[str, ...]
    brams: Mapping[str, float]
    dsps: tuple[str, ...]
    bram_unit: str
    bram_bits: int
    placer: str = ""
    packer: str = ""
    placed: tuple[str, str, str, str] = ("", "", "", "")


_XILINX_LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "INV": 1,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM128X1S": 2,
    "RAM256X1S": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM256X1D": 8,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
}
_XILINX_FFS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1", "LDCE", "LDPE")
_XILINX = "-noiopad -noclkbuf -flatten -nowidelut"

XC7 = Family(
    name="xc7",
    command=f"synth_xilinx -family xc7 {_XILINX}",
    attempts=("",),
    luts=_XILINX_LUTS,
    ffs=_XILINX_FFS,
    brams={"RAMB18E1": 0.5, "RAMB36E1": 1.0},
    dsps=("DSP48E1",),
    bram_unit="RAMB36",
    bram_bits=36864,
)
XCUP = Family(
    name="xcup",
    command=f"synth_xilinx -family xcup {_XILINX}",
    attempts=("",),
    luts=_XILINX_LUTS,
    ffs=_XILINX_FFS,
    brams={"RAMB18E2": 0.5, "RAMB36E2": 1.0},
    dsps=("DSP48E2",),
    bram_unit="RAMB36",
    bram_bits=36864,
)
ECP5 = Family(
    name="ecp5",
    command="synth_ecp5 -abc9 -nowidelut",
    attempts=("",),
    luts={"LUT4": 1, "CCU2C": 2, "INV": 1, "TRELLIS_DPR16X4": 4},
    ffs=("TRELLIS_FF",),
    brams={"DP16KD": 1.0, "PDPW16KD": 1.0},
    dsps=("MULT18X18D",),
    bram_unit="DP16KD",
    bram_bits=18432,
    placer="nextpnr-ecp5",
    packer="ecppack",
    placed=("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D"),
)
_ICE40_FFS = ("", "E", "R", "S", "ER", "ES", "SR", "SS", "ESR", "ESS")
ICE40 = Family(
    name="ice40",
    command="synth_ice40 -device u",
    attempts=("-dsp", ""),
    luts={"SB_LUT4": 1, "INV": 1},
    ffs=tuple(f"SB_DFF{edge}{kind}" for edge in ("", "N") for kind in _ICE40_FFS),
    brams={f"SB_RAM40_4K{edges}": 1.0 for edges in ("", "NR", "NW", "NRNW")},
    dsps=("SB_MAC16",),
    bram_unit="EBR",
    bram_bits=4096,
    placer="nextpnr-ice40",
    packer="icepack",
    placed=("ICESTORM_LC", "", "ICESTORM_RAM", "ICESTORM_DSP"),
)

FAMILIES = (XC7, XCUP, ECP5, ICE40)


def find_family(name: str) -> Family:
    """Return the family called `name`, or raise DeviceError with the nearest known name."""
    return find(name, FAMILIES, "FPGA family", DeviceError)


def usage(family: Family, cells: Mapping[str, int]) -> Usage:
    """Add up what cells take.

    Args:
        family: of the netlist.
        cells: how often each kind of cell occurs.
    """
    return Usage(
        lut=sum(cells.get(name, 0) * each for name, each in family.luts.items()),
        ff=sum(cells.get(name, 0) for name in family.ffs),
        bram=sum(cells.get(name, 0) * each for name, each in family.brams.items()),
        dsp=sum(cells.get(name, 0) for name in family.dsps),
    )
