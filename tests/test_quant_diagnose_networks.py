"""The diagnosis of trained networks: nothing with 8 bits, and known weak layers below."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from quant.diagnose import Labelled, diagnose
from quant.diagnosis.record import Diagnosis
from quant.onnx_import import load_onnx
from quant.scheme import parse_scheme
from tests.networks import DATA, NETWORKS, files

IMAGES = 64
#: Seconds of processor time that the diagnosis of ResNet-20 may take, cures included.
RESNET20_S = 60.0


def diagnosed(name: str, scheme: str, images: int = IMAGES, scale: float = 1.0) -> Diagnosis:
    """Diagnose a network on its calibration images, or skip."""
    if not DATA.is_dir():
        pytest.skip("the folder of pretrained networks is not there")
    path, calibration, _ = files(name)
    return diagnose(load_onnx(path), parse_scheme(scheme), calibration[:images] * np.float32(scale))


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_wrong_with_8_bits(name):
    found = diagnosed(name, "w8a8")
    assert (found.healthy, found.findings, found.unmatched) == (True, (), ())
    assert found.score.sqnr_db > 25
    assert found.score.agreement > 0.95


def test_the_first_layer_of_resnet8_loses_its_mean_at_4_bits():
    """Raw pixels have a mean, so that rounded weights shift whole channels: accuracy falls from 89 to 53 %."""
    found = diagnosed("resnet8", "w4a8")
    worst = found.rows[0]
    assert not found.healthy
    assert worst.facts.name == "/conv.0/Conv"
    assert worst.facts.share > 0.4
    assert [finding.cause for finding in worst.findings] == ["shifted_mean"]
    (bias,) = (trial for trial in found.trials if trial.cure == "bias correction")
    assert bias.gain_db is not None
    assert bias.gain_db > 4
    assert bias.score is not None
    assert bias.score.agreement > found.score.agreement + 0.1


def test_the_gain_holds_on_images_that_no_cure_has_seen():
    if not DATA.is_dir():
        pytest.skip("the folder of pretrained networks is not there")
    path, calibration, _ = files("resnet8")
    with np.load(DATA / "cifar10" / "cifar10_test_lossless_466.npz") as file:
        test = Labelled(file["x"].astype(np.float32), file["y"])
    found = diagnose(load_onnx(path), parse_scheme("w4a8"), calibration[:IMAGES], test)
    assert found.float_accuracy is not None
    assert found.score.accuracy is not None
    assert found.score.accuracy < found.float_accuracy - 0.2
    best = max(trial.score.accuracy or 0.0 for trial in found.trials if trial.score is not None)
    assert best > found.float_accuracy - 0.04


def test_resnet20_in_time():
    begin = time.process_time()
    found = diagnosed("resnet20", "w4a8")
    assert time.process_time() - begin < RESNET20_S
    assert {finding.cause for finding in found.findings} <= {"shifted_mean", "few_weight_bits"}
    assert any(trial.helped for trial in found.trials)


@pytest.mark.parametrize(
    ("name", "scale"), [("resnet20", 255.0), ("resnet20", 1 / 255), ("resnet8", 1 / 255)], ids=lambda value: f"{value}"
)
def test_wrong_pre_processing_is_named_though_quantisation_does_no_harm(name, scale):
    found = diagnosed(name, "w8a8", 16, scale)
    assert "preprocessing" in {finding.cause for finding in found.findings}
    assert found.summary.count("pre-processing mismatch") == 1


@pytest.mark.slow
def test_efficientnet_at_6_bits():
    """The first depthwise convolution alone makes most of the noise, nearly all of it a shift of channels."""
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    photos = sorted((DATA / "imagenet" / "images_256").glob("*.jpg"))[:80:20]
    if not photos:
        pytest.skip("the folder of photographs is not there")
    pixels = np.stack([np.asarray(image.open(photo))[16:240, 16:240] for photo in photos]).transpose(0, 3, 1, 2)
    graph = load_onnx(DATA / "imagenet" / "efficientnet_lite0.onnx")
    found = diagnose(graph, parse_scheme("w6a8"), ((pixels - 127.0) / 128).astype(np.float32))
    worst = found.rows[0]
    assert worst.facts.name == "/_blocks.0/_depthwise_conv/Conv"
    assert worst.facts.share > 0.4
    assert [finding.cause for finding in worst.findings] == ["shifted_mean"]
    assert worst.findings[0].numbers["shifted"] > 0.8
    helped = [trial for trial in found.trials if trial.helped]
    assert helped[0].cure == "bias correction"
    assert helped[0].gain_db is not None
    assert helped[0].gain_db > 3
