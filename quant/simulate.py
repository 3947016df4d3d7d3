"""Float emulation of a graph in torch: a fast estimate of what the integer reference computes.

Weights are decoded, activations are rounded on the grids of their formats (fake quantisation), and sums are float32.
The codes therefore differ from those of `quant.reference` where a float32 sum lies next to a tie. In exchange
a run is several times faster, and formats whose exact accumulator does not fit (`quant.program.lower` refuses them) run
too. Passes and sweeps decide with it; what is reported as a network's accuracy comes from the reference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quant import operators as ops
from quant.formats import Array, Format
from quant.graph import Graph, Node, Quant
from quant.onnx_quant import bias_units
from quant.program import clip_ordinals

#: Images run at once: enough for the matrix products, few enough for the caches.
BATCH = 16


@dataclass(frozen=True, eq=False)
class Simulator:
    """A graph with its weights as float32 tensors (decoded), and after which node each activation is dead."""

    graph: Graph
    parameters: Mapping[str, Tensor]
    dead: Mapping[str, tuple[str, ...]]


def simulator(graph: Graph) -> Simulator:
    """Prepare a float or quantised graph for `forward`."""
    parameters = dict(real_parameters(graph))
    last = {name: node.name for node in graph.nodes for name in node.inputs if name not in graph.weights}
    dead: dict[str, tuple[str, ...]] = {}
    for tensor, node in last.items():
        dead[node] = (*dead.get(node, ()), tensor)
    return Simulator(graph, parameters, dead)


def real_parameters(graph: Graph) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight and bias of a graph as float32 values."""
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv | ops.Gemm):
            weight, bias = node.inputs[1:]
            yield weight, _tensor(real_weight(graph, weight))
            yield bias, _tensor(real_bias(graph, node))
        else:
            for name in node.inputs:
                if name in graph.weights:
                    yield name, _tensor(graph.weights[name])


def _tensor(values: Array) -> Tensor:
    wide = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return wide.contiguous(memory_format=torch.channels_last) if wide.ndim == 4 else wide


def real_weight(graph: Graph, name: str) -> Array:
    """Return a weight's real values (float64 when quantised, else as stored)."""
    quant = graph.tensors[name].quant
    if quant is None:
        return graph.weights[name]
    scale = np.array(quant.scale).reshape(-1, *(1 for _ in graph.shape(name)[1:]))
    values: Array = quant.format.decode(graph.weights[name]) * scale
    return values


def real_bias(graph: Graph, layer: Node) -> Array:
    """Return the real values of a Conv's or Gemm's bias."""
    x, weight, bias = layer.inputs
    if not graph.is_quantised:
        return graph.weights[bias]
    values: Array = graph.weights[bias].astype(np.float64) * bias_units(graph.quant(x), graph.quant(weight))
    return values


def simulate(graph: Graph, inputs: Array, batch: int = BATCH) -> Array:
    """Run a float or quantised graph.

    Args:
        graph: with one input.
        inputs: real values, float32 [N, ...].
        batch: images run at once.

    Returns:
        Real outputs, float32 [N, ...].
    """
    sim = simulator(graph)
    parts = [forward(sim, part)[graph.output] for part in batches(inputs, batch)]
    outputs: Array = torch.cat(parts).numpy()
    return outputs


def batches(inputs: Array, batch: int = BATCH) -> Iterator[Tensor]:
    """Yield consecutive slices of float32 inputs [N, ...] as tensors."""
    for start in range(0, len(inputs), batch):
        part = torch.from_numpy(np.ascontiguousarray(inputs[start : start + batch], dtype=np.float32))
        yield part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part


def forward(sim: Simulator, x: Tensor, keep: Collection[str] = ()) -> dict[str, Tensor]:
    """Run one batch.

    Args:
        sim: from `simulator`.
        x: real inputs, float32 [N, ...].
        keep: activations to return besides the output.

    Returns:
        Real values of the activations in `keep` and of the output, by name.
    """
    graph = sim.graph
    values = {graph.input: fake_quantise(graph.tensors[graph.input].quant, x)}
    for node in graph.nodes:
        values[node.output] = apply(sim, node, [values.get(name) for name in node.inputs])
        for name in sim.dead.get(node.name, ()):
            if name not in keep and name != graph.output:
                del values[name]
    return values


def apply(sim: Simulator, node: Node, inputs: list[Tensor | None]) -> Tensor:
    """Run one node on real inputs; entries of weights are ignored and may be None."""
    xs = [sim.parameters[name] if x is None else x for name, x in zip(node.inputs, inputs, strict=True)]
    return finish(sim.graph, node, compute(node, xs))


def finish(graph: Graph, node: Node, y: Tensor) -> Tensor:
    """Apply a node's fused clip, and round to its output's grid when the graph is quantised."""
    clip = (node.op.low, node.op.high) if isinstance(node.op, ops.Clip) else node.clip
    quant = graph.tensors[node.output].quant
    if quant is not None:
        # The limits of a Minimum need not lie on the grid.
        moved = isinstance(node.op, ops.MOVES) and not isinstance(node.op, ops.AveragePool | ops.Minimum)
        return y if moved else fake_quantise(quant, y, clip)
    return y if clip is None else y.clamp(*clip)


def compute(node: Node, xs: list[Tensor]) -> Tensor:  # noqa: PLR0912 one case an operator
    """Run a node's operator on real values, without its clip and without rounding."""
    match node.op:
        case ops.Conv(strides=strides, pads=pads, dilations=dilations, groups=groups):
            x, padding = _padded(xs[0], pads, 0.0)
            return functional.conv2d(x, xs[1], xs[2], strides, padding, dilations, groups)
        case ops.Gemm():
            return functional.linear(*xs)
        case ops.Add():
            return xs[0] + xs[1]
        case ops.Mul():
            return xs[0] * xs[1]
        case ops.Function():
            return _function(node.op, xs[0])
        case ops.Clip() | ops.Requantize():
            return xs[0]
        case ops.Minimum(limits=limits):
            return xs[0].minimum(torch.tensor(limits).reshape(-1, *(1,) * (xs[0].ndim - 2)))
        case ops.BatchNorm(epsilon=epsilon):
            gamma, beta, mean, variance = xs[1:]
            return functional.batch_norm(xs[0], mean, variance, gamma, beta, eps=epsilon)
        case ops.Pad(before=before, after=after):
            widths = [w for pair in zip(reversed(before), reversed(after), strict=True) for w in pair]
            return functional.pad(xs[0], widths)
        case ops.Slice(starts=starts, ends=ends, steps=steps):
            parts = zip(starts[1:], ends[1:], steps[1:], strict=True)
            return xs[0][(slice(None), *(slice(a, b, c) for a, b, c in parts))]
        case ops.Concat(axis=axis):
            return torch.cat(xs, dim=axis)
        case ops.MaxPool(kernel=kernel, strides=strides, pads=pads):
            x, padding = _padded(xs[0], pads, -np.inf)
            return functional.max_pool2d(x, kernel, strides, padding)
        case ops.AveragePool():
            return _average_pool(node.op, xs[0])
        case ops.Mean(keep_dims=keep):
            return xs[0].mean(dim=(2, 3), keepdim=keep)
        case ops.Reshape(shape=shape):
            return xs[0].reshape(len(xs[0]), *shape[1:])
        case ops.Softmax():
            return xs[0].softmax(-1)


def _function(op: ops.Function, x: Tensor) -> Tensor:
    match op.name:
        case "sigmoid":
            return x.sigmoid()
        case "swish":
            return functional.silu(x)
        case "tanh":
            return x.tanh()
        case "hard_sigmoid":
            return (op.alpha * x + op.beta).clamp(0.0, 1.0)
        case "hard_swish":
            return functional.hardswish(x)
        case _:
            return functional.leaky_relu(x, op.alpha)


def _padded(x: Tensor, pads: tuple[int, int, int, int], fill: float) -> tuple[Tensor, tuple[int, int]]:
    """Pad by hand what torch's symmetric padding cannot say; return what is left for it to do."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right) and fill == 0.0:
        return x, (top, left)
    return (functional.pad(x, (left, right, top, bottom), value=fill) if any(pads) else x), (0, 0)


def _average_pool(op: ops.AveragePool, x: Tensor) -> Tensor:
    top, left, bottom, right = op.pads
    padded = (functional.pad(t, (left, right, top, bottom)) for t in (x, torch.ones_like(x[:1, :1])))
    total, count = (functional.avg_pool2d(t, op.kernel, op.strides) for t in padded)
    return total / count


def fake_quantise(quant: Quant | None, x: Tensor, clip: tuple[float, float] | None = None) -> Tensor:
    """Round real values to the grid of a per-tensor format: division in float32, ties to even, saturating.

    Args:
        quant: None returns `x` itself.
        x: real values, float32.
        clip: limits of an activation fused before the rounding.

    Returns:
        Values of the grid, of the same shape. NaN stays NaN.
    """
    if quant is None:
        return x
    low, high = clip_ordinals(quant, clip)
    if quant.format.is_minifloat:
        limits = (quant.format.units_of_ordinal(k) * quant.format.unit for k in (low, high))
        return _round_minifloat(quant.format, (x / quant.scale[0]).clamp_(*limits)).mul_(quant.scale[0])
    return (x / quant.scale[0]).round_().clamp_(low - quant.zero, high - quant.zero).mul_(quant.scale[0])


def round_weights(fmt: Format, y: Tensor) -> Tensor:
    """Round scaled weights to values of a format, symmetric (integers without -2^(n-1)); returns float32."""
    limited = y.float().clamp(-fmt.max, fmt.max)
    return _round_minifloat(fmt, limited) if fmt.is_minifloat else limited.round_()


def _round_minifloat(fmt: Format, y: Tensor) -> Tensor:
    """Round in place, half to even, to a multiple of the local step 2^max(floor(log2|y|) - M, 1 - b - M).

    Adding and subtracting 1.5 * 2^23 times the step leaves float32 no bits below the step: its own rounding does it.
    """
    binade = y.view(torch.int32) & 0x7F800000
    magic = binade.clamp_(min=(128 - fmt.bias) << 23).view(torch.float32).mul_(1.5 * 2.0 ** (23 - fmt.mantissa))
    return y.add_(magic).sub_(magic)
