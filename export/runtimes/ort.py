"""Execution with ONNX Runtime on the CPU: the host's QDQ file, and the Jetson file as a check of its numbers.

Graph optimisations are at ONNX Runtime's default (all) everywhere, for `run`, `timed` and `tensors` alike, with one
exception: `DoubleQDQPairsRemover` is off, because it replaces the scale of a Requantize by one of its own choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.jetson_profiles import PROFILES
from export.runtimes.session import Runtime, Session
from quant.formats import Array
from quant.graph import Graph
from quant.reference import dequantise, quantise_input

DISABLED_OPTIMISERS = ("DoubleQDQPairsRemover",)


@dataclass(frozen=True, eq=False)
class OrtSession:
    """One opened ONNX file with float32 input and output; see `export.runtimes.session.Session`.

    `shown` maps graph tensors to the ONNX names of their codes, and `decode` turns such codes into the graph's.
    `batched` is False for a file with batch 1, which is then run image by image.
    """

    file: Path
    graph: Graph
    session: Any
    threads: int
    shown: dict[str, str]
    decode: Callable[[str, Array], Array]
    batched: bool

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch: the float32 outputs on the output tensor's grid."""
        return quantise_input(self.graph.quant(self.graph.output), self._outputs(self.session, None, codes)[0])

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of every tensor that the file quantises, from a copy of the model that outputs them."""
        as_written = self.graph.quant(self.graph.input).format.is_minifloat
        copy = open_ort(_with_outputs(self.file, tuple(self.shown.values())), self.threads, as_written=as_written)
        *values, last = self._outputs(copy, [*self.shown.values(), self.graph.output], codes)
        # The copy is optimised otherwise and may round otherwise, so its own output goes with its tensors.
        output = {self.graph.output: quantise_input(self.graph.quant(self.graph.output), last)}
        return output | {name: self.decode(name, v) for name, v in zip(self.shown, values, strict=True)}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return one inference of `codes[:1]`.

        Timed: binding of the float32 input, QuantizeLinear of the input, the network, DequantizeLinear and the copy
        of the output, through the Python API. Not timed: turning codes into floats.
        """
        feed = {self.graph.input: self._real(codes[:1])}
        session, names = self.session, [self.graph.output]

        def infer() -> None:
            session.run(names, feed)

        return infer

    def close(self) -> None:
        """Nothing to do: the session is freed with this object."""

    def _real(self, codes: Array) -> Array:
        return dequantise(self.graph.quant(self.graph.input), codes)

    def _outputs(self, session: Any, names: list[str] | None, codes: Array) -> list[Array]:
        x = self._real(codes)
        batches = [x] if self.batched else [x[i : i + 1] for i in range(len(x))]
        try:
            rows = [session.run(names, {self.graph.input: batch}) for batch in batches]
        except _refusals() as error:
            raise ExportError(f"ONNX Runtime cannot run {self.file.name} on codes {codes.shape}: {error}") from error
        return [np.concatenate(column) for column in zip(*rows, strict=True)]


def open_ort(model: Path | bytes, threads: int = 1, optimised: Path | None = None, *, as_written: bool = False) -> Any:
    """Return an `onnxruntime.InferenceSession` on the CPU.

    Args:
        model: a file, or a serialised model.
        threads: intra-op threads; between operators there is always one.
        optimised: where to write the optimised model. This stops at the extended level, whose operators are the same
            on every CPU; the level above only changes their layout.
        as_written: nothing is optimised. FP8 needs it: an optimisation of Clip before QuantizeLinear fails on FP8.

    Raises:
        ExportError: ONNX Runtime refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if optimised is not None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    try:
        return ort.InferenceSession(
            source,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(DISABLED_OPTIMISERS),
            # There is no other provider to fall back to; trying again would only print to standard output.
            enable_fallback=0,
        )
    except _refusals() as error:
        raise ExportError(f"ONNX Runtime cannot open {_label(model)}: {error}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises for models and inputs it cannot take; ValueError: names that are not UTF-8."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
        ValueError,
    )


def _label(model: Path | bytes) -> str:
    return "the model" if isinstance(model, bytes) else model.name


def _load(file: Path) -> Any:
    """Return the ModelProto in a file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(file)
    except (DecodeError, OSError) as error:
        raise ExportError(f"{file.name} is not a readable ONNX file: {error}. Export the bundle again.") from error


def _with_outputs(file: Path, names: tuple[str, ...]) -> bytes:
    """Return a serialised copy of a model that also outputs the named tensors."""
    import onnx

    model = _load(file)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return bytes(model.SerializeToString())


def open_host(folder: Path, name: str, graph: Graph, *, threads: int = 1) -> Session:
    """Open the host target's QDQ file of part `name`."""
    from export.onnx_ops import keep_mean_dims
    from export.onnx_qdq import codes_name, graph_codes

    file, written = folder / f"{name}.onnx", keep_mean_dims(graph)
    return OrtSession(
        file=file,
        graph=graph,
        session=open_ort(file, threads),
        threads=threads,
        shown={tensor: codes_name(written, tensor) for tensor in graph.activations()},
        decode=lambda tensor, stored: graph_codes(graph.quant(tensor), stored),
        batched=True,
    )


def open_jetson(folder: Path, name: str, graph: Graph, *, threads: int = 1) -> Session:
    """Open a Jetson target's file of part `name`; tensors which that file leaves in float are not shown."""
    file = folder / f"{name}.onnx"
    made = {output for node in _load(file).graph.node for output in node.output}
    shown = {t: f"{t}_QuantizeLinear_Output" for t in graph.activations() if f"{t}_QuantizeLinear_Output" in made}
    return OrtSession(
        file=file,
        graph=graph,
        session=open_ort(file, threads, as_written=graph.quant(graph.input).format.is_minifloat),
        threads=threads,
        shown=shown,
        decode=lambda tensor, stored: stored.astype(graph.quant(tensor).format.dtype),
        batched=False,
    )


def missing() -> str | None:
    """Return None when ONNX Runtime executes a one-node model here, else the reason."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        return f"the package {error.name} is not installed: pip install 'edgemill[quant]'"
    value = onnx.helper.make_tensor_value_info
    ports = [value(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "probe", ports[:1], ports[1:])
    probe = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    try:
        result = open_ort(probe.SerializeToString()).run(None, {"x": np.ones(1, np.float32)})[0]
    except ExportError as error:
        return f"{error} (onnxruntime {onnxruntime.__version__})"
    return None if result[0] == -1 else f"onnxruntime {onnxruntime.__version__} gives {result[0]} for -(1)"


RUNTIME = Runtime(name="onnxruntime", target="host", exact=False, missing=missing, open=open_host)
#: Nano and TX2 get FP16 of the float graph, whose outputs are not the quantised reference's, so they are left out.
JETSON_RUNTIMES = tuple(
    Runtime(name=f"onnxruntime-{p.target}", target=p.target, exact=False, missing=missing, open=open_jetson)
    for p in PROFILES
    if p.precision != "fp16"
)
RUNTIMES = (RUNTIME, *JETSON_RUNTIMES)
