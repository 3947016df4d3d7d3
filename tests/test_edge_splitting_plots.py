"""Drawings of a search for a cut: what legends name and where axes end."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from edge.splitting.plots import accuracy_drawings
from edge.splitting.record import Choice, Cost, Figure, Place

COST = Cost(Figure(0.01, "measured"), Figure(None, reason="none"), Figure(None, reason="none"))


def choice(fmt: str | None, accuracy: float) -> Choice:
    place = None if fmt is None else Place("t", (1, 2, 2, 2), fmt, 10, 10, 8, 8)
    latency, energy = Figure(0.01, "modelled"), Figure(None, reason="none")
    return Choice("split", "net", place, accuracy, 50, COST, COST, latency, energy, None, front=True)


@pytest.mark.parametrize(
    ("formats", "names"),
    [
        (("int8", "int4", None), ("integers", "mixed")),
        (("e3m2", None), ("minifloats", "mixed")),
        (("int8", "e3m2"), ("integers", "minifloats")),
    ],
)
def test_legends_name_only_what_is_drawn(formats, names):
    found = SimpleNamespace(choices=tuple(choice(fmt, 0.5 + i / 10) for i, fmt in enumerate(formats)))
    assert [drawing.names for drawing in accuracy_drawings(found)] == [names] * 2


def test_equal_accuracies_do_not_stretch_the_axis_beyond_100_percent():
    found = SimpleNamespace(choices=(choice("int8", 0.983), choice("int4", 0.983)))
    for drawing in accuracy_drawings(found):
        shown = [float(text) for text in re.findall(r">(-?[\d.]+) %<", drawing.svg)]
        assert shown and max(shown) <= 100 < 110 * 0.983
