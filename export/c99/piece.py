"""What one step adds to the generated file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.c99.layout import c_type, image, size
from export.c99.numbers import wrapped
from export.c99.template import Kernel
from quant.fixedpoint import Multiplier
from quant.formats import Format
from quant.program import Program, Requant

#: Exponents of the minifloat rule beyond these give 0 or saturate whatever the accumulator is: |product| < 2^63.
WIDE_EXPONENTS = (-100, 127)


@dataclass(frozen=True, eq=False)
class Piece:
    """Kernels a step needs, its constants as C text, its statements, and the bytes it takes."""

    kernels: tuple[Kernel, ...]
    constants: tuple[str, ...]
    statements: tuple[str, ...]
    constant_bytes: int = 0
    scratch_type: str = ""
    scratch_bytes: int = 0


@dataclass(frozen=True, eq=False)
class Constants:
    """C text of constants, and how many bytes they take in flash."""

    text: str
    size_bytes: int


@dataclass(frozen=True, eq=False)
class Context:
    """A program, the C expression of each tensor, and the number of the step that is printed."""

    program: Program
    names: Mapping[str, str]
    index: int

    def format(self, tensor: str) -> Format:
        """Return the number format of a tensor."""
        return self.program.quant(tensor).format

    def c_type(self, tensor: str) -> str:
        """Return the C type of a tensor's elements."""
        return c_type(self.format(tensor))

    def image(self, tensor: str) -> tuple[int, int, int]:
        """Return height, width and channels of a tensor."""
        return image(self.program.tensors[tensor].shape)

    def size(self, tensor: str) -> int:
        """Return the number of elements of a tensor."""
        return size(self.program.tensors[tensor].shape)

    def label(self, what: str) -> str:
        """Return the C name of one of this step's constants."""
        return f"step{self.index}_{what}"


def array(c_element: str, name: str, values: list[int]) -> Constants:
    """Return a constant array."""
    width = int("".join(filter(str.isdigit, c_element))) // 8
    text = f"static const {c_element} {name}[{len(values)}] = {{\n{wrapped(values)}\n}};"
    return Constants(text, len(values) * width)


def requant_constants(context: Context, rule: Requant) -> Constants:
    """Return the constants of a requantisation, named `stepN_requant`."""
    return multiplier_constants(context, rule.format, rule.multipliers, (rule.zero, rule.low, rule.high))


def multiplier_constants(
    context: Context, fmt: Format, multipliers: tuple[Multiplier, ...], limits: tuple[int, int, int]
) -> Constants:
    """Return a `struct requant` with its arrays; `limits` are zero, low and high."""
    mantissa, exponent, name = context.label("mantissa"), context.label("exponent"), context.label("requant")
    low, high = WIDE_EXPONENTS if fmt.is_minifloat else (-128, 127)
    parts = (
        array("int32_t", mantissa, [m.mantissa for m in multipliers]),
        array("int8_t", exponent, [min(max(m.exponent, low), high) for m in multipliers]),
    )
    per_channel = int(len(multipliers) > 1)
    fields = f"{mantissa}, {exponent}, {per_channel}, {', '.join(map(str, limits))}"
    text = "\n".join([p.text for p in parts] + [f"static const struct requant {name} = {{{fields}}};"])
    return Constants(text, sum(p.size_bytes for p in parts))


def structure(kind: str, name: str, fields: Mapping[str, object]) -> str:
    """Return a constant structure with named fields."""
    body = wrapped(f".{field} = {value}" for field, value in fields.items())
    return f"static const struct {kind} {name} = {{\n{body}\n}};"
