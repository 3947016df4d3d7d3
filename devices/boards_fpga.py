"""The FPGA boards: resources by yosys for all of them; clock and bitstream where open tools place and route.

Resources are the makers' figures; those of the ECP5 and the iCE40 are also what nextpnr says of the device. Nothing
here runs on a board: a figure is what tools say of a netlist, and called `synthesised`.
"""

from __future__ import annotations

from devices.board import Board
from devices.circuit import Usage
from devices.synthesis.device import Fpga

_ECP5_85 = Usage(lut=83640, ff=83640, bram=208, dsp=156)
_ECP5_25 = Usage(lut=24288, ff=24288, bram=56, dsp=28)
_UP5K = Usage(lut=5280, ff=5280, bram=30, dsp=8)


def _ecp5(name: str, summary: str, size: str, package: str, budget: Usage, pins: int) -> Fpga:
    device, option = f"LFE5U-{size}F", f"--{size}k"
    return Fpga(name, summary, "ecp5", device, package, "6", option, budget, pins, 100e6)


def _xilinx(name: str, summary: str, family: str, part: tuple[str, str, str], budget: Usage, target_hz: float) -> Fpga:
    device, package, speed = part
    return Fpga(name, summary, family, device, package, speed, "", budget, 0, target_hz)


FPGAS = (
    _ecp5("ulx3s-85k", "Radiona ULX3S, Lattice ECP5 with 84k look-up tables", "85", "CABGA381", _ECP5_85, 200),
    _ecp5("ulx3s-25k", "Radiona ULX3S, Lattice ECP5 with 24k look-up tables", "25", "CABGA381", _ECP5_25, 190),
    _ecp5("colorlight-i5", "Colorlight i5, Lattice ECP5 with 24k look-up tables", "25", "CABGA381", _ECP5_25, 190),
    Fpga(
        name="icebreaker",
        summary="iCEBreaker, Lattice iCE40 UltraPlus with 5k logic cells",
        family="ice40",
        device="iCE40UP5K",
        package="sg48",
        speed="low power",
        option="--up5k",
        budget=_UP5K,
        pins=36,
        target_hz=24e6,
    ),
    _xilinx(
        "arty-a7-35t",
        "Digilent Arty A7-35T, Artix-7",
        "xc7",
        ("XC7A35T", "CSG324", "-1"),
        Usage(lut=20800, ff=41600, bram=50, dsp=90),
        100e6,
    ),
    _xilinx(
        "arty-a7-100t",
        "Digilent Arty A7-100T, Artix-7",
        "xc7",
        ("XC7A100T", "CSG324", "-1"),
        Usage(lut=63400, ff=126800, bram=135, dsp=240),
        100e6,
    ),
    _xilinx(
        "pynq-z2",
        "TUL PYNQ-Z2, Zynq-7000",
        "xc7",
        ("XC7Z020", "CLG400", "-1"),
        Usage(lut=53200, ff=106400, bram=140, dsp=220),
        100e6,
    ),
    _xilinx(
        "ultra96",
        "Avnet Ultra96-V2, Zynq UltraScale+",
        "xcup",
        ("XCZU3EG", "SBVA484", "-1"),
        Usage(lut=70560, ff=141120, bram=216, dsp=360),
        150e6,
    ),
)

_MEMORIES = ("arena", "flash", "code", "ram", "stack")
_ABSENT = (
    ("instructions", "the network is a circuit and executes no instructions"),
    ("energy", "synthesis draws no power of an FPGA, and no open power model is used"),
    *((name, "the circuit has memories of its own: see its block memories") for name in _MEMORIES),
)
_PLACED = "resources, clock and bitstream by open tools"
_COUNTED = "resources by yosys; timing is the vendor's tool's, not executed here"
_NO_CLOCK = (("latency", "cycles are known, the clock is not: timing is the vendor's tool's, not executed here"),)


def _board(fpga: Fpga) -> Board:
    placed = bool(fpga.option)
    return Board(
        name=fpga.name,
        summary=f"{fpga.summary} ({fpga.device}): {_PLACED if placed else _COUNTED}",
        target="fpga",
        transport="synthesis",
        runtime="yosys",
        cpu=None,
        method="synthesised",
        metrics=("latency", "cycles") if placed else ("cycles",),
        absent=_ABSENT if placed else (*_NO_CLOCK, *_ABSENT),
    )


BOARDS = tuple(_board(fpga) for fpga in FPGAS)


def find_fpga(board: Board) -> Fpga:
    """Return the FPGA of a board that is one."""
    return next(fpga for fpga in FPGAS if fpga.name == board.name)
