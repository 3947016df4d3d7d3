"""Products and functions of one value in a `.tflite` file: MUL, LOGISTIC, TANH, HARD_SWISH, LEAKY_RELU."""

from __future__ import annotations

from quant import operators as ops
from quant.functions import LOGISTIC, TANH
from quant.graph import Quant
from quant.tflite_build import Build, activation_quant, refuse
from quant.tflite_read import FileOp
from quant.tflite_windows import fused, options

#: The function behind each operator, and the one number format its results may have, or None.
FUNCTIONS: dict[str, tuple[str, Quant | None]] = {
    "HARD_SWISH": ("hard_swish", None),
    "LEAKY_RELU": ("leaky_relu", None),
    "LOGISTIC": ("sigmoid", LOGISTIC),
    "TANH": ("tanh", TANH),
}
#: What tables of a function are made for.
BYTE = "INT8"


def mul(build: Build, op: FileOp) -> None:
    """Import MUL of two activations of one shape, or of an image and one value per channel."""
    places = [build.read(op, position) for position in range(len(op.inputs))]
    if len(places) != 2:
        raise refuse(op, f"it has {len(places)} inputs; 2 are imported.")
    places.sort(key=lambda place: -max(build.tensors[place.name].shape[2:], default=0))
    (a, b), shapes = places, [build.tensors[place.name].shape for place in places]
    per_channel = len(shapes[0]) == 4 and shapes[1] == (1, shapes[0][1], 1, 1)
    if (a.order, a.flat) != (b.order, b.flat) or (shapes[0] != shapes[1] and not per_channel):
        files = [list(build.tensor(i).shape) for i in op.inputs]
        raise refuse(op, f"its inputs have shapes {files}; both must be the same, or one has a value per channel.")
    if len({build.tensor(i).dtype for i in (*op.inputs, op.output)}) > 1:
        raise refuse(op, "its inputs and output have different types.")
    build.emit(op, ops.Mul(), (a.name, b.name), shapes[0], a, fused(op, 0))


def function(build: Build, op: FileOp) -> None:
    """Import a function of int8 codes: in a graph it is the table that TFLite's kernel computes."""
    place, x, y = build.read(op, 0), build.tensor(op.inputs[0]), build.output(op)
    name, own = FUNCTIONS[op.code]
    if x.dtype != BYTE:
        raise refuse(op, f"its input, {x.what}, must be int8; functions of other types are not imported.")
    if own is not None and activation_quant(y) != own:
        raise refuse(op, f"its output, {y.what}, must have scale {own.scale[0]} and zero point {own.zero}.")
    alpha = options(op).real(0, 0.0) if name == "leaky_relu" else 0.0
    if not 0 <= alpha <= 1:
        raise refuse(op, f"its slope alpha is {alpha}; allowed is 0 to 1.")
    build.emit(op, ops.Function(name=name, alpha=alpha), (place.name,), build.tensors[place.name].shape, place)
