"""What `benchmarks.minifloat_fpga` compares: networks with foldings, formats, how each is quantised and tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import networks
from quant.errors import QuantError
from quant.formats import MINIFLOATS, Array, find_format, integer
from quant.graph import Graph
from quant.program import lower
from quant.scheme import parse_scheme

if TYPE_CHECKING:
    from quant.workshop import Workshop

#: One recipe for every format: ranges by squared error, GPTQ and bias correction.
PASSES = "scales+gptq+bias"
CALIBRATION = 128
#: Names of the formats of weights and of activations.
Pair = tuple[str, str]
#: A run that is cut short has these first, for every network; then these; then all others.
FIRST = ("int8", "e4m3", "int4", "e2m1", "int6", "e3m2", "e2m3")
SECOND = ("int5", "e3m4", "int3", "e2m5", "int7")
EVERY = tuple(fmt.name for fmt in (*(integer(bits) for bits in range(8, 2, -1)), *reversed(MINIFLOATS)))
ALIKE = (*FIRST, *SECOND, *(name for name in EVERY if name not in FIRST + SECOND))
#: Formats of weights beside int8 activations.
MIXED = ("int4", "e2m1", "int3", "e3m2", "int6", "e2m3", "int5", "e4m3", "e3m1", "e2m2")
PAIRS = tuple((name, name) for name in ALIKE) + tuple((name, "int8") for name in MIXED)


@dataclass(frozen=True, eq=False)
class Net:
    """A network, and the clocks of a frame that its core may take, the same for every format."""

    name: str
    title: str
    cycles: int
    load: Callable[[Path, Path], networks.Network]


NETS = (
    Net("fashion", "Fashion-MNIST net", 12_348, lambda _data, work: networks.fashion(work)),
    Net("resnet8", "ResNet-8", 147_456, lambda data, _work: networks.resnet8(data)),
)


def order(nets: tuple[Net, ...] = NETS) -> list[tuple[Net, Pair]]:
    """Return every case: the first pairs of all networks, then the second, then the others."""
    one, two = len(FIRST), len(FIRST + SECOND)
    parts = (PAIRS[:one], PAIRS[one:two], PAIRS[two:])
    return [(net, pair) for part in parts for net in nets for pair in part]


def scheme_of(pair: Pair) -> str:
    """Return the scheme of a pair: no layer gets more bits, but logits have 8: int8, or e3m4 beside minifloats.

    Logits of 3 or 4 bits are often equal, and then the order of the labels would decide.
    """
    weight, activation = pair
    logits = "e3m4" if find_format(activation).is_minifloat else "int8"
    return f"w{weight}-a{activation}-mse;*Gemm=w{weight}-a{logits}"


@dataclass(frozen=True, eq=False)
class Bench:
    """A network that is quantised again and again, and its test images."""

    workshop: Workshop
    test: Array
    labels: Array
    float_right: Array

    def quantised(self, pair: Pair) -> Graph:
        """Quantise by the recipe of this study.

        Raises:
            QuantError: the formats do not fit the network.
        """
        from quant.workshop import shared_method

        return self.workshop.quantised(parse_scheme(scheme_of(pair)), shared_method(PASSES))


@cache
def bench(net: Net, data: Path, work: Path) -> Bench:
    """Load a network and what calibrates and tests it."""
    from edge.evaluate import float_labels
    from quant.onnx_import import load_onnx
    from quant.ptq import prepare
    from quant.ranges import check_calibration
    from quant.workshop import Workshop

    found = net.load(data, work)
    graph = prepare(load_onnx(found.path))
    inputs = check_calibration(graph, found.calibration[:CALIBRATION])
    right = float_labels(graph, found.test) == found.labels
    return Bench(Workshop(graph, inputs), found.test, found.labels, right)


def accuracy(case: Bench, pair: Pair) -> dict[str, Any]:
    """Quantise, and label all test images with the integer reference, whose codes the core gives bit by bit.

    Returns:
        accuracy, which images are right (bits, as hexadecimal), modelled LUTs of a MAC; `refused` where the integers
        of a format are too long for the reference and for hardware: that network is emulated in float.
    """
    from edge.evaluate import quantised_labels
    from quant.cost import assigned, cost

    graph = case.quantised(pair)
    record: dict[str, Any] = {"luts_per_mac": cost(graph, assigned(graph)).luts_per_mac}
    try:
        lower(graph)
        guess = quantised_labels(graph, case.test)
    except QuantError as error:
        record["refused"] = str(error)
        guess = _emulated(graph, case.test)
    right = guess == case.labels
    kept = np.packbits(right).tobytes().hex()
    return {**record, "images": len(right), "accuracy": float(right.mean()), "right": kept}


def _emulated(graph: Graph, inputs: Array) -> Array:
    import torch

    from quant.simulate import simulate

    with torch.inference_mode():
        outputs = simulate(graph, inputs)
    labels: Array = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return labels


def bits_right(record: dict[str, Any]) -> Array:
    """Return which images a record's network labels right, as bool [images]."""
    packed = np.frombuffer(bytes.fromhex(record["right"]), dtype=np.uint8)
    return np.unpackbits(packed)[: record["images"]].astype(bool)
