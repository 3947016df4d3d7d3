"""Sums, means and requantisations as C."""

from __future__ import annotations

from dataclasses import replace

from export.c99.layout import c_type
from export.c99.numbers import SCALE_Q31, SCALE_RIGHT, SHORT_LIMIT, TYPES, requant, units, units_range
from export.c99.piece import Constants, Context, Piece, requant_constants, structure
from export.c99.template import Kernel, Tokens
from export.c99.vector import ADD_VECTOR, ADDENDS, BYTE, SUM_VECTOR
from export.errors import ExportError
from quant.fixedpoint import INT32_LIMIT
from quant.program import AddStep, MeanStep, RequantizeStep, WideAddStep


def add_piece(context: Context, step: AddStep) -> Piece:
    """Return the C of an integer sum.

    Raises:
        ExportError: an addend minus its zero point does not fit int32 when shifted.
    """
    reaches = [_reach(context, x, zero) << step.left_shift for x, zero in zip(step.xs, step.zeros, strict=True)]
    for x, zero, reach in zip(step.xs, step.zeros, reaches, strict=True):
        if reach >= INT32_LIMIT:
            raise ExportError(
                f"arm-m: node '{step.name}' (Add): '{x}' minus its zero point {zero}, shifted left by "
                f"{step.left_shift}, reaches {reach} and must fit int32; move the zero point into its format."
            )
    fields: dict[str, object] = {
        "zero": _pair(step.zeros),
        "left_shift": step.left_shift,
        "mantissa": _pair((step.scales[0].mantissa, step.scales[1].mantissa)),
        "exponent": _pair((step.scales[0].exponent, step.scales[1].exponent)),
    }
    short = max(reaches) < SHORT_LIMIT and all(scale.exponent <= 0 for scale in step.scales)
    scale = SCALE_RIGHT if short else SCALE_Q31
    # Scales are at most one half, and rounding adds less than one to each addend.
    rule = requant(step.requant, sum(reaches) // 2 + 2)
    piece = _sum(context, step, rule, ("add", fields), (scale,))
    return _in_vectors(piece) if short and rule.template == "requant_right" and _fits_vectors(context, step) else piece


#: Left shift of addends of at most eight bits.
BYTE_SHIFT = 20


def _fits_vectors(context: Context, step: AddStep) -> bool:
    """Whether a sum is one of signed bytes in which one addend is scaled by exactly one half."""
    formats = [context.format(name) for name in (*step.xs, step.y)]
    in_bytes = all(c_type(fmt) == "int8_t" and not fmt.is_minifloat for fmt in formats)
    whole = any((scale.mantissa, scale.exponent) == (1 << 30, 0) for scale in step.scales)
    return (
        in_bytes
        and whole
        and step.left_shift == BYTE_SHIFT
        and all(zero in BYTE for zero in (*step.zeros, step.requant.zero))
    )


def _in_vectors(piece: Piece) -> Piece:
    """Return a sum whose elements are taken by vectors, as many as fill them."""
    (plain,), (call,) = piece.kernels, piece.statements
    kernel = Kernel("add_byte", f"add_byte_{plain.name}", (("REST", plain.name),), (plain, *ADD_VECTOR))
    return replace(piece, kernels=(kernel,), statements=(call.replace(plain.name, kernel.name, 1),))


def wide_add_piece(context: Context, step: WideAddStep) -> Piece:
    """Return the C of a sum towards a minifloat."""
    fields: dict[str, object] = {"zero": _pair(step.zeros), "mantissa": _pair(step.weights)}
    return _sum(context, step, requant(step.requant), ("add_wide", fields), ())


def _reach(context: Context, tensor: str, zero: int) -> int:
    """Largest magnitude of a tensor's units minus its zero point."""
    low, high = units_range(context.format(tensor), zero)
    return max(-low, high)


def _pair(values: tuple[int, int]) -> str:
    return f"{{{values[0]}, {values[1]}}}"


def _sum(
    context: Context,
    step: AddStep | WideAddStep,
    rule: Kernel,
    addends: tuple[str, dict[str, object]],
    scales: tuple[Kernel, ...],
) -> Piece:
    """Return a sum; `addends` are the template and the fields of its `struct addends`."""
    a, b, y = context.format(step.xs[0]), context.format(step.xs[1]), context.format(step.y)
    decode_a, decode_b, (template, fields) = units(a), units(b), addends
    tokens: Tokens = (("A_T", c_type(a)), ("B_T", c_type(b)), ("Y_T", c_type(y)), ("REQUANT", rule.name))
    tokens += (("A_UNITS", decode_a.name), ("B_UNITS", decode_b.name), *(("SCALE", s.name) for s in scales))
    name = "_".join((template, a.name, b.name, *(s.name for s in scales), rule.name))
    kernel = Kernel(template, name, tokens, (TYPES, ADDENDS, *scales, decode_a, decode_b, rule))
    constants = requant_constants(context, step.requant)
    operands = ", ".join(context.names[t] for t in (*step.xs, step.y))
    pointers = f"&{context.label('addends')}, &{context.label('requant')}"
    call = f"{name}({operands}, {context.size(step.y)}, {pointers});"
    texts = (constants.text, structure("addends", context.label("addends"), fields))
    return Piece((kernel,), texts, (call,), constants.size_bytes)


def mean_piece(context: Context, step: MeanStep) -> Piece:
    """Return the C of a mean over height and width."""
    height, width, channels = context.image(step.x)
    bound = _reach(context, step.x, step.x_zero) * height * width
    kernel = _mean_of_bytes(context, step, bound) or _unary(context, step, "mean", bound)
    scale = requant_constants(context, step.requant)
    return _unary_piece(context, step, kernel, f"{height * width}, {channels}", scale)


def _mean_of_bytes(context: Context, step: MeanStep, bound: int) -> Kernel | None:
    """Return the kernel that means of signed bytes have, vectors in it, or None."""
    x, y = context.format(step.x), context.format(step.y)
    in_bytes = all(c_type(fmt) == "int8_t" and not fmt.is_minifloat for fmt in (x, y))
    if not in_bytes or bound >= INT32_LIMIT:
        return None
    rule = requant(step.requant, bound)
    return Kernel("mean_byte", f"mean_byte_{rule.name}", (("REQUANT", rule.name),), (TYPES, rule, SUM_VECTOR))


def requantize_piece(context: Context, step: RequantizeStep) -> Piece:
    """Return the C of a change of scale, zero point or format."""
    kernel = _unary(context, step, "requantize", _reach(context, step.x, step.x_zero))
    scale = requant_constants(context, step.requant)
    return _unary_piece(context, step, kernel, str(context.size(step.x)), scale)


def _unary(context: Context, step: MeanStep | RequantizeStep, template: str, acc_max: int) -> Kernel:
    x, y = context.format(step.x), context.format(step.y)
    acc = "int64_t" if acc_max >= INT32_LIMIT else "int32_t"
    decode, rule = units(x), requant(step.requant, acc_max)
    tokens: Tokens = (("X_T", c_type(x)), ("Y_T", c_type(y)), ("ACC_T", acc))
    tokens += (("X_UNITS", decode.name), ("REQUANT", rule.name))
    return Kernel(template, f"{template}_{x.name}_{acc}_{rule.name}", tokens, (TYPES, decode, rule))


def _unary_piece(
    context: Context, step: MeanStep | RequantizeStep, kernel: Kernel, extent: str, scale: Constants
) -> Piece:
    operands = f"{context.names[step.x]}, {context.names[step.y]}, {extent}, {step.x_zero}"
    call = f"{kernel.name}({operands}, &{context.label('requant')});"
    return Piece((kernel,), (scale.text,), (call,), scale.size_bytes)
