"""The roofline: ceilings are measured by a program or refused, and networks stand where arithmetic puts them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from devices.errors import DeviceError
from devices.report.page import html
from devices.report.roofline import draw, rooflines, share, traffic_bytes
from devices.roofline import measure
from devices.roofline.ceiling import Ceiling, from_record
from devices.run_record import from_record as run_from_record
from devices.run_record import to_json
from export import strict_json
from tests import run_records

ROOF = Ceiling("A CPU", 1e11, 2e10, "avx2")


def with_roof(ceiling=ROOF):
    return replace(run_records.full(), ceilings=(ceiling,))


@pytest.mark.parametrize(("intensity", "most"), [(1.0, 2e10), (5.0, 1e11), (50.0, 1e11)])
def test_the_roof_rises_with_bandwidth_and_ends_at_compute(intensity, most):
    assert ROOF.at(intensity) == pytest.approx(most)


def test_networks_stand_at_their_intensity_and_rate():
    run = with_roof()
    (found,) = rooflines(run)
    assert len(found.spots) >= 2
    timed = [item for item in run.measurements if item.method == "measured" and item.latency_s]
    assert 0 < len(found.spots) < len(timed)  # halves of a network have no place here
    cost = run.schemes[0].cost
    first = found.spots[0]
    assert first.macs_per_byte == pytest.approx(cost.macs / (cost.parameter_bytes + 2 * cost.activation_bytes))
    assert traffic_bytes(cost) > cost.parameter_bytes
    assert share(first, ROOF) == pytest.approx(first.macs_per_s / ROOF.at(first.macs_per_byte))
    assert len({spot.macs_per_s for spot in found.spots}) > 1


def test_the_drawing_has_a_mark_for_every_network():
    (found,) = rooflines(with_roof())
    drawing = draw(found)
    assert len(re.findall("<ellipse", drawing)) == len(found.spots)
    assert "nan" not in drawing


def test_a_ceiling_of_another_machine_is_not_drawn():
    assert rooflines(with_roof(replace(ROOF, machine="another"))) == ()
    assert "Roofline" not in html(with_roof(replace(ROOF, machine="another")))
    assert "Roofline" in html(with_roof())


def test_a_run_keeps_its_ceilings_and_older_runs_have_none():
    record = strict_json.parse_object(to_json(with_roof()), "run")
    assert run_from_record(record, "run").ceilings == (ROOF,)
    older = {key: value for key, value in record.items() if key != "ceilings"} | {"schema": 2}
    assert run_from_record(older, "run").ceilings == ()
    with pytest.raises(DeviceError, match="ceilings"):
        run_from_record({**record, "schema": 2}, "run")
    with pytest.raises(DeviceError, match="schema 99"):
        run_from_record({**record, "schema": 99}, "run")


@pytest.mark.parametrize("change", [{"macs_per_s": 0.0}, {"bytes_per_s": "fast"}, {"extra": 1}])
def test_a_damaged_ceiling_is_refused(change):
    record = {"machine": "m", "macs_per_s": 1.0, "bytes_per_s": 1.0, "kernel": "k", "method": "measured", **change}
    with pytest.raises(DeviceError):
        from_record(record, "here")


@pytest.mark.parametrize("answer", ["", "1 2", "one two three", "0 1 plain C"])
def test_an_answer_that_is_none_is_refused(answer):
    with pytest.raises(DeviceError):
        measure.parse(answer, "m")


@pytest.mark.skipif(measure.missing() is not None, reason=str(measure.missing()))
def test_this_machine_has_ceilings():
    found = measure.measure()
    # A core that multiplies slower than 1e6 a second or fetches less than 1 MB/s runs no tests.
    assert found.macs_per_s > 1e6 and found.bytes_per_s > 1e6
    assert found.method == "measured" and found.kernel
