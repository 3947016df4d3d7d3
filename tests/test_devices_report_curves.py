"""Drawings of lines over two axes: what lies where."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from devices.report import svg
from devices.report.curves import Axis, Chart, Curve, Spot, percent_axis, view


def plain(value: float) -> str:
    return f"{value:g}"


def lines(drawing: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split(","))) for pair in points.split()]
        for points in re.findall(r'<polyline[^>]*points="([^"]*)"', drawing)
    ]


def test_a_chart_draws_every_curve_and_numbers_its_spots():
    rising, falling = Curve("up & away", ((1, 0.1), (2, 0.9))), Curve("down", ((1, 0.9), (2, 0.1)))
    spots = (Spot("alone", 1.5, 0.5),)
    found = view(Chart("two lines", Axis("macs", plain), percent_axis("top-1"), (rising, falling), spots))
    ElementTree.fromstring(found.drawing)
    up, down = lines(found.drawing)
    assert up[0][1] > up[1][1] and down[0][1] < down[1][1]  # pixels grow downwards
    assert "up &amp; away" in found.drawing
    assert found.names == ("up & away", "down")
    assert found.spots == (("alone", "1.5", "50.0 %"),)


def test_no_axis_of_shares_goes_below_0_or_above_1():
    for level in (0.0, 0.976, 1.0):
        flat = Curve("flat", ((0, level), (1, level)))
        found = view(Chart("flat", Axis("x", plain), percent_axis("top-1"), (flat,)))
        shown = [float(text) for text in re.findall(r"(-?[\d.]+)\u202f?\s?%", found.drawing)]
        assert shown and min(shown) >= 0 and max(shown) <= 100


@pytest.mark.parametrize("curves", [(), tuple(Curve(str(i), ((i, i),)) for i in range(5))])
def test_a_chart_without_points_or_with_too_many_curves_is_refused(curves):
    with pytest.raises(ValueError, match="points in"):
        view(Chart("none", Axis("x", plain), Axis("y", plain), curves))


def test_lines_cross_where_they_are_equal_and_a_mark_stands_there():
    """Two ways to run a network over the rate of a link: one takes 0.1 s, the other 0.02 s and 8000 bits."""
    rates = [10 ** (4 + i / 40) for i in range(81)]
    local = Curve("local", tuple((rate, 0.1) for rate in rates))
    split = Curve("split", tuple((rate, 0.02 + 8000 / rate) for rate in rates))
    crossing = 8000 / 0.08
    log = Axis("rate", plain, log=True), Axis("time", plain, log=True)
    found = view(Chart("ways", *log, (local, split), marks=(crossing,), frame=svg.Frame(width=560, height=330)))
    assert 'viewBox="0 0 560 330"' in found.drawing
    flat, slope = lines(found.drawing)
    assert len({y for _, y in flat}) == 1
    assert slope[0][1] < flat[0][1] and slope[-1][1] > flat[-1][1]  # slower at first, faster in the end
    (mark,) = re.findall(r'class="baseline" x1="([\d.]+)"', found.drawing)
    met = min(zip(flat, slope, strict=True), key=lambda pair: abs(pair[0][1] - pair[1][1]))
    assert float(mark) == pytest.approx(met[0][0], abs=6)
