"""What --board, --rate, --folding and --sequential ask of an FPGA core."""

from __future__ import annotations

import pytest

from edge.circuits import circuit_request
from edge.errors import EdgeError
from export.errors import ExportError

FOLDING = """{"architecture": "stream", "family": "ecp5", "folds": {"fc": {"pe": 2, "simd": 4, "style": "dsp"}},
"input_lanes": 3}"""


def test_nothing_asked_is_nothing():
    assert circuit_request(None, None, None, sequential=False) is None


def test_a_board_gives_its_device_and_a_rate_the_clocks_at_its_clock():
    asked = circuit_request("ultra96", 1000, None, sequential=False)
    assert asked is not None
    assert (asked.device.family, asked.budget.dsp, asked.cycles) == ("xc", 360, 150_000)
    alone = circuit_request(None, 3e4, None, sequential=False)
    assert alone is not None and alone.cycles == 3333


def test_a_folding_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "folding.json"
    path.write_text(FOLDING)
    asked = circuit_request(None, None, path, sequential=False)
    assert asked is not None and asked.folds is not None
    assert (asked.device.family, asked.input_lanes, asked.folds["fc"].simd) == ("ecp5", 3, 4)
    path.write_text(FOLDING.replace("dsp", "gold"))
    with pytest.raises(ExportError, match=r"folds: fc: style 'gold'"):
        circuit_request(None, None, path, sequential=False)


@pytest.mark.parametrize(
    ("board", "rate", "folding", "sequential"),
    [(None, 5.0, None, True), ("pynq-z2", None, None, True), ("pynq-z2", None, "f", False), (None, None, "f", True)],
)
def test_options_that_decide_the_same_are_refused(board, rate, folding, sequential, tmp_path):
    with pytest.raises(EdgeError, match="--folding"):
        circuit_request(board, rate, folding and tmp_path / folding, sequential=sequential)


def test_boards_without_an_fpga_and_impossible_rates_are_refused():
    with pytest.raises(EdgeError, match="not a board with an FPGA"):
        circuit_request("host-ort", None, None, sequential=False)
    with pytest.raises(EdgeError, match="more than one frame in a clock"):
        circuit_request(None, 1e9, None, sequential=False)
