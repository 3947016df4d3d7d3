"""The values behind the report: units, paired statistics, axes, curves, fronts, tallies."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from devices.measurement import Step
from devices.report import units
from devices.report.front import Front, Point, best_of, draw, fronts, short_count
from devices.report.joined import UNKNOWN, Entry, entries, with_metric
from devices.report.paired import mcnemar, paired_error, standard_error, statement
from devices.report.plots import SERIES, latency_plots, tail_curve
from devices.report.scale import Scale, fitted, ticks
from devices.report.tables_steps import BAR_WIDTH, step_tables
from devices.report.verdict import best, headline, tally
from devices.run_record import Accuracy
from devices.stats import percentile
from tests import run_records
from tests.measurements import measurement


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ns"),
        (1.5e-9, "1.50 ns"),
        (9.996e-7, "1.00 µs"),
        (57.34e-6, "57.3 µs"),
        (0.0012, "1.20 ms"),
        (0.99999, "1.00 s"),
        (123.4, "123 s"),
    ],
)
def test_seconds(value, text):
    assert units.seconds(value) == text


LUTS = "FPGA logic without DSP blocks, xcup"


def test_sizes_counts_and_shares():
    assert [units.size(v) for v in (0, 1023, 1024, 17_802, 3 << 20)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "17.4 KiB",
        "3.0 MiB",
    ]
    assert [units.count(v) for v in (0, 1234567, 2.5)] == ["0", "1,234,567", "2.5"]
    assert units.percent(0.97588) == "97.59 %"
    assert [units.points(v) for v in (0.00001, -0.0019, 0.01)] == ["±0", "\u22120.19", "+1.00"]
    assert [units.significant(v) for v in (0, 0.0123456, 1.0, 99.96, 123456)] == [
        "0",
        "0.0123",
        "1.00",
        "100",
        "123456",
    ]
    assert [units.short(text) for text in ("10.0 µs", "1.00", "3.5 KiB")] == ["10 µs", "1", "3.5 KiB"]
    assert [units.span(v) for v in ((5,), (5, 5), (5, 6))] == ["", "the same for all", "median; 5 to 6"]


def test_a_percentile_without_enough_samples_is_no_number():
    assert units.percentile(percentile([1.0] * 10, 0.9)) == "not enough samples: 10 of 64"
    assert units.percentile(percentile([1e-6] * 100, 0.9)) == "1.00 µs (≤ 1.00 µs)"


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (3, 2), (0, 9), (12, 3), (600, 500)])
def test_mcnemar_sums_the_binomial_tail(lost, gained):
    n, least = lost + gained, min(lost, gained)
    weights = [Fraction(math.comb(n, k), 2**n) for k in range(n + 1)]
    extreme = float(sum(w for k, w in enumerate(weights) if min(k, n - k) <= least))
    assert mcnemar(lost, gained) == pytest.approx(extreme, rel=1e-9)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_errors_of_an_accuracy():
    assert standard_error(0.9, 100) == pytest.approx(0.03)
    assert standard_error(1.0, 100) is None
    assert paired_error(Accuracy(100, 0.9, 0.9, 1.0, 0, 0, 0)) is None
    values = [-1] * 7 + [1] * 2 + [0] * 91
    mean = sum(values) / 100
    wanted = math.sqrt(sum((v - mean) ** 2 for v in values) / 100 / 100)
    assert paired_error(Accuracy(100, 0.9, 0.85, 0.9, 7, 2, 0)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("lost", "gained", "words"),
    [
        (0, 0, "no image changed"),
        (1, 0, "no difference shown"),
        (30, 2, "worse than float"),
        (2, 30, "better than float"),
    ],
)
def test_statement(lost, gained, words):
    assert words in statement(Accuracy(1000, 0.9, 0.9, 0.9, lost, gained, 0))


def test_scales_place_their_ends_and_ticks_lie_inside():
    for low, high, log in [
        (0.1, 0.9, False),
        (17e-6, 20e-6, True),
        (1e-6, 3.0, True),
        (5.0, 5.0, False),
        (7.0, 7.0, True),
    ]:
        scale = fitted((low, high), (10, 110), log=log)
        assert scale.place(scale.low) == pytest.approx(10)
        assert scale.place(scale.high) == pytest.approx(110)
        found = ticks(scale, 5)
        assert 2 <= len(found) <= 8
        assert all(scale.low <= v <= scale.high for v in found)
        assert sorted(set(found)) == list(found)


def test_a_log_scale_gives_equal_ratios_equal_space():
    scale = Scale(1, 100, 0, 100, log=True)
    assert scale.place(10) == pytest.approx(50)
    assert ticks(scale, 5) == pytest.approx((1, 3, 10, 30, 100))
    assert ticks(scale, 7) == pytest.approx((1, 2, 5, 10, 20, 50, 100))


def test_a_tail_curve_is_the_share_at_least_so_slow():
    samples = [float(v % 997) for v in range(5000)]
    curve = tail_curve(samples)
    assert curve[0] == (0.0, 1.0)
    assert curve[-1] == (996.0, 1 / 5000)
    for time, share in curve[:: len(curve) // 7]:
        slower = sum(s > time for s in samples) / 5000
        assert slower <= share <= sum(s >= time for s in samples) / 5000


def test_a_board_with_many_parts_gets_several_drawings():
    run = run_records.full()
    found = [entries(run)[0]] * (SERIES + 1)
    plots = latency_plots("measured", found)
    assert [len(plot.names) for plot in plots] == [SERIES, 1]
    assert plots[0].drawing.count("<polyline") == SERIES


def test_percentiles_with_a_bound_are_marked_in_the_tail_curve():
    run = run_records.full()
    (plot, *_) = latency_plots("measured", [entries(run)[0]])
    n = len(run.measurements[0].samples_s)
    marked = [p for p in (0.5, 0.9, 0.99) if percentile(run.measurements[0].samples_s, p).bound is not None]
    assert 0 < len(marked) <= 3 and n >= 64
    assert plot.drawing.count('class="bound-mark s1"') == len(marked)
    assert plot.drawing.count('class="bound s1"') == 2 * len(marked)


def test_a_bound_that_is_exact_or_unknown_is_not_marked():
    item = replace(run_records.full().measurements[0], latency_s=(tuple([1e-6, 2e-6] * 10),))
    (few,) = latency_plots("measured", [Entry(item, None)])
    assert few.drawing.count("bound-mark") == 1  # p50 only: 20 samples are too few for the others
    (exact,) = latency_plots("synthesised", [Entry(replace(item, method="synthesised"), None)])
    assert "bound" not in exact.drawing


def test_bars_of_steps_are_as_long_as_their_shares():
    run = run_records.full()
    table = step_tables("instructions", [e for e in entries(run) if e.measurement.steps])[0]
    widths = [float(re.findall(r'class="bar"[^>]* width="([\d.]+)"', row[2].drawing)[0]) for row in table.rows]
    shares = [float(row[2].note.split(" %")[0]) / 100 for row in table.rows]
    assert widths == pytest.approx([BAR_WIDTH * share for share in shares], abs=0.15)
    assert sum(shares) == pytest.approx(1.0, abs=0.01)


def test_time_by_layer_has_its_own_table():
    """Seconds instead of counts, and nothing where a board gives none."""
    item = replace(
        run_records.full().measurements[0],
        method="simulated",
        steps=(Step("copy", 0, None, None, 1e-5), Step("conv + relu", 4608, None, None, 3e-5)),
    )
    (table,) = step_tables("latency", [Entry(item, None)])
    assert table.caption.startswith("Time by layer of") and "simulated" in table.caption
    assert [(row[2].text, row[2].note) for row in table.rows] == [("10.0 µs", "25.0 %"), ("30.0 µs", "75.0 %")]
    assert step_tables("instructions", [Entry(item, None)]) == ()
    assert step_tables("latency", entries(run_records.full())) == ()


def test_too_few_samples_are_not_drawn():
    assert latency_plots("measured", entries(run_records.one_sample())) == ()


def test_a_latency_of_zero_is_drawn_too():
    run = run_records.one_sample()
    zero = replace(run.measurements[0], latency_s=((0.0, 1e-6) * 6, (0.0, 0.0)))
    (plot,) = latency_plots("measured", entries(replace(run, measurements=(zero,))))
    assert "nan" not in plot.drawing
    assert plot.drawing.count("<polyline") == 1


def test_the_front_is_what_nothing_beats():
    points = [Point("a", 1, 0.9, None), Point("b", 2, 0.9, None), Point("c", 2, 0.95, None), Point("d", 0.5, 0.2, None)]
    assert best_of(points) == (True, False, True, True)
    twins = [Point("a", 1, 0.9, None), Point("b", 1, 0.9, None)]
    assert best_of(twins) == (True, True)


def test_fronts_hold_whole_networks_of_one_method_and_one_device():
    found = {front.title: front for front in fronts(run_records.full())}
    assert set(found) == {
        "any device: weights",
        LUTS,
        "A CPU: latency",
        "mps2-an386: instructions",
        "qemu-aarch64: instructions",
    }
    assert [p.name for p in found["A CPU: latency"].points] == [
        f"w8a8 on {board}" for board in ("host-ort", "host-openvino", "host-litert", "host-c")
    ] + [f"{run_records.E4M3} on host-c"]
    assert "simulated" in found["mps2-an386: instructions"].axis
    assert draw(found["A CPU: latency"]).count("<ellipse") == 5


def test_the_front_of_luts_says_what_is_fitted_and_leaves_out_what_has_no_figure():
    run = run_records.full()
    (found,) = (front for front in fronts(run) if front.title == LUTS)
    assert [point.name for point in found.points] == ["w8a8", f"{run_records.E4M3} (fitted)"]
    assert [point.cost for point in found.points] == [125.0, 141.8]
    assert "yosys 0.23" in found.axis
    without = replace(run, schemes=tuple(replace(record, cost=None) for record in run.schemes))
    assert LUTS not in {front.title for front in fronts(without)}


def test_a_point_with_a_wrong_check_is_shown_but_never_on_the_front():
    found = {front.title: front for front in fronts(run_records.with_wrong())}["A CPU: latency"]
    names = [point.name for point in found.points]
    assert names[:2] == ["w8a8 on host-ort (a check is wrong)", "w8a8 on host-openvino (a check is wrong)"]
    assert best_of(found.points) == (False, False, True, False, False)
    assert 'class="point wrong"' in draw(found)


def test_points_at_one_place_share_a_mark():
    points = (Point("a", 100, 0.9, 0.01), Point("b", 100, 0.9, 0.01), Point("c", 101, 0.8, 0.01))
    drawn = draw(Front("t", "cost", points, 0.9, units.count))
    assert re.findall(r"number[^>]*>([^<]*)<", drawn) == ["3", "1, 2"]


def test_costs_that_are_nearly_alike_are_not_stretched():
    points = (Point("a", 67_347, 0.9, None), Point("b", 67_365, 0.8, None))
    drawn = draw(Front("t", "cost", points, 0.9, short_count))
    first, second = (float(v) for v in re.findall(r'cx="([0-9.]+)"', drawn))
    assert abs(first - second) < 1
    labels = re.findall(r">([0-9.]+ k)<", drawn)
    assert len(set(labels)) == len(labels) >= 3


def test_one_point_is_no_front():
    assert fronts(run_records.one_sample()) == ()


def test_other_machines_and_methods_get_fronts_of_their_own():
    run = run_records.full()
    first, second = run.measurements[:2]
    moved = replace(second, conditions=replace(second.conditions, cpu_model="B CPU"))
    made_up = replace(second, method="simulated", source="made up")
    for other in (moved, made_up):
        found = fronts(replace(run, measurements=(first, other)))
        assert [front.title for front in found] == ["any device: weights", LUTS]


def test_measurements_find_their_bundle_by_digest():
    run = run_records.full()
    stray = measurement(bundle="f" * 64)
    found = entries(replace(run, measurements=(*run.measurements[:3], stray)))
    assert [entry.label for entry in found] == ["w8a8", "w8a8", "w8a8 head", f"{UNKNOWN} model"]
    assert [method for method, _ in with_metric(entries(run), "instructions")] == ["simulated"]


def test_tally_and_headline_never_count_what_was_not_run():
    counted = tally(run_records.nothing_executed())
    assert (counted.executed, counted.agreed, counted.unexecuted, counted.kind) == (0, 0, 1, "warn")
    assert "nothing is proven" in headline(counted)
    run = run_records.full()
    good = replace(run, bundles=(run.bundles[0], run.bundles[5], run.bundles[8]))
    assert (
        headline(tally(good))
        == "All 5 executed checks agree with the integer reference: 3 bit for bit and 2 within their bound."
    )
    assert tally(good).kind == "good"
    assert tally(run_records.with_wrong()).kind == "bad"


def test_the_best_point_was_executed_and_agreed():
    found = best(run_records.full())
    assert found is not None
    assert found.fastest is not None
    assert (found.record.scheme, found.fastest.measurement.board) == ("w8a8", "host-ort")
    other = best(run_records.with_wrong())
    assert other is not None
    assert other.record.scheme == run_records.E4M3
    assert best(run_records.nothing_executed()) is None


def test_a_simulated_latency_is_no_best_latency():
    run = run_records.one_sample()
    made_up = replace(run.measurements[0], method="simulated")
    found = best(replace(run, measurements=(made_up,)))
    assert found is not None
    assert found.fastest is None
