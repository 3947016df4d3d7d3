"""Weights of four bits: two in a byte of flash, unpacked in registers, beside layers of whole bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from devices.runtimes import find_runtime
from export.arm_m import TARGET
from export.c99.step_byte import in_blocks, in_nibbles
from export.runtimes.c_host import RUNTIME as HOST
from export.target import Source
from quant import operators as ops
from quant.formats import INT8, Format, find_format
from quant.graph import Graph, Node, check
from quant.program import lower
from quant.reference import run
from tests.toys import Builder, random_codes

RUNTIMES = [HOST, *(find_runtime(name) for name in ("mps2-an385", "mps2-an386", "mps3-an547", "qemu-aarch64-a76"))]
INT4 = find_format("int4")


def layers(formats: tuple[Format, ...], channels: int = 9) -> Graph:
    """3x3 convolutions of an odd number of channels, one for each weight format."""
    b = Builder(INT8, INT8, 5)
    nodes, x = [], b.activation("x", (1, channels, 5, 5), 0.05, -3)
    for index, fmt in enumerate(formats):
        b.weight = fmt
        scale = 0.05 if fmt is INT8 else 0.005
        y = b.activation(f"y{index}", (1, channels, 5, 5), scale, 4)
        weights = b.parameters(f"l{index}", (channels, channels, 3, 3))
        nodes.append(Node(f"l{index}", ops.Conv(pads=(1, 1, 1, 1)), (x, *weights), y))
        x = y
    return check(Graph("layers", "x", x, tuple(nodes), b.tensors, b.weights))


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
@pytest.mark.parametrize("order", [(INT4, INT8), (INT8, INT4)], ids=["int4-int8", "int8-int4"])
def test_packed_layers_beside_whole_bytes(tmp_path: Path, runtime, order):
    reason = runtime.missing()
    if reason:
        pytest.skip(reason)
    graph = layers(order)
    codes = random_codes(graph, 4)
    expected = run(lower(graph), codes)
    TARGET.write(Source("net", graph, codes, expected[graph.output]), tmp_path)
    session = runtime.open(tmp_path, "net", graph)
    shown = session.tensors(codes)
    session.close()
    for name, values in shown.items():
        assert np.array_equal(values, expected[name]), name
        assert len(np.unique(values)) > 20, name
    source = (tmp_path / "net.c").read_text()
    assert ".weight_bits = 4" in source and ".weight_bits = 8" in source


def test_four_bits_take_half_the_flash(tmp_path: Path):
    sizes = {}
    for fmt in (INT8, INT4):
        graph, folder = layers((fmt,), 8), tmp_path / fmt.name
        folder.mkdir()
        codes = random_codes(graph, 2)
        expected = run(lower(graph), codes)[graph.output]
        facts = TARGET.write(Source("net", graph, codes, expected), folder)
        sizes[fmt.name] = int(str(facts["weight_bytes"]))
    channels = 8 * 3 * 4  # biases, mantissas, shifts
    assert sizes == {"int8": 8 * 72 + 48 + channels, "int4": 8 * 72 // 2 + channels}


def test_every_pair_of_weights_comes_back_from_its_byte():
    weight = np.array([[a, b] for a in range(-8, 8) for b in range(-8, 8)], np.int64).T
    blocks = in_blocks(weight.reshape(2, 256, 1, 1))
    packed = in_nibbles(blocks)
    assert packed.shape == (1, 64, 2, 4) and packed.min() == -128 and packed.max() == 127
    low = packed & 15
    assert np.array_equal((packed - low) >> 4, blocks[:, :, 0::2]) and np.array_equal(low - 8, blocks[:, :, 1::2])
