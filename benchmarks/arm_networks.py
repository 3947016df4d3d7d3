"""Networks that the ARM benchmark runs, quantised, with input codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.networks import Network, keyword_spotting, resnet8, resnet20
from quant import operators as ops
from quant.formats import INT8, Array
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.onnx_import import load_onnx
from quant.ptq import quantise
from quant.reference import quantise_input
from quant.scheme import parse_scheme
from quant.tflite_import import load_tflite

CALIBRATION, INPUTS = 200, 8
MOBILENET, CROP = "imagenet/mobilenet_v1_0.25_128_quant.tflite", slice(64, 192)


@dataclass(frozen=True, eq=False)
class Case:
    """A quantised network and input codes that give different labels."""

    name: str
    graph: Graph
    codes: Array


def cases(data: Path) -> Iterator[Case]:
    """Make the networks one after the other: a pointwise layer, ResNet-8, ResNet-20, DS-CNN, MobileNetV1-0.25."""
    yield pointwise()
    for name, load, scheme in (
        ("ResNet-8", resnet8, "w8a8"),
        ("ResNet-8, 4-bit weights", resnet8, "w4a8"),
        ("ResNet-20", resnet20, "w8a8"),
        ("DS-CNN", keyword_spotting, "w8a8"),
    ):
        yield _quantised(name, load(data), scheme)
    yield mobilenet(data)


def _quantised(name: str, network: Network, scheme: str) -> Case:
    graph = quantise(load_onnx(network.path), parse_scheme(scheme), network.calibration[:CALIBRATION])
    return Case(name, graph, quantise_input(graph.quant(graph.input), network.test[:INPUTS]))


def pointwise() -> Case:
    """One layer of 64 pixels, 32 channels to 32, relu: the layer that the anchors were measured on."""
    rng = np.random.default_rng(3)
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.001, 0.01, 32))
    x, y = Quant(INT8, (float(np.float32(0.02)),), -3), Quant(INT8, (float(np.float32(0.01)),), -128)
    tensors = {
        "x": Tensor((1, 32, 8, 8), x),
        "w": Tensor((32, 32, 1, 1), Quant(INT8, scales, 0, 0)),
        "b": Tensor((32,)),
        "y": Tensor((1, 32, 8, 8), y),
    }
    weights: dict[str, Array] = {
        "w": rng.integers(-127, 128, (32, 32, 1, 1)).astype(np.int8),
        "b": rng.integers(-50, 50, 32).astype(np.int32),
    }
    node = Node("pointwise", ops.Conv(), ("x", "w", "b"), "y", (0.0, float("inf")))
    graph = check(Graph("pointwise", "x", "y", (node,), tensors, weights))
    return Case("pointwise 64 x 32 -> 32", graph, rng.integers(-128, 128, (INPUTS, 32, 8, 8)).astype(np.int8))


def mobilenet(data: Path) -> Case:
    """Coral's uint8 MobileNetV1-0.25 for 128 x 128 pixels, on photographs."""
    from PIL import Image

    graph = load_tflite(data / MOBILENET)
    files = sorted((data / "imagenet" / "images_256").glob("*.jpg"))[: INPUTS * 50 : 50]
    pixels = np.stack([np.asarray(Image.open(file))[CROP, CROP] for file in files]).transpose(0, 3, 1, 2)
    real = ((pixels.astype(np.float32) - 128) / 128).astype(np.float32)
    return Case("MobileNetV1-0.25-128 (Coral)", graph, quantise_input(graph.quant(graph.input), real))
