"""The fpga target: the whole network as a synthesisable Verilog core with AXI-Stream ports, and its benches."""

from __future__ import annotations

from pathlib import Path

from export.atomic import write_text
from export.errors import ExportError
from export.rtl.layout import layout
from export.rtl.sequential import part_files as sequential_files
from export.rtl.sequential import sequential_facts
from export.rtl.stream.driver import given_streams, image_axes, status_registers
from export.rtl.stream.fulfil import fulfil
from export.rtl.stream.part import part_files as stream_files
from export.rtl.stream.part import stream_facts
from export.rtl.stream.request import CircuitRequest
from export.rtl.vendor import vendor_files
from export.target import Capability, Facts, Source, Target, check_capability, check_name
from quant import operators as ops
from quant.formats import FORMATS, Format
from quant.program import Program, lower

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
    """Write the core, its memories, a Verilator bench with the vectors, a Makefile, and files for makers' tools.

    The core streams, with the folding that `source.circuit` asks for; where it asks for no architecture and a streaming
    core of this network does not fit, it is the sequential one, and the facts say why.

    Raises:
        ExportError: the graph does not fit the target or the device, there are no vectors, or the folder cannot be
            written.
        QuantError: the graph has no integer meaning.
    """
    name = check_name(source.name)
    check_capability(TARGET, source.graph)
    if len(source.inputs) == 0 or len(source.inputs) != len(source.outputs):
        raise ExportError(
            f"fpga: part '{name}' has {len(source.inputs)} input and {len(source.outputs)} output vectors; "
            "give at least one of each, and as many of both."
        )
    files, facts = _core(name, source, source.circuit or CircuitRequest())
    for file, text in files.items():
        write_text(folder / file, text)
    return facts


def _core(name: str, source: Source, request: CircuitRequest) -> tuple[dict[str, str], Facts]:
    if request.architecture == "sequential":
        if request.beyond_codes:
            raise ExportError(
                f"fpga: part '{name}': the sequential core gives the codes of the network's output and nothing else; "
                "for labels, further tensors or registers leave out --sequential."
            )
        return _sequential(name, source)
    program = lower(source.graph)
    try:
        core = fulfil(name, program, request)
    except ExportError as error:
        if request.architecture or request.folds is not None or request.cycles is not None:
            raise
        if request.beyond_codes:  # which the sequential core cannot give
            raise
        files, facts = _sequential(name, source)
        return files, {**facts, "why_sequential": str(error)}
    files = stream_files(core, source.inputs, source.outputs)
    in_axes = image_axes(program.tensors[program.input].shape)
    vendor = vendor_files(
        name,
        *_ends(program),
        in_lanes=core.plan.input_lanes,
        in_axes=in_axes,
        given=given_streams(core.plan),
        status=status_registers(core),
    )
    return {**files, **vendor}, stream_facts(core)


def _sequential(name: str, source: Source) -> tuple[dict[str, str], Facts]:
    plan = layout(source.graph)
    files = sequential_files(name, plan, source.inputs, source.outputs)
    return {**files, **vendor_files(name, *_ends(plan.program))}, sequential_facts(plan)


def _ends(program: Program) -> tuple[Format, Format, tuple[int, ...], tuple[int, ...]]:
    """Return formats of input and output, and the shapes of one frame of them."""
    ends = (program.input, program.output)
    source, result = (program.quant(end).format for end in ends)
    taken, given = (program.tensors[end].shape[1:] for end in ends)
    return source, result, taken, given


TARGET = Target(
    name="fpga",
    summary="synthesisable Verilog of the whole network: AXI-Stream core folded to a device, Verilator bench",
    capability=Capability(weights=_FORMATS, activations=_FORMATS, operators=_OPERATORS),
    write=write,
)
