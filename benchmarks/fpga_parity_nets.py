"""Real networks for FPGA parity: each in four schemes, with 16 inputs of several labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import networks
from benchmarks.growth import labels
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run

SCHEMES = ("w8a8", "w4a4", "we4m3-ae4m3", "we2m1-aint8")
#: The first frames of several labels among so many inputs are taken.
FRAMES, CALIBRATION, SEEN = 16, 128, 400
#: Labels among the frames, at least.
LABELS = 4


@dataclass(frozen=True, eq=False)
class RealCase:
    """A network and a scheme; `name` is a C identifier."""

    name: str
    scheme: str
    network: Callable[[], networks.Network]

    def load(self) -> tuple[Graph, Array, Array, int]:
        """Return the quantised graph, codes of inputs and outputs [16, ...], and how many labels they have.

        Raises:
            ValueError: no frames have several labels, so that equality would prove little.
        """
        from quant.onnx_import import load_onnx
        from quant.ptq import prepare, quantise
        from quant.scheme import parse_scheme

        net = self.network()
        graph = quantise(prepare(load_onnx(net.path)), parse_scheme(self.scheme), net.calibration[:CALIBRATION])
        program, fmt = lower(graph), graph.quant(graph.output).format
        for start in range(0, min(len(net.test), SEEN) - FRAMES + 1, FRAMES):
            codes = quantise_input(graph.quant(graph.input), net.test[start : start + FRAMES].astype(np.float32))
            outputs = run(program, codes, fast_dot)[graph.output]
            found = len(labels(fmt, outputs))
            if found >= LABELS:
                return graph, codes, outputs, found
        raise ValueError(f"{self.name} {self.scheme}: no {FRAMES} of {SEEN} inputs have {LABELS} labels.")


def cases(data: Path, work: Path) -> Iterator[RealCase]:
    """Yield every network in every scheme; `work` keeps the one that is trained here."""
    loaders: tuple[tuple[str, Callable[[], networks.Network]], ...] = (
        ("kws", lambda: networks.keyword_spotting(data)),
        ("fashion", lambda: networks.fashion(work)),
        ("resnet8", lambda: networks.resnet8(data)),
    )
    for scheme in SCHEMES:
        for name, loader in loaders:
            yield RealCase(name, scheme, loader)
