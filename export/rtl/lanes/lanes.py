"""Exact dot products of `simd` pairs of codes as one pipelined Verilog-2001 module.

Products of codes are whole numbers in units of both formats, and their sum is kept whole: no rounding, no overflow.
The pipeline takes a new set of codes every clock and has no enable: whoever uses it moves valid bits along outside.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import ExportError
from export.rtl.lanes import pair
from export.rtl.lanes.chain import CHAIN, Product, chained, sum_widths
from export.rtl.lanes.lane import Lane, lane, lane_module
from export.rtl.lanes.tree import tree, tree_clocks
from export.rtl.lanes.vector import Bits, bits, concat, register
from quant.accumulator import smallest_bits
from quant.formats import Format

#: Look-up tables, one DSP block a product, two products in one DSP block.
STYLES = ("lut", "dsp", "dsp_pair")
#: FPGAs by the structures that suit them: Xilinx 7 and later, Lattice ECP5, Lattice iCE40.
FAMILIES = ("xc", "ecp5", "ice40")


@dataclass(frozen=True, slots=True)
class Lanes:
    """A dot product of `simd` weight and activation codes.

    `style` is one of `STYLES`; `dsp_pair` makes two dot products that share their activations.

    Raises:
        ExportError: no such style or family, no lanes at all, or formats that `dsp_pair` cannot take.
    """

    weight: Format
    activation: Format
    simd: int
    style: str = "lut"
    family: str = "xc"

    def __post_init__(self) -> None:
        if self.style not in STYLES or self.family not in FAMILIES:
            raise ExportError(
                f"Lanes of style {self.style!r} for family {self.family!r} do not exist: "
                f"styles are {', '.join(STYLES)}, families {', '.join(FAMILIES)}."
            )
        if self.simd < 1:
            raise ExportError(f"A dot product of {self.simd} lanes cannot be built: take at least 1.")
        if self.style == "dsp_pair":
            pair.check(self.weight, self.activation, self.family)

    @property
    def sum_bits(self) -> int:
        """Width of the sum as a signed number, in units of both formats: no sum of any codes overflows it."""
        return smallest_bits(self.weight, self.activation, self.simd)

    @property
    def product_bits(self) -> int:
        """Width of one product as a signed number."""
        return smallest_bits(self.weight, self.activation, 1)

    @property
    def latency(self) -> int:
        """Clocks from codes to their sum."""
        if self.style == "dsp_pair":
            return pair.CLOCKS + tree_clocks(self.simd)
        made = lane(self.weight, self.activation, self.style, self.family)
        if made.carry is None:
            return made.clocks + tree_clocks(self.simd)
        chain = min(self.simd, CHAIN[self.family])
        return made.clocks + chain + tree_clocks(-(-self.simd // chain))


def verilog(lanes: Lanes, module_name: str) -> str:
    """Return the module and what it instantiates.

    Ports: `clk`; `x`, activation codes with lane i at bit i*bits and the zero point not taken off; `w`, weight codes
    likewise (`w0` and `w1` in style `dsp_pair`); `sum`, signed (`sum0`, `sum1`). Integers are two's complement or
    unsigned as their format says, minifloats bit patterns; a reserved code gives a meaningless sum.
    """
    if lanes.style == "dsp_pair":
        return _pair_verilog(lanes, module_name)
    made = lane(lanes.weight, lanes.activation, lanes.style, lanes.family)
    text = lane_module(made, lanes.weight, lanes.activation, f"{module_name}_lane")
    if made.carry is None:
        lines = [line for index in range(lanes.simd) for line in _instance(lanes, made, module_name, index, 0)]
        leaves = tuple(bits(f"p{index}", len(made.value)) for index in range(lanes.simd))
    else:
        lines, leaves = _chains(lanes, made, module_name)
    total = tree("sum", leaves, lanes.sum_bits)
    return f"{text}\n{_module(lanes, module_name, ('w',), ('sum',), (*lines, *total))}"


def _chains(lanes: Lanes, made: Lane, module_name: str) -> tuple[list[str], tuple[Bits, ...]]:
    """Return the lines and sums of chains of products; shorter chains start later and end together."""
    length = min(lanes.simd, CHAIN[lanes.family])
    widths = sum_widths(lanes.weight, lanes.activation, length)
    lines: list[str] = []
    leaves = []
    for first in range(0, lanes.simd, length):
        members = range(first, min(first + length, lanes.simd))
        for index in members:
            lines += _instance(lanes, made, module_name, index, index - first + length - len(members))
        products = tuple(Product(bits(f"p{index}", len(made.value)), f"carry{index}") for index in members)
        chain, total = chained(f"chain{first}", products, widths[: len(products)])
        lines += chain
        leaves.append(total)
    return lines, tuple(leaves)


def _instance(lanes: Lanes, made: Lane, module_name: str, index: int, wait: int) -> list[str]:
    """Return the lines of one lane whose codes wait some clocks."""
    lines: list[str] = []
    ports: list[str] = []
    for port, fmt in (("x", lanes.activation), ("w", lanes.weight)):
        value = bits(port, fmt.bits, index * fmt.bits)
        for clock in range(wait):
            held = register(f"{port}{index}_wait{clock}", value)
            lines, value = [*lines, *held.lines], held.value
        ports.append(f".{port}({concat(value)})")
    lines.append(f"  wire [{len(made.value) - 1}:0] p{index};")
    if made.carry is not None:
        lines.append(f"  wire carry{index};")
        ports.append(f".carry(carry{index})")
    return [*lines, f"  {module_name}_lane lane{index} (.clk(clk), {', '.join(ports)}, .p(p{index}));"]


def _pair_verilog(lanes: Lanes, module_name: str) -> str:
    """Return the module of two dot products that share their activations."""
    lane = pair.lane_module(lanes.weight, lanes.activation, f"{module_name}_lane")
    lines: list[str] = []
    for index in range(lanes.simd):
        x = f"x[{index * lanes.activation.bits} +: {lanes.activation.bits}]"
        w = ", ".join(f".w{k}(w{k}[{index * lanes.weight.bits} +: {lanes.weight.bits}])" for k in (0, 1))
        lines += [f"  wire [{lanes.product_bits - 1}:0] p{index}_0, p{index}_1;"]
        lines += [f"  {module_name}_lane lane{index} (.clk(clk), .x({x}), {w}, .p0(p{index}_0), .p1(p{index}_1));"]
    for k in (0, 1):
        leaves = tuple(bits(f"p{index}_{k}", lanes.product_bits) for index in range(lanes.simd))
        lines += tree(f"sum{k}", leaves, lanes.sum_bits)
    return f"{lane}\n{_module(lanes, module_name, ('w0', 'w1'), ('sum0', 'sum1'), tuple(lines))}"


def _module(lanes: Lanes, name: str, weights: tuple[str, ...], sums: tuple[str, ...], lines: tuple[str, ...]) -> str:
    w_bits, x_bits = lanes.simd * lanes.weight.bits, lanes.simd * lanes.activation.bits
    ports = ["    input wire clk", f"    input wire [{x_bits - 1}:0] x"]
    ports += [f"    input wire [{w_bits - 1}:0] {weight}" for weight in weights]
    ports += [f"    output wire signed [{lanes.sum_bits - 1}:0] {total}" for total in sums]
    title = (
        f"// Sum of {lanes.simd} products {lanes.weight.name} * {lanes.activation.name}, {lanes.latency} clocks later."
    )
    return "\n".join((title, f"module {name} (", ",\n".join(ports), ");", *lines, "endmodule", ""))
