"""Drawings of lines over two axes, and the break-even chart: what lies where."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from devices.report.curves import Axis, Chart, Curve, Spot, percent_axis, view
from devices.report.ways import Way, break_even_chart, rate_text


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


@pytest.mark.parametrize("curves", [(), tuple(Curve(str(i), ((i, i),)) for i in range(5))])
def test_a_chart_without_points_or_with_too_many_curves_is_refused(curves):
    with pytest.raises(ValueError, match="points in"):
        view(Chart("none", Axis("x", plain), Axis("y", plain), curves))


def test_ways_cross_where_they_take_the_same_time():
    local, split = Way("local", 0.1, 0), Way("split", 0.02, 8000)
    crossing = 8000 / 0.08
    assert split.seconds(crossing) == pytest.approx(local.seconds(crossing))
    found = break_even_chart("ways", (local, split), 1e4, 1e6, (crossing, 1e9))
    flat, slope = lines(found.drawing)
    assert len({y for _, y in flat}) == 1
    assert slope[0][1] < flat[0][1] and slope[-1][1] > flat[-1][1]  # slower at first, faster in the end
    (mark,) = re.findall(r'class="bound s1" x1="([\d.]+)"', found.drawing)
    met = min(zip(flat, slope, strict=True), key=lambda pair: abs(pair[0][1] - pair[1][1]))
    assert float(mark) == pytest.approx(met[0][0], abs=6)


def test_rates_have_units():
    assert rate_text(4e6) == "4.00 Mbit/s"
    assert rate_text(0.5) == "0.500 bit/s"
