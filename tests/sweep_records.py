"""Made-up sweeps, for tests of their report."""

from __future__ import annotations

from devices.run_record import Accuracy
from devices.sweep_record import SweepCell, SweepRecord
from quant.cost import Summary
from quant.formats import find_format
from quant.luts import mac_luts

FORMATS = ("int4", "int8", "e2m1", "e5m2")


def cell(weight: str, activation: str, right: int, method: str = "plain", refused: str | None = None) -> SweepCell:
    """A cell with `right` of 400 test images right; costs follow from its formats."""
    w, a = find_format(weight), find_format(activation)
    luts = mac_luts(w, a)
    share = right / 400
    accuracy = None if refused else Accuracy(400, 0.9, share, 0.9, 400 - right, 0, 0)
    cost = Summary(
        10_000 * w.bits, 1_250 * w.bits + 600, 500 * a.bits, 2_000 * a.bits, 1_000_000, 1_000_000 * w.bits * a.bits, 20,
        luts.luts, float(luts.method == "measured"),
    )  # fmt: skip
    name = f"w{weight}-a{activation}"
    exact = "e5m2" not in (weight, activation)
    return SweepCell(name, method, weight, activation, w.bits, a.bits, True, exact, refused, accuracy, cost)


def sweep(methods: tuple[str, ...] = ("plain",)) -> SweepRecord:
    """Every pair of FORMATS; more bits are better, passes help, and one cell is refused."""
    cells = []
    for rank, method in enumerate(methods):
        for w, weight in enumerate(FORMATS):
            for a, activation in enumerate(FORMATS):
                refused = "a <b>reason</b>" if (w, a) == (3, 3) else None
                right = 250 + 10 * find_format(weight).bits + 6 * find_format(activation).bits + 7 * w + 3 * a + rank
                cells.append(cell(weight, activation, min(right, 380), method, refused))
    return SweepRecord("<net>", "digits", 32, 400, 0, 0.9, 10_000, 1_000_000, "xcup", "yosys 0.23", tuple(cells))
