"""Two products that share an activation in one DSP block: (w1 * 2^s + w0) * x.

The low product fills the lowest s bits as a signed number. Where it is negative it has borrowed one from the high
product, which gets it back.
"""

from __future__ import annotations

from export.errors import ExportError
from export.rtl.lanes.vector import ZERO, Bits, bits, concat, extend, wire
from quant.accumulator import signed_bits, smallest_bits
from quant.formats import Format

#: Bits of the two signed inputs of a DSP block by family: DSP48E1 (the E2 is wider), MULT18X18D, SB_MAC16.
PORT_BITS = {"xc": (25, 18), "ecp5": (18, 18), "ice40": (16, 16)}
#: Clocks of a pair of products.
CLOCKS = 2


def check(weight: Format, activation: Format, family: str) -> None:
    """Raise ExportError unless two products of these formats fit one DSP block."""
    if weight.is_minifloat or activation.is_minifloat:
        raise ExportError(
            f"Style dsp_pair takes integers, not {weight.name} * {activation.name}: use style lut or dsp."
        )
    need, (wide, narrow) = packed_bits(weight, activation), PORT_BITS[family]
    if need > wide or shared_bits(activation) > narrow:
        raise ExportError(
            f"Two {weight.name} weights beside a {activation.name} activation need DSP inputs of {need} and "
            f"{shared_bits(activation)} bits, and family {family} has {wide} and {narrow}: use style dsp, or narrower "
            "formats."
        )


def packed_bits(weight: Format, activation: Format) -> int:
    """Return the width of both weights side by side, signed; the most negative one borrows below the top weight."""
    both = (1 << smallest_bits(weight, activation, 1)) + 1
    return signed_bits(weight.min_ordinal * both, weight.max_ordinal * both)


def shared_bits(activation: Format) -> int:
    """Return the width of the activation as a signed number."""
    return activation.bits + (not activation.signed)


def lane_module(weight: Format, activation: Format, name: str) -> str:
    """Return the module with ports `clk`, `x`, `w0`, `w1` (one code each), `p0` and `p1`."""
    part = smallest_bits(weight, activation, 1)
    packed, shared = packed_bits(weight, activation), shared_bits(activation)
    high = extend((ZERO,) * part + bits("w1", weight.bits), packed, weight.signed)
    low = extend(bits("w0", weight.bits), packed, weight.signed)
    lines = (
        wire("both", f"{concat(high)} + {concat(low)}", packed),
        wire("left", "both", packed).replace("wire", "wire signed"),
        wire("right", concat(extend(bits("x", activation.bits), shared, activation.signed)), shared).replace(
            "wire", "wire signed"
        ),
        f"  wire signed [{packed + shared - 1}:0] product = left * right;",
        *_split(packed + shared, part),
    )
    ports: tuple[str, ...] = ("input wire clk", f"input wire [{activation.bits - 1}:0] x")
    ports += tuple(f"input wire [{weight.bits - 1}:0] w{k}" for k in (0, 1))
    ports += tuple(f"output reg [{part - 1}:0] p{k}" for k in (0, 1))
    head = f"// Two products {weight.name} * {activation.name} in one multiplier.\nmodule {name} (\n    "
    return head + ",\n    ".join(ports) + "\n);\n" + "\n".join(lines) + "\nendmodule\n"


def _split(width: int, part: int) -> tuple[str, ...]:
    held = bits("held", width)
    high: Bits = extend(held[part:], part, True)
    borrow = extend((held[part - 1],), part, False)
    return (
        f"  reg [{width - 1}:0] held;",
        "  always @(posedge clk) begin",
        "    held <= product;",
        f"    p0 <= {concat(held[:part])};",
        f"    p1 <= {concat(high)} + {concat(borrow)};",
        "  end",
    )
