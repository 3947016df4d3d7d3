"""Pretrained networks from raw pixels and raw audio features to labels, in generated C and by the integer reference."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from export.arm_m import TARGET
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.embed.packages import find_form, write_package
from export.preprocess import Preprocess
from export.target import Source
from quant.formats import Array
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.embedded import library
from tests.networks import DATA, network

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
COUNT = 16
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, eq=False)
class Raw:
    """A pretrained network with raw inputs [N, H, W, C] and the codes the reference gives for them."""

    made: Bundle
    raw: Array
    expected: Array


def kws() -> tuple[Preprocess, Array, tuple[str, ...]]:
    with np.load(DATA / "kws" / "kws01_mfcc_int8.npz") as file:
        scale, zero, x = float(file["scale"]), int(file["zero_point"]), file["x"][-COUNT:]
    return Preprocess(1, 49, 10, scale, (scale * zero,), (1.0,), raw="int8"), x, tuple(f"word {k}" for k in range(12))


def cifar(given: Preprocess) -> tuple[Preprocess, Array, tuple[str, ...]]:
    with np.load(DATA / "cifar10" / "cifar10_test_lossless_466.npz") as file:
        return given, file["x"][:COUNT].transpose(0, 2, 3, 1), CIFAR


RAW = {
    "kws": kws,
    "resnet8": lambda: cifar(Preprocess(3, 32, 32, 1.0, (0.0,) * 3, (1.0,) * 3)),
    "resnet20": lambda: cifar(Preprocess(3, 32, 32, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
}


@pytest.fixture(scope="module", params=["kws", "resnet8", "resnet20"])
def raw(request, tmp_path_factory) -> Raw:
    graph = network(request.param).graph
    preprocess, x, labels = RAW[request.param]()
    codes = quantise_input(graph.quant(graph.input), preprocess.apply(x.transpose(0, 3, 1, 2)))
    expected = run(lower(graph), codes, fast_dot)[graph.output]
    spec = BundleSpec("net", "w8a8", preprocess, labels, (Source("model", graph, codes, expected),), "softmax")
    made = write_bundle(tmp_path_factory.mktemp(request.param) / "b", spec, TARGET)
    return Raw(made, x, expected.reshape(len(x), -1))


def test_labels_from_raw_values_are_those_of_the_reference(raw):
    part = raw.made.parts[0]
    module = library(part.folder, part.stem)
    net, best = module.Network(), raw.expected.argmax(axis=1)
    outputs = np.stack([net.invoke(net.preprocess(x)) for x in raw.raw])
    assert np.array_equal(outputs, raw.expected)
    assert [net.classify(x)[0] for x in raw.raw] == [module.LABELS[k] for k in best]
    assert len(set(best.tolist())) > 1


def test_the_packaged_example_starts_from_raw_values(raw, tmp_path):
    write_package(raw.made, find_form("cmake"), tmp_path / "p")
    folder: Path = tmp_path / "p"
    sources = ("net.c", "net_preprocess.c", "net_labels.c", "example/main.c")
    subprocess.run(["cc", "-O2", "-std=c99", "-I.", *sources, "-o", "app"], cwd=folder, check=True)
    said = subprocess.run([folder / "app"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-1] == "net: 2 of 2 samples as expected"
    assert len({line.split(": ")[1] for line in said[:2]}) == 2
