"""What ONNX Runtime's own quantisation gives, as the Jetson linter sees it: only one configuration passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from export.jetson_lint import lint, verdict
from export.jetson_profiles import ORIN, ORIN_JETPACK5, XAVIER
from export.opset import relabel
from tests.ort_static import Batches

#: What passes: symmetric int8, float biases, weights as Q/DQ pairs, no Q/DQ behind what a kernel fuses.
FOR_TENSORRT = {
    "activation_type": QuantType.QInt8,
    "weight_type": QuantType.QInt8,
    "per_channel": True,
    "op_types_to_quantize": ["Conv", "MatMul", "Gemm", "Add", "GlobalAveragePool"],
    "extra_options": {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": True,
        "OpTypesToExcludeOutputQuantization": ["Conv", "MatMul", "Gemm", "Add"],
    },
}
SIGNED = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
CASES: tuple[tuple[str, dict[str, Any], set[int]], ...] = (
    ("defaults", {}, {1, 9}),
    ("per channel only", {**SIGNED, "per_channel": True}, {1, 9}),
    ("operators", {**SIGNED, "quant_format": QuantFormat.QOperator}, {1, 8, 11}),
    ("for TensorRT", FOR_TENSORRT, set()),
)


def network(path: Path) -> None:
    """A residual CNN with biases."""
    rng = np.random.default_rng(1)
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in {
            "w1": (8, 3, 3, 3),
            "b1": (8,),
            "w2": (8, 8, 3, 3),
            "b2": (8,),
            "w3": (8, 8, 3, 3),
            "b3": (8,),
            "w4": (8, 10),
            "b4": (10,),
        }.items()
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", **pads),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", **pads),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "conv3", **pads),
        helper.make_node("Add", ["c3", "r1"], ["s"], "sum"),
        helper.make_node("Relu", ["s"], ["r3"], "relu3"),
        helper.make_node("GlobalAveragePool", ["r3"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], "fc"),
    ]
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10)),
    ]
    values = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "residual", ports[:1], ports[1:], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class One(Batches):
    """Feeds one image after the other."""

    def __init__(self, inputs: Any):
        self.feeds = iter([{"x": inputs[i : i + 1]} for i in range(len(inputs))])


def quantised(folder: Path, options: dict[str, Any]) -> Any:
    """Return the network as ONNX Runtime quantises it."""
    network(folder / "float.onnx")
    images = np.random.default_rng(2).normal(0, 1, (8, 3, 16, 16)).astype(np.float32)
    quantize_static(str(folder / "float.onnx"), str(folder / "quantised.onnx"), One(images), **options)
    return onnx.load(folder / "quantised.onnx")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("options", "rules"), [(o, r) for _, o, r in CASES], ids=[name for name, _, _ in CASES])
def test_a_configuration_breaks_these_rules(options: dict[str, Any], rules: set[int], tmp_path: Path) -> None:
    """For TensorRT 8.5 and 10.3 alike; at most the placement of one pair is worth a warning."""
    made = quantised(tmp_path, options)
    for profile in (ORIN_JETPACK5, ORIN):
        found = lint(made, profile)
        assert {finding.rule for finding in found if finding.severity == "error"} == rules
    assert (verdict(found)["verdict"] == "PASS") == (not rules)
    if not rules:
        assert len(found) <= 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_one_that_passes_goes_to_tensorrt_82_by_the_relabel(tmp_path: Path) -> None:
    made = quantised(tmp_path, FOR_TENSORRT)
    assert {finding.rule for finding in lint(made, XAVIER) if finding.severity == "error"} == {11}
    assert verdict(lint(relabel(made, 13), XAVIER))["verdict"] == "PASS"
