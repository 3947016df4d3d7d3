"""A quantised graph as a `.tflite` file: int8 or int16 activations, per-channel weights, NHWC, written directly."""

from __future__ import annotations

from pathlib import Path

from export.atomic import write_file
from export.errors import ExportError
from export.target import Facts, Source, check_name
from export.tflite_flat import FlatTensor, pack
from export.tflite_layout import file_shape, file_zero
from export.tflite_metadata import NAME as METADATA
from export.tflite_metadata import About, metadata, with_labels
from export.tflite_ops import node_piece, softmax_piece
from export.tflite_pack import packed
from export.tflite_piece import Piece, activation, join
from quant.graph import Graph
from quant.operators import MOVES
from quant.program import lower


def write_tflite(source: Source, folder: Path, *, int4: bool = True) -> Facts:
    """Write `NAME.tflite` into an existing folder and return its facts.

    `int4` packs two weights of at most 4 bits into a byte where runtimes read that (see `export.tflite_pack`). Metadata
    tell the pre-processing and the labels. Where the source asks for probabilities, `NAME_softmax.tflite` is the same
    network with a SOFTMAX behind its logits.

    Raises:
        ExportError: the graph says something TFLite cannot compute exactly, or the file cannot be written.
        QuantError: the graph is not well formed, or an accumulator does not fit int32.
    """
    graph, path = source.graph, folder / f"{check_name(source.name)}.tflite"
    piece, output = _whole(graph, int4=int4, softmax=False)
    data = _bytes(graph, piece, output, _about(source, "logits"))
    more = _probabilities(source, folder, int4=int4) if source.probabilities else {}
    write_file(path, data)
    x = graph.quant(graph.input)
    return {
        **more,
        "layout": "NHWC",
        "file": path.name,
        "file_bytes": len(data),
        "operators": sorted({op.code for op in piece.operators}),
        "input_shape": list(file_shape(graph.shape(graph.input))),
        "input_scale": x.scale[0],
        "input_zero": file_zero(x),
        "output_shape": list(output.shape),
        "output_scale": output.scale[0],
        "output_zero": output.zero,
    }


def encode(graph: Graph, *, int4: bool = True, softmax: bool = False, about: About | None = None) -> bytes:
    """Return the bytes of the `.tflite` file of a quantised graph; equal arguments give equal bytes.

    Args:
        graph: quantised.
        int4: pack weights of at most 4 bits.
        softmax: end in probabilities instead of logits.
        about: metadata, or None.
    """
    piece, output = _whole(graph, int4=int4, softmax=softmax)
    return _bytes(graph, piece, output, about)


def _probabilities(source: Source, folder: Path, *, int4: bool) -> Facts:
    """Write the file that ends in probabilities; return what the facts say of it."""
    about = _about(source, "probability")
    path = folder / f"{source.name}_softmax.tflite"
    write_file(path, encode(source.graph, int4=int4, softmax=True, about=about))
    return {"softmax_file": path.name}


def _about(source: Source, output: str) -> About | None:
    """Return what metadata tell of a part; None where they have nothing to tell."""
    about = About(source.name, source.preprocess, source.labels, output)
    return None if about.is_empty else about


def _whole(graph: Graph, *, int4: bool, softmax: bool) -> tuple[Piece, FlatTensor]:
    """Return everything the graph's nodes become, and the tensor that is the file's output."""
    lower(graph)
    if not graph.nodes:
        raise ExportError(f"arm-a: graph '{graph.name}' has no nodes; a .tflite file needs at least one operator.")
    for node in graph.nodes:
        if isinstance(node.op, MOVES) and node.clip is not None:
            raise ExportError(f"arm-a: node '{node.name}' ({node.kind}) carries a clip; put a Clip node behind it.")
    piece = join([node_piece(graph, node) for node in graph.nodes])
    piece = packed(graph, piece) if int4 else piece
    if not softmax:
        return piece, _activation(graph, graph.output)
    end = softmax_piece(graph)
    return join((piece, end)), end.tensors[0]


def _activation(graph: Graph, name: str) -> FlatTensor:
    return activation(name, file_shape(graph.shape(name)), graph.quant(name))


def _bytes(graph: Graph, piece: Piece, output: FlatTensor, about: About | None) -> bytes:
    tensors = tuple(_activation(graph, name) for name in graph.activations())
    told = (METADATA, metadata(about)) if about is not None else None
    data = pack(graph.name, (graph.input, output.name), (*tensors, *piece.tensors), piece.operators, told)
    return with_labels(data, about.labels) if about is not None else data
