"""Sums, means and requantisations as C."""

from __future__ import annotations

from export.c99.layout import c_type
from export.c99.numbers import SCALE_Q31, TYPES, requant, units, units_range, units_type
from export.c99.piece import Constants, Context, Piece, requant_constants, structure
from export.c99.template import Kernel, Tokens
from export.errors import ExportError
from quant.fixedpoint import INT32_LIMIT
from quant.program import AddStep, MeanStep, RequantizeStep, WideAddStep

ADDENDS = Kernel("addends", "addends")


def add_piece(context: Context, step: AddStep) -> Piece:
    """Return the C of an integer sum.

    Raises:
        ExportError: an addend minus its zero point does not fit int32 when shifted.
    """
    for x, zero in zip(step.xs, step.zeros, strict=True):
        low, high = units_range(context.format(x), zero)
        if max(-low, high) << step.left_shift >= INT32_LIMIT:
            raise ExportError(
                f"arm-m: node '{step.name}' (Add): '{x}' minus its zero point {zero} reaches {max(-low, high)}, which "
                f"shifted left by {step.left_shift} must fit int32; quantise it with a zero point inside its format."
            )
    fields: dict[str, object] = {
        "zero": _pair(step.zeros),
        "left_shift": step.left_shift,
        "mantissa": _pair((step.scales[0].mantissa, step.scales[1].mantissa)),
        "exponent": _pair((step.scales[0].exponent, step.scales[1].exponent)),
    }
    return _sum(context, step, "add", (SCALE_Q31,), fields)


def wide_add_piece(context: Context, step: WideAddStep) -> Piece:
    """Return the C of a sum towards a minifloat."""
    fields: dict[str, object] = {"zero": _pair(step.zeros), "mantissa": _pair(step.weights)}
    return _sum(context, step, "add_wide", (), fields)


def _pair(values: tuple[int, int]) -> str:
    return f"{{{values[0]}, {values[1]}}}"


def _sum(
    context: Context, step: AddStep | WideAddStep, template: str, needs: tuple[Kernel, ...], fields: dict[str, object]
) -> Piece:
    a, b, y = context.format(step.xs[0]), context.format(step.xs[1]), context.format(step.y)
    decode_a, decode_b, rule = units(a), units(b), requant(step.requant)
    tokens: Tokens = (("A_T", c_type(a)), ("B_T", c_type(b)), ("Y_T", c_type(y)))
    tokens += (("A_UNITS", decode_a.name), ("B_UNITS", decode_b.name), ("REQUANT", rule.name))
    name = f"{template}_{a.name}_{b.name}_{y.name}"
    kernel = Kernel(template, name, tokens, (TYPES, ADDENDS, *needs, decode_a, decode_b, rule))
    scale = requant_constants(context, step.requant)
    addends = structure("addends", context.label("addends"), fields)
    operands = ", ".join(context.names[t] for t in (*step.xs, step.y))
    pointers = f"&{context.label('addends')}, &{context.label('requant')}"
    call = f"{name}({operands}, {context.size(step.y)}, {pointers});"
    return Piece((kernel,), (scale.text, addends), (call,), scale.size_bytes)


def mean_piece(context: Context, step: MeanStep) -> Piece:
    """Return the C of a mean over height and width."""
    height, width, channels = context.image(step.x)
    low, high = units_range(context.format(step.x), step.x_zero)
    acc = "int64_t" if max(-low, high) * height * width >= INT32_LIMIT else "int32_t"
    kernel = _unary(context, step, "mean", acc)
    scale = requant_constants(context, step.requant)
    return _unary_piece(context, step, kernel, f"{height * width}, {channels}", scale)


def requantize_piece(context: Context, step: RequantizeStep) -> Piece:
    """Return the C of a change of scale, zero point or format."""
    wide = units_type(context.format(step.x)) == "int64_t"
    kernel = _unary(context, step, "requantize", "int64_t" if wide else "int32_t")
    scale = requant_constants(context, step.requant)
    return _unary_piece(context, step, kernel, str(context.size(step.x)), scale)


def _unary(context: Context, step: MeanStep | RequantizeStep, template: str, acc: str) -> Kernel:
    x, y = context.format(step.x), context.format(step.y)
    decode, rule = units(x), requant(step.requant)
    tokens: Tokens = (("X_T", c_type(x)), ("Y_T", c_type(y)), ("ACC_T", acc))
    tokens += (("X_UNITS", decode.name), ("REQUANT", rule.name))
    return Kernel(template, f"{template}_{x.name}_{acc}_{y.name}", tokens, (TYPES, decode, rule))


def _unary_piece(
    context: Context, step: MeanStep | RequantizeStep, kernel: Kernel, extent: str, scale: Constants
) -> Piece:
    operands = f"{context.names[step.x]}, {context.names[step.y]}, {extent}, {step.x_zero}"
    call = f"{kernel.name}({operands}, &{context.label('requant')});"
    return Piece((kernel,), (scale.text,), (call,), scale.size_bytes)
