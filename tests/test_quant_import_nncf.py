"""Files of OpenVINO's NNCF on the ONNX backend: float biases, Clip(ReLU6) kept, logits left in real values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("nncf", reason="nncf is not installed", exc_type=ImportError)

import onnx

from quant.formats import Array
from quant.onnx_import import load_onnx
from quant.onnx_output import narrow_output
from quant.program import lower
from quant.reference import dequantise, fast_dot, quantise_input, run
from tests.foreign import agreement, run_ort
from tests.onnx_models import images, ort_run
from tests.test_quant_onnx_qdq import SHAPE, real, small_net

# Of NNCF and torch.
pytestmark = pytest.mark.filterwarnings("ignore")


def quantised(source: Path, out: Path, calibration: Array, preset: str = "PERFORMANCE") -> Path:
    """Quantise a float file with NNCF's defaults."""
    import nncf

    model = onnx.load(source)
    name = model.graph.input[0].name
    data = nncf.Dataset([{name: image[None]} for image in calibration])
    found: Any = nncf.quantize(model, data, subset_size=len(calibration), preset=nncf.QuantizationPreset[preset])
    onnx.save(found, out)
    return out


@pytest.mark.parametrize("preset", ["PERFORMANCE", "MIXED"])
def test_a_small_net(tmp_path, preset):
    x = images(SHAPE, 64) * 2
    path = quantised(small_net(tmp_path / "float.onnx"), tmp_path / "nncf.onnx", x[:32], preset)
    graph = load_onnx(path)
    assert [(n.kind, n.clip) for n in graph.nodes if n.clip] == [("Conv", (0.0, float("inf"))), ("Conv", (0.0, 6.0))]
    assert graph.quant(graph.output).format.name == "int16"
    found = agreement(path, x[32:], run_ort(path, x[32:]))
    print(f"{preset}: {found}")
    assert found.steps <= 1
    assert found.share <= 0.006
    assert found.emulated_steps <= 1
    assert found.emulated_share <= 5e-5
    assert found.labels >= 0.95


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "kws"])
def test_a_real_network(tmp_path, name):
    source, calibration, x = real(name)
    path = quantised(source, tmp_path / "nncf.onnx", calibration[:32])
    found = agreement(path, x[:16], run_ort(path, x[:16]))
    print(f"{name}: {found}")
    assert found.steps <= 1
    assert found.share <= 0.006
    assert found.emulated_share <= 5e-5
    assert found.labels >= 0.9


def test_the_same_in_openvino(tmp_path):
    """OpenVINO executes its own integer kernels; whole runs are compared in real values."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    x = images(SHAPE, 96) * 2
    path = quantised(small_net(tmp_path / "float.onnx"), tmp_path / "nncf.onnx", x[:32])
    core = openvino.Core()
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    theirs = compiled(x[32:])[0]
    graph = narrow_output(load_onnx(path), x[:32])
    codes = run(lower(graph), quantise_input(graph.quant(graph.input), x[32:]), fast_dot)[graph.output]
    ours = dequantise(graph.quant(graph.output), codes)
    assert len(set(theirs.argmax(axis=1).tolist())) > 1
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.95
    # In steps of the 8-bit grid that the output got.
    step = graph.quant(graph.output).scale[0]
    plain = ort_run(path, x[32:], "ORT_DISABLE_ALL")
    print(np.abs(ours - theirs).max() / step, np.abs(plain - theirs).max() / step)
    assert np.abs(ours - theirs).max() <= 4 * step
    assert np.abs(ours - theirs).mean() <= 0.6 * step
