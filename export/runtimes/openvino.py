"""Execution of the host target's OpenVINO IR on the CPU, in float32 where it is not int8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.runtimes.session import Runtime, Session
from quant.formats import Array
from quant.graph import Graph
from quant.reference import dequantise, quantise_input


def settings(threads: int) -> dict[str, object]:
    """Return the properties of every compilation: without the hint some CPUs compute the float parts in bfloat16."""
    return {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}


@dataclass(frozen=True, eq=False)
class OpenvinoSession:
    """One compiled IR with float32 input and output; see `export.runtimes.session.Session`."""

    file: Path
    graph: Graph
    request: Any
    threads: int

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch: the float32 outputs on the output tensor's grid."""
        values = self._infer(self.request, codes)[0]
        return quantise_input(self.graph.quant(self.graph.output), values)

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of the activations the IR names, from a copy of the model that outputs them dequantised.

        OpenVINO drops the names of some tensors, mostly behind pooling and moves. A tensor that it must hand out is
        not fused with what follows, so these codes, the output's too, are those of the copy; the codes of `run` may
        differ where a fusion rounds differently.
        """
        model = _read(self.file)
        known = _tensor_names(model, self.file)
        names = {t: t if t == self.graph.output else f"{t}_DequantizeLinear_Output" for t in self.graph.activations()}
        shown = {tensor: name for tensor, name in names.items() if name in known}
        model.add_outputs([name for tensor, name in shown.items() if tensor != self.graph.output])
        result = self._infer(_compile(model, self.threads).create_infer_request(), codes)
        return {t: quantise_input(self.graph.quant(t), result[name]) for t, name in shown.items()}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return one inference of `codes[:1]`.

        Timed: passing the float32 input, its quantisation, the network, dequantisation and the copy of the output,
        through the Python API. Not timed: turning codes into floats.
        """
        request, feed = self.request, {0: self._real(codes[:1])}

        def infer() -> None:
            request.infer(feed)

        return infer

    def close(self) -> None:
        """Nothing to do: the request is freed with this object."""

    def _infer(self, request: Any, codes: Array) -> Any:
        where, shape = (
            f"OpenVINO cannot run {self.file.name} on codes {codes.shape}",
            self.graph.shape(self.graph.input),
        )
        # With a dynamic batch OpenVINO compares no axis at all.
        if codes.shape[1:] != shape[1:]:
            raise ExportError(f"{where}: they must be {('N', *shape[1:])}.")
        try:
            return request.infer({0: self._real(codes)})
        except RuntimeError as error:
            raise ExportError(f"{where}: {error}") from error

    def _real(self, codes: Array) -> Array:
        return dequantise(self.graph.quant(self.graph.input), codes)


def _read(file: Path) -> Any:
    import openvino

    try:
        return openvino.Core().read_model(file)
    except (RuntimeError, UnicodeDecodeError) as error:
        raise ExportError(f"OpenVINO cannot read {file.name}: {error}") from error


def _tensor_names(model: Any, file: Path) -> set[str]:
    """Return the name of every tensor of a model."""
    try:
        return {name for op in model.get_ordered_ops() for port in op.outputs() for name in port.get_names()}
    except UnicodeDecodeError as error:
        raise ExportError(f"{file.name} holds a name that is not UTF-8: {error}. Export the bundle again.") from error


def _compile(model: Any, threads: int) -> Any:
    import openvino

    try:
        return openvino.Core().compile_model(model, "CPU", settings(threads))
    except (RuntimeError, UnicodeDecodeError) as error:
        raise ExportError(f"OpenVINO cannot compile '{model.get_friendly_name()}': {error}") from error


def open_ir(folder: Path, name: str, graph: Graph, *, threads: int = 1) -> Session:
    """Open the IR of part `name`."""
    file = folder / f"{name}.xml"
    request = _compile(_read(file), threads).create_infer_request()
    return OpenvinoSession(file=file, graph=graph, request=request, threads=threads)


def missing() -> str | None:
    """Return None when OpenVINO compiles and runs a one-node model here, else the reason."""
    try:
        import openvino
        from openvino import opset13
    except ImportError as error:
        return f"the package {error.name} is not installed: pip install 'edgemill[host]'"
    x = opset13.parameter([1], np.float32)
    probe = openvino.Model([opset13.negative(x)], [x], "probe")
    try:
        result = _compile(probe, 1).create_infer_request().infer({0: np.ones(1, np.float32)})[0]
    except ExportError as error:
        return str(error)
    return None if result[0] == -1 else f"openvino {openvino.__version__} gives {result[0]} for -(1)"


RUNTIME = Runtime(name="openvino", target="host", exact=False, missing=missing, open=open_ir)
