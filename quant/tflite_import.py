"""Import a quantised `.tflite` file into a `Graph`, with the file's own codes.

The graph computes what TFLite-Micro (int8) and TFLite's reference kernels (uint8) compute, tensor by tensor and code
by code. Images are channels-last in the file and channels-first in the graph; uint8 codes are shifted to int8. SOFTMAX
and DEQUANTIZE at the end are left out: quantised graphs end at the logits, and labels do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from quant import tflite_gates as gates
from quant import tflite_layers as layers
from quant import tflite_moves as moves
from quant import tflite_values as values
from quant.errors import QuantError
from quant.graph import Graph, check
from quant.tflite_build import Build, refuse, start
from quant.tflite_read import FileOp, TfliteFile, read_tflite

#: How each operator is imported.
IMPORTS: tuple[tuple[str, Callable[[Build, FileOp], None]], ...] = (
    ("ADD", values.add),
    ("AVERAGE_POOL_2D", values.pool),
    ("CONCATENATION", moves.concatenation),
    ("CONV_2D", layers.conv),
    ("DEPTHWISE_CONV_2D", layers.depthwise),
    ("DEQUANTIZE", values.dequantize),
    ("EXPAND_DIMS", moves.reshape),
    ("FULLY_CONNECTED", layers.fully_connected),
    ("HARD_SWISH", gates.function),
    ("LEAKY_RELU", gates.function),
    ("LOGISTIC", gates.function),
    ("MAXIMUM", values.limit),
    ("MAX_POOL_2D", values.pool),
    ("MEAN", values.mean),
    ("MINIMUM", values.limit),
    ("MUL", gates.mul),
    ("PAD", moves.pad),
    ("PADV2", moves.pad),
    ("QUANTIZE", values.quantize),
    ("RELU", values.clamp),
    ("RELU6", values.clamp),
    ("RELU_N1_TO_1", values.clamp),
    ("RESHAPE", moves.reshape),
    ("SLICE", moves.plain_slice),
    ("SOFTMAX", values.softmax),
    ("SQUEEZE", moves.reshape),
    ("STRIDED_SLICE", moves.strided_slice),
    ("TANH", gates.function),
    ("TRANSPOSE", moves.transpose),
)


def load_tflite(path: Path) -> Graph:
    """Import an int8 or uint8 `.tflite` model.

    Raises:
        QuantError: the file cannot be read, or holds something that is not understood; the message names the file, the
            operator or tensor, and what is allowed.
    """
    file = read_tflite(path)
    try:
        return graph_of(file)
    except QuantError as error:
        raise QuantError(f"{path}: {error}") from error


def graph_of(file: TfliteFile) -> Graph:
    """Return the graph of a file's network.

    Raises:
        QuantError: as for `load_tflite`.
    """
    return check(walk(file).graph())


def walk(file: TfliteFile) -> Build:
    """Import every operator of a file in order; the result also says where each tensor of the file is in the graph."""
    build, imports = start(file), dict(IMPORTS)
    for op in file.operators:
        if op.code not in imports:
            raise refuse(op, f"this operator is not imported. Imported are {', '.join(imports)}.")
        imports[op.code](build, op)
    return build
