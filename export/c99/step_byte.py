"""Convolutions of signed bytes as C: kernels with one inner routine per instruction set, zero points in the biases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from export.c99.layout import c_type
from export.c99.numbers import SHORT_LIMIT, TYPES
from export.c99.piece import Constants, Context, Piece, array, structure
from export.c99.template import Kernel, Tokens
from export.c99.vector import BYTE, CLAMP, CONV_VECTOR, DEPTHWISE_VECTOR, PLAIN, QUAD, READ_AHEAD, RING, SIMD, VECTOR
from export.c99.window import window_fields
from quant.fixedpoint import INT32_LIMIT
from quant.formats import Format, IntArray
from quant.program import ConvStep

PUT_BYTES = Kernel("put_bytes", "put_bytes", (), (SIMD,))
TO_CODE = Kernel("to_code", "to_code", (), (SIMD,))
PATCH = Kernel("conv_patch", "conv_patch", (), (SIMD, PUT_BYTES), PLAIN)
#: One for each instruction set, each inside its own #if.
CONV_BLOCKS = tuple(
    Kernel(name, name, (), (QUAD, PATCH, TO_CODE), PLAIN) for name in ("conv_block_dsp", "conv_block_portable")
)
#: The macro NIBBLES comes first, see `export.c99.emit`.
NIBBLES = (
    Kernel("nibbles", "nibbles", (), (), PLAIN),
    Kernel("conv_nibbles_dsp", "conv_nibbles_dsp", (), (PATCH,), PLAIN),
    Kernel("conv_nibbles_portable", "conv_nibbles_portable", (), (PATCH,), PLAIN),
)
DEPTHWISE_ROWS = (
    Kernel("depthwise_row_portable", "depthwise_row_portable", (), (RING, QUAD, TO_CODE)),
    Kernel("depthwise_row_dsp", "depthwise_row_dsp", (), (RING, QUAD, TO_CODE), PLAIN),
)
DEPTHWISE_RING = Kernel("depthwise_ring", "depthwise_ring", (), (TYPES, RING, PUT_BYTES))
RING_ROWS = (*DEPTHWISE_ROWS, *DEPTHWISE_VECTOR)


@dataclass(frozen=True, eq=False)
class Folded:
    """Biases with the input's zero point inside, [O] int64, and the multipliers of every output channel, [O] each."""

    bias: IntArray
    mantissa: IntArray
    shift: IntArray


def folded(step: ConvStep) -> Folded:
    """Return the constants of a step's output channels: bias - x_zero * sum(weights), mantissas, shifts minus one.

    Channels whose sums are too small to be anything but 0 get a mantissa and a shift of 0, which give 0 as well.
    """
    channels = len(step.bias)
    sums = step.weight.reshape(channels, -1).astype(np.int64).sum(axis=1)
    multipliers = step.requant.multipliers * (channels if len(step.requant.multipliers) == 1 else 1)
    mantissa = np.array([m.mantissa for m in multipliers], dtype=np.int64)
    shift = np.array([-m.exponent - 1 for m in multipliers], dtype=np.int64)
    nothing = (shift >= 0) & (_highest(step, mantissa) < np.int64(1) << np.clip(shift, 0, 40))
    return Folded(step.bias - step.x_zero * sums, np.where(nothing, 0, mantissa), np.where(nothing, 0, shift))


def _highest(step: ConvStep, mantissa: IntArray) -> IntArray:
    """Return the largest magnitude that each channel's sum can have as the high half of the doubled product."""
    weights = np.abs(step.weight.reshape(len(step.bias), -1)).astype(np.int64).sum(axis=1)
    reach = weights * len(BYTE) + np.abs(step.bias)
    highest: IntArray = (np.minimum(reach, SHORT_LIMIT) * mantissa + (1 << 30)) >> 31
    return highest


def fits_bytes(context: Context, step: ConvStep, stored: Format) -> bool:
    """Whether a convolution may use the kernels of this module: signed bytes everywhere, sums and shifts in range.

    Sums of plain codes must fit int32 on their way, also where those of codes minus the zero point do. Vectors add two
    products in 16 bits, which fit when no weight is -128.
    """
    x, y = context.format(step.x), context.format(step.y)
    if {c_type(x), c_type(y)} != {"int8_t"} or x.is_minifloat or y.is_minifloat or stored.is_minifloat:
        return False
    offset, rule, own = weight_offset(step), step.requant, folded(step)
    if offset is None:
        return False
    taps = int(np.prod(step.weight.shape[1:]))
    weights = np.abs(step.weight.reshape(len(own.bias), -1).astype(np.int64) - offset).sum(axis=1)
    reach = int((weights * 128 + np.abs(own.bias)).max(initial=0)) + abs(offset) * 128 * taps
    short = step.acc_max < SHORT_LIMIT and reach < INT32_LIMIT and bool((own.shift >= 0).all())
    if not (short and step.x_zero in BYTE and rule.zero in BYTE):
        return False
    # What is added before the shift: the zero point and one half (`to_code`).
    added = abs(2 * rule.zero + 1) << np.minimum(own.shift, 32)
    return bool((added + _highest(step, own.mantissa) + 1 < INT32_LIMIT).all())


def weight_offset(step: ConvStep) -> int | None:
    """Return what is taken off every weight so that all lie in -127..127, or None where nothing does that.

    It is 0 for most layers; weights that were unsigned bytes around a zero point of their own need it.
    """
    low, high = int(step.weight.min(initial=0)), int(step.weight.max(initial=0))
    if low >= -127 and high <= 127:
        return 0
    return low + 127 if high - low <= 254 else None


def stored_weights(step: ConvStep) -> IntArray:
    """Return the weights without the offset, as they are stored in bytes."""
    return step.weight - (weight_offset(step) or 0)


def quads(name: str, own: Folded) -> Constants:
    """Return an array of `struct quad`: four channels each, the last filled up with zeros."""
    rows = np.stack([own.bias, own.mantissa, own.shift])
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).reshape(3, -1, 4).transpose(1, 0, 2)
    body = ",\n".join("    {" + ", ".join("{" + ", ".join(map(str, r)) + "}" for r in q.tolist()) + "}" for q in padded)
    return Constants(f"static const struct quad {name}[{len(padded)}] = {{\n{body}\n}};", 4 * padded.size)


def in_blocks(weight: IntArray) -> IntArray:
    """Order weights [O, C, kh, kw] as blocks of 4 channels x 4 taps: [O/4, taps/4, 4, 4], filled up with zeros.

    Taps are counted by row, column, channel.
    """
    out = weight.shape[0]
    rows = weight.transpose(0, 2, 3, 1).reshape(out, -1)
    padded = np.pad(rows, ((0, -out % 4), (0, -rows.shape[1] % 4)))
    blocks = padded.reshape(padded.shape[0] // 4, 4, -1, 4).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks)


def conv_byte(context: Context, step: ConvStep) -> Piece:
    """Return the C of a convolution of one group, or of a fully connected layer."""
    spare = _gather("gather_words", "patch_t", ("put_codes", "put_zeros"), "DUAL_MAC")
    plain = _gather("gather_bytes", "int8_t", ("put_bytes", "put_equal_bytes"), None)
    kernel = Kernel("conv_byte", "conv_byte", (), (TYPES, spare, plain, *CONV_BLOCKS, CLAMP, CONV_VECTOR), PLAIN)
    packed = is_packed(step)
    taps = int(np.prod(step.weight.shape[1:]))
    rounded = -(-taps // 4) * 4
    # Four patches of bytes, or two of 16-bit numbers; and one of bytes where pixels are not whole words. Vectors take
    # patches of whole vectors, and one more where rows are shorter than one.
    beyond = 16 if taps // step.weight.shape[2] < 16 else 0
    scratch = max((4 if context.image(step.x)[2] % 4 == 0 else 5) * rounded, 4 * (-(-taps // 16) * 16 + beyond))
    parts = (
        _blocks(context.label("weight"), in_blocks(stored_weights(step)), packed=packed),
        quads(context.label("quads"), folded(step)),
        Constants(_window(context, step, packed=packed), 0),
    )
    piece = _piece(context, step, kernel, parts, scratch)
    return replace(piece, kernels=(*NIBBLES, kernel)) if packed else piece


def is_packed(step: ConvStep) -> bool:
    """Whether two weights of a convolution share a byte: all have four bits, and sums of codes times bytes fit."""
    weight = stored_weights(step)
    return int(weight.min()) >= -8 and int(weight.max()) <= 7 and weight[0].size << 14 < INT32_LIMIT


def in_nibbles(blocks: IntArray) -> IntArray:
    """Pack blocks [.., 4 channels, 4 taps] of four-bit weights to bytes [.., 2, 4]: 16 * even channel + odd + 8."""
    return 16 * blocks[..., 0::2, :] + blocks[..., 1::2, :] + 8


def _blocks(name: str, blocks: IntArray, *, packed: bool) -> Constants:
    """Return an array of weights; vectors take them unpacked, and may read behind them."""
    whole = _aligned(array("int8_t", name, np.pad(blocks.ravel(), (0, READ_AHEAD)).tolist()))
    if not packed:
        return whole
    halves = _aligned(array("int8_t", name, in_nibbles(blocks).ravel().tolist()))
    return Constants(f"#if {VECTOR}\n{whole.text}\n#else\n{halves.text}\n#endif", halves.size_bytes)


def depthwise_byte(context: Context, step: ConvStep) -> Piece:
    """Return the C of a depthwise convolution, rows not dilated."""
    kernel = Kernel("depthwise_byte", "depthwise_byte", (), (TYPES, DEPTHWISE_RING, *RING_ROWS, CLAMP))
    channels, _, height, width = step.weight.shape
    columns = (context.image(step.y)[1] - 1) * step.op.strides[1] + (width - 1) * step.op.dilations[1] + 1
    parts = (
        _aligned(
            array("int8_t", context.label("weight"), stored_weights(step).reshape(channels, -1).T.ravel().tolist())
        ),
        quads(context.label("quads"), folded(step)),
        Constants(_window(context, step), 0),
    )
    return _piece(context, step, kernel, parts, height * columns * channels)


def conv_depthwise(context: Context, steps: tuple[ConvStep, ConvStep], pieces: tuple[Piece, Piece]) -> Piece:
    """Return the C of a convolution and the depthwise convolution behind it, row by row; `pieces` are their own."""
    first, second = steps
    needs = (TYPES, *pieces[0].kernels, DEPTHWISE_RING, *RING_ROWS, CLAMP)
    kernel = Kernel("conv_depthwise", "conv_depthwise", (), needs)
    before = f"step{context.index - 1}"
    made = f"{context.names[first.x]}, {before}_weight, {before}_quads, {before}_patches, &{before}_window"
    used = f"{context.label('weight')}, {context.label('quads')}, {context.names[second.y]}"
    call = (
        f"conv_depthwise({made}, {context.names[first.y]}, {context.index - 1}, {used}, {context.label('patches')}, "
        f"&{context.label('window')});"
    )
    own = tuple(kernel for kernel in pieces[0].kernels if kernel in NIBBLES)
    tap = f"TAP({context.index}, {context.names[second.y]}, {context.size(second.y)});"
    return replace(pieces[1], kernels=(*own, kernel), statements=(call, tap))


def _gather(name: str, patch: str, puts: tuple[str, str], only: str | None) -> Kernel:
    lines = (f"#if defined({only})\n", "\n#endif") if only else ("", "")
    tokens: Tokens = (("P_T", patch), ("PUT_CODES", puts[0]), ("PUT_ZEROS", puts[1]))
    tokens += (("FIRST_LINE", lines[0]), ("LAST_LINE", lines[1]))
    return Kernel("gather_byte", name, tokens, (TYPES, PATCH), PLAIN)


def _aligned(constants: Constants) -> Constants:
    return Constants(constants.text.replace("static const", "static const ALIGNED16", 1), constants.size_bytes)


def _piece(context: Context, step: ConvStep, kernel: Kernel, parts: tuple[Constants, ...], scratch: int) -> Piece:
    operands = [context.names[step.x], context.label("weight"), context.label("quads"), context.names[step.y]]
    call = f"{kernel.name}({', '.join(operands)}, {context.label('patches')}, &{context.label('window')});"
    return Piece((kernel,), tuple(p.text for p in parts), (call,), sum(p.size_bytes for p in parts), "int8_t", scratch)


def _window(context: Context, step: ConvStep, *, packed: bool = False) -> str:
    offset = weight_offset(step) or 0
    fields = window_fields(context, step)
    fields |= {"y_zero": step.requant.zero, "low": step.requant.low, "high": step.requant.high}
    fields |= {"weight_zero": offset, "odd_zero": offset - 8 * packed, "weight_bits": 4 if packed else 8}
    return structure("window", context.label("window"), fields | {"direct": int(_is_direct(context, step))})


def _is_direct(context: Context, step: ConvStep) -> bool:
    """Whether every window is one pixel of the image, in whole words."""
    height, width, channels = context.image(step.x)
    rows, columns, _ = context.image(step.y)
    reach = ((rows - 1) * step.op.strides[0], (columns - 1) * step.op.strides[1])
    single = step.weight.shape[2:] == (1, 1) and step.op.pads[:2] == (0, 0)
    return single and channels % 4 == 0 and reach[0] < height and reach[1] < width
