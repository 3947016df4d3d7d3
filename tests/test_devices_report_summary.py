"""The summary in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from devices.report import units
from devices.report.summary import measurement_rows, print_summary, summary_table
from tests import run_records


def printed(run) -> str:
    console = Console(width=200, file=io.StringIO())
    for table in summary_table(run):
        console.print(table)
    return console.file.getvalue()


def test_the_tables_hold_accuracy_parity_and_figures():
    text = printed(run_records.full())
    for words in (
        "we4m3-ae4m3 │ 96.30 % │ \u22121.48  │ 11",
        "bit-exact: c-host, qemu-aarch64, mps2-an386",
        "bounded: onnxruntime head, onnxruntime tail",
        "not run: verilator",
        "not run: nothing here executes it",
        "refused   │ this target takes int8 only",
        "702,118",
        "141,902",
    ):
        assert words in text


def test_measured_and_simulated_stand_apart_without_empty_columns():
    text = printed(run_records.full())
    measured, simulated = text.split("Profile, measured")[1].split("Profile, simulated")
    assert "host-ort" in measured
    assert "instructions" not in measured
    assert "mps2-an386" in simulated
    assert "latency" not in simulated


@pytest.mark.parametrize("shape", run_records.SHAPES, ids=lambda shape: shape.__name__)
def test_every_shape_prints(shape, capsys):
    print_summary(shape())
    text = capsys.readouterr().out
    assert "Accuracy" in text
    assert "nan" not in text.split()


def test_what_was_not_executed_is_said_last(capsys):
    print_summary(run_records.nothing_executed())
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0] == "Nothing was executed, so nothing is proven about the exported files."
    assert last[1].startswith("Not executed here: 1 check, and 1 bundle")


def test_measurement_rows_say_what_is_missing():
    run = run_records.one_sample()
    columns, rows = measurement_rows((*run.measurements, run_records.full().measurements[-1]))
    first, last = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (first["board"], first["method"], first["latency, median"]) == ("host-ort", "measured", "17.0 µs")
    assert first["p90"] == "not enough samples: 1 of 64"
    assert (last["cycles"], last["latency, median"], last["method"]) == ("141,902", units.DASH, "simulated")
