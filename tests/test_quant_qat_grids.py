"""Brevitas' rounding, as set up for training, equals ours on every format."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("brevitas", reason="Brevitas is not installed")

from quant.errors import QuantError  # noqa: E402
from quant.formats import FORMATS, INT8, Array, Format, find_format, integer  # noqa: E402
from quant.graph import Quant  # noqa: E402
from quant.qat_grids import activation_grid, weight_grid  # noqa: E402
from quant.reference import dequantise, quantise_input  # noqa: E402
from quant.rounding import encode, to_nearest_ordinals  # noqa: E402

SIGNED = tuple(fmt for fmt in FORMATS if fmt.signed)


def values_of(fmt: Format, zero: int = 0) -> Array:
    """Every value of a format, every tie between neighbours, points beside the ties, and points beyond the range."""
    grid = np.array([fmt.units_of_ordinal(k) * fmt.unit for k in fmt.ordinals()]) - zero
    ties = (grid[:-1] + grid[1:]) / 2
    near = np.concatenate([np.nextafter(ties.astype(np.float32), np.float32(side * np.inf)) for side in (-1, 1)])
    return np.concatenate([grid, ties, near, [2 * fmt.max, -2 * fmt.max]]).astype(np.float32)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_an_activation_is_rounded_as_the_reference_rounds_inputs(fmt):
    zero = fmt.min_ordinal // 2 + 1 if fmt.signed and not fmt.is_minifloat else 3 * (not fmt.is_minifloat)
    values = values_of(fmt, zero)
    for scale in (1.0, 0.125, float(np.float32(0.0137))):
        quant = Quant(fmt, (scale,), zero)
        x = values * np.float32(scale)
        with torch.no_grad():
            grid = activation_grid(quant, learned=False)
            levels, found = grid.levels(torch.from_numpy(x)).numpy(), grid(torch.from_numpy(x)).numpy()
        codes = quantise_input(quant, x)
        np.testing.assert_array_equal(levels.astype(np.float64), (fmt.to_units(codes) - zero).astype(float) * fmt.unit)
        np.testing.assert_array_equal(found, levels * np.float32(scale))
        np.testing.assert_allclose(found, dequantise(quant, codes), rtol=3e-7)
        assert len(np.unique(found)) == len(fmt.ordinals())


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("fmt", SIGNED, ids=lambda fmt: fmt.name)
def test_a_weight_is_rounded_as_ours_are(fmt, learned):
    scales = tuple(float(s) for s in np.float32([0.5, 0.01, 3.7]))
    values = values_of(fmt)
    weight = np.stack([values * np.float32(s) for s in scales])
    want = to_nearest_ordinals(fmt, (weight / np.float32(scales)[:, None]).astype(np.float32))
    for narrow in (True, False):
        grid = weight_grid(Quant(fmt, scales, 0, 0), 2, learned=learned, narrow=narrow)
        levels = grid.levels(torch.from_numpy(weight)).detach().numpy()
        low = -fmt.max_ordinal if narrow else fmt.min_ordinal
        np.testing.assert_array_equal(to_nearest_ordinals(fmt, levels), np.maximum(want, low))
        np.testing.assert_array_equal(fmt.decode(encode(fmt, levels)), levels)


@pytest.mark.parametrize(("name", "exponent", "mantissa"), [("e2m1", 2, 1), ("e2m3", 2, 3), ("e3m2", 3, 2)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_ocp_quantisers_of_brevitas_give_the_same_weights(name, exponent, mantissa, per_channel):
    check_injected(name, exponent, mantissa, per_channel)


@pytest.mark.parametrize(("name", "exponent", "mantissa"), [("e4m3fn", 4, 3), ("e5m2ocp", 5, 2)])
def test_the_ocp_8_bit_quantisers_of_brevitas_give_the_same_weights(name, exponent, mantissa):
    check_injected(name, exponent, mantissa, True)


def check_injected(name: str, exponent: int, mantissa: int, per_channel: bool) -> None:
    """Compare with a layer of Brevitas whose quantiser and scale are made by Brevitas itself."""
    from brevitas.nn import QuantLinear
    from brevitas.quant.float_quant_ocp import FpOCPWeightPerChannelFloat, FpOCPWeightPerTensorFloat

    fmt = find_format(name)
    base = FpOCPWeightPerChannelFloat if per_channel else FpOCPWeightPerTensorFloat
    quantiser = base.let(bit_width=fmt.bits, exponent_bit_width=exponent, mantissa_bit_width=mantissa)
    torch.manual_seed(0)
    layer = QuantLinear(40, 7, bias=False, weight_quant=quantiser)
    made = layer.quant_weight()
    scale = np.broadcast_to(made.scale.detach().numpy().reshape(-1), (7 if per_channel else 1,))
    grid = weight_grid(Quant(fmt, tuple(float(s) for s in scale), 0, 0), 2, learned=False, narrow=True)
    found = grid(layer.weight)
    assert len(torch.unique(found)) > 7
    assert torch.equal(found, made.value)


def test_integers_of_brevitas_give_the_same_weights():
    from brevitas.nn import QuantConv2d
    from brevitas.quant.scaled_int import Int8WeightPerChannelFloat

    torch.manual_seed(0)
    layer = QuantConv2d(3, 5, 3, weight_quant=Int8WeightPerChannelFloat.let(bit_width=4))
    made = layer.quant_weight()
    scale = made.scale.detach().numpy().reshape(-1)
    grid = weight_grid(Quant(integer(4), tuple(float(s) for s in scale), 0, 0), 4, learned=False, narrow=True)
    assert torch.equal(grid(layer.weight), made.value)
    assert torch.equal(grid.levels(layer.weight).to(torch.int8), made.int())


@pytest.mark.parametrize("name", ["int4", "e2m1"])
def test_gradients_pass_straight_through_and_stop_where_they_should(name):
    fmt = find_format(name)
    quant = Quant(fmt, (0.5,), 0, 0)
    x = torch.tensor([[0.6 * fmt.unit, 3 * fmt.max]], requires_grad=True)
    activation_grid(quant, learned=False)(x).sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0] != 0
    assert x.grad[0, 1] == 0
    for learned in (False, True):
        w = x.detach().clone().requires_grad_()
        grid = weight_grid(quant, 2, learned=learned, narrow=True)
        grid(w).sum().backward()
        assert w.grad is not None
        assert (w.grad[0, 1] == 0) == learned
        assert [p.grad is not None for p in grid.parameters()] == [True] * learned


def test_a_learned_scale_starts_exactly_and_stays_positive():
    grid = activation_grid(Quant(INT8, (float(np.float32(0.1)),)), learned=True)
    assert float(grid.scale().detach()) == float(np.float32(0.1))
    with torch.no_grad():
        next(grid.parameters()).fill_(-1e3)
    assert 0 < float(grid.scale().detach()) < 1e-12


def test_one_bit_is_refused():
    with pytest.raises(QuantError, match="format int1 has no quantiser to train with; use 2 bits or more"):
        activation_grid(Quant(Format(name="int1", bits=1), (1.0,)), learned=False)
