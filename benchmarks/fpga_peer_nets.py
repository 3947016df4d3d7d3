"""The two small networks of the comparison with FPGA peers: trained on digits, 8 bits, scales of powers of two.

* dense: 16 -> 32 -> 10 on digits averaged to 4x4;
* conv: 3x3 to 8 channels, 3x3 to 8 channels, max pool, 10 outputs, on digits of 8x8.

Powers of two because hls4ml and da4ml know fixed point only, so that all tools get the same function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge.data import load
from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, check
from quant.passes.power_of_two import power_of_two_scales
from quant.program import lower
from quant.ptq import quantise
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme

SCHEME, EPOCHS, INF = "w8a8-sym-pt", 60, float("inf")


@dataclass(frozen=True, eq=False)
class Case:
    """A quantised network, input codes of test images with the reference's codes, and the images' labels."""

    name: str
    graph: Graph
    inputs: Array
    outputs: Array
    labels: Array


def cases() -> tuple[Case, ...]:
    """Train and quantise both networks; the same every time on one machine."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return _case("dense", _dense()), _case("conv", _conv())


def _dense() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))


def _conv() -> nn.Module:
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def _case(name: str, module: nn.Module) -> Case:
    digits = load("digits")
    x, test = (digits.preprocess.apply(part) for part in (digits.x_train, digits.x_test))
    _train(module, torch.from_numpy(x), torch.from_numpy(digits.y_train))
    if name == "dense":
        # The averaged pixels are the network's input: it has dense layers only.
        x, test = (nn.functional.avg_pool2d(torch.from_numpy(part), 2).flatten(1).numpy() for part in (x, test))
    graph = power_of_two_scales(quantise(_graph(name, module), parse_scheme(SCHEME), x))
    codes = quantise_input(graph.quant(graph.input), test)
    outputs = run(lower(graph), codes, fast_dot)[graph.output]
    return Case(name, graph, codes, outputs, digits.y_test)


def _train(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(module.parameters(), 5e-3)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
        for part in order.split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[part]), y[part].long()).backward()
            optimiser.step()


def _graph(name: str, module: nn.Module) -> Graph:
    """Return the trained layers as a float graph."""
    shape = (1, 16) if name == "dense" else (1, 1, 8, 8)
    tensors, weights, top = {"x": Tensor(shape)}, {}, "x"
    nodes: list[Node] = []
    for index, layer in enumerate(module):
        made = f"t{index}"
        match layer:
            case nn.ReLU():
                nodes[-1] = Node(nodes[-1].name, nodes[-1].op, nodes[-1].inputs, top, (0.0, INF))
                continue
            case nn.Linear() | nn.Conv2d():
                names = (f"w{index}", f"b{index}")
                for key, value in zip(names, (layer.weight, layer.bias), strict=True):
                    weights[key] = value.detach().numpy()
                    tensors[key] = Tensor(weights[key].shape)
                op, out = _layer(layer, tensors[top].shape)
                nodes.append(Node(made, op, (top, *names), made))
            case nn.MaxPool2d():
                out = (*tensors[top].shape[:2], *(size // 2 for size in tensors[top].shape[2:]))
                nodes.append(Node(made, ops.MaxPool(kernel=(2, 2), strides=(2, 2)), (top,), made))
            case nn.Flatten() if name == "conv":
                out = (1, int(np.prod(tensors[top].shape)))
                nodes.append(Node(made, ops.Reshape(shape=out), (top,), made))
            case _:
                continue
        tensors[made], top = Tensor(out), made
    return check(Graph(name, "x", top, tuple(nodes), tensors, weights))


def _layer(layer: nn.Module, x: tuple[int, ...]) -> tuple[ops.Operator, tuple[int, ...]]:
    if isinstance(layer, nn.Linear):
        return ops.Gemm(), (1, layer.out_features)
    return ops.Conv(), (1, layer.out_channels, x[2] - 2, x[3] - 2)
