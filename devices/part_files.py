"""What a runner needs of a written part: its quantised graph and the input codes of its test vectors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from devices.errors import DeviceError
from export.bundle_read import GRAPH, VECTORS, check_vectors, read_vectors
from export.errors import ExportError
from quant import graph_file
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph


def load_graph(folder: Path) -> Graph:
    """Read the graph of a part, or raise DeviceError that names the file."""
    try:
        return graph_file.load(folder / GRAPH)
    except QuantError as error:
        raise DeviceError(str(error)) from error


def load_vectors(folder: Path, graph: Graph) -> tuple[Array, Array]:
    """Read the input and output codes of a part's test vectors, each [N, ...] in graph layout.

    Raises:
        DeviceError: the file is missing or damaged, or its codes do not fit the graph.
    """
    try:
        arrays = read_vectors(folder / VECTORS)
        for name, tensor in (("inputs", graph.input), ("outputs", graph.output)):
            check_vectors(graph, tensor, arrays[name], f"{folder / VECTORS}: {name}")
    except ExportError as error:
        raise DeviceError(str(error)) from error
    return arrays["inputs"], arrays["outputs"]


def load_inputs(folder: Path, graph: Graph) -> Array:
    """Read the input codes of a part's test vectors, [N, ...] in graph layout.

    Raises:
        DeviceError: the file is missing or damaged, or its codes do not fit the graph.
    """
    path = folder / VECTORS
    try:
        with path.open("rb") as file:  # opened here, as numpy forgets to close a damaged archive
            codes: Array = np.load(file, allow_pickle=False)["inputs"]
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DeviceError(f"{path} does not hold readable test vectors: {error}.") from error
    shape = graph.shape(graph.input)
    if codes.ndim != len(shape) or codes.shape[1:] != shape[1:] or not len(codes):
        raise DeviceError(f"{path}: inputs have shape {codes.shape}; the graph takes [N, {str(shape[1:])[1:-1]}].")
    try:
        graph.quant(graph.input).format.to_ordinals(codes)
    except QuantError as error:
        raise DeviceError(f"{path}: {error}") from error
    return codes
