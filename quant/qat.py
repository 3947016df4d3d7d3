"""Quantisation-aware training: a quantised graph as a torch module on Brevitas' quantisers, and back.

`build` starts at the result of post-training quantisation: the module's codes are the graph's. `to_graph` reads a
trained module back: weight codes are those of Brevitas' own rounding, scales are the module's float32 numbers, zero
points stay, and biases are whole units of the accumulator (scale s_x * s_w), as the module itself rounds them.

In between the module computes what `quant.simulate` computes: activations on their grids, sums in float32. Its codes
therefore differ from the reference's where a sum lies next to a tie.

Loading this file loads torch and Brevitas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

from quant.errors import QuantError
from quant.formats import Array, FloatArray
from quant.graph import Graph, Node, Quant, check, joined_by
from quant.graph import Tensor as GraphTensor
from quant.onnx_quant import quantise_bias
from quant.operators import MOVES, AveragePool, Clip, Conv, Gemm, Minimum
from quant.passes.own_parameters import own_parameters
from quant.ptq import prepare
from quant.qat_grids import Grid, activation_grid, mean_step, weight_grid
from quant.rounding import to_nearest_ordinals
from quant.simulate import compute, real_bias, real_weight


class Layer(nn.Module):  # type: ignore[misc]
    """Weight and bias of a Conv or Gemm.

    Both parameters count in steps: of the weight's own grid per channel, and of the layer's output. One learning rate
    then suits every layer and channel, whatever its magnitude.
    """

    def __init__(self, grid: Grid, weight: Tensor, weight_step: Tensor, bias: FloatArray, bias_step: float) -> None:
        super().__init__()
        self.grid, self.bias_step = grid, bias_step
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(len(bias)))
        self.weight_step: Tensor
        self.bias_start: Tensor
        self.register_buffer("weight_step", weight_step, persistent=False)
        self.register_buffer("bias_start", torch.from_numpy(bias), persistent=False)

    def real_weight(self) -> Tensor:
        """Return the weight before rounding, in real values."""
        return self.weight * self.weight_step

    def real_bias(self) -> Tensor:
        """Return the bias before rounding, in real values; float64, as the accumulator's grid can be fine."""
        return self.bias_start + self.bias.double() * self.bias_step


class QatModule(nn.Module):  # type: ignore[misc]
    """A quantised graph that trains: float32 inputs [N, ...] to real outputs [N, ...].

    `source` is the graph it was built from. Tensors that share one scale, around operators that only move codes, share
    one quantiser, named by `grid_of`.
    """

    def __init__(self, source: Graph, layers: Mapping[str, Layer], grids: Mapping[str, Grid]) -> None:
        super().__init__()
        self.source = source
        self.layer_of = {name: index for index, name in enumerate(layers)}
        self.layers = nn.ModuleList(layers.values())
        groups = _scale_groups(source)
        order = {name: index for index, name in enumerate(grids)}
        self.grid_of = {name: order[group] for name, group in groups.items()}
        self.grids = nn.ModuleList(grids.values())

    def layer(self, node: Node) -> Layer:
        """Return the parameters of a Conv or Gemm."""
        found: Layer = self.layers[self.layer_of[node.name]]
        return found

    def grid(self, tensor: str) -> Grid:
        """Return the quantiser of an activation."""
        found: Grid = self.grids[self.grid_of[tensor]]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return the output's real values, [N, ...]."""
        return self.activations(x)[self.source.output]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Return the real values of every activation by name, each [N, ...]."""
        values = {self.source.input: self.grid(self.source.input)(x.float())}
        for node in self.source.nodes:
            values[node.output] = self.run_node(node, values)
        return values

    def run_node(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        """Return what one node makes of the real values of its inputs."""
        xs = [values[name] for name in node.inputs if name in values]
        if isinstance(node.op, Conv | Gemm):
            xs += self.rounded(node)
        return self._finish(node, compute(node, xs))

    def rounded(self, node: Node) -> list[Tensor]:
        """Return the rounded weight and bias of a Conv or Gemm, in real values."""
        layer = self.layer(node)
        units = self._bias_units(node)
        bias = round_ste(layer.real_bias() / units) * units
        return [layer.grid(layer.real_weight()), bias.float()]

    def _bias_units(self, node: Node) -> Tensor:
        """Return `quant.onnx_quant.bias_units` in the same order of operations, so that both round alike."""
        x, weight = (self.source.quant(name).format for name in node.inputs[:2])
        scale = self.layer(node).grid.scale().double().reshape(-1)
        return scale * (self.grid(node.inputs[0]).scale().double() * x.unit * weight.unit)

    def _finish(self, node: Node, y: Tensor) -> Tensor:
        clip = (node.op.low, node.op.high) if isinstance(node.op, Clip) else node.clip
        if clip is not None:
            y = y.clamp(*clip)
        moved = isinstance(node.op, MOVES) and not isinstance(node.op, AveragePool | Minimum)
        values: Tensor = y if moved else self.grid(node.output)(y)
        return values


def build(quantised: Graph, float_graph: Graph | None = None, *, learn_scales: bool = False) -> QatModule:
    """Make a module that trains from a quantised graph.

    A weight starts at its float value where that rounds to the graph's code, else (another rounding was chosen, or a
    pass changed the weight) at the value of the code. The module's codes are therefore those of the graph.

    Args:
        quantised: from `quant.ptq.quantise`, or imported.
        float_graph: its float form, prepared or not; None starts every weight at the value of its code.
        learn_scales: whether scales of weights and activations are trained too. Zero points never are.

    Raises:
        QuantError: the graph is not quantised, has a format without quantiser, or is not of the float graph's network.
    """
    if not quantised.is_quantised:
        raise QuantError(f"graph '{quantised.name}' is a float graph; quantise it first.")
    source = check(own_parameters(quantised))
    latent = _float_weights(source, float_graph)
    layers = {
        node.name: _layer(source, node, latent[node.inputs[1]], learned=learn_scales)
        for node in source.nodes
        if isinstance(node.op, Conv | Gemm)
    }
    groups = dict.fromkeys(_scale_groups(source).values())
    grids = {name: activation_grid(source.quant(name), learned=learn_scales) for name in groups}
    return QatModule(source, layers, grids)


def to_graph(module: QatModule) -> Graph:
    """Read a module back into a quantised graph. Accumulators are not checked: `quant.program.lower` does.

    Raises:
        QuantError: a weight, bias or scale is no longer finite and positive.
    """
    source = module.source
    tensors, weights = dict(source.tensors), dict(source.weights)
    for name in source.activations():
        quant = replace(source.quant(name), scale=_scales(module.grid(name), name))
        tensors[name] = GraphTensor(source.shape(name), quant)
    for node in source.nodes:
        if isinstance(node.op, Conv | Gemm):
            x, weight, bias = node.inputs
            layer = module.layer(node)
            made = replace(source.quant(weight), scale=_scales(layer.grid, weight))
            tensors[weight], weights[weight] = GraphTensor(source.shape(weight), made), weight_codes(module, node)
            real = _finite(layer.real_bias(), bias)
            x_quant = tensors[x].quant
            assert x_quant is not None
            weights[bias] = quantise_bias(real, x_quant, made)
    return check(replace(source, tensors=tensors, weights=weights))


def weight_codes(module: QatModule, node: Node) -> Array:
    """Return the codes that Brevitas' rounding gives a layer's weight now."""
    layer, fmt = module.layer(node), module.source.quant(node.inputs[1]).format
    with torch.no_grad():
        levels = layer.grid.levels(layer.real_weight())
    # Levels are exact in float32; the rounding here only turns a value of the format into its code.
    return fmt.from_ordinals(to_nearest_ordinals(fmt, _finite(levels, node.inputs[1])))


def _scales(grid: Grid, name: str) -> tuple[float, ...]:
    scale = _finite(grid.scale(), name).reshape(-1)
    if scale.min() < np.finfo(np.float32).tiny:
        raise QuantError(f"the scale of '{name}' fell to {scale.min()} in training; lower the learning rate.")
    return tuple(float(value) for value in scale)


def _finite(values: Tensor, name: str) -> Array:
    array: Array = values.detach().numpy()
    if not np.isfinite(array).all():
        raise QuantError(f"'{name}' is no longer finite after training; lower the learning rate.")
    return array


def _float_weights(source: Graph, float_graph: Graph | None) -> dict[str, Array | None]:
    """Return the float value of each layer's weight, None where there is no float graph."""
    names = [node.inputs[1] for node in source.nodes if isinstance(node.op, Conv | Gemm)]
    if float_graph is None:
        return dict.fromkeys(names)
    weights = prepare(float_graph).weights
    for name in names:
        if name not in weights or weights[name].shape != source.shape(name):
            raise QuantError(
                f"weight '{name}' {list(source.shape(name))} of the quantised graph '{source.name}' is not in the "
                f"float graph '{float_graph.name}' in that shape; give the float graph it was quantised from."
            )
    return {name: weights[name] for name in names}


def _layer(graph: Graph, node: Node, latent: Array | None, *, learned: bool) -> Layer:
    weight, out = graph.quant(node.inputs[1]), graph.quant(node.output)
    codes = graph.weights[node.inputs[1]]
    ordinals = weight.format.to_ordinals(codes)
    narrow = bool(ordinals.min() > weight.format.min_ordinal)
    grid = weight_grid(weight, codes.ndim, learned=learned, narrow=narrow)
    step = grid.scale().detach() * mean_step(weight.format)
    centre = torch.from_numpy(real_weight(graph, node.inputs[1]).astype(np.float32)) / step
    start = centre if latent is None else _start(grid, centre, torch.from_numpy(latent.astype(np.float32)) / step, step)
    bias = np.asarray(real_bias(graph, node), dtype=np.float64)
    return Layer(grid, start, step, bias, out.scale[0] * mean_step(out.format))


def _start(grid: Grid, centre: Tensor, latent: Tensor, step: Tensor) -> Tensor:
    """Return the float weight where Brevitas rounds it to the same code as the code's own value, else that value."""
    with torch.no_grad():
        return torch.where(grid.levels(latent * step) == grid.levels(centre * step), latent, centre)


def _scale_groups(graph: Graph) -> dict[str, str]:
    """Return for each activation the name that stands for all tensors sharing its scale."""
    return {name: names[0] for names in joined_by(graph, MOVES) for name in names}


def activation_codes(quant: Quant, values: Tensor) -> Array:
    """Return the codes of an activation's real values, which lie on its grid up to float32 rounding."""
    levels = np.rint(values.detach().double().numpy() / quant.scale[0] / quant.format.unit)
    if not quant.format.is_minifloat:
        return quant.format.from_ordinals(levels.astype(np.int64) + quant.zero)
    return quant.format.from_ordinals(to_nearest_ordinals(quant.format, levels * quant.format.unit))
