"""A binary network printed as C99: XNOR and popcount for its layers, float32 in the reference's order for its ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.c99.binary_border import border_of
from export.c99.binary_plan import LANES, PADDED, Layout, Stage, folded, lay_out, padded, pixel_bytes, stem_uses
from export.c99.emit import Unit, comment, init_function
from export.c99.header import c_float
from export.c99.numbers import wrapped
from export.c99.piece import Constants
from export.c99.template import Kernel, in_order, kernel_text
from quant.binary import signs
from quant.binary_net import Affine, BinaryNetwork, Threshold
from quant.formats import Array

#: Words whose bits are counted without a loop, and those of one round of a loop where a patch has more.
UNROLLED_WORDS, ROUND_WORDS = 18, 9

TYPES = Kernel("binary_types", "binary_types")
CLIP = Kernel("binary_clip", "binary_clip")
NEON, HELIUM = "defined(BINARY_NEON)", "defined(BINARY_HELIUM)"
PORTABLE = "!defined(BINARY_NEON) && !defined(BINARY_HELIUM)"
EIGHT = Kernel("binary_eight", "binary_eight", guard=NEON)
SIGNS = Kernel("binary_signs", "binary_signs", needs=(EIGHT,))
REACH = Kernel("binary_reach", "binary_reach", needs=(EIGHT,))
COUNT = Kernel("binary_count", "binary_sum_bytes", guard=PORTABLE)
COUNT_HELIUM = Kernel("binary_count_helium", "helium_sum_bytes", (("NAME", "binary_sum_bytes"),), guard=HELIUM)
UNLIKE = Kernel("binary_unlike", "binary_unlike", guard=NEON)
BORDER = Kernel("binary_border", "binary_border")
PATCH = Kernel("binary_patch", "binary_patch", needs=(TYPES,))
AVERAGE = Kernel("binary_average", "binary_average", needs=(TYPES,))
AFFINE = Kernel("binary_affine", "binary_affine", needs=(TYPES, CLIP))
STEM = Kernel("binary_stem", "binary_stem", needs=(TYPES, CLIP, SIGNS))
HEAD = Kernel("binary_head", "binary_head")


def emit_binary(network: BinaryNetwork, name: str) -> Unit:
    """Print a binary network as C99.

    Args:
        network: what `quant.binary_net.check` accepts.
        name: prefix of everything visible; a C identifier.
    """
    network = folded(network)
    layout = lay_out(network)
    constants = [_stem_constants(network, layout)]
    constants += [_stage_constants(i, stage) for i, stage in enumerate(layout.stages)]
    constants.append(_floats("head_weight", network.head.T, "head_bias", network.bias))
    kernels = in_order((STEM, *(_conv(stage) for stage in layout.stages), HEAD))
    sections = [
        _PREAMBLE.replace("NAME", name),
        *(kernel_text(kernel).strip().replace("static inline ", "HELPER ") for kernel in kernels),
        *(part.text for part in constants),
        init_function(name),
        _invoke(network, layout, name),
    ]
    sizes = sum(part.size_bytes for part in constants)
    return Unit("\n\n".join(sections) + "\n", layout.memory.arena_bytes, layout.busiest_bytes, sizes)


def _conv(stage: Stage) -> Kernel:
    """Return the kernel of a binary convolution; those of equal windows share one."""
    _, channels, rows, columns = stage.layer.weight.shape
    span, sums = columns * pixel_bytes(channels), _sums(stage.words)
    sizes = (("WORDS", stage.words), ("KERNEL_ROWS", rows), ("SPAN", span), ("SUMS", sums[0].name))
    tokens = tuple((token, str(value)) for token, value in sizes)
    needs = (TYPES, PATCH, BORDER, REACH, AVERAGE, AFFINE, SIGNS, *sums)
    return Kernel("binary_conv", f"binary_conv_{rows}_{span}", tokens, needs)


def _sums(words: int) -> tuple[Kernel, ...]:
    """Return the kernels, for NEON, Helium and others, that compute a pixel's sums for patches of so many words."""
    name, size = f"binary_sums_{words}", ("WORDS", str(words))
    portable = Kernel("binary_sums", name, (size, ("COUNTS", _counts(words, _word, 12))), (COUNT,), PORTABLE)
    tokens = (("NAME", name), size, ("COUNTS", _counts(words, _helium_word, 8)))
    helium = Kernel("binary_sums_helium", f"{name}_helium", tokens, (COUNT_HELIUM,), HELIUM)
    vector = Kernel("binary_sums_neon", f"{name}_neon", (("NAME", name), size), (UNLIKE,), NEON)
    return portable, helium, vector


def _word(word: str) -> str:
    """Return the C text of the bits that differ in a word."""
    return f"patch[{word}] ^ w[{LANES} * ({word})]"


def _helium_word(word: str) -> str:
    """Return the same for the words of four outputs."""
    return f"veorq_u32(vdupq_n_u32(patch[{word}]), vld1q_u32(weight + {LANES} * ({word})))"


def _counts(words: int, unlike: Callable[[str], str], indent: int) -> str:
    """Return the C statements that count the bits of these words in which patch and weight differ."""
    rounds = words // ROUND_WORDS if words > UNROLLED_WORDS else 0
    lines = ["int32_t k;"] if rounds else []
    if rounds:
        lines.append(f"for (k = 0; k < {rounds * ROUND_WORDS}; k += {ROUND_WORDS}) {{")
        lines += [f"    {line}" for line in _round([unlike(f"k + {i}") for i in range(ROUND_WORDS)])]
        lines.append("}")
    rest = [unlike(str(i)) for i in range(rounds * ROUND_WORDS, words)]
    lines += _round(rest) if rest else []
    return "\n".join(" " * indent + line for line in lines)


def _round(terms: list[str]) -> list[str]:
    """Return statements for at most 31 words, whose counts a byte holds; the compiler keeps to their order."""
    groups = [terms[i : i + 3] for i in range(0, len(terms), 3)]
    counts = [f"binary_count{len(group)}(m, {', '.join(group)})" for group in groups]
    lines = [f"bytes = {f'ADD(bytes, {count})' if i else count};" for i, count in enumerate(counts)]
    apart = [line for pair in zip(lines, ["IN_ORDER;"] * len(lines), strict=True) for line in pair]
    return [*apart[:-1], "unlike = ADD(unlike, binary_sum_bytes(bytes));"]


def _stem_constants(network: BinaryNetwork, layout: Layout) -> Constants:
    stem, (channels, rows, columns) = network.stem, network.shape
    out, _, kernel_rows, kernel_columns = stem.weight.shape
    lanes = np.zeros((padded(out), *stem.weight.shape[1:]), np.float32)
    lanes[:out] = stem.weight
    grouped = lanes.reshape(-1, PADDED, channels, kernel_rows, kernel_columns).transpose(0, 2, 3, 4, 1)
    arrays = _floats("stem_weight", grouped, "stem_offset", stem.offset)
    sizes = (rows, columns, channels, kernel_rows, kernel_columns, *stem.strides, *stem.pads[:2], *layout.stem[1:], out)
    text = f"static const struct binary_stem stem = {{{', '.join(map(str, sizes))}, stem_weight, stem_offset}};"
    return Constants(f"{arrays.text}\n{text}", arrays.size_bytes)


def _stage_constants(index: int, stage: Stage) -> Constants:
    layer, name = stage.layer, f"layer{index}"
    (channels, rows, columns), (out, out_rows, out_columns) = stage.given, stage.made
    words = packed_weights(stage)
    parts = [
        Constants(_array("uint32_t", f"{name}_weight", [f"WORD(0x{word:08X}u)" for word in words]), 4 * len(words))
    ]
    match layer.finish:
        case Threshold(least):
            terms = layer.weight.terms  # beyond all sums, thresholds decide alike
            limits = np.clip(least, -terms, terms + 1).tolist()
            parts.append(Constants(_array("int32_t", f"{name}_least", limits), 4 * out))
            finish = f"{name}_least, NULL, NULL"
        case Affine(gain, offset):
            parts.append(_floats(f"{name}_gain", gain, f"{name}_offset", offset))
            finish = f"NULL, {name}_gain, {name}_offset"
    border = border_of(stage)
    kinds, pointers = 0, "NULL, NULL, NULL"
    if border is not None:
        parts += [
            _integers("uint8_t", f"{name}_row_kind", border.row_kind),
            _integers("uint8_t", f"{name}_column_kind", border.column_kind),
            _integers("int16_t", f"{name}_border", border.added.ravel().tolist()),
        ]
        kinds, pointers = border.column_kinds, f"{name}_row_kind, {name}_column_kind, {name}_border"
    sizes = (index + 1, rows, columns, channels, *layer.weight.shape[2:], *layer.strides, *layer.pads[:2])
    more = (layer.pad_value, out_rows, out_columns, out, int(layer.skip), kinds)
    numbers = ", ".join(map(str, (*sizes, *more)))
    text = f"static const struct binary_conv {name} = {{{numbers}, {pointers}, {name}_weight, {finish}}};"
    heading = f"/* {comment(layer.name)} */"
    return Constants("\n".join([heading, *(p.text for p in parts), text]), sum(p.size_bytes for p in parts))


def packed_weights(stage: Stage) -> list[int]:
    """Return a layer's weights as words: four outputs take turns; the channels of a tap begin at a byte."""
    values = signs(stage.layer.weight).transpose(0, 2, 3, 1) > 0
    out, row_bytes = len(values), stage.words * 4
    packed = np.packbits(values, axis=-1, bitorder="little").reshape(out, -1)
    filled = np.zeros((padded(out), row_bytes), np.uint8)
    filled[:out, : packed.shape[1]] = packed
    words: list[int] = filled.view("<u4").reshape(-1, LANES, stage.words).transpose(0, 2, 1).ravel().tolist()
    return words


def _floats(first: str, values: Array, second: str, more: Array) -> Constants:
    texts = [
        _array("float", name, [c_float(float(v)) for v in array.ravel()])
        for name, array in ((first, values), (second, more))
    ]
    return Constants("\n".join(texts), 4 * (values.size + more.size))


def _integers(kind: str, name: str, values: list[int]) -> Constants:
    width = int("".join(filter(str.isdigit, kind))) // 8
    return Constants(_array(kind, name, values), width * len(values))


def _array(kind: str, name: str, values: list[object] | list[str] | list[int]) -> str:
    return f"static const {kind} {name}[{len(values)}] = {{\n{wrapped(values)}\n}};"


def _invoke(network: BinaryNetwork, layout: Layout, name: str) -> str:
    upper, stages = name.upper(), layout.stages
    kinds = {"bits": "uint8_t", "patch": "uint32_t", "sums": "int32_t"}
    lines = [f"void {name}_invoke(const {name}_t *network, const {name}_input_t *input, {name}_output_t *output)", "{"]
    for buffer, offset in sorted(layout.memory.offsets.items(), key=lambda item: item[1]):
        kind = kinds.get(buffer.rstrip("0123456789"), "float")
        lines.append(f"    {kind} *const {buffer} = ({kind} *)(void *)(network->arena + {offset});")
    bits, values = stem_uses(stages)
    lines.append(f"    binary_stem(&stem, input, {_value(layout, 0, values)}, {_bit(0, bits)}, work);")
    for index, stage in enumerate(stages):
        source = _value(layout, index, stage.layer.skip)
        made = f"{_bit(index + 1, stage.bits)}, {_value(layout, index + 1, stage.values)}"
        call = f"{_conv(stage).name}(&layer{index}, bits{index}, {source}, {made}, patch, sums, work);"
        lines += [f"    /* {comment(stage.layer.name)} */", f"    {call}"]
    last = stages[-1].made if stages else layout.stem
    sizes = f"{last[1] * last[2]}, {last[0]}, head_weight, head_bias, {upper}_OUTPUT_SIZE"
    lines.append(f"    binary_head({_value(layout, len(stages), True)}, {sizes}, work, output);")
    return "\n".join([*lines, "}"])


def _value(layout: Layout, index: int, used: bool) -> str:
    return layout.names[f"values{index}"] if used else "NULL"


def _bit(index: int, used: bool) -> str:
    return f"bits{index}" if used else "NULL"


_PREAMBLE = """\
/* NAME: a binary network in portable C99. Generated by edgemill; do not edit.
   Float operations are rounded one by one, in the order written: outputs have the reference's very bits. */
#if defined(__FAST_MATH__)
#error "compile NAME.c without -ffast-math: it changes the order and the rounding of sums"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#include "NAME.h"

#include <float.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "NAME.c needs arithmetic in single precision, on x86 -msse2 -mfpmath=sse"
#endif
#if defined(__GNUC__)
#define HELPER static inline __attribute__((unused))
#else
#define HELPER static inline
#endif
#if defined(__ARM_NEON) && defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)
#define BINARY_NEON 1
#include <arm_neon.h>
#elif defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)
#define BINARY_HELIUM 1
#include <arm_mve.h>
#elif defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
#endif
#if defined(BINARY_HELIUM)
#define ADD(a, b) vaddq_u32(a, b)
#else
#define ADD(a, b) ((a) + (b))
#endif
#if defined(__GNUC__)
/* A constant that stays in its register, and loads that stay behind a line: both save registers and instructions. */
#define HELD(word) __asm__("" : "+r"(word))
#define IN_ORDER __asm__ volatile("" ::: "memory")
#else
#define HELD(word) (void)0
#define IN_ORDER (void)0
#endif
/* Bits lie in memory byte by byte, and are counted word by word. */
#if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define WORD(w) ((w) >> 24 | ((w) >> 8 & 0xFF00u) | ((w) << 8 & 0xFF0000u) | (w) << 24)
#else
#define WORD(w) (w)
#endif

#ifdef EDGEMILL_TAP
/* Called with the sums of every pixel behind the layer's number, and their size in bytes. */
extern void edgemill_tap(int tensor, const void *codes, int bytes);
#define TAP(tensor, codes, bytes) edgemill_tap(tensor, codes, bytes)
#else
#define TAP(tensor, codes, bytes)
#endif"""
