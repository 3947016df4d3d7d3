"""From a trained elastic torch network to the plain data of `quant.elastic`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from edge.dataset import Dataset
from edge.recipes.elastic_layers import ActivationQuantiser, WeightQuantiser
from edge.recipes.elastic_net import ElasticConv, ElasticNet
from edge.recipes.elastic_train import recalibrate
from quant.elastic import ElasticNetwork, Layer, Statistics, Table, check_network
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, check
from quant.operators import BatchNorm, Clip, Conv, Gemm, Mean, Operator
from quant.subnet import Subnet

INPUT, OUTPUT, MEAN, FC = "input", "logits", "mean", "fc"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def to_network(
    net: ElasticNet, dataset: Dataset, subnets: Iterable[Subnet], images: Array, name: str = "elastic"
) -> ElasticNetwork:
    """Take weights and tables out of a torch network, and measure the batch norm statistics of some subnets.

    Args:
        net: trained.
        dataset: whose pre-processing the network was trained with.
        subnets: those that can be made later.
        images: raw images [N, C, H, W] for the statistics; whole batches of 256 of them are used.
        name: of the graph.

    Raises:
        QuantError: a table holds what is no scale (training diverged).
    """
    statistics: dict[Subnet, Statistics] = {}
    for subnet in subnets:
        recalibrate(net, dataset, subnet, images)
        statistics[subnet] = {
            f"norm{k}": (_array(conv.norm.running_mean), _array(conv.norm.running_var))
            for k, conv in enumerate(net.convs)
        }
    layers = [_layer(f"conv{k}", conv.weight_quantiser) for k, conv in enumerate(net.convs)]
    tensors = {_output(k, conv): _table(conv.output_quantiser) for k, conv in enumerate(net.convs)}
    tensors |= {INPUT: _table(net.input_quantiser), MEAN: _table(net.mean_quantiser)}
    tensors[OUTPUT] = _table(net.logits_quantiser)
    layers.append(_layer(FC, net.fc_quantiser))
    return check_network(ElasticNetwork(float_graph(net, name), tuple(layers), tensors, statistics))


def float_graph(net: ElasticNet, name: str) -> Graph:
    """Return the float network with its batch norms as nodes."""
    shape: tuple[int, ...] = (1, *net.shape)
    nodes: list[Node] = []
    tensors, weights = {INPUT: Tensor(shape)}, {}

    def add(node: str, op: Operator, source: str, output: str, parameters: dict[str, torch.Tensor]) -> str:
        for key, value in parameters.items():
            weights[f"{node}.{key}"] = _array(value)
            tensors[f"{node}.{key}"] = Tensor(tuple(value.shape))
        nodes.append(Node(node, op, (source, *(f"{node}.{key}" for key in parameters)), output))
        tensors[output] = Tensor(shape)
        return output

    x = INPUT
    for k, conv in enumerate(net.convs):
        unit = net.units[k]
        size = tuple(-(-side // unit.stride) for side in shape[2:])
        shape = (1, unit.channels, *size)
        op = Conv(strides=(unit.stride,) * 2, pads=(unit.kernel // 2,) * 4)
        parameters = {"weight": conv.conv.weight, "bias": torch.zeros(unit.channels)}
        x = add(f"conv{k}", op, x, f"conv{k}.out", parameters)
        moments = {part: getattr(conv.norm, part) for part in _NORM_PARTS}
        x = add(f"norm{k}", BatchNorm(epsilon=conv.norm.eps), x, f"norm{k}.out", moments)
        if unit.relu:
            x = add(f"relu{k}", Clip(low=0.0, high=float("inf")), x, _output(k, conv), {})
    shape = (1, shape[1])
    x = add(MEAN, Mean(keep_dims=False), x, MEAN, {})
    shape = (1, net.fc.out_features)
    add(FC, Gemm(), x, OUTPUT, {"weight": net.fc.weight, "bias": net.fc.bias})
    return check(Graph(name, INPUT, OUTPUT, tuple(nodes), tensors, weights))


def _output(k: int, conv: ElasticConv) -> str:
    return f"relu{k}.out" if conv.relu else f"norm{k}.out"


def _array(tensor: torch.Tensor) -> Array:
    # A copy: the module's tensors change under its feet.
    array: Array = np.array(tensor.detach().numpy(), dtype=np.float32)
    return array


def _layer(name: str, quantiser: WeightQuantiser) -> Layer:
    per_layer, per_channel = (
        Table(
            quantiser.widths,
            True,
            *(_array(getattr(quantiser, f"{part}_{suffix}")) for part in ("scale_sym", "scale_asym", "offset")),
        )
        for suffix in ("layer", "channel")
    )
    return Layer(name, per_layer, per_channel)


def _table(quantiser: ActivationQuantiser) -> Table:
    parts = (quantiser.scale_sym, quantiser.scale_asym, quantiser.offset)
    return Table(quantiser.widths, quantiser.signed, *(_array(part)[None] for part in parts))
