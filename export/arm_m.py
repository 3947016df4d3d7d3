"""Target `arm-m`: portable C99 for Cortex-M and anything else with a C compiler."""

from __future__ import annotations

from pathlib import Path

from export.atomic import write_text
from export.c99.emit import emit
from export.c99.files import self_test, vectors
from export.c99.header import header
from export.c99.join import crossing, sends, write_joint
from export.c99.link import write_link
from export.embed.files import embed_files
from export.errors import ExportError
from export.target import Capability, Facts, Joint, Source, Target, check_capability, check_name
from quant import operators as ops
from quant.formats import FORMATS
from quant.graph import Graph
from quant.program import lower

#: Codes live in one byte, or in two for signed integers of 9 to 16 bits.
FORMAT_NAMES = tuple(fmt.name for fmt in FORMATS if fmt.bits <= 8 or fmt.signed)

#: Zero points have at most 16 bits.
ZERO_LIMIT = 1 << 15

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
    """Write NAME.h, NAME.c, NAME_vectors.h, NAME_test.c and what surrounds them for `source.stem` = NAME.

    Returns:
        Facts: layout, bytes of the arena and of the constants, the tensor each step makes, and the sources to compile.

    Raises:
        ExportError: the graph holds what this target cannot express, or there is no test vector.
        QuantError: an accumulator does not fit.
    """
    name = check_name(source.stem)
    check_capability(TARGET, source.graph)
    _check_zeros(source.graph)
    if not len(source.inputs):
        raise ExportError(f"arm-m: part '{name}' has no test vectors; give at least one input.")
    program = lower(source.graph)
    unit = emit(program, name)
    formats = (program.quant(program.input).format, program.quant(program.output).format)
    texts = {
        f"{name}.h": header(program, name, unit),
        f"{name}.c": unit.source,
        f"{name}_vectors.h": vectors(name, formats, source.inputs, source.outputs),
        f"{name}_test.c": self_test(name),
        **embed_files(source, unit.arena_bytes),
    }
    for file, text in texts.items():
        write_text(folder / file, text)
    return {
        "layout": "NHWC",
        "c_prefix": name,
        "arena_bytes": unit.arena_bytes,
        "busiest_bytes": unit.busiest_bytes,
        "weight_bytes": unit.weight_bytes,
        "tensors": [step.y for step in program.steps],
        "sources": [f"{name}.c"],
    }


def _check_zeros(graph: Graph) -> None:
    """Kernels subtract zero points in 32 bits; 16 leave room for every code."""
    for name in graph.activations():
        zero = graph.quant(name).zero
        if not -ZERO_LIMIT <= zero < ZERO_LIMIT:
            raise ExportError(
                f"arm-m: activation '{name}' has zero point {zero}; this target takes {-ZERO_LIMIT} to "
                f"{ZERO_LIMIT - 1}. Quantise it again."
            )


def _join(joint: Joint, folder: Path) -> None:
    """Write what decides between parts, or what carries a head's output to a tail elsewhere."""
    if joint.is_dynamic:
        write_joint(joint, folder)
        if sends(joint):
            write_link(crossing(joint), folder)
    elif len(joint.parts) == 2:
        write_link(joint, folder)


TARGET = Target(
    name="arm-m",
    summary="portable C99 with static memory, for Cortex-M and any C compiler; every integer and minifloat format",
    capability=Capability(weights=FORMAT_NAMES, activations=FORMAT_NAMES, operators=OPERATORS),
    write=write,
    join=_join,
)
