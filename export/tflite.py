"""A quantised graph as a `.tflite` file: int8 or int16 activations, per-channel weights, NHWC, written directly."""

from __future__ import annotations

from pathlib import Path

from export.atomic import write_file
from export.errors import ExportError
from export.target import Facts, Source, check_name
from export.tflite_flat import pack
from export.tflite_layout import file_shape, file_zero
from export.tflite_ops import node_piece
from export.tflite_pack import packed
from export.tflite_piece import Piece, activation, join
from quant.graph import Graph
from quant.operators import MOVES
from quant.program import lower


def write_tflite(source: Source, folder: Path, *, int4: bool = True) -> Facts:
    """Write `NAME.tflite` into an existing folder and return its facts.

    `int4` packs two weights of at most 4 bits into a byte where runtimes read that (see `export.tflite_pack`).

    Raises:
        ExportError: the graph says something TFLite cannot compute exactly, or the file cannot be written.
        QuantError: the graph is not well formed, or an accumulator does not fit int32.
    """
    graph, path = source.graph, folder / f"{check_name(source.name)}.tflite"
    piece = _piece(graph, int4=int4)
    data = _bytes(graph, piece)
    write_file(path, data)
    x, y = graph.quant(graph.input), graph.quant(graph.output)
    return {
        "layout": "NHWC",
        "file": path.name,
        "file_bytes": len(data),
        "operators": sorted({op.code for op in piece.operators}),
        "input_shape": list(file_shape(graph.shape(graph.input))),
        "input_scale": x.scale[0],
        "input_zero": file_zero(x),
        "output_shape": list(file_shape(graph.shape(graph.output))),
        "output_scale": y.scale[0],
        "output_zero": file_zero(y),
    }


def encode(graph: Graph, *, int4: bool = True) -> bytes:
    """Return the bytes of the `.tflite` file of a quantised graph; equal graphs give equal bytes."""
    return _bytes(graph, _piece(graph, int4=int4))


def _piece(graph: Graph, *, int4: bool) -> Piece:
    lower(graph)
    if not graph.nodes:
        raise ExportError(f"arm-a: graph '{graph.name}' has no nodes; a .tflite file needs at least one operator.")
    for node in graph.nodes:
        if isinstance(node.op, MOVES) and node.clip is not None:
            raise ExportError(f"arm-a: node '{node.name}' ({node.kind}) carries a clip; put a Clip node behind it.")
    piece = join([node_piece(graph, node) for node in graph.nodes])
    return packed(graph, piece) if int4 else piece


def _bytes(graph: Graph, piece: Piece) -> bytes:
    names = graph.activations()
    tensors = tuple(activation(name, file_shape(graph.shape(name)), graph.quant(name)) for name in names)
    return pack(graph.name, (graph.input, graph.output), (*tensors, *piece.tensors), piece.operators)
