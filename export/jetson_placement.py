"""Rule 10 of the Jetson linter: Q/DQ at places where TensorRT cannot use them. Warnings: the engine builds, but slower.

From NVIDIA's documents, partly from memory: quantise all inputs of Conv, Gemm and MatMul and not their outputs; nothing
between a convolution and its activation; of a residual Add the skip input only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from export.jetson_profiles import Profile
from export.jetson_rules import Finding, label
from export.jetson_view import DEQUANTISE, QUANTISE, View

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_BEHIND = ("Relu", "Clip", "BatchNormalization")
#: What a convolution's kernel may hold before its activation.
_BEFORE = (*_LAYERS, "BatchNormalization", "Add")


def placement(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 10, all of it; silent on a model without Q/DQ."""
    if not view.qdq():
        return
    for node in view.nodes:
        if node.op_type in _LAYERS:
            yield from _one_sided(view, node)
        elif node.op_type == "Add":
            yield from _residual(view, node)
        if node.op_type in _BEFORE:
            yield from _quantised_output(view, node)


def _warning(node: Any, message: str, fix: str) -> Finding:
    return Finding(10, "warning", label(node), message, fix)


def _one_sided(view: View, node: Any) -> Iterator[Finding]:
    data, weight = (view.made_by(view.input(node, i), DEQUANTISE) for i in (0, 1))
    if data != weight:
        which = "data" if data else "weights"
        yield _warning(node, f"only its {which} are dequantised, so it stays float.", "Quantise both inputs, or none.")


def _quantised_output(view: View, node: Any) -> Iterator[Finding]:
    """Report a Q/DQ pair on a layer's output that no other quantised layer reads."""
    for quantise in view.readers.get(node.output[0], ()):
        if quantise.op_type != QUANTISE:
            continue
        pairs = [n for n in view.readers.get(quantise.output[0], ()) if n.op_type == DEQUANTISE]
        names = [name for pair in pairs for name in pair.output]
        kinds = {reader.op_type for name in names for reader in view.readers.get(name, ())}
        # An activation behind a tensor that others read too cannot be part of the layer's kernel.
        alone = len(view.readers[node.output[0]]) == 1 and sum(len(view.readers.get(n, ())) for n in names) == 1
        if kinds & set(_BEHIND) and alone:
            yield _warning(node, "Q/DQ stands between it and its activation.", "Quantise behind the activation.")
        elif names and node.op_type in _LAYERS and all(name in view.outputs for name in names):
            yield _warning(node, "its output is quantised for no quantised reader.", "Leave the output float.")


def _residual(view: View, node: Any) -> Iterator[Finding]:
    """Of a sum with a lone convolution's output, exactly the other input should be dequantised.

    With a convolution on both sides, either may be the one that absorbs the sum.
    """
    sides = [_from_conv(view, name) for name in node.input]
    quantised = [view.made_by(name, DEQUANTISE) for name in node.input]
    if not any(sides) or any(
        side and not own and all((*quantised[:i], *quantised[i + 1 :]))
        for i, (side, own) in enumerate(zip(sides, quantised, strict=True))
    ):
        return
    if any(side and own for side, own in zip(sides, quantised, strict=True)):
        yield _warning(node, "the convolution's output is quantised before the sum.", "Quantise the skip input only.")
    else:
        yield _warning(node, "its skip input is not quantised.", "Quantise the skip input, so that Conv + Add fuse.")


def _from_conv(view: View, name: str) -> bool:
    """Whether a tensor is a convolution's output, directly or through Q/DQ, that nothing else reads."""
    while view.made_by(name, QUANTISE, DEQUANTISE):
        if len(view.readers.get(name, ())) > 1:
            return False
        name = view.input(view.makers[name], 0)
    return view.made_by(name, "Conv") and len(view.readers.get(name, ())) == 1
