"""Pretrained networks and their data, which lie beside the repository; tests that use them skip where they do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from quant.formats import Array
from quant.graph import Graph
from quant.scheme import parse_scheme

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CALIBRATION = 64
MEAN, DEVIATION = (np.array(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
NETWORKS = ("resnet8", "resnet20", "kws")


@dataclass(frozen=True, eq=False)
class Network:
    """A float network, prepared and quantised, with test inputs (float32) that it did not see in calibration."""

    name: str
    float_graph: Graph
    graph: Graph
    inputs: Array


def network(name: str, scheme: str = "w8a8", count: int = 16) -> Network:
    """Load and quantise one of NETWORKS, or skip the test."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    if not DATA.is_dir():
        pytest.skip(f"the pretrained networks are not at {DATA}")
    from quant.onnx_import import load_onnx
    from quant.ptq import prepare, quantise

    path, calibration, inputs = files(name)
    floating = prepare(load_onnx(path))
    graph = quantise(floating, parse_scheme(scheme), calibration)
    return Network(name, floating, graph, inputs[:count])


def files(name: str) -> tuple[Path, Array, Array]:
    """Return the ONNX file, calibration inputs and test inputs of one of NETWORKS, float32."""
    if name == "kws":
        with np.load(DATA / "kws" / "kws01_mfcc_int8.npz") as file:
            x = (file["x"].astype(np.float32) - int(file["zero_point"])) * np.float32(file["scale"])
        x = x.transpose(0, 3, 1, 2)
        return DATA / "kws" / "mlperf_tiny_kws_dscnn_runA_float.onnx", x[:CALIBRATION], x[-128:]
    train, test = _cifar10("cifar10_train_lossless_2796.npz"), _cifar10("cifar10_test_lossless_466.npz")
    if name == "resnet8":
        return DATA / "cifar10" / "mlperf_tiny_resnet8.onnx", train, test
    normal = [((x / 255 - MEAN) / DEVIATION).astype(np.float32) for x in (train, test)]
    return DATA / "cifar10" / "resnet20-12fca82f.onnx", normal[0], normal[1]


def _cifar10(name: str) -> Array:
    with np.load(DATA / "cifar10" / name) as file:
        return file["x"][:CALIBRATION].astype(np.float32)
