"""Our rounding (`quant.rounding`, `quant.simulate.fake_quantise`) against Brevitas' quantisers and QONNX's executor.

On every value of a format, every tie, the float32 neighbours of both, subnormals, and beyond the range. They agree
everywhere but at one place: QONNX turns infinities into NaN (it computes inf / inf) although it is asked to saturate.
By its own definition (saturation=1: values beyond the largest become the largest) ours is right.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from quant.formats import INTEGERS, MINIFLOATS, OCP_FORMATS, Array, Format, find_format, integer  # noqa: E402
from quant.graph import Quant  # noqa: E402
from quant.reference import dequantise, quantise_input  # noqa: E402
from quant.rounding import quantise  # noqa: E402
from quant.simulate import fake_quantise  # noqa: E402

FLOATS = MINIFLOATS + OCP_FORMATS
SMALL = tuple(fmt for fmt in INTEGERS if fmt.bits <= 8)
SCALES = (1.0, 0.25, float(np.float32(0.0137)))
#: Brevitas' `FpOCP` quantisers reserve NaN in E4M3 and E5M2; its `Fp8` ones do not.
OCP = {"e4m3": "e4m3fn", "e5m2": "e5m2ocp"}


def name(fmt: Format) -> str:
    return fmt.name


def points(fmt: Format, zero: int = 0) -> Array:
    """Values, ties and the float32 neighbours of both; zeros; tiny and huge values."""
    grid = np.array([fmt.units_of_ordinal(k) * fmt.unit for k in fmt.ordinals()]) - zero
    exact = np.concatenate([grid, (grid[:-1] + grid[1:]) / 2]).astype(np.float32)
    near = [np.nextafter(exact, np.float32(side * np.inf)) for side in (-1, 1)]
    far = [2 * fmt.max, -2 * fmt.max, 1e37, -1e37, 0.0, -0.0, 1e-40, -1e-40]
    return np.concatenate([exact, *near, far]).astype(np.float32)


def ours(quant: Quant, x: Array) -> Array:
    """Round with the emulation, which must be what the reference makes of inputs."""
    found: Array = fake_quantise(quant, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, dequantise(quant, quantise_input(quant, x)), rtol=3e-7)
    return found


@pytest.mark.parametrize("fmt", FLOATS, ids=name)
def test_minifloats_of_qonnx(fmt):
    qonnx = pytest.importorskip("qonnx.custom_op.general.floatquant", reason="qonnx is not installed")
    for scale in SCALES:
        x = points(fmt) * np.float32(scale)
        sizes = [np.float32(v) for v in (fmt.exponent, fmt.mantissa, fmt.bias)]
        theirs = qonnx.float_quant(
            x.copy(), np.float32(scale), *sizes, True, np.float32(fmt.max), False, False, True, "ROUND", True
        )
        assert len(np.unique(theirs)) == len(fmt.ordinals())
        np.testing.assert_array_equal(ours(Quant(fmt, (scale,)), x), theirs.astype(np.float32))
        if scale == 1:
            np.testing.assert_array_equal(quantise(fmt, x), theirs)


def test_infinities_saturate_here_and_are_nan_in_qonnx():
    qonnx = pytest.importorskip("qonnx.custom_op.general.floatquant", reason="qonnx is not installed")
    fmt, x = find_format("e3m2"), np.array([np.inf, -np.inf], np.float32)
    with np.errstate(invalid="ignore"):
        theirs = qonnx.float_quant(x.copy(), 1.0, 3.0, 2.0, 3.0, True, fmt.max, False, False, True, "ROUND", True)
    assert np.isnan(theirs).all()
    assert quantise(fmt, x).tolist() == ours(Quant(fmt, (1.0,)), x).tolist() == [28.0, -28.0]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("fmt", SMALL, ids=name)
def test_integers_of_qonnx(fmt, narrow):
    qonnx = pytest.importorskip("qonnx.custom_op.general.intquant", reason="qonnx is not installed")
    for scale in SCALES:
        for zero in (0, 1 if fmt.bits == 2 else 3):
            x = points(fmt, zero) * np.float32(scale)
            sizes = [np.float32(v) for v in (scale, zero, fmt.bits)]
            theirs = qonnx.int_quant(x, *sizes, fmt.signed, narrow, "ROUND")
            quant = Quant(fmt, (scale,), zero)
            low = fmt.min_ordinal + (narrow and fmt.signed) - zero
            high = fmt.max_ordinal - (narrow and not fmt.signed) - zero
            found = np.clip(ours(quant, x) / np.float32(scale), low, high)
            # QONNX adds the zero point before it rounds: with an odd one, and right beside a tie, codes differ.
            differ = np.rint(theirs / np.float32(scale)) != np.rint(found)
            if zero == 0:
                assert not differ.any()
                continue
            y = x.astype(np.float64) / np.float32(scale)
            at_ties = np.abs(y - np.floor(y) - 0.5) < 1e-5
            assert not (differ & ~at_ties).any()
            assert len(np.unique(theirs)) == high - low + 1


def brevitas_activation(base: Any, fmt: Format, scale: float) -> Any:
    """Brevitas' activation quantiser for a format with a constant scale."""
    with warnings.catch_warnings():
        # Brevitas warns of its own deprecated parts.
        warnings.simplefilter("ignore")
        from brevitas.inject.enum import ScalingImplType
        from brevitas.nn import QuantIdentity

        bits: dict[str, int] = {"bit_width": fmt.bits}
        if fmt.is_minifloat:
            bits |= {"exponent_bit_width": fmt.exponent, "mantissa_bit_width": fmt.mantissa}
        # Brevitas' constant is the largest value; integers divide it by the largest magnitude of a code.
        top = fmt.max if fmt.is_minifloat else max(fmt.max, -fmt.min)
        made = base.let(**bits, scaling_impl_type=ScalingImplType.CONST, scaling_init=float(np.float32(scale) * top))
        return QuantIdentity(act_quant=made, return_quant_tensor=True).eval()


@pytest.mark.parametrize("fmt", MINIFLOATS, ids=name)
def test_minifloats_of_brevitas(fmt):
    pytest.importorskip("brevitas", reason="Brevitas is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.quant.float_quant_ocp import FpOCPActPerTensorFloat

    real = find_format(OCP.get(fmt.name, fmt.name))
    check_brevitas(FpOCPActPerTensorFloat, real)


@pytest.mark.parametrize("fmt", SMALL, ids=name)
def test_integers_of_brevitas(fmt):
    pytest.importorskip("brevitas", reason="Brevitas is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas.quant.scaled_int import Int8ActPerTensorFloat, Uint8ActPerTensorFloat

    check_brevitas(Int8ActPerTensorFloat if fmt.signed else Uint8ActPerTensorFloat, fmt)


def check_brevitas(base: Any, fmt: Format) -> None:
    for wanted in SCALES:
        layer = brevitas_activation(base, fmt, wanted)
        with torch.no_grad():
            scale = float(layer.act_quant.scale())
            x = points(fmt) * np.float32(scale)
            theirs = layer(torch.from_numpy(x)).value.numpy()
        assert scale == pytest.approx(wanted, rel=1e-6)
        assert len(np.unique(theirs)) == len(fmt.ordinals())
        np.testing.assert_array_equal(ours(Quant(fmt, (scale,)), x), theirs)


def test_all_splits_are_here():
    assert len(MINIFLOATS) == 27
    assert {integer(bits, signed=signed) for bits in range(2, 9) for signed in (True, False)} == set(SMALL)
