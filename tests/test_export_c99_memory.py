"""Tensors that share memory: sums taken row by row, depthwise layers over their input, and what must not be shared."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export.arm_m import TARGET
from export.c99.by_row import candidates
from export.runtimes.c_host import RUNTIME
from export.target import Facts, Source
from quant import operators as ops
from quant.formats import INT8
from quant.graph import Graph, Node, check
from quant.program import lower
from quant.reference import run
from tests.toys import Builder, random_codes

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
SANITIZED = ("-std=c99", "-O1", "-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")


def conv(b: Builder, name: str, x: str, y: str, channels: int = 8, groups: int = 1) -> Node:
    op = ops.Conv(pads=(1, 1, 1, 1), groups=groups)
    return Node(name, op, (x, *b.parameters(name, (channels, channels // groups, 3, 3))), y)


def proven(folder: Path, graph: Graph) -> tuple[Facts, str]:
    """Write a graph, compare every tensor with the reference, and return the facts and the C."""
    codes = random_codes(graph, 5)
    expected = run(lower(graph), codes)
    facts = TARGET.write(Source("toy", graph, codes, expected[graph.output]), folder)
    subprocess.run(["cc", *SANITIZED, "toy.c", "toy_test.c", "-o", "toy_test"], cwd=folder, check=True)
    assert subprocess.run(["./toy_test"], cwd=folder, check=False, capture_output=True).returncode == 0
    session = RUNTIME.open(folder, "toy", graph)
    shown = session.tensors(codes)
    session.close()
    assert len(np.unique(shown[graph.output])) > 20
    for name, values in shown.items():
        assert np.array_equal(values, expected[name]), name
    return facts, (folder / "toy.c").read_text()


def residual(first: str, second: str) -> Graph:
    """x -> a, a -> b -> c; the sum of `first` and `second` goes through one more layer."""
    b = Builder(INT8, INT8, 7)
    for index, name in enumerate("xabcsy"):
        b.activation(name, (1, 8, 6, 5), 0.04 + 0.01 * index, index - 3)
    nodes = (
        conv(b, "l0", "x", "a"),
        conv(b, "l1", "a", "b"),
        conv(b, "l2", "b", "c"),
        Node("sum", ops.Add(), (first, second), "s"),
        conv(b, "l3", "s", "y"),
    )
    return check(Graph("residual", "x", "y", nodes, b.tensors, b.weights))


IMAGE = 8 * 6 * 5  # 240 bytes, a multiple of 16


@pytest.mark.parametrize("pair", [("a", "c"), ("c", "a")])
def test_a_sum_behind_its_convolution_is_taken_by_rows_over_the_other_addend(tmp_path, pair):
    facts, source = proven(tmp_path, residual(*pair))
    assert "step2_row" in source and "tensor2" not in source and "tensor3" not in source
    # a and b, one row of c (40 bytes, aligned), and the patches of four windows in whole vectors.
    assert facts["arena_bytes"] == facts["busiest_bytes"] == 2 * IMAGE + 48 + 4 * 80
    header = (tmp_path / "toy.h").read_text()
    assert f"#define TOY_ARENA_BYTES {facts['arena_bytes']}\n" in header
    assert f"#define TOY_BUSIEST_BYTES {facts['busiest_bytes']}\n" in header


@pytest.fixture
def every_pair(monkeypatch):
    """Every pair that may run row by row does, whether it saves memory or not."""
    monkeypatch.setattr("export.c99.emit._pairs", candidates)


def test_the_input_of_the_convolution_is_not_written_over_while_it_reads_it(tmp_path, every_pair):
    """b is read by the convolution that makes c, and is the other addend."""
    _, source = proven(tmp_path, residual("b", "c"))
    assert "step2_row" in source and "tensor3" in source


def test_what_is_read_on_is_not_written_over(tmp_path, every_pair):
    graph = residual("a", "c")
    nodes = (*graph.nodes[:-1], Node("again", ops.Add(), ("s", "a"), "y"))
    _, source = proven(tmp_path, check(Graph("r", "x", "y", nodes, graph.tensors, graph.weights)))
    assert "step2_row" in source and "tensor0 + at, tensor0 + at" not in source


def test_a_tensor_with_two_readers_is_kept_whole(tmp_path, every_pair):
    graph = residual("a", "c")
    nodes = (*graph.nodes[:-1], Node("again", ops.Add(), ("s", "c"), "y"))
    _, source = proven(tmp_path, check(Graph("r", "x", "y", nodes, graph.tensors, graph.weights)))
    assert "step2_row" not in source


def test_the_callers_input_is_never_written_over(tmp_path, every_pair):
    _, source = proven(tmp_path, residual("x", "c"))
    assert "input + at" in source and "tensor3 + at" in source


def test_fully_connected_layers_have_no_rows(tmp_path, every_pair):
    b = Builder(INT8, INT8, 9)
    for index, name in enumerate("xays"):
        b.activation(name, (1, 12), 0.05, index - 2)
    nodes = (
        Node("l0", ops.Gemm(), ("x", *b.parameters("l0", (12, 12))), "a"),
        Node("l1", ops.Gemm(), ("a", *b.parameters("l1", (12, 12))), "y"),
        Node("sum", ops.Add(), ("a", "y"), "s"),
    )
    _, source = proven(tmp_path, check(Graph("mlp", "x", "s", nodes, b.tensors, b.weights)))
    assert "_row" not in source.split("toy_invoke", 1)[1]


def test_a_pair_that_saves_nothing_runs_one_after_the_other(tmp_path):
    _, source = proven(tmp_path, residual("b", "c"))
    assert "step2_row" not in source


def depthwise(op: ops.Conv, size: tuple[int, int], out: tuple[int, int], kernel: tuple[int, int]) -> Graph:
    b = Builder(INT8, INT8, 3)
    b.activation("x", (1, 8, *size), 0.05, 4)
    b.activation("a", (1, 8, *size), 0.05, -3)
    b.activation("d", (1, 8, *out), 0.05, 2)
    b.activation("y", (1, 8, *out), 0.03, -9)
    nodes = (
        Node("first", ops.Conv(), ("x", *b.parameters("first", (8, 8, 1, 1))), "a"),
        Node("dw", op, ("a", *b.parameters("dw", (8, 1, *kernel))), "d"),
        Node("last", ops.Conv(), ("d", *b.parameters("last", (8, 8, 1, 1))), "y"),
    )
    return check(Graph("dw", "x", "y", nodes, b.tensors, b.weights))


PLACES = (
    (ops.Conv(pads=(1, 1, 1, 1), groups=8), (6, 5), (6, 5), (3, 3), True),
    (ops.Conv(pads=(2, 1, 0, 1), groups=8), (6, 5), (6, 5), (3, 3), True),
    (ops.Conv(pads=(2, 2, 2, 2), groups=8), (7, 4), (7, 4), (5, 5), True),
    (ops.Conv(pads=(0, 1, 2, 1), groups=8), (6, 5), (6, 5), (3, 3), True),
    # Not the same size: its own memory.
    (ops.Conv(pads=(1, 1, 1, 1), strides=(2, 2), groups=8), (6, 6), (3, 3), (3, 3), False),
    # As many pixels, but fewer, longer rows: they would run over input that is still to be read.
    (ops.Conv(pads=(0, 6, 0, 6), strides=(2, 1), groups=8), (8, 4), (4, 16), (1, 1), False),
    # Rows apart: another kernel, which reads its input as it goes.
    (ops.Conv(pads=(2, 1, 2, 1), dilations=(2, 1), groups=8), (6, 5), (6, 5), (3, 3), False),
)


@pytest.mark.parametrize(("op", "size", "out", "kernel", "shared"), PLACES)
def test_depthwise_over_its_input_only_where_rows_stay_behind(tmp_path, op, size, out, kernel, shared):
    _, source = proven(tmp_path, depthwise(op, size, out, kernel))
    assert ("tensor1" not in source) == shared


def conv_depthwise(op: ops.Conv, kernel: int, size: int, second: ops.Conv, out: int) -> Graph:
    """x -> a, a convolution to b of `size` rows, a depthwise one to d, and one more."""
    b = Builder(INT8, INT8, 3)
    b.activation("x", (1, 8, 6, 6), 0.05, 4)
    b.activation("a", (1, 8, 6, 6), 0.05, -3)
    b.activation("b", (1, 8, size, size), 0.05, 7)
    b.activation("d", (1, 8, out, out), 0.05, 2)
    b.activation("y", (1, 8, out, out), 0.03, -9)
    nodes = (
        Node("first", ops.Conv(), ("x", *b.parameters("first", (8, 8, 1, 1))), "a"),
        Node("conv", op, ("a", *b.parameters("conv", (8, 8, kernel, kernel))), "b"),
        Node("dw", second, ("b", *b.parameters("dw", (8, 1, 3, 3))), "d", (0.0, 4.0)),
        Node("last", ops.Conv(), ("d", *b.parameters("last", (8, 8, 1, 1))), "y"),
    )
    return check(Graph("pair", "x", "y", nodes, b.tensors, b.weights))


ONE, TWO, WIDE = ops.Conv(), ops.Conv(pads=(1, 1, 1, 1)), ops.Conv(pads=(2, 2, 2, 2))
HALF = ops.Conv(pads=(1, 1, 1, 1), strides=(2, 2))
DEPTHWISE = ops.Conv(pads=(1, 1, 1, 1), groups=8)
STRIDED = ops.Conv(pads=(0, 0, 1, 1), strides=(2, 2), groups=8)
PAIRS = (
    # Kernel of the convolution, its rows, the depthwise layer and its rows; whether d lies over a.
    (ONE, 1, 6, DEPTHWISE, 6, True),
    (TWO, 3, 6, DEPTHWISE, 6, True),
    # A window of five rows looks back at rows that are written already.
    (WIDE, 5, 6, DEPTHWISE, 6, False),
    (HALF, 3, 3, DEPTHWISE, 3, False),
    (ONE, 1, 6, STRIDED, 3, False),
)


@pytest.mark.parametrize(("op", "kernel", "size", "second", "out", "shared"), PAIRS)
def test_a_depthwise_layer_behind_its_convolution(tmp_path, every_pair, op, kernel, size, second, out, shared):
    _, source = proven(tmp_path, conv_depthwise(op, kernel, size, second, out))
    assert "step1_row" in source and "tensor1" not in source
    assert ("tensor2" not in source) == shared


def test_a_depthwise_layer_that_leaves_rows_unused_does_not_run_behind(tmp_path, every_pair):
    """The last of six rows is not read at all."""
    _, source = proven(tmp_path, conv_depthwise(ONE, 1, 6, ops.Conv(strides=(2, 2), groups=8), 2))
    assert "step1_row" not in source and "tensor1" in source
