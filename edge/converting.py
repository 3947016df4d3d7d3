"""What the command convert does: a float or quantised graph as a file of another form."""

from __future__ import annotations

from pathlib import Path

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.evaluate import inputs_of
from edge.quantizing import FORMS, check_suffix, save_quantised
from export.atomic import write_file
from export.hls4ml import Setting, no_codes, write_project
from export.qonnx import qonnx_model
from export.tflite_float import encode_float
from quant import graph_file
from quant.graph import Graph, check
from quant.onnx_write import to_float_onnx
from quant.passes.drop_softmax import drop_softmax
from quant.ptq import PASSES
from quant.reference import quantise_input

QONNX, HLS4ML = "qonnx", "hls4ml"
#: Test images that an hls4ml project is simulated on.
IMAGES = 200
#: A file that every hls4ml project written here has, so that --force replaces nothing else.
REPORT = "report.json"


def check_form(path: Path, form: str) -> None:
    """Refuse an output, before any work, whose ending does not go with the form asked for."""
    if form == HLS4ML:
        if path.suffix in (".graph", *FORMS):
            raise EdgeError(f"{path}: --form {HLS4ML} writes a folder; name it {path.stem}.")
        if path.exists() and not (path / REPORT).is_file():
            raise EdgeError(f"{path} exists and is no hls4ml project written here; choose another name.")
        return
    check_suffix(path)
    if form == QONNX and path.suffix != ".onnx":
        raise EdgeError(f"{path}: --form {QONNX} writes ONNX; name it {path.with_suffix('.onnx').name}.")


def convert_model(graph: Graph, path: Path, form: str = "qdq") -> None:
    """Write a graph as `.graph`, `.onnx` or `.tflite`, atomically.

    A float `.tflite` file has its batch norms folded; a Softmax at the end stays.

    Args:
        graph: float or quantised.
        path: its ending says which file.
        form: dialect of a quantised `.onnx`, qdq or qonnx.

    Raises:
        EdgeError: another ending.
        ExportError: the form cannot express the graph, or the file cannot be written.
        QuantError: the graph is not well formed.
    """
    check_form(path, form)
    if form == QONNX:
        write_file(path, qonnx_model(graph).SerializeToString(deterministic=True))
    elif graph.is_quantised:
        save_quantised(graph, path)
    elif path.suffix == ".graph":
        write_file(path, graph_file.to_bytes(graph))
    elif path.suffix == ".onnx":
        write_file(path, to_float_onnx(graph).SerializeToString())
    else:
        write_file(path, encode_float(_folded(graph)))


def hls_project(graph: Graph, dataset: Dataset | None, path: Path, setting: Setting, *, overwrite: bool) -> str:
    """Write an hls4ml project; returns a line that says how its C simulation agreed.

    Raises:
        EdgeError: the data does not fit the graph.
        ExportError: the project cannot be written, or its C simulation does not agree.
    """
    if not graph.is_quantised or dataset is None:
        codes = no_codes(graph)
    else:
        codes = quantise_input(graph.quant(graph.input), inputs_of(graph, dataset, dataset.x_test[:IMAGES]))
    gate = write_project(graph, codes, path, setting, overwrite=overwrite)
    off = (
        f"{gate.differ:.2%} of the output codes differ, by {gate.steps} at most" if gate.steps else "every output code"
    )
    return (
        f"{path}: {setting.backend}, {setting.io_type}; C simulation of {gate.inputs} inputs equals the QONNX file's "
        f"on {gate.executed}; against the reference {off}, {gate.labels:.1%} of the labels agree"
    )


def _folded(graph: Graph) -> Graph:
    """Run the passes that keep the function, all but the one that only keeps the labels."""
    for step in PASSES:
        graph = graph if step is drop_softmax else check(step(graph))
    return graph
