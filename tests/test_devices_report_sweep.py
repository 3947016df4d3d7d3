"""The report of a sweep: every cell in it, fronts that nothing beats, LUTs never without their caveats."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from devices.errors import DeviceError
from devices.report import units
from devices.report.cloud import draw, front_of
from devices.report.sweep_fronts import bits_matrix, clouds, kind_of, matrix, variants
from devices.report.sweep_page import print_sweep, sweep_html, write_sweep_report
from devices.sweep_record import FILE, read_sweep, to_json
from quant.luts import CAVEATS, MEASURED
from tests.sweep_records import FORMATS, cell, sweep
from tests.test_devices_report_page import Page

pytest.importorskip("jinja2", reason="the report needs jinja2 (extra 'report')")


def test_a_record_reads_back(tmp_path):
    record = sweep(("plain", "gptq"))
    (tmp_path / FILE).write_text(to_json(record))
    assert read_sweep(tmp_path) == record == read_sweep(tmp_path / FILE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.update(schema=2), "schema 2"),
        (lambda body: body.update(extra=1), "extra"),
        (lambda body: body["cells"][0].pop("cost"), "cost"),
        (lambda body: body["cells"][0].update(accuracy=None), "needs either"),
        (lambda body: body.update(cells={}), "cells"),
    ],
)
def test_a_record_is_read_strictly(tmp_path, change, message):
    body = json.loads(to_json(sweep()))
    change(body)
    (tmp_path / FILE).write_text(json.dumps(body))
    with pytest.raises(DeviceError, match=message):
        read_sweep(tmp_path)
    with pytest.raises(DeviceError, match="edgemill sweep"):
        read_sweep(tmp_path / "none")


@pytest.mark.parametrize("methods", [("plain",), ("plain", "gptq+bias")])
def test_fronts_are_what_no_cell_beats(methods):
    record = sweep(methods)
    size, luts, operations = clouds(record)
    known = [found for found in record.cells if found.accuracy is not None]
    for cloud, value in (
        (size, lambda c: c.cost.parameter_bytes / 1024),
        (luts, lambda c: c.cost.luts_per_mac),
        (operations, lambda c: c.cost.bit_operations),
    ):
        assert len(cloud.points) == len(cloud.kinds) == len(known) == 15 * len(methods)
        best = {}
        for found in known:
            share = found.accuracy.quantised_accuracy
            beaten = any(
                value(o) <= value(found)
                and o.accuracy.quantised_accuracy >= share
                and (value(o), -o.accuracy.quantised_accuracy) != (value(found), -share)
                for o in known
            )
            if not beaten:
                best[value(found), share] = found
        assert [(p.cost, p.accuracy) for p in front_of(cloud)] == sorted(best)
        assert len(best) >= 2


def test_a_drawing_has_every_point_and_numbers_the_front():
    cloud = clouds(sweep())[1]
    drawn = draw(cloud)
    assert drawn.count('class="spot') == 15
    assert re.findall(r'number best"[^>]*>(\d+)<', drawn) == [str(k + 1) for k in range(len(front_of(cloud)))]
    assert {kind_of(found) for found in sweep().cells} == {"integers", "minifloats", "mixed"}
    places = [float(v) for v in re.findall(r'c[xy]="([0-9.]+)"', drawn)]
    assert all(0 <= place <= 560 for place in places)


def test_fitted_luts_are_marked_and_only_there():
    size, luts, operations = clouds(sweep())
    known = {frozenset(row[:2]) for row in MEASURED}
    for found, point in zip([c for c in sweep().cells if c.accuracy], luts.points, strict=True):
        assert point.name.endswith("(fitted)") == (frozenset((found.weight, found.activation)) not in known)
    assert not any("fitted" in point.name for cloud in (size, operations) for point in cloud.points)


def test_matrices_hold_every_pair():
    record = sweep(("plain", "gptq"))
    tables = [matrix(record, variant) for variant in variants(record)]
    assert len(tables) == 2
    for table, method in zip(tables, ("plain", "gptq"), strict=True):
        assert [column.head for column in table.columns] == ["", *FORMATS]
        shown = {
            (row[0].text, column.head): c.text
            for row in table.rows
            for column, c in zip(table.columns[1:], row[1:], strict=True)
        }
        for found in record.cells:
            if found.method == method:
                text = f"{100 * found.accuracy.quantised_accuracy:.1f}" if found.accuracy else units.DASH
                assert shown[found.weight, found.activation] == text
    best = bits_matrix(record)
    assert [row[0].text for row in best.rows] == ["4-bit weights", "8-bit weights"]
    narrow = [found for found in record.cells if (found.weight_bits, found.activation_bits) == (4, 4)]
    top = max(narrow, key=lambda found: found.accuracy.quantised_accuracy)
    assert best.rows[0][1].text == f"{100 * top.accuracy.quantised_accuracy:.2f}"
    assert best.rows[0][1].note == f"{top.weight}, {top.activation}"


def test_the_page_is_whole_escaped_and_names_what_luts_leave_out(tmp_path):
    write_sweep_report(sweep(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert "<net>" not in text
    assert "<b>reason" not in text
    assert "<net>: formats against accuracy" in page.text
    assert "a <b>reason</b>" in page.text
    flat = " ".join(page.text.split())
    for caveat in CAVEATS:
        assert " ".join(caveat.split()) in flat
    assert "Measured by synthesis for 8 of 16 pairs" in flat
    assert "emulated in float" in flat
    assert sweep_html(sweep()) == text


def test_a_sweep_in_which_everything_was_refused_has_a_page(capsys):
    record = replace(sweep(), cells=(cell("int4", "int4", 0, refused="no"),))
    assert "No cell has an accuracy." in sweep_html(record)
    print_sweep(record)
    assert "1 cells, 1 refused" in " ".join(capsys.readouterr().out.split())


def test_the_terminal_shows_the_caveats_too(capsys):
    print_sweep(sweep())
    shown = " ".join(capsys.readouterr().out.split())
    for caveat in CAVEATS:
        assert " ".join(caveat.split()) in shown
    assert "Front: FPGA logic" in shown
