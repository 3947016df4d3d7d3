"""The last step of importing a QDQ file: every tensor gets its number format, or the file is refused."""

from __future__ import annotations

from dataclasses import replace

from quant.errors import QuantError
from quant.graph import Graph, Node, Quant, Tensor
from quant.operators import MOVES, AveragePool, Conv, Gemm, Requantize
from quant.passes.drop_softmax import drop_softmax
from quant.passes.fuse_clip import fuse_clip


def complete(graph: Graph) -> Graph:
    """Fuse activations, pass formats through operators that only move codes, drop a last Softmax.

    Raises:
        QuantError: a tensor or weight has no number format.
    """
    graph = _inherit(fuse_clip(drop_softmax(graph)))
    for name in graph.activations():
        if graph.tensors[name].quant is None:
            made = graph.producer(name)
            where = f"the output of node '{made.name}' ({made.kind})" if made else "the model's input"
            raise QuantError(
                f"{graph.name}: tensor '{name}', {where}, has no scale: no QuantizeLinear reads it. Quantise this "
                "tensor in the tool that wrote the file, or start from the float model."
            )
    for node in graph.nodes:
        if isinstance(node.op, Conv | Gemm) and graph.tensors[node.inputs[1]].quant is None:
            raise QuantError(
                f"{graph.name}: the weights of node '{node.name}' ({node.kind}) are float in a quantised model. "
                "Quantise them in the tool that wrote the file, or start from the float model."
            )
    return graph


def _inherit(graph: Graph) -> Graph:
    """Give the tensors around operators that only move codes one format; where two meet, a Requantize."""
    tensors, nodes = dict(graph.tensors), []
    for node in reversed(graph.nodes):
        quant = tensors[node.output].quant
        # Rounding commutes with moving and picking, not with averaging.
        if isinstance(node.op, MOVES) and not isinstance(node.op, AveragePool) and quant is not None:
            for name in node.inputs:
                if tensors[name].quant is None and len(graph.consumers(name)) == 1:
                    tensors[name] = Tensor(tensors[name].shape, quant)
    for node in graph.nodes:
        first = tensors[node.inputs[0]].quant
        if not isinstance(node.op, MOVES) or first is None:
            nodes.append(node)
        elif isinstance(node.op, AveragePool):
            nodes += _requantize_behind(tensors, node, first)
        else:
            nodes += _requantize_before(tensors, node, tensors[node.output].quant or first)
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _requantize_before(tensors: dict[str, Tensor], node: Node, quant: Quant) -> list[Node]:
    """Put a Requantize before every input whose format differs from the output's."""
    made, inputs = [], []
    for index, name in enumerate(node.inputs):
        if tensors[name].quant != quant:
            fresh = f"{node.name}.{index}.requantized"
            tensors[fresh] = Tensor(tensors[name].shape, quant)
            made.append(Node(fresh, Requantize(), (name,), fresh))
            inputs.append(fresh)
        else:
            inputs.append(name)
    tensors[node.output] = Tensor(tensors[node.output].shape, quant)
    return [*made, replace(node, inputs=tuple(inputs))]


def _requantize_behind(tensors: dict[str, Tensor], node: Node, quant: Quant) -> list[Node]:
    """Average on the input's grid and change the format after it: before it, values would saturate."""
    shape, wanted = tensors[node.output].shape, tensors[node.output].quant or quant
    tensors[node.output] = Tensor(shape, wanted)
    if wanted == quant:
        return [node]
    fresh = f"{node.name}.averaged"
    tensors[fresh] = Tensor(shape, quant)
    return [replace(node, output=fresh), Node(f"{node.name}.requantized", Requantize(), (fresh,), node.output)]
