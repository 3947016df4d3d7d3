"""Networks that Google's tools quantised, imported: every tensor has the codes that their own kernels make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.runtimes.litert import LITERT_REF, TFLITE_RUNTIME
from export.runtimes.tflm import TFLITE_MICRO
from quant.formats import Array
from tests import tflite_files as files
from tests.tflite_files import DATA

RESNET8 = DATA / "cifar10" / "mlperf_tiny_resnet8_int8.tflite"
CIFAR10 = DATA / "cifar10" / "cifar10_test_lossless_466.npz"
CORAL = ("mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.5_160_quant", "mobilenet_v2_1.0_224_quant")


def need(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            pytest.skip(f"there is no {path.name}")


def assert_same_codes(build: files.Build, invoke: files.Invoke, images: Array) -> dict[int, Array]:
    """Compare all tensors; returns the graph's, by the file's tensor index."""
    rows = [invoke(image[None]) for image in images]
    expected = files.graph_values(build, images)
    assert len(expected) == len(rows[0])
    for place, (index, codes) in enumerate(expected.items()):
        tensor = build.tensor(index)
        found = np.concatenate([row[place].reshape(tensor.shape) for row in rows])
        np.testing.assert_array_equal(found.astype(int), codes, err_msg=tensor.what)
        assert np.unique(found).size > 2
    return expected


def test_mlperf_tinys_resnet8_has_the_codes_of_tflite_micro():
    need(RESNET8, CIFAR10)
    reason = TFLITE_MICRO.missing()
    if reason is not None:
        pytest.skip(reason)
    with np.load(CIFAR10) as file:
        images, truth = file["x"].transpose(0, 2, 3, 1), file["y"]
    build = files.imported(RESNET8.read_bytes())
    shown = files.computed(build)
    invoke = files.micro(files.showing(RESNET8.read_bytes(), shown), len(shown), 1 << 24)
    logits = assert_same_codes(build, invoke, (images.astype(int) - 128).astype(np.int8))
    last = list(logits.values())[-1]
    assert last.shape == (466, 10)
    assert np.unique(last.argmax(1)).size == 10
    assert (last.argmax(1) == truth).mean() > 0.88


def test_mlperf_tinys_resnet8_in_litert_differs_in_its_last_layer_only():
    need(RESNET8, CIFAR10)
    reason = LITERT_REF.missing()
    if reason is not None:
        pytest.skip(reason)
    with np.load(CIFAR10) as file:
        images = (file["x"][:32].transpose(0, 2, 3, 1).astype(int) - 128).astype(np.int8)
    build = files.imported(RESNET8.read_bytes())
    invoke = files.reference_kernels(files.showing(RESNET8.read_bytes(), files.computed(build)))
    rows, expected = [invoke(image[None]) for image in images], files.graph_values(build, images)
    for place, (index, codes) in enumerate(expected.items()):
        found = np.concatenate([row[place].reshape(build.tensor(index).shape) for row in rows]).astype(int)
        # FULLY_CONNECTED rounds once there.
        allowed = 1 if place == len(expected) - 1 else 0
        assert np.abs(found - codes).max() <= allowed, build.tensor(index).what


def crops(count: int, side: int) -> Array:
    """Centres of the images as the Coral files take them: uint8 [N, side, side, 3]."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    whole = round(side / 0.875)
    start, found = (whole - side) // 2, []
    for path in sorted((DATA / "imagenet" / "images_256").iterdir())[:count]:
        with image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((whole, whole), image.Resampling.BICUBIC))
        found.append(pixels[start : start + side, start : start + side])
    return np.stack(found)


def kernels() -> tuple[Callable[[bytes], files.Invoke], ...]:
    """The reference kernels of the runtimes that are here."""
    known = ((LITERT_REF, files.reference_kernels), (TFLITE_RUNTIME, files.old_reference_kernels))
    return tuple(maker for runtime, maker in known if runtime.missing() is None)


@pytest.mark.parametrize("name", CORAL)
def test_corals_uint8_networks_have_the_codes_of_the_reference_kernels(name: str):
    path = DATA / "imagenet" / f"{name}.tflite"
    need(path, DATA / "imagenet" / "images_256")
    data = path.read_bytes()
    build = files.imported(data)
    makers = kernels()
    if not makers:
        pytest.skip("neither ai-edge-litert nor tflite-runtime runs here")
    side = build.tensor(build.file.input).shape[1]
    images = crops(8 if side == 128 else 3, side)
    for maker in makers:
        last = list(assert_same_codes(build, maker(files.showing(data, files.computed(build))), images).values())[-1]
        assert np.unique(last.argmax(1)).size > 1
    # Weights with zero points need a ninth bit; where they do not, they stay in int8.
    widths = {build.tensors[w].quant.format.name for w in build.weights if build.tensors[w].quant}
    assert "int9" in widths
    assert widths <= {"int8", "int9"}
