"""Ranges by squared error and by divergence: against brute force on the values, and sane where theory is silent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant.formats import Format, find_format, integer
from quant.ptq import activation_quant, prepare, quantise, scheme_ranges
from quant.range_search import BINS, RATIOS, Histogram, collect_histograms, fitted_ranges
from quant.ranges import minima_and_maxima, with_zero
from quant.scheme import parse_scheme
from quant.simulate import fake_quantise, forward, simulate, simulator
from tests.float_nets import inputs, random_net
from tests.layers import small_net

FORMATS = ("int3", "int4", "int8", "uint4", "e2m1", "e3m0", "e4m3", "e3m2")
SHAPES = ("normal", "relu", "laplace", "skewed", "outlier")


def values(shape: str, seed: int = 0, count: int = 20000) -> np.ndarray:
    """Values as activations have them, float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    match shape:
        case "relu":
            x = np.maximum(x, 0)
        case "laplace":
            x = rng.laplace(size=count)
        case "skewed":
            x = np.where(x < 0, 0.2 * x, x + 0.3 * x * x)
        case "outlier":
            x[:5] = 40 + np.arange(5)
    return x.astype(np.float32)


def histogram(x: np.ndarray) -> Histogram:
    low, high = with_zero(float(x.min()), float(x.max()))
    return Histogram(low, high, np.histogram(x[x != 0], BINS, (low, high))[0].astype(np.float64))


def fit(x: np.ndarray, fmt: Format, criterion: str, *, symmetric: bool = False) -> tuple[float, float]:
    return fitted_ranges({"x": histogram(x)}, {"x": fmt}, criterion, symmetric=symmetric)["x"]


def squared_error(x: np.ndarray, fmt: Format, low: float, high: float, *, symmetric: bool = False) -> float:
    """The mean squared error of what a graph would make of x."""
    quant = activation_quant(fmt, low, high, symmetric=symmetric)
    return float(np.square(fake_quantise(quant, torch.from_numpy(x.copy())).numpy() - x).mean(dtype=np.float64))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FORMATS)
def test_squared_error_is_least_among_all_pairs_of_ends(shape: str, name: str) -> None:
    """Both ends together and one after the other find nearly what every pair of ends gives."""
    x, fmt = values(shape, count=6000), find_format(name)
    low, high = fit(x, fmt, "mse")
    chosen = squared_error(x, fmt, low, high)
    bottom, top = with_zero(float(x.min()), float(x.max()))
    ratios = RATIOS[::4]
    pairs = [(a, b) for a in (ratios if bottom < 0 else (1.0,)) for b in ratios]
    if fmt.is_minifloat:
        pairs = [(r, r) for r in RATIOS]
    best = min(squared_error(x, fmt, bottom * a, top * b) for a, b in pairs)
    assert 0 < chosen <= 1.1 * best
    assert chosen <= squared_error(x, fmt, bottom, top) * 1.001
    if name in ("int3", "int4") and shape in ("normal", "laplace", "skewed"):
        assert chosen < 0.7 * squared_error(x, fmt, bottom, top)


@pytest.mark.parametrize("name", ["int4", "int8", "e3m2"])
def test_symmetric_ranges_keep_their_symmetry(name: str) -> None:
    x, fmt = values("skewed"), find_format(name)
    low, high = fit(x, fmt, "mse", symmetric=True)
    chosen = squared_error(x, fmt, low, high, symmetric=True)
    best = min(squared_error(x, fmt, float(x.min()) * r, float(x.max()) * r, symmetric=True) for r in RATIOS)
    assert chosen <= 1.02 * best
    assert low / x.min() == pytest.approx(high / x.max(), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 50), st.sampled_from(FORMATS), st.sampled_from(("mse", "kl")))
def test_ranges_lie_in_the_full_range_and_hold_zero(shape: str, seed: int, name: str, criterion: str) -> None:
    x = values(shape, seed, 800)
    low, high = fit(x, find_format(name), criterion)
    bottom, top = with_zero(float(x.min()), float(x.max()))
    assert bottom <= low <= 0 <= high <= top
    assert high - low >= 0.04 * (top - bottom)


def test_finer_grids_clip_less() -> None:
    x = values("laplace")
    spans = [np.ptp(fit(x, integer(bits), "mse")) for bits in range(3, 9)]
    assert all(a <= b for a, b in pairwise(spans))
    assert spans[0] < 0.5 * spans[-1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["int8", "uint8", "e4m3", "e3m4"])
def test_divergence_does_not_collapse_at_8_bits(shape: str, name: str) -> None:
    x, fmt = values(shape), find_format(name)
    if shape == "skewed" and name == "uint8":
        x = x + 1
    low, high = fit(x, fmt, "kl")
    inside = (x >= low) & (x <= high)
    assert inside.mean() > 0.99
    power = float(np.square(x[np.abs(x) < 20]).mean())
    clipped = np.clip(x[np.abs(x) < 20], low, high) - x[np.abs(x) < 20]
    assert np.square(clipped).mean() < 0.01 * power


def test_divergence_cuts_lone_outliers() -> None:
    """Five values in twenty thousand, ten times as far out as the others: the range ends before them."""
    low, high = fit(values("outlier"), integer(4), "kl")
    assert 2 < high < 20
    assert -6 < low < -1


def test_a_tensor_that_is_always_zero_keeps_its_range() -> None:
    flat = Histogram(*with_zero(0.0, 0.0), np.zeros(BINS))
    for criterion in ("mse", "kl"):
        assert fitted_ranges({"x": flat}, {"x": integer(8)}, criterion, symmetric=False) == {"x": (0.0, 1.0)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_histograms_count_what_flows(seed: int) -> None:
    graph, x = prepare(random_net(seed)), inputs(40, seed)
    found, limits = collect_histograms(graph, x), minima_and_maxima(graph, x)
    flows = forward(simulator(graph), torch.from_numpy(x), graph.activations())
    assert list(found) == list(graph.activations())
    for name, counted in found.items():
        value = flows[name].numpy().ravel()
        assert (counted.low, counted.high) == with_zero(*limits[name])
        assert abs(counted.counts.sum() - np.count_nonzero(value)) <= 2
        mean = (counted.centres * counted.counts).sum() / len(value)
        assert mean == pytest.approx(float(value.mean(dtype=np.float64)), abs=(counted.high - counted.low) / BINS)


@pytest.mark.parametrize("name", ["w8a4-mse", "w8a4-kl", "we4m3-ae2m1-mse", "w8a3-mse-sym", "w8a3-mse-ends8"])
def test_schemes_use_them(name: str) -> None:
    graph, x = small_net(), inputs(64)
    scheme = parse_scheme(name)
    ranges = scheme_ranges(graph, scheme, x)
    limits = minima_and_maxima(graph, x)
    assert all(with_zero(*limits[n])[0] - 1e-6 <= low <= high for n, (low, high) in ranges.items())
    assert ranges != {n: with_zero(*limit) for n, limit in limits.items()}
    outputs = simulate(quantise(graph, scheme, x), x)
    assert len(np.unique(outputs.argmax(axis=1))) > 1


def test_squared_error_ranges_help_at_few_bits() -> None:
    gains = []
    for seed in range(4):
        graph, x = small_net(seed), inputs(64, seed)
        want = simulate(graph, x)
        errors = [
            np.square(simulate(quantise(graph, parse_scheme(n), x), x) - want).mean() for n in ("w8a3", "w8a3-mse")
        ]
        gains.append(errors[1] < errors[0])
    assert sum(gains) >= 3
