"""A quantised graph as hls4ml can compute it: what it gets wrong is rewritten, or refused by name with the cure.

hls4ml 1.3 is exact on fixed point whose scales are powers of two, without zero points. It rounds each sum once, half to
even; TFLite's Q31 rule, with a scale of 2^-k, gives round_half_up((acc + 1) / 2^k) for acc >= -1. Behind a Relu nothing
else shows, so that 1.5 accumulator units more in the bias make both the same (1.5: half units turn ties into none).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from export.errors import ExportError
from quant import operators as ops
from quant.formats import Array, integer
from quant.graph import Graph, Node, Quant, Tensor, check, with_nodes
from quant.passes.power_of_two import has_powers_of_two
from quant.program import ConvStep, clip_ordinals, lower

POOLING = "a Mean over a power of two of pixels, a MaxPool, or a strided Conv"
#: Operators that hls4ml computes exactly, and what to do about others.
EXACT = (ops.Conv, ops.Gemm, ops.Add, ops.MaxPool, ops.Mean, ops.Reshape)
CURES: dict[type[ops.Operator], str] = {
    ops.AveragePool: f"it has no exact average pool; use {POOLING}",
    ops.Function: "it approximates functions by tables of its own; use Relu",
    ops.Mul: "products of two activations are not exact there; leave squeeze-and-excite out",
    ops.Clip: "fuse a Relu into the layer before it instead",
    ops.Minimum: "use Relu without an upper limit per channel",
}


def for_hls4ml(graph: Graph) -> Graph:
    """Return a graph of operators that hls4ml computes exactly.

    A Mean becomes a depthwise convolution with weights of 1 / (height * width).

    Raises:
        ExportError: the graph holds something that hls4ml gets wrong or does not know.
    """
    if not graph.is_quantised:
        raise ExportError(
            f"hls4ml: graph '{graph.name}' is a float graph; quantise it first: edgemill quantize MODEL --scheme "
            "w8a8-sym-pt --calib DATA -o NET.graph"
        )
    for name, tensor in graph.tensors.items():
        if tensor.quant is not None:
            _check_format(graph, name, tensor.quant)
    for node in graph.nodes:
        _check_node(graph, node)
    return check(_without_means(graph))


def _check_format(graph: Graph, name: str, quant: Quant) -> None:
    again = "quantise with --scheme w8a8-sym-pt"
    if quant.format.is_minifloat:
        raise _refuse(graph, f"tensor '{name}' is {quant.format.name}", f"it has integers only; {again}")
    if quant.zero != 0:
        raise _refuse(graph, f"tensor '{name}' has zero point {quant.zero}", f"it is exact without one; {again}")
    if len(set(quant.scale)) > 1:
        raise _refuse(graph, f"tensor '{name}' has one scale per channel", f"use one for all, option -pt; {again}")
    if not has_powers_of_two(quant):
        cure = "edgemill convert NET.graph --power-of-two -o OUT.graph rounds it, or add --power-of-two here"
        raise _refuse(graph, f"tensor '{name}' has the scale {quant.scale[0]:.6g}", f"no power of two; {cure}")


def _refuse(graph: Graph, what: str, why: str) -> ExportError:
    return ExportError(f"hls4ml: graph '{graph.name}': {what}: {why}.")


def _check_node(graph: Graph, node: Node) -> None:
    what = f"node '{node.name}' ({node.kind})"
    if not isinstance(node.op, EXACT):
        known = ", ".join(kind.__name__ for kind in EXACT)
        raise _refuse(graph, what, f"{CURES.get(type(node.op), 'not supported here')}. Supported: {known}")
    if isinstance(node.op, ops.Conv) and (why := _conv_fault(graph, node, node.op)):
        raise _refuse(graph, what, why)
    if isinstance(node.op, ops.MaxPool) and any(node.op.pads):
        raise _refuse(graph, what, "its padding counts as 0 there; pool without pads")
    if isinstance(node.op, ops.Mean):
        pixels = math.prod(graph.shape(node.inputs[0])[2:])
        if pixels & (pixels - 1):
            raise _refuse(graph, what, f"it averages {pixels} pixels, not a power of two; use {POOLING}")
    if node.clip is not None and not _is_relu(graph, node) and not _is_idle(graph, node):
        limits = " to ".join(f"{limit:g}" for limit in node.clip)
        raise _refuse(graph, what, f"it clips to {limits}; only Relu is exact there, so train with Relu, not ReLU6")


def _conv_fault(graph: Graph, node: Node, op: ops.Conv) -> str | None:
    """Return why a convolution is not computed exactly, or None."""
    if op.dilations != (1, 1):
        return f"dilations {op.dilations} are not supported; use 1, 1"
    channels, out = graph.shape(node.inputs[0])[1], graph.shape(node.output)[1]
    if op.groups != 1 and not op.groups == channels == out:
        return f"{op.groups} groups of {channels} channels to {out}; use 1 group, or a depthwise convolution"
    return None


def _is_relu(graph: Graph, node: Node) -> bool:
    """Whether a node's codes are those of a Relu, saturated by their format."""
    quant = graph.quant(node.output)
    return node.clip is not None and clip_ordinals(quant, node.clip) == (0, quant.format.max_ordinal)


def _is_idle(graph: Graph, node: Node) -> bool:
    fmt = graph.quant(node.output).format
    return clip_ordinals(graph.quant(node.output), node.clip) == (fmt.min_ordinal, fmt.max_ordinal)


def _without_means(graph: Graph) -> Graph:
    """Turn clips into Relu or nothing, and means into depthwise convolutions."""
    tensors, weights, nodes = dict(graph.tensors), dict(graph.weights), []
    for node in graph.nodes:
        clip = None if node.clip is None or _is_idle(graph, node) else (0.0, math.inf)
        if not isinstance(node.op, ops.Mean):
            nodes.append(replace(node, clip=clip))
            continue
        shape = graph.shape(node.inputs[0])
        names, pooled = (f"{node.name}.weight", f"{node.name}.bias"), f"{node.output}_pooled"
        weights |= {names[0]: np.ones((shape[1], 1, *shape[2:]), np.int8), names[1]: np.zeros(shape[1], np.int32)}
        share = 1 / math.prod(shape[2:])
        tensors |= {names[0]: Tensor((shape[1], 1, *shape[2:]), Quant(integer(2), (share,), 0, 0))}
        tensors |= {names[1]: Tensor((shape[1],))}
        output = node.output if node.op.keep_dims else pooled
        tensors[output] = Tensor((1, shape[1], 1, 1), graph.tensors[node.output].quant)
        nodes.append(Node(node.name, ops.Conv(groups=shape[1]), (node.inputs[0], *names), output, clip))
        if output == pooled:
            made = graph.shape(node.output)
            nodes.append(Node(f"{node.name}_flatten", ops.Reshape(shape=made), (pooled,), node.output))
    return with_nodes(replace(graph, tensors=tensors, weights=weights), tuple(nodes))


def rounding_biases(graph: Graph, node: Node, codes: Array, units: Array) -> tuple[Array, Array, int | None]:
    """Return biases whose sums, rounded half to even, give the reference's codes behind a Relu; in the bits they need.

    The codes count half accumulator units.
    """
    halves = 2 * codes.astype(np.int64) + half_units(graph, node)
    return halves, units / 2, max(int(np.abs(halves).max()).bit_length() + 1, 2)


def half_units(graph: Graph, node: Node) -> int:
    """Return what is added to a layer's sums, in half accumulator units.

    The scale is 2^-k: at k = 0 no rounding; at k = 1 Q31 rounds halves up; from k = 2 on see the module's text. Sums of
    both signs without a Relu get nothing: there acc + 1 holds for one sign and acc for the other.
    """
    x, weight, y = (graph.quant(name).scale[0] for name in (*node.inputs[:2], node.output))
    shift = round(math.log2(y / (x * weight)))
    if shift < 2:
        return max(shift, 0)
    return 3 if node.clip is not None or _never_negative(graph, node) else 0


def _never_negative(graph: Graph, node: Node) -> bool:
    """Whether a layer's sums cannot be negative: a mean behind a Relu."""
    parameters = [graph.weights[name] for name in node.inputs[1:]]
    return all((values >= 0).all() for values in parameters) and _behind_relu(graph, node.inputs[0])


def _behind_relu(graph: Graph, tensor: str) -> bool:
    made = graph.producer(tensor)
    if made is not None and isinstance(made.op, ops.MaxPool | ops.Reshape):
        return _behind_relu(graph, made.inputs[0])
    return made is not None and made.clip is not None


def rounds_inside(graph: Graph) -> bool:
    """Whether a tensor before the output is rounded otherwise than the reference does, in single codes."""
    made = [node for node in graph.nodes if not isinstance(node.op, ops.MaxPool | ops.Reshape)]
    return any(isinstance(node.op, ops.Add) or half_units(graph, node) == 0 for node in made[:-1])


def has_depthwise(graph: Graph) -> Node | None:
    """Return a depthwise convolution of a graph, None when there is none."""
    return next((node for node in graph.nodes if isinstance(node.op, ops.Conv) and node.op.groups > 1), None)


def sum_precisions(graph: Graph) -> Iterator[str]:
    """Yield the fixed-point type of every layer's sums, in execution order: exact for any input.

    fixed<W, I> has W bits, I of them before the binary point, the sign among them.
    """
    for step in lower(graph).steps:
        if isinstance(step, ConvStep):
            node = next(node for node in graph.nodes if node.name == step.name)
            x, weight = (graph.quant(name).scale[0] for name in node.inputs[:2])
            bits = (2 * step.acc_max + half_units(graph, node)).bit_length() + 1
            yield fixed(bits, x * weight / 2)


def fixed(bits: int, unit: float) -> str:
    """Return a signed fixed-point type of so many bits, the last of which counts `unit`."""
    return f"fixed<{bits},{bits + round(math.log2(unit))}>"
