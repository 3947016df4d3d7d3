"""The last step of importing a quantised file: every tensor gets its number format, or the file is refused.

The importer leaves a Requantize (or a Clip) wherever the file rounds, so that here real values and rounded ones are
still apart. A tensor of real values takes the grid that all its readers ask for, and the rounding vanishes into the
node that makes it. One that is read as real values by some and rounded by others has no integer form and is refused:
treating it as rounded would be another function.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.errors import QuantError
from quant.formats import INT8, Array
from quant.graph import Graph, Node, Quant, Tensor, with_nodes
from quant.onnx_output import give_output_grid
from quant.operators import MOVES, Add, AveragePool, Clip, Conv, Function, Gemm, Mul, Requantize, Softmax
from quant.passes.drop_softmax import drop_softmax
from quant.passes.fuse_clip import fuse_clip, meet

_FUSES = (Conv, Gemm, Add, Mul, Function, Requantize)


def complete(graph: Graph) -> Graph:
    """Fuse activations and roundings, pass grids through operators that only move codes, drop a last Softmax.

    Raises:
        QuantError: a tensor or weight has no number format, or a tensor is read both as real values and rounded.
    """
    graph = fuse_clip(_drop_copies(_drop_softmax(graph)))
    graph = _drop_idle(_settle(graph))
    for node in graph.nodes:
        if isinstance(node.op, Conv | Gemm) and graph.tensors[node.inputs[1]].quant is None:
            raise QuantError(
                f"{graph.name}: the weights of node '{node.name}' ({node.kind}) are float in a quantised model. "
                "Quantise them in the tool that wrote the file, or start from the float model."
            )
    graph = _align(give_output_grid(graph))
    for name in graph.activations():
        if graph.tensors[name].quant is None:
            raise _unsettled(graph, name)
    return _fuse_code_clips(graph)


def _drop_softmax(graph: Graph) -> Graph:
    """Remove a last Softmax, and the rounding of its probabilities behind it."""
    last = graph.producer(graph.output)
    if last is None or not isinstance(last.op, Requantize | Clip):
        return drop_softmax(graph)
    before = graph.producer(last.inputs[0])
    if before is None or not isinstance(before.op, Softmax):
        return graph
    return drop_softmax(
        with_nodes(replace(graph, output=before.output), tuple(n for n in graph.nodes if n is not last))
    )


def _drop_copies(graph: Graph) -> Graph:
    """Round a tensor once where several equal roundings read it (a Q/DQ pair for each reader)."""
    first: dict[tuple[object, ...], str] = {}
    renamed: dict[str, str] = {}
    nodes = []
    for old in graph.nodes:
        node = _renamed(old, renamed)
        quant = graph.tensors[node.output].quant
        if isinstance(node.op, Requantize | Clip) and quant is not None:
            known = first.setdefault((node.inputs, node.op, quant), node.output)
            if known != node.output:
                renamed[node.output] = known
                continue
        nodes.append(node)
    return with_nodes(replace(graph, output=renamed.get(graph.output, graph.output)), tuple(nodes))


def _renamed(node: Node, names: dict[str, str]) -> Node:
    return replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))


def _settle(graph: Graph) -> Graph:
    """Give every tensor of real values the grid that all its readers ask for."""
    tensors = dict(graph.tensors)
    graph = replace(graph, tensors=tensors)
    for name in reversed(graph.activations()):
        asked = {_asked(graph, node) for node in graph.consumers(name)}
        if tensors[name].quant is None and name != graph.output and len(asked) == 1:
            tensors[name] = Tensor(graph.shape(name), asked.pop())
    return graph


def _asked(graph: Graph, node: Node) -> Quant | None:
    """Return the grid a node may round its input to; None when it needs the real values.

    Rounding commutes with moving, picking and clipping, not with averaging.
    """
    rounds = isinstance(node.op, (*MOVES, Requantize, Clip)) and not isinstance(node.op, AveragePool)
    return graph.tensors[node.output].quant if rounds else None


def _drop_idle(graph: Graph) -> Graph:
    """Remove roundings to the grid that their input has already."""
    renamed: dict[str, str] = {}
    nodes = []
    for old in graph.nodes:
        node = _renamed(old, renamed)
        quants = [graph.tensors[name].quant for name in (node.inputs[0], node.output)]
        if isinstance(node.op, Requantize) and quants[0] == quants[1]:
            renamed[node.output] = node.inputs[0]
        else:
            nodes.append(node)
    return with_nodes(replace(graph, output=renamed.get(graph.output, graph.output)), tuple(nodes))


def _align(graph: Graph) -> Graph:
    """Give the tensors around operators that only move codes one format; where two meet, a Requantize."""
    tensors, weights, nodes = dict(graph.tensors), dict(graph.weights), []
    for node in graph.nodes:
        quant = tensors[node.output].quant
        if not isinstance(node.op, MOVES) or quant is None:
            nodes.append(node)
        elif not isinstance(node.op, AveragePool):
            nodes += _requantize_before(tensors, node, quant)
        elif tensors[node.inputs[0]].quant == quant:
            nodes.append(node)
        else:
            nodes += _average_onto(graph, tensors, weights, node)
    return replace(graph, nodes=tuple(nodes), tensors=tensors, weights=weights)


def _requantize_before(tensors: dict[str, Tensor], node: Node, quant: Quant) -> list[Node]:
    """Put a Requantize before every input whose format differs from the output's."""
    made, inputs = [], []
    for index, name in enumerate(node.inputs):
        if tensors[name].quant is not None and tensors[name].quant != quant:
            fresh = f"{node.name}.{index}.requantized"
            tensors[fresh] = Tensor(tensors[name].shape, quant)
            made.append(Node(fresh, Requantize(), (name,), fresh))
            inputs.append(fresh)
        else:
            inputs.append(name)
    return [*made, replace(node, inputs=tuple(inputs))]


def _average_onto(graph: Graph, tensors: dict[str, Tensor], weights: dict[str, Array], node: Node) -> list[Node]:
    """Average towards another grid.

    AveragePool keeps its grid, and rounding on it first may be off by more than one code of a finer grid. Without
    padding an average is a depthwise convolution with weights of 1 / count, which rounds to the other grid at once.
    """
    assert isinstance(node.op, AveragePool)
    x, quant = node.inputs[0], tensors[node.inputs[0]].quant
    if quant is None:
        return [node]
    channels, kernel = graph.shape(x)[1], node.op.kernel
    if any(node.op.pads) or quant.format.is_minifloat:
        fresh = f"{node.name}.averaged"
        tensors[fresh] = Tensor(graph.shape(node.output), quant)
        behind = Node(f"{node.name}.requantized", Requantize(), (fresh,), node.output)
        return [replace(node, output=fresh), behind]
    names, count = (f"{node.name}.weight", f"{node.name}.bias"), kernel[0] * kernel[1]
    # A small multiplier behind large codes: the Q31 rule rounds twice, and the first time hardly where it shifts far.
    code = 64 if count << quant.format.bits < 1 << 24 else 1
    weights |= {names[0]: np.full((channels, 1, *kernel), code, np.int8), names[1]: np.zeros(channels, np.int32)}
    scale = float(np.float32(1 / (code * count)))
    tensors[names[0]] = Tensor(weights[names[0]].shape, Quant(INT8, (scale,), 0, 0))
    tensors[names[1]] = Tensor(weights[names[1]].shape)
    return [replace(node, op=Conv(strides=node.op.strides, groups=channels), inputs=(x, *names))]


def _fuse_code_clips(graph: Graph) -> Graph:
    """Fuse clips of codes into the layer that makes the codes: clamping twice is clamping once."""
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for old in graph.nodes:
        node = _renamed(old, renamed)
        before = next((n for n in nodes if n.output == node.inputs[0]), None)
        same = graph.tensors[node.output].quant == graph.tensors[node.inputs[0]].quant
        if not isinstance(node.op, Clip) or before is None or not same or not _fusable(graph, before):
            nodes.append(node)
            continue
        limits = (node.op.low, node.op.high)
        clipped = replace(before, op=node.op) if isinstance(before.op, Requantize) else None
        nodes[nodes.index(before)] = clipped or replace(before, clip=meet(before.clip, limits))
        renamed[node.output] = before.output
    return with_nodes(replace(graph, output=renamed.get(graph.output, graph.output)), tuple(nodes))


def _fusable(graph: Graph, node: Node) -> bool:
    alone = len(graph.consumers(node.output)) == 1 and node.output != graph.output
    return isinstance(node.op, _FUSES) and alone


def _unsettled(graph: Graph, name: str) -> QuantError:
    """Say why a tensor has no number format."""
    made, readers = graph.producer(name), graph.consumers(name)
    where = f"the output of node '{made.name}' ({made.kind})" if made else "the model's input"
    asked = {node.name: _asked(graph, node) for node in readers}
    grids = {quant for quant in asked.values() if quant is not None}
    real = [node for node in readers if asked[node.name] is None]
    if len(grids) > 1:
        why = "is quantised twice, each time from real values; quantise it once."
    elif grids:
        why = (
            f"is read as real values by node '{real[0].name}' ({real[0].kind}) and quantised for others; one integer "
            "tensor cannot be both. Let every reader have the quantised values."
            if real
            else "is an output of real values and quantised for others; let the output be the quantised values."
        )
    else:
        why = (
            "has no scale: no QuantizeLinear reads it. Quantise this tensor in the tool that wrote the file, or start "
            "from the float model."
        )
    return QuantError(f"{graph.name}: tensor '{name}', {where}, {why}")
