"""Networks nobody here trained, quantised to w8a8, as `.tflite`: exact in TFLite-Micro, labels agree in the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.arm_a import TARGET
from export.runtimes import litert, tflm
from export.runtimes.session import Runtime
from export.target import Source
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COUNT, CALIBRATION = 16, 64
MEAN, DEVIATION = (np.array(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def cifar10(name: str) -> Array:
    with np.load(DATA / "cifar10" / name) as file:
        return file["x"][:CALIBRATION].astype(np.float64)


def speech() -> Array:
    with np.load(DATA / "kws" / "kws01_mfcc_int8.npz") as file:
        x = (file["x"].astype(np.float64) - int(file["zero_point"])) * float(file["scale"])
    return x.transpose(0, 3, 1, 2)


def network(name: str) -> tuple[Path, Array, Array]:
    """The ONNX file, calibration inputs and test inputs."""
    if name == "kws":
        x = speech()
        return DATA / "kws" / "mlperf_tiny_kws_dscnn_runA_float.onnx", x[:CALIBRATION], x[-COUNT:]
    train, test = cifar10("cifar10_train_lossless_2796.npz"), cifar10("cifar10_test_lossless_466.npz")[:COUNT]
    if name == "resnet8":
        return DATA / "cifar10" / "mlperf_tiny_resnet8.onnx", train, test
    normal = [(x / 255 - MEAN) / DEVIATION for x in (train, test)]
    return DATA / "cifar10" / "resnet20-12fca82f.onnx", *normal


@pytest.fixture(scope="module", params=["resnet8", "resnet20", "kws"])
def part(request, tmp_path_factory) -> tuple[Path, Graph, Array, dict[str, Array]]:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
    if not DATA.is_dir():
        pytest.skip(f"the pretrained networks are not at {DATA}")
    from quant.onnx_import import load_onnx
    from quant.ptq import quantise

    path, calibration, inputs = network(request.param)
    graph = quantise(load_onnx(path), parse_scheme("w8a8"), calibration.astype(np.float32))
    codes = quantise_input(graph.quant(graph.input), inputs.astype(np.float32))
    expected = run(lower(graph), codes, fast_dot)
    folder = tmp_path_factory.mktemp(request.param)
    TARGET.write(Source("part", graph, codes, expected[graph.output]), folder)
    return folder, graph, codes, expected


@pytest.mark.parametrize("runtime", tflm.RUNTIMES + litert.RUNTIMES, ids=lambda runtime: runtime.name)
def test_a_real_network_computes_the_reference(part, runtime: Runtime):
    reason = runtime.missing()
    if reason is not None:
        pytest.skip(reason)
    folder, graph, codes, expected = part
    session = runtime.open(folder, "part", graph)
    found, logits = session.run(codes), expected[graph.output]
    assert np.unique(logits).size > 60
    assert np.unique(logits.argmax(1)).size > 4
    if runtime.exact:
        np.testing.assert_array_equal(found, logits)
        for name, values in session.tensors(codes[:2]).items():
            np.testing.assert_array_equal(values, expected[name][:2], err_msg=name)
        return
    # Measured on all test inputs of these networks: reference kernels 1 step, tflite-runtime 3, LiteRT 4.
    allowed = {"litert-ref": 1, "tflite-runtime": 3, "litert": 4}[runtime.name]
    assert np.abs(found.astype(int) - logits.astype(int)).max() <= allowed
    assert (found.argmax(1) == logits.argmax(1)).mean() >= 15 / 16
