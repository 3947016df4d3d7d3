"""The fpga target: the whole network as one synthesisable Verilog core with AXI-Stream ports and a Verilator bench."""

from __future__ import annotations

from pathlib import Path

from export.atomic import write_text
from export.errors import ExportError
from export.rtl.bench import bench_cpp, makefile, vectors
from export.rtl.cycles import cycles
from export.rtl.emit import memories, verilog
from export.rtl.layout import Layout, acc_bits, layout, tensor_words
from export.rtl.vendor import vendor_files
from export.target import Capability, Facts, Source, Target, check_capability, check_name
from quant import operators as ops
from quant.formats import FORMATS, Format
from quant.program import ConvStep

_OPERATORS = (
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
_FORMATS = tuple(fmt.name for fmt in FORMATS)


def write(source: Source, folder: Path) -> Facts:
    """Write NAME.v, its memory files, a Verilator bench with the vectors, a Makefile, and files for makers' tools.

    Raises:
        ExportError: the graph does not fit the target, there are no vectors, or the folder cannot be written.
        QuantError: the graph has no integer meaning.
    """
    name = check_name(source.name)
    check_capability(TARGET, source.graph)
    if len(source.inputs) == 0 or len(source.inputs) != len(source.outputs):
        raise ExportError(
            f"fpga: part '{name}' has {len(source.inputs)} input and {len(source.outputs)} output vectors; "
            "give at least one of each, and as many of both."
        )
    plan = layout(source.graph)
    files = {
        f"{name}.v": verilog(name, plan),
        **memories(name, plan),
        f"{name}_tb.cpp": bench_cpp(name, plan),
        f"{name}_vectors.h": vectors(name, plan, source.inputs, source.outputs),
        "Makefile": makefile(name),
        **vendor_files(name, *_ends(plan)),
    }
    for file, text in files.items():
        write_text(folder / file, text)
    return facts(plan)


def _ends(plan: Layout) -> tuple[Format, Format, tuple[int, ...], tuple[int, ...]]:
    """Return formats of input and output, and the shapes of one frame of them."""
    program = plan.program
    ends = (program.input, program.output)
    (source, result), (taken, given) = (
        [program.quant(e).format for e in ends],
        [program.tensors[e].shape for e in ends],
    )
    return source, result, taken[1:], given[1:]


def facts(plan: Layout) -> Facts:
    """Return what the manifest keeps: sizes in bits, cycles of one frame (exact, without waits), tensors in memory."""
    program, widths = plan.program, plan.widths
    tensors = [
        {
            "name": name,
            "format": program.quant(name).format.name,
            "shape": list(tensor.shape[1:]),
            "address": plan.arena.offsets[name],
            "words": tensor_words(plan, name),
        }
        for name, tensor in program.tensors.items()
    ]
    return {
        "layout": "NCHW",
        "cycles": cycles(plan),
        "macs_per_cycle": 1,
        "weight_bits": sum(s.codes.size * s.weight_format.bits for s in program.steps if isinstance(s, ConvStep)),
        "activation_bits": plan.arena.words * widths.code,
        "table_bits": len(plan.table) * (widths.accumulator + widths.exponent + widths.mantissa),
        "accumulator_bits": widths.accumulator,
        "acc_bits": acc_bits(plan),
        "tensors": tensors,
    }


TARGET = Target(
    name="fpga",
    summary="synthesisable Verilog of the whole network: AXI-Stream core, Verilator bench, yosys target",
    capability=Capability(weights=_FORMATS, activations=_FORMATS, operators=_OPERATORS),
    write=write,
)
