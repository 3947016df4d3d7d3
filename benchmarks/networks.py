"""The real networks benchmarks run, with the inputs each takes. DATA is the folder given by --data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.data import load, with_preprocess
from edge.dataset import Dataset
from quant.formats import Array

IMAGENET_CROP = 16
#: Training images of Fashion-MNIST that calibration images are drawn from.
FASHION_CALIBRATION = 4096


@dataclass(frozen=True, eq=False)
class Network:
    """A float ONNX file, inputs to calibrate on, and test inputs with labels (float32, pre-processed)."""

    name: str
    path: Path
    calibration: Array
    test: Array
    labels: Array
    note: str


def resnet20(data: Path) -> Network:
    """CIFAR ResNet-20, calibrated on training images, tested on the 466 exact test images."""
    dataset = with_preprocess(
        load(f"cifar10:{data / 'cifar10'}"), 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    return _cifar("resnet20", data / "cifar10" / "resnet20-12fca82f.onnx", dataset)


def resnet8(data: Path) -> Network:
    """MLPerf Tiny's ResNet-8, which takes raw pixels 0..255."""
    dataset = with_preprocess(load(f"cifar10:{data / 'cifar10'}"), 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return _cifar("resnet8", data / "cifar10" / "mlperf_tiny_resnet8.onnx", dataset)


def _cifar(name: str, path: Path, dataset: Dataset) -> Network:
    apply = dataset.preprocess.apply
    note = "calibrated on training images, tested on the 466 exact test images"
    return Network(name, path, apply(dataset.x_train), apply(dataset.x_test), dataset.y_test, note)


def keyword_spotting(data: Path) -> Network:
    """MLPerf Tiny's DS-CNN. There is no training part: even inputs calibrate (200 of 250 for a seed), odd ones test."""
    path, x, y = _keywords(data)
    note = "calibrated on 200 of the 250 even inputs, tested on the 250 odd ones"
    return Network("kws_dscnn", path, x[0::2], x[1::2], y[1::2], note)


def keyword_spotting_all(data: Path) -> Network:
    """The same, tested on all inputs, half of which may calibrate too."""
    path, x, y = _keywords(data)
    note = "calibrated on 200 of the 250 even inputs, tested on all 500: not a clean test, it has seen half of them"
    return Network("kws_dscnn, all inputs", path, x[0::2], x, y, note)


def _keywords(data: Path) -> tuple[Path, Array, Array]:
    archive = np.load(data / "kws" / "kws01_mfcc_int8.npz", allow_pickle=False)
    features = (archive["x"].astype(np.float32) - archive["zero_point"]) * archive["scale"]
    x = features.transpose(0, 3, 1, 2).astype(np.float32)
    return data / "kws" / "mlperf_tiny_kws_dscnn_runA_float.onnx", x, archive["y"]


def efficientnet(data: Path) -> Network:
    """EfficientNet-Lite0: 64 images calibrate, 100 others test (most likely training images: only drops count)."""
    files = _imagenet_files(data)
    chosen = files[0::5] + files[1::5][:64]
    x = _imagenet_inputs(chosen)
    labels = _imagenet_labels(chosen[:100])
    note = "64 images calibrate, 100 others test; probably training images, so only the drop counts"
    return Network("efficientnet_lite0", _efficientnet_file(data), x[100:], x[:100], labels, note)


def efficientnet_fold(data: Path, fold: int) -> Network:
    """EfficientNet-Lite0 on half of the 500 images, calibrated on the other half; fold 0 calibrates on even files."""
    files = _imagenet_files(data)
    inside, outside = files[fold::2], files[1 - fold :: 2]
    note = "250 images calibrate, the 250 others test; probably training images, so only the drop counts"
    x, labels = _imagenet_inputs(outside), _imagenet_labels(outside)
    return Network("efficientnet_lite0", _efficientnet_file(data), _imagenet_inputs(inside), x, labels, note)


def efficientnet_calibration(data: Path, count: int) -> tuple[Path, Array]:
    """EfficientNet-Lite0's file and `count` inputs, to time quantisation with."""
    return _efficientnet_file(data), _imagenet_inputs(_imagenet_files(data)[:count])


def _efficientnet_file(data: Path) -> Path:
    return data / "imagenet" / "efficientnet_lite0.onnx"


def _imagenet_files(data: Path) -> list[Path]:
    return sorted((data / "imagenet" / "images_256").glob("*.jpg"))


def _imagenet_inputs(files: list[Path]) -> Array:
    from PIL import Image

    inside = slice(IMAGENET_CROP, 256 - IMAGENET_CROP)
    pixels = np.stack([np.asarray(Image.open(file))[inside, inside] for file in files]).transpose(0, 3, 1, 2)
    inputs: Array = ((pixels - 127.0) / 128).astype(np.float32)
    return inputs


def _imagenet_labels(files: list[Path]) -> Array:
    return np.array([int(file.name[:4]) for file in files])


def fashion(work: Path) -> Network:
    """The network of examples/fashion.toml on Fashion-MNIST, trained once and kept in `work`."""
    dataset = load("fashion-mnist")
    path = work / "fashion.onnx"
    if not path.exists():
        _train(dataset, path, width=28, blocks=4, epochs=3, batch=128)
    apply = dataset.preprocess.apply
    note = "calibrated on training images, tested on all 10,000 test images"
    calibration = apply(dataset.x_train[:FASHION_CALIBRATION])
    return Network("fashion", path, calibration, apply(dataset.x_test), dataset.y_test, note)


def digits(work: Path) -> Network:
    """The network of examples/digits.toml on scikit-learn's digits, trained once and kept in `work`."""
    dataset = load("digits")
    path = work / "digits.onnx"
    if not path.exists():
        _train(dataset, path, width=16, blocks=3, epochs=20, batch=64)
    apply = dataset.preprocess.apply
    note = "calibrated on training images, tested on all test images"
    return Network("digits", path, apply(dataset.x_train), apply(dataset.x_test), dataset.y_test, note)


def _train(dataset: Dataset, path: Path, *, width: int, blocks: int, epochs: int, batch: int) -> None:
    from edge.models import models
    from edge.onnx_file import to_onnx
    from edge.recipes.recipes import find_recipe
    from edge.train import Schedule, train

    shape = dataset.preprocess.shape
    module = models.build(models.find_model("dscnn"), shape, len(dataset.labels), seed=0, width=width, blocks=blocks)
    train(module, dataset, find_recipe("cross-entropy"), Schedule(epochs=epochs, batch=batch, rate=0.2), show=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_onnx(module, shape, path)
