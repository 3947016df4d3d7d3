"""Energy in the report: gross and net with uncertainty, fronts with bars to the sides, three figures together."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from devices.meters.energy import Energy
from devices.report import units
from devices.report.csv_rows import csv_text
from devices.report.front import draw, fronts
from devices.report.joined import entries
from devices.report.page import html
from devices.report.tables_energy import choice_table, energy_tables, note_rows
from tests import run_records


def energy(gross_j: float = 7e-3, method: str = "measured", **changes) -> Energy:
    """Five windows near `gross_j`, with an idle phase below."""
    windows = tuple(gross_j * (1 + 0.001 * i) for i in range(-2, 3))
    values = {
        "gross_j": windows,
        "net_j": tuple(value / 2 for value in windows),
        "net_reason": None,
        "idle_w": 0.02,
        "power_w": (0.042,) * 5,
        "inferences": (60,) * 5,
        "meter": "lpm01a",
        "rails": ("VDD",),
        "by_rail": (("VDD", gross_j),),
        "method": method,
        "u_a_j": 3e-6,
        "u_b_j": 4e-6,
        "expanded_j": 1e-5,
        "samples_per_window": (10_000,) * 5,
    }
    return Energy(**{**values, **changes})


def metered(item, found):
    """A measurement with energy in place of its reason."""
    absent = tuple(pair for pair in item.absent if pair[0] != "energy")
    return replace(item, energy=found, energy_j=found.gross_j, absent=absent)


def run_with(*found: Energy):
    """Whole networks of both schemes on one board, the energies in order."""
    run = run_records.full()
    items = [entry.measurement for entry in entries(run) if entry.is_whole and entry.measurement.samples_s]
    chosen = [metered(item, one) for item, one in zip(items, found, strict=False)]
    assert len(chosen) == len(found)
    return replace(run, measurements=tuple(chosen))


def test_units_of_energy_and_power():
    assert [units.joules(v) for v in (6.92e-3, 1.5, 81.9e-6, 4e-9)] == ["6.92 mJ", "1.50 J", "81.9 µJ", "4.00 nJ"]
    assert [units.watts(v) for v in (41.9e-3, 12.0, 3e-6)] == ["41.9 mW", "12.0 W", "3.00 µW"]


def test_a_row_holds_gross_net_uncertainty_and_meter():
    (table,) = energy_tables(entries(run_with(energy())))
    texts = [(cell.text, cell.note) for cell in table.rows[0]]
    assert ("7.00 mJ", "± 7.00 µJ MAD") in texts
    assert ("± 10.0 µJ", "A 3.00 µJ, B 4.00 µJ") in texts
    assert ("3.50 mJ", "idle taken off") in texts
    assert ("42.0 mW", "idle 20.0 mW") in texts
    assert ("lpm01a", "VDD") in texts
    assert "measured" in table.caption


def test_no_net_and_no_type_a_say_why():
    found = energy(net_j=None, net_reason="no idle phase was recorded", idle_w=None, u_a_j=None, expanded_j=None)
    (table,) = energy_tables(entries(run_with(found)))
    notes = [cell.note for cell in table.rows[0]]
    assert "no idle phase was recorded" in notes and "type B only: 4.00 µJ" in notes


def test_methods_of_energy_never_share_a_table_or_a_front():
    run = run_with(energy(), energy(method="replayed"))
    assert [table.caption.split()[-1] for table in energy_tables(entries(run))] == ["measured", "replayed"]
    assert not [front for front in fronts(run) if "energy" in front.title]


def test_notes_of_a_meter_are_said_once():
    run = run_with(energy(notes=("short windows",)), energy(notes=("short windows",)))
    ((text, where),) = note_rows(entries(run))
    assert text == "short windows" and where.count(" on ") == 2


def test_the_energy_front_has_bars_to_the_sides():
    run = run_with(energy(7e-3), energy(5e-3))
    boards = {item.board for item in run.measurements}
    run = replace(run, measurements=tuple(replace(item, board=min(boards)) for item in run.measurements))
    (front,) = [front for front in fronts(run) if "energy" in front.title]
    assert [point.cost_error for point in front.points] == [1e-5, 1e-5]
    bare = replace(front, points=tuple(replace(point, cost_error=None) for point in front.points))
    assert draw(front).count('class="error"') == draw(bare).count('class="error"') + 2


def test_three_figures_together_mark_what_nothing_beats():
    run = run_with(energy(7e-3), energy(5e-3))
    first = run.measurements[0]
    slower = tuple(tuple(2 * s for s in window) for window in first.latency_s)
    worse = metered(replace(first, latency_s=slower), energy(9e-3))
    table = choice_table(replace(run, measurements=(first, worse)))
    assert [row[-1].text for row in table.rows] == ["yes", "no"]
    assert choice_table(run_records.full()).rows == ()


def test_the_page_and_the_csv_hold_it():
    run = run_with(energy())
    page = html(run)
    assert "Energy per inference, measured" in page and "expanded with k = 2" in page
    (row, *_) = csv.DictReader(io.StringIO(csv_text(run)))
    assert float(row["energy_j"]) == pytest.approx(7e-3) and float(row["energy_expanded_j"]) == 1e-5
    assert (row["energy_method"], row["meter"]) == ("measured", "lpm01a")
