"""From a trained student to one quantised graph that is cut exactly at the encoder's output, in the link's format."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge.errors import EdgeError
from edge.link.requantise import link_tensor, with_link_format
from edge.models.bottleneck import Bottleneck, deployable
from edge.models.models import Shape
from edge.onnx_file import CUT_TENSOR, to_onnx
from edge.split import cut_points
from quant.formats import Array, Format
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.ptq import prepare, quantise
from quant.scheme import Scheme


def to_graph(student: Bottleneck, shape: Shape, name: str) -> Graph:
    """Return a student as a prepared float graph; the encoder's output is its tensor `cut` (CUT_TENSOR).

    Args:
        student: trained; not changed.
        shape: channels, height, width of the input.
        name: the graph's name.

    Raises:
        EdgeError: the decoder's own stages make the encoder's output no cut point.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        to_onnx(deployable(student), shape, path, cut="encoder")
        graph = prepare(load_onnx(path))
    if CUT_TENSOR not in [point.tensor for point in cut_points(graph)]:
        raise EdgeError(f"graph '{name}' cannot be cut at the encoder's output; keep the decoder's first batch norm.")
    return graph


def quantised(graph: Graph, scheme: Scheme, link: Format, calibration: Array) -> tuple[Graph, str]:
    """Quantise a student and give its link a format.

    Args:
        graph: what `to_graph` returned.
        scheme: formats of the whole network.
        link: the format of what crosses the cut.
        calibration: pre-processed inputs, float32 [N, C, H, W].

    Returns:
        The graph, and the tensor to cut it after.
    """
    made = with_link_format(quantise(graph, scheme, calibration), CUT_TENSOR, link, calibration)
    return made, link_tensor(made, CUT_TENSOR)
