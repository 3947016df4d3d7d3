"""Networks of equal layers, so that one layer more in ten is a tenth more work, and parts of them to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from devices.plan import Plan, Versus
from export.target import Source, Target
from quant import graph_file, reference
from quant import operators as ops
from quant.formats import INT8, Array
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower

CHANNELS = 8
SIDE = 8


def equal_layers(layers: int) -> Graph:
    """Convolutions 3x3 of 8 channels on 8x8, all of one size, then mean and a fully connected layer."""
    rng = np.random.default_rng(0)
    shape, step = (1, CHANNELS, SIDE, SIDE), Quant(INT8, (0.05,), 0)
    tensors = {"t0": Tensor(shape, step), "m": Tensor((1, CHANNELS), step), "y": Tensor((1, 10), step)}
    weights: dict[str, Array] = {}
    nodes = []
    for index in range(layers):
        tensors[f"t{index + 1}"] = Tensor(shape, step)
        names = _parameters(rng, f"conv{index}", (CHANNELS, CHANNELS, 3, 3), tensors, weights)
        conv = ops.Conv(pads=(1, 1, 1, 1))
        nodes.append(Node(f"conv{index}", conv, (f"t{index}", *names), f"t{index + 1}"))
    nodes.append(Node("mean", ops.Mean(keep_dims=False), (f"t{layers}",), "m"))
    nodes.append(Node("fc", ops.Gemm(), ("m", *_parameters(rng, "fc", (10, CHANNELS), tensors, weights)), "y"))
    return check(Graph(f"layers{layers}", "t0", "y", tuple(nodes), tensors, weights))


def _parameters(
    rng: np.random.Generator,
    name: str,
    shape: tuple[int, ...],
    tensors: dict[str, Tensor],
    weights: dict[str, Array],
) -> tuple[str, str]:
    tensors[f"{name}_w"] = Tensor(shape, Quant(INT8, (0.01,) * shape[0], 0, 0))
    weights[f"{name}_w"] = rng.integers(-100, 101, shape).astype(np.int8)
    tensors[f"{name}_b"] = Tensor((shape[0],))
    weights[f"{name}_b"] = rng.integers(-50, 50, shape[0]).astype(np.int32)
    return f"{name}_w", f"{name}_b"


def write_part(folder: Path, target: Target, layers: int) -> Path:
    """Write the files of a part as a bundle holds them."""
    graph = equal_layers(layers)
    inputs = np.random.default_rng(1).integers(-100, 100, (4, *graph.shape("t0")[1:])).astype(np.int8)
    outputs = reference.run(lower(graph), inputs)["y"]
    folder.mkdir(parents=True)
    graph_file.save(graph, folder / "graph.graph")
    np.savez(folder / "vectors.npz", inputs=inputs, outputs=outputs)
    target.write(Source("model", graph, inputs, outputs), folder)
    return folder


def pair_plan(base: Path, other: Path, target: str, board: str, pairs: int, window_s: float) -> Plan:
    """A plan in which two parts take turns."""
    return Plan(
        bundle="a" * 64,
        part="model",
        folder=base,
        target=target,
        board=board,
        windows=pairs,
        window_s=window_s,
        warmup_s=0.1,
        versus=Versus("b" * 64, other, "model"),
    )
