"""The measurements of a run as CSV: one row each, figures that read back, nothing where nothing is known."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from click.testing import CliRunner

from devices.report.csv_rows import csv_text
from devices.run_record import to_json
from devices.stats import percentile, summarise
from edge.cli import main
from tests import run_records
from tests.measurements import measurement


def rows(run):
    return list(csv.DictReader(io.StringIO(csv_text(run))))


def test_every_measurement_is_a_row_whose_figures_read_back():
    run = run_records.full()
    found = rows(run)
    assert len(found) == len(run.measurements) > 3
    for item, row in zip(run.measurements, found, strict=True):
        assert (row["board"], row["part"], row["method"]) == (item.board, item.part, item.method)
        if item.samples_s:
            assert float(row["latency_median_s"]) == summarise(item.samples_s).median
            assert float(row["latency_p90_bound_s"]) == percentile(item.samples_s, 0.9).bound
        if item.instructions:
            assert float(row["instructions"]) == summarise(item.instructions).median


def test_what_is_absent_is_empty_and_never_zero():
    for item, row in zip(run_records.full().measurements, rows(run_records.full()), strict=True):
        for name in ("instructions", "cycles", "energy_j", "flash_bytes"):
            assert (row[name] == "") == (getattr(item, name) is None)
            assert row[name] != "0"


def test_a_half_network_has_no_accuracy_of_its_own():
    run = run_records.full()
    split = next(bundle for bundle in run.bundles if bundle.parts == ("head", "tail"))
    items = (measurement(bundle=split.digest, part="head"), measurement(bundle=run.bundles[0].digest))
    assert [bool(row["top1_accuracy"]) for row in rows(replace(run, measurements=items))] == [False, True]


@pytest.mark.parametrize("text", ["=1+1", "@cmd", "+x", "-x"])
def test_text_is_no_formula(text):
    run = run_records.full()
    (row,) = rows(replace(run, measurements=(measurement(source=text),)))
    assert row["source"] == f"'{text}"


def test_without_measurements_there_is_a_head_line():
    assert csv_text(replace(run_records.full(), measurements=())).startswith("bundle,part")


def test_the_command_writes_the_table_beside_the_report(tmp_path):
    (tmp_path / "run.json").write_text(to_json(run_records.full()))
    table = tmp_path / "figures.csv"
    done = CliRunner().invoke(main, ["report", str(tmp_path), "--csv", str(table)])
    assert done.exit_code == 0, done.output
    assert table.read_text() == csv_text(run_records.full())
    again = CliRunner().invoke(main, ["report", str(tmp_path), "--csv", str(table)])
    assert again.exit_code == 1 and "figures.csv" in again.output
