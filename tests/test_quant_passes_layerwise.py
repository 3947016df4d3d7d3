"""Passes that set layers one by one: moments by brute force, and less output error than rounding to nearest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from quant.formats import INTEGERS, MINIFLOATS, OCP_FORMATS, Format, find_format
from quant.graph import Node
from quant.moments import LEAST_COLUMNS, MOST_COLUMNS, moments
from quant.operators import Conv, Gemm
from quant.passes.gptq import gptq, gptq_values
from quant.ptq import lay_out, scheme_ranges
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.float_nets import inputs
from tests.layers import (
    KINDS,
    alike_inputs,
    every_window,
    in_format,
    layers_of,
    nearest,
    one_layer,
    output_error,
    real,
    small_net,
)

#: Every signed format of 3 to 8 bits.
NARROW = tuple(fmt for fmt in (*INTEGERS, *MINIFLOATS, *OCP_FORMATS) if fmt.signed and 3 <= fmt.bits <= 8)


def test_formats_are_all_of_them() -> None:
    assert len(NARROW) == 6 + 27 + 2


@pytest.fixture(scope="module")
def layers() -> dict:
    """The only layer of every kind of network, its inputs almost exact, and the inputs."""
    nets = {kind: one_layer(kind) for kind in KINDS}
    data = {kind: alike_inputs(net) for kind, net in nets.items()}
    return {kind: (layers_of(nets[kind], "w8a16", data[kind])["n0"], data[kind]) for kind in KINDS}


CONVS = [
    Conv(),
    Conv(pads=(1, 1, 1, 1)),
    Conv(strides=(2, 1), pads=(0, 2, 1, 0)),
    Conv(strides=(1, 3), dilations=(2, 1), pads=(2, 0, 1, 1)),
    Conv(groups=2, pads=(1, 0, 0, 2)),
    Conv(groups=6, strides=(2, 2), dilations=(1, 2), pads=(0, 1, 2, 1)),
]


def unfolded(op: Conv, kernel: tuple[int, int], x: torch.Tensor) -> torch.Tensor:
    """Every column of a convolution's input, [G, K, columns], float64, one window at a time."""
    top, left, bottom, right = op.pads
    padded = functional.pad(x.double(), (left, right, top, bottom))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, op.dilations, strict=True)]
    rows = range(0, padded.shape[2] - spans[0] + 1, op.strides[0])
    windows = [
        padded[:, :, i : i + spans[0] : op.dilations[0], j : j + spans[1] : op.dilations[1]].reshape(
            len(x), op.groups, -1
        )
        for i in rows
        for j in range(0, padded.shape[3] - spans[1] + 1, op.strides[1])
    ]
    return torch.cat(windows).permute(1, 2, 0)


def assert_moments(found, columns: torch.Tensor, delta: torch.Tensor) -> None:
    """Compare with sums over columns [G, K, n] and their errors."""
    assert found.count == columns.shape[-1]
    want = {
        "square": columns @ columns.mT,
        "mean": columns.mean(-1),
        "cross": delta @ columns.mT,
        "shift": delta.mean(-1),
    }
    middle, off = columns - columns.mean(-1, keepdim=True), delta - delta.mean(-1, keepdim=True)
    want |= {"centred": middle @ middle.mT, "centred_cross": off @ middle.mT}
    for name, value in want.items():
        got = getattr(found, name)
        assert got.dtype == torch.float64
        assert got.std() > 0, name
        scale = float(want["cross" if "cross" in name else "square"].abs().max()) if value.ndim == 3 else 1.0
        torch.testing.assert_close(got, value, rtol=1e-5, atol=2e-6 * scale, msg=name)
    assert not found.about_zero.mean.any()
    torch.testing.assert_close(found.about_zero.centred, found.square)
    torch.testing.assert_close(found.about_zero.centred_cross, found.cross)


@pytest.mark.parametrize("op", CONVS, ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 2)])
def test_moments_are_the_sums_over_all_windows(op: Conv, kernel: tuple[int, int]) -> None:
    x = torch.from_numpy(alike_inputs(one_layer("plain"), 11))[:, :6]
    exact = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) + 0.05
    node = Node("conv", op, ("x", "w", "b"), "y")
    with every_window():
        found = moments(node, kernel, zip(x.split(4), exact.split(4), strict=True), len(x))
    columns = unfolded(op, kernel, x)
    assert_moments(found, columns, unfolded(op, kernel, exact) - columns)


def test_moments_of_a_fully_connected_layer() -> None:
    x = torch.from_numpy(alike_inputs(one_layer("gemm"), 50))
    exact = x * 1.01 + 0.02
    found = moments(Node("fc", Gemm(), ("x", "w", "b"), "y"), (1, 1), [(x, exact)], len(x))
    columns, wanted = x.T[None].double(), exact.T[None].double()
    assert_moments(found, columns, wanted - columns)


def test_thinned_moments_are_a_fair_sample_and_repeatable() -> None:
    x = torch.randn(400, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    node = Node("conv", Conv(pads=(1, 1, 1, 1)), ("x", "w", "b"), "y")
    first, second = (moments(node, (3, 3), zip(x.split(32), x.split(32), strict=True), len(x)) for _ in range(2))
    assert 0.5 * LEAST_COLUMNS < first.count <= MOST_COLUMNS < 400 * 400
    assert torch.equal(first.square, second.square)
    every = unfolded(node.op, (3, 3), x)
    want = (every @ every.mT / every.shape[-1])[0].diagonal()
    np.testing.assert_allclose((first.square / first.count)[0].diagonal(), want, rtol=0.25)
    assert not first.cross.any()
    assert not first.shift.any()


@pytest.mark.parametrize("fmt", NARROW, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", ["moves", "stays"])
def test_gptq_beats_rounding_to_nearest(layers: dict, kind: str, fmt: Format, bias: str) -> None:
    known, x = layers[kind]
    layer = in_format(known, fmt)
    working = layer if bias == "moves" else layer.with_fixed_bias
    values = gptq_values(working, layer.quant, torch.from_numpy(layer.weight))
    errors = [output_error(layer, w, x, centred=bias == "moves") for w in (real(layer, values), nearest(layer))]
    assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize("name", ["int3", "e2m1", "e4m3"])
def test_gptq_leaves_weights_on_the_grid_alone(layers: dict, name: str) -> None:
    known, x = layers["grouped"]
    layer = in_format(known, find_format(name))
    lossless = replace(layer, weight=layer.current)
    values = gptq_values(lossless, layer.quant, torch.from_numpy(layer.current))
    np.testing.assert_allclose(real(layer, values), layer.current, rtol=1e-6)
    assert output_error(lossless, real(layer, values), x) < 1e-12


def test_gptq_with_uncorrelated_inputs_is_rounding_to_nearest(layers: dict) -> None:
    known, _ = layers["plain"]
    identity = torch.eye(known.moments.square.shape[1], dtype=torch.float64)[None]
    layer = in_format(known, find_format("int4"))
    flat = replace(layer, moments=replace(layer.moments, square=identity * layer.moments.count).about_zero)
    values = gptq_values(flat, layer.quant, torch.from_numpy(layer.weight))
    np.testing.assert_array_equal(real(layer, values), nearest(layer))


@pytest.mark.parametrize("name", ["w3a8", "w4a4-pt", "we2m1-aint8", "we3m2-ae4m3", "we2m0-ae4m3"])
def test_gptq_of_whole_networks(name: str) -> None:
    wins = 0
    for seed in range(4):
        graph, x = small_net(seed), inputs(64, seed)
        scheme = parse_scheme(name)
        made = lay_out(graph, scheme, scheme_ranges(graph, scheme, x))
        rounded = gptq(made, graph, x)
        assert rounded.tensors == made.tensors
        want = simulate(graph, x)
        errors = [np.square(simulate(one, x) - want).mean() for one in (rounded, made)]
        wins += errors[0] < errors[1]
        assert len(np.unique(simulate(rounded, x).argmax(axis=1))) > 1
    assert wins >= 3
