"""The target `host`: a PC or an aarch64 board with ONNX Runtime or OpenVINO. Writes QDQ ONNX and OpenVINO IR."""

from __future__ import annotations

from pathlib import Path

from export.target import Capability, Facts, Source, Target, check_capability
from quant import operators as ops

#: Narrower activations are clamped on their codes (see `export.onnx_qdq`).
ACTIVATIONS = ("int8", "uint8", *(f"{sign}int{bits}" for bits in range(7, 1, -1) for sign in ("", "u")))
#: Stored as int8 whatever their width.
WEIGHTS = tuple(f"int{bits}" for bits in range(8, 1, -1))
OPERATORS = (
    ops.Conv,
    ops.Gemm,
    ops.Add,
    ops.Mul,
    ops.Function,
    ops.Clip,
    ops.Minimum,
    ops.Pad,
    ops.Slice,
    ops.Concat,
    ops.MaxPool,
    ops.AveragePool,
    ops.Mean,
    ops.Reshape,
    ops.Requantize,
)


def write(source: Source, folder: Path) -> Facts:
    """Write `NAME.onnx`, `NAME.xml` and `NAME.bin`.

    The IR needs the package openvino; without it only the ONNX file is written, and the facts say so.

    Raises:
        ExportError: the capability table or the ONNX checker refuses the graph.
    """
    from export.onnx_fragment import IR_VERSIONS, save
    from export.onnx_qdq import OPSET, qdq_model

    check_capability(TARGET, source.graph)
    path = folder / f"{source.name}.onnx"
    save(qdq_model(source.graph), path)
    return {
        "layout": "NCHW",
        "batch": "dynamic",
        "dialect": "QDQ",
        "opset": OPSET,
        "ir_version": IR_VERSIONS[OPSET],
        "input": source.graph.input,
        "output": source.graph.output,
        "interface": "float32",
        "onnx_bytes": path.stat().st_size,
        "openvino_ir": _write_ir(path, folder, source.name),
    }


def _write_ir(path: Path, folder: Path, name: str) -> str:
    """Write the IR and return the version that wrote it, or why it is not there."""
    try:
        import openvino
    except ImportError:
        return "not written: the package openvino is not installed (extra 'host')"
    from export.openvino_ir import write_ir

    write_ir(path, folder, name)
    return f"written by openvino {openvino.__version__}"


TARGET = Target(
    name="host",
    summary="QDQ ONNX for ONNX Runtime and IR for OpenVINO, on x86-64 and aarch64",
    capability=Capability(weights=WEIGHTS, activations=ACTIVATIONS, operators=OPERATORS),
    write=write,
)
