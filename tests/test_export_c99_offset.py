"""Weights that were unsigned bytes around a zero point: bytes and one offset per layer, the codes of the reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.runtimes import find_runtime
from export.arm_m import TARGET
from export.runtimes.c_host import RUNTIME as HOST
from export.runtimes.session import Runtime
from export.target import Source
from quant import operators as ops
from quant.formats import INT8, find_format
from quant.graph import Graph, check
from quant.program import lower
from quant.reference import run
from tests.single_ops import all_codes, conv_graph, quant

NAMES = ("mps2-an385", "mps2-an386", "mps3-an547", "qemu-aarch64", "qemu-aarch64-a76")
RUNTIMES = [HOST, *(find_runtime(name) for name in NAMES)]
WIDE = find_format("int9")


def shifted(op: ops.Conv, channels: int, out: int, kernel: tuple[int, int], low: int, high: int) -> Graph:
    """A convolution whose weights fill low..high, both ends among them."""
    graph = conv_graph(
        x=quant(INT8, 0.02, -7),
        weight=WIDE,
        y=INT8,
        size=(channels, 6, 5),
        out=out,
        kernel=kernel,
        op=op,
        seed=3,
        y_zero=5,
    )
    weight = np.random.default_rng(1).integers(low, high + 1, graph.weights["w"].shape)
    weight.ravel()[:2] = low, high
    return check(replace(graph, weights={**graph.weights, "w": weight.astype(graph.weights["w"].dtype)}))


def proven(runtime: Runtime, graph: Graph, folder: Path) -> str:
    reason = runtime.missing()
    if reason:
        pytest.skip(reason)
    codes = all_codes(INT8, graph.shape("x"), 3, 5)
    expected = run(lower(graph), codes)["y"]
    TARGET.write(Source("op", graph, codes, expected), folder)
    session = runtime.open(folder, "op", graph)
    made = session.run(codes)
    session.close()
    assert np.array_equal(made, expected)
    assert len(np.unique(made)) > 20
    return (folder / "op.c").read_text()


CASES = (
    # Depth in whole words, or not; one pixel; an odd number of positions and of channels.
    (ops.Conv(pads=(1, 1, 1, 1)), 8, 6, (3, 3)),
    (ops.Conv(pads=(0, 1, 1, 0), strides=(2, 2)), 3, 5, (3, 3)),
    (ops.Conv(), 8, 9, (1, 1)),
    (ops.Conv(pads=(1, 1, 1, 1), groups=6), 6, 6, (3, 3)),
    (ops.Conv(pads=(2, 2, 2, 2), groups=8), 8, 8, (5, 5)),
    (ops.Conv(pads=(1, 0, 1, 1), strides=(2, 2), groups=27), 27, 27, (3, 3)),
)


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("low", "high", "offset"), [(-203, 51, -76), (-93, 161, 34), (-127, 127, 0)])
def test_bytes_and_an_offset(tmp_path, runtime, case, low, high, offset):
    source = proven(runtime, shifted(*case, low, high), tmp_path)
    assert f".weight_zero = {offset}," in source
    assert "static const ALIGNED16 int8_t step0_weight" in source


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (-200, 100)])
def test_weights_that_no_offset_brings_into_bytes_take_another_kernel(tmp_path, low, high):
    source = proven(HOST, shifted(*CASES[0], low, high), tmp_path)
    assert "weight_zero =" not in source and "conv_byte" not in source
