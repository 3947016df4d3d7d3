"""The cut a model declares: named in ONNX, found in the graph, kept by quantisation; both halves equal the whole."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")
pytest.importorskip("onnx", reason="ONNX export needs onnx")
pytest.importorskip("onnxruntime", reason="calibration runs the float model in onnxruntime")

from edge.dataset import Dataset  # noqa: E402
from edge.models.models import MODELS, build  # noqa: E402
from edge.onnx_file import CUT_TENSOR, to_onnx  # noqa: E402
from edge.recipes.recipes import RECIPES  # noqa: E402
from edge.split import cut, cut_points  # noqa: E402
from edge.train import Schedule, logits, train  # noqa: E402
from export.preprocess import Preprocess  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.ptq import quantise  # noqa: E402
from quant.reference import fast_dot, quantise_input, run  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402


def _bars(count=320):
    """Grey 16x16 images with a bright bar at one of four places: learnt in a few steps."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, count)
    x = rng.integers(0, 100, (count, 1, 16, 16), dtype=np.uint8)
    for image, label in zip(x, y, strict=True):
        image[0, 4 * label : 4 * label + 3] += 150
    return Dataset(
        "bars", x[64:], y[64:], x[:64], y[:64], tuple("abcd"), Preprocess(1, 16, 16, 1 / 255, (0.3,), (0.3,))
    )


@pytest.fixture(scope="module", params=MODELS, ids=lambda m: m.name)
def trained(request, tmp_path_factory):
    """A trained model's data, float logits and float graph."""
    model, data = request.param, _bars()
    module = build(model, data.preprocess.shape, 4, seed=0, width=8)
    assert train(module, data, RECIPES[0], Schedule(epochs=4, batch=32, rate=0.1), show=False) > 0.9
    path = tmp_path_factory.mktemp("cut") / "m.onnx"
    to_onnx(module, data.preprocess.shape, path, cut=model.cut)
    return data, logits(module, data, data.x_test), load_onnx(path)


@pytest.mark.parametrize("scheme", ["w8a8", "we4m3-ae4m3"])
def test_head_then_tail_of_a_trained_model(trained, scheme):
    data, float_logits, graph = trained
    quantised = quantise(graph, parse_scheme(scheme), data.preprocess.apply(data.x_train[:64]))
    points = {point.tensor: point for point in cut_points(quantised)}
    assert points[CUT_TENSOR].macs_before > 0
    assert points[CUT_TENSOR].macs_after > 0
    codes = quantise_input(quantised.quant(quantised.input), data.preprocess.apply(data.x_test))
    whole = run(lower(quantised), codes, fast_dot)
    head, tail = cut(quantised, CUT_TENSOR)
    middle = run(lower(head), codes, fast_dot)[CUT_TENSOR]
    out = run(lower(tail), middle, fast_dot)[quantised.output]
    np.testing.assert_array_equal(middle, whole[CUT_TENSOR])
    np.testing.assert_array_equal(out, whole[quantised.output])
    labels = quantised.quant(quantised.output).format.decode(out).argmax(axis=1)
    assert len(set(labels.tolist())) == 4
    assert (labels == float_logits.argmax(axis=1)).mean() > 0.95
