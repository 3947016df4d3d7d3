"""A 1-D network from features in a file to labels: quantised, exported, verified, evaluated, embedded."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from edge.app import load
from edge.cli import main
from tests.embedded import library
from tests.onnx_models import NODE, save, weights

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
CHANNELS, LENGTH, CLASSES = 3, 24, 4


def typed(*words: object) -> str:
    done: Result = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with features, a float network over [N, C, L], and its bundle."""
    folder, rng = tmp_path_factory.mktemp("desk"), np.random.default_rng(3)
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], strides=[2], pads=[1, 1]),
        NODE("Relu", ["c"], ["r"]),
        NODE("GlobalAveragePool", ["r"], ["g"]),
        NODE("Flatten", ["g"], ["f"]),
        NODE("Gemm", ["f", "v", "b"], ["y"], transB=1),
    ]
    constants = {"w": weights(8, CHANNELS, 3), "v": weights(CLASSES, 8), "b": np.zeros(CLASSES, np.float32)}
    save(folder / "wave.onnx", nodes, constants, (1, CHANNELS, LENGTH))
    middle = rng.uniform(-90, 90, (60, CHANNELS, 1))
    x = np.clip(middle + rng.normal(0, 30, (60, CHANNELS, LENGTH)), -128, 127).astype(np.int8)
    np.savez(folder / "data.npz", x=x, y=np.arange(60) % CLASSES)
    data = ("--pixel-scale", "0.02", "--mean", "0.1")
    typed("quantize", folder / "wave.onnx", "--scheme", "w8a8", "--calib", folder / "data.npz", *data,
          "--passes", "plain", "-o", folder / "wave.graph")  # fmt: skip
    typed("export", folder / "wave.graph", "--target", "arm-m", "--name", "wave", "--data", folder / "data.npz", *data,
          "-o", folder / "b")  # fmt: skip
    return folder, x


def test_the_bundle_agrees_with_the_reference(desk):
    folder, _ = desk
    assert "bit-exact" in typed("verify", folder / "b", "--runtime", "c-host")
    by = [typed("eval", folder / "b", "--data", folder / "data.npz", *how) for how in ((), ("--runtime", "c-host"))]
    assert by[0].split(" (")[0] == by[1].split(" (")[0]


def test_raw_features_become_labels_in_python_and_in_c(desk, tmp_path):
    folder, x = desk
    shutil.copytree(folder / "b" / "model", tmp_path / "model")
    module = library(tmp_path / "model", "wave")
    network = module.Network()
    with load(folder / "b", "reference") as classifier:
        answers = classifier.classify_all(x)
    assert [network.classify(features.ravel())[0] for features in x] == [answer.label for answer in answers]
    assert len({answer.label for answer in answers}) > 1


def test_its_package_starts_from_raw_features(desk, tmp_path):
    folder, _ = desk
    typed("package", folder / "b", "--form", "zephyr", "-o", tmp_path / "z")
    sample = (tmp_path / "z" / "samples" / "wave" / "src" / "wave_sample.h").read_text()
    assert "static const wave_raw_t wave_sample_inputs" in sample
