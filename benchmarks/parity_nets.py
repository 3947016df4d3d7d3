"""Real networks as cases of a batch: codes that went in and the reference's codes of every tensor, of two labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import networks
from benchmarks.batch import Case
from benchmarks.growth import labels
from benchmarks.random_networks import Example
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run

#: Of so many inputs two with different labels are run.
SEEN, IMAGES, CALIBRATION = 32, 2, 64
#: Float networks and the schemes they are quantised with.
FLOAT = (
    (networks.resnet8, ("w8a8", "w4a8", "w8a16", "we4m3-ae4m3")),
    (networks.keyword_spotting, ("w8a8", "w4a8", "we4m3-ae4m3")),
    (networks.resnet20, ("w8a8",)),
)
MOBILENET, RESNET8 = "mobilenet_v1_0.25_128_quant.tflite", "mlperf_tiny_resnet8_int8.tflite"
SIDE, WHOLE = 128, 146


def cases(data: Path) -> Iterator[Case]:
    """Yield every real network: quantised here from ONNX, and quantised by Google's tools (`.tflite`)."""
    yield from _quantised_here(data)
    yield from imported(data)


def _quantised_here(data: Path) -> Iterator[Case]:
    from quant.ptq import prepare, quantise
    from quant.scheme import parse_scheme

    for load, schemes in FLOAT:
        net = load(data)
        floating = prepare(_onnx(net.path))
        for scheme in schemes:
            graph = quantise(floating, parse_scheme(scheme), net.calibration[:CALIBRATION])
            codes = quantise_input(graph.quant(graph.input), net.test[:SEEN])
            yield _case(f"{net.name} {scheme}", graph, codes)


def imported(data: Path) -> Iterator[Case]:
    """Yield the networks that Google's tools quantised."""
    from quant.tflite_import import load_tflite

    with np.load(data / "cifar10" / "cifar10_test_lossless_466.npz", allow_pickle=False) as file:
        pixels = file["x"][:SEEN].astype(int)
    yield _case(
        "resnet8 (MLPerf Tiny, .tflite)", load_tflite(data / "cifar10" / RESNET8), (pixels - 128).astype(np.int8)
    )
    graph = load_tflite(data / "imagenet" / MOBILENET)
    yield _case("mobilenet_v1_0.25_128 (Coral, .tflite)", graph, _crops(data))


def _onnx(path: Path) -> Graph:
    from quant.onnx_import import load_onnx

    return load_onnx(path)


def _crops(data: Path) -> Array:
    """Return centres of images as the codes of an imported file whose input was uint8: int8 [N, 3, side, side]."""
    from PIL import Image

    found, start = [], (WHOLE - SIDE) // 2
    for path in sorted((data / "imagenet" / "images_256").glob("*.jpg"))[:SEEN]:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB").resize((WHOLE, WHOLE), Image.Resampling.BICUBIC))
        found.append(pixels[start : start + SIDE, start : start + SIDE])
    codes: Array = (np.stack(found).transpose(0, 3, 1, 2).astype(int) - 128).astype(np.int8)
    return codes


def _case(title: str, graph: Graph, codes: Array) -> Case:
    """Return a case of the first input and the first one with another label."""
    program, fmt = lower(graph), graph.quant(graph.output).format
    outputs = run(program, codes, dot=fast_dot)[graph.output]
    found = [next(iter(labels(fmt, outputs[i : i + 1]))) for i in range(len(outputs))]
    other = next((i for i, label in enumerate(found) if label != found[0]), None)
    if other is None:
        raise ValueError(f"{title}: all {len(codes)} inputs have label {found[0]}, so that parity would prove little.")
    chosen = codes[[0, other]]
    values = run(program, chosen, dot=fast_dot)
    name = "".join(c for c in "".join(title.split()[:2]) if c.isalnum()).lower()
    return Case(name, title, Example(graph, values[graph.input], values))
