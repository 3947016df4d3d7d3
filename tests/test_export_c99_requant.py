"""Requantisation swept by adversarial accumulators: layers of zero weights whose biases are the accumulators."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from devices.runtimes import find_runtime
from export.arm_m import TARGET
from export.runtimes.c_host import RUNTIME
from export.runtimes.session import Runtime
from export.target import Source
from quant import operators as ops
from quant.formats import INT8, Format, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower
from quant.reference import run

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
OUTPUTS = 4096


def sweep_graph(x: Format, y: Format, ratios: np.ndarray, accumulators: np.ndarray) -> Graph:
    """A fully connected layer whose output c has multiplier `ratios[c]` and accumulator `accumulators[c]`."""
    scale = tuple(float(np.float32(r)) for r in ratios)
    tensors = {
        "x": Tensor((1, 1), Quant(x, (1.0,))),
        "w": Tensor((len(ratios), 1), Quant(find_format("int8"), scale, 0, 0)),
        "b": Tensor((len(ratios),)),
        "y": Tensor((1, len(ratios)), Quant(y, (1.0,))),
    }
    weights = {"w": np.zeros((len(ratios), 1), np.int8), "b": accumulators}
    return check(Graph("sweep", "x", "y", (Node("fc", ops.Gemm(), ("x", "w", "b"), "y"),), tensors, weights))


def near_ties(rng: np.random.Generator, real: np.ndarray, reach: float, limit: int) -> np.ndarray:
    """Accumulators within 2 of a point where the output changes, for multipliers `real` and outputs up to `reach`."""
    wanted = rng.integers(-int(reach), int(reach) + 1, len(real)) + 0.5
    near = np.rint(wanted / real) + rng.integers(-2, 3, len(real))
    return np.clip(near, -limit, limit).astype(np.int64)


def prove(graph: Graph, folder: Path, runtime: Runtime = RUNTIME) -> np.ndarray:
    codes = np.zeros((1, 1), graph.quant("x").format.dtype)
    expected = run(lower(graph), codes)["y"]
    TARGET.write(Source("sweep", graph, codes, expected), folder)
    session = runtime.open(folder, "sweep", graph)
    made = session.run(codes)
    session.close()
    assert np.array_equal(made, expected)
    return expected


@pytest.mark.parametrize("exponents", [(-8.5, -0.4), (-8.5, 0.4), (-3.0, 3.0)])
@pytest.mark.parametrize("bits", [26, 29])
def test_integer_rule(tmp_path, exponents, bits):
    """Right shifts only (the short kernel), then left shifts too, at small and at nearly overflowing accumulators."""
    rng = np.random.default_rng(bits)
    real = 2.0 ** (np.log2(10.0) * rng.uniform(*exponents, OUTPUTS))
    limit = (1 << bits) if max(exponents) < 0 else (1 << (30 - int(np.ceil(np.log2(real.max())))))
    int16 = find_format("int16")
    made = prove(sweep_graph(find_format("int8"), int16, real, near_ties(rng, real, 40000, limit)), tmp_path)
    short = "requant_right_int16(" in (tmp_path / "sweep.c").read_text()
    assert short == (max(exponents) < 0)
    assert len(np.unique(made)) > 500


@pytest.mark.parametrize(
    "machine", ["c-host", "mps2-an385", "mps2-an386", "mps3-an547", "qemu-aarch64", "qemu-aarch64-a76"]
)
@pytest.mark.parametrize("lowest", [-6.4, -8.5])
def test_rule_of_bytes_on_every_instruction_set(tmp_path, machine, lowest):
    """Ties and their neighbours, saturation at both ends, and multipliers so small that nothing comes out."""
    runtime = find_runtime(machine)
    reason = runtime.missing()
    if reason:
        pytest.skip(reason)
    rng = np.random.default_rng(7)
    real = 2.0 ** (np.log2(10.0) * rng.uniform(lowest, -0.4, OUTPUTS))
    made = prove(sweep_graph(find_format("int8"), INT8, real, near_ties(rng, real, 150, 1 << 28)), tmp_path, runtime)
    assert "conv_byte(" in (tmp_path / "sweep.c").read_text()
    assert len(np.unique(made)) == 256


@pytest.mark.parametrize("name", ["e4m3", "e4m3fn", "e5m2", "e2m1", "e3m0", "e1m6", "e7m0", "e6m1"])
def test_minifloat_rule(tmp_path, name):
    """Every binade of the output, ties, subnormals, saturation, zero; multipliers far below and above 1."""
    fmt, rng = find_format(name), np.random.default_rng(3)
    ordinals = rng.integers(0, fmt.max_ordinal + 1, OUTPUTS)
    values = np.array([fmt.units_of_ordinal(int(o)) for o in ordinals], dtype=np.float64) * fmt.unit
    steps = np.array([fmt.units_of_ordinal(int(min(o + 1, fmt.max_ordinal))) for o in ordinals], dtype=np.float64)
    middles = (values + steps * fmt.unit) / 2
    acc = rng.integers(1, 1 << 36, OUTPUTS)
    real = middles / acc * (1 + rng.choice([0, 0, 1e-5, -1e-5], OUTPUTS))
    real[real == 0] = fmt.unit / 3
    signs = rng.choice([-1, 1], OUTPUTS)
    acc[:20] = 0
    made = prove(sweep_graph(find_format("int8"), fmt, real, acc * signs), tmp_path)
    assert len(np.unique(made)) > fmt.max_ordinal
    assert not made[0, :20].any()


def test_minifloat_rule_where_nearly_every_bit_is_dropped(tmp_path):
    """Results around half of the smallest value from accumulators near their limit: 62, 63 and 64 bits go."""
    fmt, rng = find_format("e4m3"), np.random.default_rng(4)
    real = fmt.unit * 2.0 ** rng.uniform(-50, -47, OUTPUTS)
    acc = rng.integers(1 << 46, (1 << 48) - 1, OUTPUTS) * rng.choice([-1, 1], OUTPUTS)
    graph = sweep_graph(find_format("int8"), fmt, real, acc)
    exponents = {m.exponent for step in lower(graph).steps for m in step.requant.multipliers}
    made = prove(graph, tmp_path)
    assert {-64, -63, -62} <= exponents and {0, 1, 0x81} <= set(made.ravel().tolist())
