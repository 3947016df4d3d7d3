"""What the command convert does: a float or quantised graph as a file of another form."""

from __future__ import annotations

from pathlib import Path

from edge.errors import EdgeError
from edge.quantizing import check_suffix, save_quantised
from export.atomic import write_file
from export.qonnx import qonnx_model
from export.tflite_float import encode_float
from quant import graph_file
from quant.graph import Graph, check
from quant.onnx_write import to_float_onnx
from quant.passes.drop_softmax import drop_softmax
from quant.ptq import PASSES

QONNX = "qonnx"


def check_form(path: Path, form: str) -> None:
    """Refuse an output file, before any work, whose ending does not go with the form asked for."""
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


def _folded(graph: Graph) -> Graph:
    """Run the passes that keep the function, all but the one that only keeps the labels."""
    for step in PASSES:
        graph = graph if step is drop_softmax else check(step(graph))
    return graph
