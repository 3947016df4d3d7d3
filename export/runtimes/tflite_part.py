"""What every TFLite runtime needs: the file of a part, batches in file layout, and a tiny model to try it with."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.tflite_flat import read
from export.tflite_layout import file_shape, to_file, to_graph
from quant.formats import Array
from quant.graph import Graph

#: What a runtime raises on an unsuitable environment or file. Import alone shows nothing: tflite-runtime 2.14 with
#: numpy 2 imports, and fails when an interpreter is made (AttributeError or SystemError).
RUNTIME_ERRORS = (ImportError, AttributeError, SystemError, RuntimeError, ValueError, OSError)

#: One QUANTIZE of one int8 value, scale 0.5 to scale 0.25: the code 3 becomes 6.
TINY_MODEL = base64.b64decode(
    "DAAAAFRGTDMAAAAAwv///xQAAAAcAAAAKAAAAHABAAADAAAAAQAAAAQAAACE////CAAAAGVkZ2VtaWxsAAAAAAEAAAAUAAAAAAAOABgAFAAQ"
    "AAwACAAEAA4AAAAUAAAAHAAAAFwAAABgAAAAZAAAAAQAAAB0aW55AAAAAAEAAAAUAAAAAAAOABQAAAAQAAwACwAEAA4AAAAUAAAAAAAAWRAA"
    "AAAUAAAABAAEAAQAAAABAAAAAQAAAAEAAAAAAAAAAQAAAAEAAAABAAAAAAAAAAIAAABkAAAABAAAALL///8QAAAAMAAAAAAAAAkwAAAApP//"
    "/wgAAAAUAAAAAQAAAAAAAAAAAAAAAAAAAAEAAAAAAIA+AQAAAHkAAAACAAAAAQAAAAEAAAAAAA4AFAAQAA8AAAAIAAQADgAAABwAAAA4AAAA"
    "AAAACTgAAAAMAAwAAAAAAAgABAAMAAAACAAAABAAAAABAAAAAAAAAAAAAAABAAAAAAAAPwEAAAB4AAAAAgAAAAEAAAABAAAAAQAAABAAAAAM"
    "ABAADwAAAAgABAAMAAAAcgAAAAIAAAAAAABy"
)
TINY_INPUT, TINY_OUTPUT = 3, 6


def read_part(folder: Path, name: str) -> bytes:
    """Return the bytes of `NAME.tflite`.

    Raises:
        ExportError: the file cannot be read, or is damaged (as far as ai-edge-litert is there to tell).
    """
    path = folder / f"{name}.tflite"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read '{path}': {error.strerror}. Export the part for arm-a first.") from error
    if find_spec("ai_edge_litert") is not None:
        read(data)
    return data


def run_batch(
    graph: Graph, codes: Array, invoke: Callable[[Array], list[Array]], outputs: tuple[str, ...]
) -> list[Array]:
    """Run a batch image by image.

    Args:
        graph: the quantised graph of the part.
        codes: input codes [N, ...] in graph layout.
        invoke: runs one image (int8, file layout, batch axis 1) and returns its outputs in file layout.
        outputs: the tensor of each output.

    Returns:
        The codes of each output, [N, ...] in graph layout.

    Raises:
        ExportError: the batch is empty or has another shape than the graph's input.
    """
    shape = graph.shape(graph.input)
    if codes.ndim != len(shape) or codes.shape[1:] != shape[1:] or not len(codes):
        raise ExportError(f"input '{graph.input}' has shape {codes.shape}; the part takes [N, {str(shape[1:])[1:-1]}].")
    images = to_file(codes, graph.quant(graph.input).format)
    rows = [invoke(images[i : i + 1]) for i in range(len(images))]
    return [_column(graph, name, [row[i] for row in rows]) for i, name in enumerate(outputs)]


def _column(graph: Graph, name: str, values: list[Array]) -> Array:
    # Runtimes may report a shape of their own for the same values (a fully connected output, for example).
    shape = file_shape(graph.shape(name))
    stacked = np.concatenate([np.asarray(value).reshape(shape) for value in values])
    return to_graph(stacked, graph.quant(name).format)


def node_outputs(graph: Graph) -> tuple[str, ...]:
    """Return the tensor that every node makes, in execution order, the graph's output last."""
    return tuple(node.output for node in graph.nodes)
