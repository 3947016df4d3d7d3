"""Target `arm-a`: one `.tflite` file for LiteRT, tflite-runtime and TFLite-Micro on ARM processors."""

from __future__ import annotations

from pathlib import Path

from export.target import Capability, Facts, Source, Target, check_capability
from export.tflite import write_tflite
from quant import operators as ops


def write(source: Source, folder: Path) -> Facts:
    """Write `NAME.tflite` after checking that the target can express the graph (see `write_tflite`)."""
    check_capability(TARGET, source.graph)
    return write_tflite(source, folder)


TARGET = Target(
    name="arm-a",
    summary="TFLite flatbuffer, int8 or int16, for LiteRT and tflite-runtime on Cortex-A and TFLite-Micro",
    capability=Capability(
        weights=tuple(f"int{bits}" for bits in range(2, 9)),
        activations=("int8", "uint8", "int16"),
        operators=(
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
        ),
    ),
    write=write,
)
