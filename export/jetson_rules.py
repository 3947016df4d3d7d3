"""What TensorRT's ONNX importer refuses, rule by rule (numbers 1 to 9 and 11), as functions of a `View`.

The rules were read in the QuantizeLinear and DequantizeLinear importer of the branches of TensorRT 8.2 to 10.1. Each
rule yields one finding for each node at fault. Rule 10, placement, is in `export.jetson_placement`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.jetson_profiles import Profile
from export.jetson_view import QUANTISE, View, attribute

WITHOUT_IMPORTER = (
    "QLinearConv",
    "QLinearMatMul",
    "QLinearAdd",
    "QGemm",
    "QLinearGlobalAveragePool",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeLinear",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a model: rule number, `error` or `warning`, node, what is wrong, what to do."""

    rule: int
    severity: str
    node: str
    message: str
    fix: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"rule {self.rule} ({self.severity}), {self.node}: {self.message} {self.fix}"


Rule = Callable[[View, Profile], Iterator[Finding]]


def label(node: Any) -> str:
    """Return how messages call a node."""
    return f"{node.op_type} '{node.name or node.output[0]}'"


def error(rule: int, node: Any, message: str, fix: str) -> Finding:
    """Return a finding of severity error at a node."""
    return Finding(rule, "error", label(node), message, fix)


def zero_points_zero(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 1: symmetric quantisation only."""
    for node in view.qdq():
        name = view.input(node, 2)
        zero = view.values(name)
        if name and zero is None:
            yield error(1, node, f"its zero point '{name}' is not constant.", "Make it an initializer of zeros.")
        elif zero is not None and np.any(zero.astype(np.float32) != 0):
            worst = zero.reshape(-1)[np.flatnonzero(zero)[0]]
            yield error(1, node, f"its zero point is {worst}, not 0.", "Quantise with a symmetric scheme (w8a8-sym).")


def zero_point_present(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 2: before TensorRT 10 a Q or DQ needs all three inputs."""
    for node in view.qdq():
        if profile.three_inputs and not view.input(node, 2):
            yield error(
                2,
                node,
                f"it has no zero point, which TensorRT {profile.tensorrt} needs.",
                "Write a zero point of type INT8 as third input.",
            )


def no_unsigned(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 3: no UINT8, neither as data nor as zero point."""
    for node in view.qdq():
        if "UINT8" in (view.type_of(view.input(node, 0)), view.type_of(view.input(node, 2))):
            yield error(3, node, "it works on UINT8.", "Use signed INT8 codes with zero point 0.")


def scales_positive(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 4: constant, finite, positive scales, as many as zero points."""
    for node in view.qdq():
        scale, zero = view.values(view.input(node, 1)), view.values(view.input(node, 2))
        if scale is None:
            yield error(4, node, "its scale is not constant.", "Store the scale as an initializer.")
        elif scale.size == 0 or not np.all(np.isfinite(scale) & (scale > 0)):
            yield error(4, node, "a scale is missing, not positive or not finite.", "Calibrate the layer again.")
        elif zero is not None and zero.size != scale.size:
            yield error(
                4, node, f"it has {scale.size} scales but {zero.size} zero points.", "Write one zero point per scale."
            )


def channels_on_weights(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 5: several scales only on weights, one per index of an explicit axis."""
    for node in view.qdq():
        scale = view.values(view.input(node, 1))
        if scale is None or scale.ndim != 1 or scale.size == 1:
            continue
        axis, shape = attribute(node, "axis"), view.weight_shape(node)
        if shape is None:
            yield error(5, node, f"an activation has {scale.size} scales.", "Quantise activations per tensor.")
        elif axis is None:
            yield error(
                5,
                node,
                "it has several scales and no axis: TensorRT then takes axis 0, ONNX axis 1.",
                "Write the attribute axis.",
            )
        elif not -len(shape) <= axis < len(shape) or shape[axis] != scale.size:
            yield error(
                5, node, f"{scale.size} scales do not fit axis {axis} of shape {shape}.", "Write one per index."
            )


def scale_rank(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 6: a scale is scalar, one-dimensional or, from TensorRT 10 on, blocked along one dimension of a weight."""
    for node in view.qdq():
        scale = view.values(view.input(node, 1))
        if scale is None or scale.ndim <= 1:
            continue
        shape = view.weight_shape(node)
        if not profile.blocked_scales:
            yield error(
                6,
                node,
                f"its scale has rank {scale.ndim}; TensorRT {profile.tensorrt} takes 0 or 1.",
                "Use one scale per tensor or per channel.",
            )
        elif shape is None or not _blocked(shape, scale.shape):
            yield error(
                6,
                node,
                f"a scale of shape {scale.shape} does not divide {'an activation' if shape is None else shape} "
                "into blocks along exactly one dimension.",
                "Use one block size, a whole number, along one dimension of a weight.",
            )


def _blocked(shape: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    if len(shape) != len(scale):
        return False
    differing = [(n, s) for n, s in zip(shape, scale, strict=True) if n != s]
    return len(differing) == 1 and differing[0][1] > 0 and differing[0][0] % differing[0][1] == 0


def types_taken(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 7: code types the board executes; INT4 on weights with an even last dimension; `output_dtype` agrees."""
    for node in view.qdq():
        kind = _code_type(view, node)
        if not profile.types:
            yield error(
                7,
                node,
                f"{profile.board} (compute {profile.compute}) has no int8 arithmetic, and TensorRT refuses Q/DQ on it.",
                "Export the float graph as FP16.",
            )
        elif kind in ("UINT8", "INT32"):
            continue  # rules 3 and 9
        elif kind and kind not in profile.types:
            yield error(
                7, node, f"codes of type {kind}; {profile.board} takes {', '.join(profile.types)}.", "Use INT8."
            )
        elif kind == "INT4" and ((view.weight_shape(node) or (1,))[-1] % 2):
            yield error(7, node, "INT4 needs weights with an even last dimension.", "Use INT8 for this tensor.")
        yield from _output_type(view, node)


def _code_type(view: View, node: Any) -> str:
    own = view.type_of(view.input(node, 0)) if node.op_type != QUANTISE else ""
    return view.type_of(view.input(node, 2)) or own


def _output_type(view: View, node: Any) -> Iterator[Finding]:
    import onnx

    wanted, zero = attribute(node, "output_dtype"), view.type_of(view.input(node, 2))
    if node.op_type == QUANTISE and wanted and zero and onnx.TensorProto.DataType.Name(wanted) != zero:
        name = onnx.TensorProto.DataType.Name(wanted)
        yield error(7, node, f"output_dtype is {name}, its zero point {zero}.", "Write the same type, or leave it out.")


def no_integer_operators(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 8: quantised operators have no importer; QDQ form only."""
    for node in view.nodes:
        if node.op_type in WITHOUT_IMPORTER:
            yield error(8, node, "TensorRT has no importer for it.", "Export in QDQ form, not QOperator form.")


def float_bias(view: View, profile: Profile) -> Iterator[Finding]:
    """Rule 9: no INT32 behind DequantizeLinear."""
    for node in view.qdq():
        if "INT32" in (view.type_of(view.input(node, 0)), view.type_of(view.input(node, 2))):
            yield error(9, node, "it dequantises INT32 (a quantised bias).", "Store the bias as float32.")


RULES: tuple[Rule, ...] = (
    zero_points_zero,
    zero_point_present,
    no_unsigned,
    scales_positive,
    channels_on_weights,
    scale_rank,
    types_taken,
    no_integer_operators,
    float_bias,
)
