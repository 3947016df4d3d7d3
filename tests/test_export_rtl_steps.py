"""Every kind of step in Verilator: windows, pools, copies; the first wrong tensor is named."""

from __future__ import annotations

import pytest

from quant.formats import find_format
from tests.rtl import check_core, needs_verilator
from tests.rtl_graphs import move_net, window_net

ZEROS = (("int8", 17), ("uint8", 100), ("e4m3", 0), ("e2m1", 0))


@needs_verilator
@pytest.mark.parametrize(("name", "zero"), [*ZEROS, ("int16", -700)])
def test_windows_are_bit_exact(name, zero, tmp_path):
    weight = "int8" if "int" in name else name
    check_core(window_net(find_format(name), find_format(weight), zero, seed=1), tmp_path, labels=True)


@needs_verilator
@pytest.mark.parametrize(("name", "zero"), ZEROS[::2])
def test_moves_are_bit_exact(name, zero, tmp_path):
    weight = "int8" if "int" in name else name
    check_core(move_net(find_format(name), find_format(weight), zero), tmp_path)
