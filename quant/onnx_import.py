"""Import ONNX into a `Graph`: float models, and models quantised elsewhere.

Understood are QDQ (ONNX Runtime, NNCF), QCDQ (Brevitas: fewer bits as clipped codes), operators on codes (the QOperator
files of ONNX Runtime) and QONNX (`Quant`, `FloatQuant`; `BipolarQuant` of weights).

QDQ: each QuantizeLinear -> DequantizeLinear pair names the number format of the tensor it reads; both vanish, and the
readers of the pair read the codes. uint8 codes become int8 (zero point - 128), which is the same function. A
tensor whose dequantised values are quantised again with other parameters gets a Requantize node. Scales that are
missing are an error, never guessed; only the output may be left in real values (`quant.onnx_output`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quant import onnx_layers as layers
from quant import onnx_nodes as convert
from quant.errors import QuantError
from quant.graph import Graph, check
from quant.onnx_build import Build, start
from quant.onnx_codes import clip_constant, dequantize, on_codes, quantize
from quant.onnx_complete import complete
from quant.onnx_fold import DAMAGED, first_line
from quant.onnx_patterns import with_functions
from quant.onnx_qonnx import fake_quantize
from quant.onnx_read import read_onnx
from quant.onnx_rows import with_rows


def load_onnx(path: Path) -> Graph:
    """Import a float or QDQ ONNX model.

    Raises:
        QuantError: the file cannot be read, or holds something that is not understood; the message names the node,
            its op, input shapes and opset, and lists what is supported.
    """
    build = start(with_functions(with_rows(read_onnx(path))))
    for node in build.model.nodes:
        try:
            _add_node(build, node)
        except DAMAGED as error:
            # What the ONNX checker lets pass: attributes of the wrong length, constants of the wrong type, ...
            why = f"its attributes and inputs do not fit together ({type(error).__name__}: {first_line(error)})."
            raise convert.refuse(build.model, node, why) from error
    if not build.nodes:
        raise QuantError(f"{path}: the model computes nothing.")
    graph = build.graph()
    return check(complete(graph) if build.quants or build.constants else graph)


def _add_node(build: Build, node: Any) -> None:
    plain = node.domain in ("", "ai.onnx")
    if convert.is_qonnx(node):
        fake_quantize(build, node)
        return
    if not plain or node.op_type not in convert.SUPPORTED:
        raise convert.refuse(
            build.model,
            node,
            f"this operator is not supported{'' if plain else f' (domain {node.domain})'}. "
            f"Supported: {', '.join(convert.SUPPORTED)}, QONNX's quantisers and ONNX Runtime's QLinear operators. "
            "Rewrite it with these, or cut the model before it.",
        )
    if node.op_type == "DequantizeLinear":
        dequantize(build, node)
    elif any(name in build.codes for name in node.input):
        on_codes(build, node)
    elif node.op_type == "QuantizeLinear":
        quantize(build, node)
    elif node.op_type == "Clip" and build.is_constant(node.input[0]):
        clip_constant(build, node)
    else:
        _add_float(build, node)


def _add_float(build: Build, node: Any) -> None:
    match node.op_type:
        case "Identity" | "Dropout":
            if node.op_type == "Dropout" and convert.number(build.model, node, 2):
                raise convert.refuse(build.model, node, "training_mode is on; export the model in evaluation mode.")
            build.alias[node.output[0]] = build.activation(node, 0)
        case "Transpose":
            layers.transpose(build, node)
        case "Conv":
            layers.conv(build, node)
        case "Gemm" | "MatMul":
            layers.gemm(build, node)
        case "Add":
            layers.add(build, node)
        case "Mul":
            layers.mul(build, node)
        case "BatchNormalization":
            layers.batch_norm(build, node)
        case _:
            count = len(node.input) if node.op_type == "Concat" else 1
            names = tuple(build.activation(node, i) for i in range(count))
            build.emit(node, convert.simple(build.model, node), names)
            build.pass_grid()
