"""A window walk has registers only for what its geometry lets change; constants are where a device wants them."""

from __future__ import annotations

import re

import pytest

from export.rtl.stream.device import LATTICE_ECP5, LATTICE_ICE40, XILINX
from export.rtl.stream.pipes.product import effort
from export.rtl.stream.pipes.requant import requant
from export.rtl.stream.walk import Walk
from export.rtl.stream.walker import counting, walker
from export.rtl.stream.window import window
from quant.fixedpoint import q31_multiplier
from quant.formats import INT8
from quant.steps import Requant

_DENSE = {"height": 1, "width": 1, "kernel": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}
_PADDED = {"height": 8, "width": 6, "kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("geometry", "groups", "part", "depth", "registers"),
    [
        (_DENSE, 8, 8, 16, {"c", "n", "frame_slot"}),
        (_DENSE, 1, 1, 1, {"frame_slot"}),
        (_DENSE, 4, 1, 1, {"n", "part", "frame_slot"}),
        (_PADDED, 1, 1, 1, {"w", "h", "x", "y", "top_slot", "slot", "pixel", "column"}),
        (
            _PADDED,
            4,
            2,
            3,
            {"c", "w", "h", "n", "x", "y", "p", "part", "channel", "slot", "column", "pixel", "top_slot"},
        ),
    ],
)
def test_what_cannot_change_is_no_register(geometry, groups, part, depth, registers):
    walk = Walk(words=depth * groups // part, groups=groups, groups_per_part=part, depth=depth, **geometry)
    made = walker(walk, 4 if geometry is _PADDED else 2)
    positions = {"row", "top_row", "col", "pixel_col"} if geometry is _PADDED else set()
    assert {one.name for one in made.registers} == registers | positions
    assert (made.inside is None) == (geometry is _DENSE)
    text = window("m", "t", walk, 4 if geometry is _PADDED else 2, 8, 0)
    assert not re.findall(r"@[A-Z_0-9]+@", text)
    assert ("inside_1" in text) == (geometry is _PADDED)


def test_powers_of_two_begin_again_by_themselves():
    assert counting("n", 7, "go", "end").next == "n + 3'h1"
    assert counting("n", 6, "go", "end").next == "end ? 3'h0 : n + 3'h1"
    assert counting("n", 0, "go", "end").bits == 1


@pytest.mark.parametrize(
    ("device", "channels", "blocks"), [(LATTICE_ECP5, 16, 0), (LATTICE_ECP5, 17, 1), (XILINX, 64, 0)]
)
def test_constants_are_in_look_up_tables_up_to_the_words_of_one(device, channels, blocks):
    rule = Requant(INT8, tuple(q31_multiplier(0.001 + 0.0001 * c) for c in range(channels)), 0, -128, 127)
    pipe = requant("p", rule, (5,), 22, 1, channels, 1 << 20, device.wide_bits, device.table_words)
    assert len(pipe.memories) == blocks
    assert device.table_words == (64 if device is XILINX else 16)


def test_values_slightly_too_wide_take_another_block_on_ecp5_only():
    assert effort(21, True, LATTICE_ECP5.wide_bits) == (2, 0)
    assert effort(19, True, LATTICE_ECP5.wide_bits) == (1, 1)
    assert effort(28, True, XILINX.wide_bits) == (1, 3)
    assert effort(19, True, LATTICE_ICE40.wide_bits) == (1, 3)
