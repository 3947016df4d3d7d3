"""Two runs side by side: like with like, and a named condition where they are not alike."""

from __future__ import annotations

import io
import json
import random
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from devices.latency_ratio import TOLERANCE, Ratio, latency_ratio, verdict
from devices.run_record import RunRecord
from edge.compare import compare, comparison_table
from edge.comparison import NOT_COMPARED, CountChange, LatencyChange
from tests import run_records
from tests.run_records import E4M3, INT8, latencies


def changed(run: RunRecord, index: int, **changes: object) -> RunRecord:
    """Return a run with one measurement changed."""
    items = list(run.measurements)
    items[index] = replace(items[index], **changes)
    return replace(run, measurements=tuple(items))


def only(run: RunRecord, index: int) -> RunRecord:
    return replace(run, measurements=(run.measurements[index],))


def latency(base: RunRecord, other: RunRecord) -> LatencyChange:
    (found,) = compare(base, other).latencies
    return found


def count(base: RunRecord, other: RunRecord) -> CountChange:
    (found,) = compare(base, other).counts
    return found


FULL = run_records.full()
TIMED = only(FULL, 0)
COUNTED = only(FULL, 8)


def test_a_run_equals_itself():
    found = compare(FULL, FULL)
    assert {item.verdict for item in found.latencies} == {"same"}
    assert {item.ratio for item in (*found.latencies, *found.sizes, *found.counts)} == {1.0}
    assert {item.difference for item in found.accuracies} == {0.0}
    assert (found.parities, found.unmatched, found.notes) == ((), (), ())
    assert len(found.latencies) == 7
    assert len(found.counts) == 5


@pytest.mark.parametrize(
    ("factor", "words"), [(1.0, "same"), (1.02, "same"), (1.2, "slower"), (0.8, "faster"), (1.06, "slower")]
)
def test_a_quiet_machine_shows_what_changed(factor, words):
    other = changed(TIMED, 0, latency_s=latencies(17e-6 * factor, seed=99))
    found = latency(TIMED, other)
    assert found.verdict == words
    assert found.ratio == pytest.approx(factor, rel=0.01)
    assert found.low <= found.ratio <= found.high


def test_a_noisy_machine_is_inconclusive():
    draw = random.Random(3)
    windows = tuple(tuple(w * 17e-6 for _ in range(100)) for w in (draw.uniform(0.6, 1.6) for _ in range(6)))
    found = latency(TIMED, changed(TIMED, 0, latency_s=windows))
    assert found.verdict == "inconclusive"
    assert found.low < 1 < found.high


def test_too_few_windows_prove_nothing():
    other = changed(TIMED, 0, latency_s=latencies(40e-6, seed=5, windows=4))
    found = latency(TIMED, other)
    assert found.verdict == "inconclusive"
    assert found.ratio == pytest.approx(40 / 17, rel=0.01)


def test_the_interval_is_repeatable_and_holds_a_known_ratio():
    draw, held = random.Random(11), 0
    for _ in range(60):
        base = tuple(draw.gauss(1.0, 0.02) for _ in range(10))
        other = tuple(1.1 * draw.gauss(1.0, 0.02) for _ in range(10))
        found = latency_ratio(base, other)
        assert found == latency_ratio(base, other)
        held += found.low <= 1.1 <= found.high
    assert 50 <= held <= 60


@pytest.mark.parametrize(
    ("low", "high", "windows", "words"),
    [
        (1.051, 1.2, 5, "slower"),
        (1.051, 1.2, 4, "inconclusive"),
        (1.049, 1.2, 5, "inconclusive"),
        (0.8, 0.95, 5, "faster"),
        (0.96, 1.04, 5, "same"),
        (0.94, 1.04, 5, "inconclusive"),
    ],
)
def test_verdict_follows_the_interval(low, high, windows, words):
    assert TOLERANCE == 0.05
    assert verdict(Ratio(1.0, low, high), windows) == words


CONDITIONS = FULL.measurements[0].conditions


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"conditions": replace(CONDITIONS, cpu_model="B CPU")}, "CPU model: A CPU against B CPU"),
        ({"conditions": replace(CONDITIONS, cores=2)}, "cores: 4 against 2"),
        (
            {"conditions": replace(CONDITIONS, governor="powersave", governor_reason=None)},
            "governor: unknown against powersave",
        ),
        ({"versions": (("onnxruntime", "2"), ("python", "3"))}, "onnxruntime version: 1 against 2"),
        ({"versions": (("onnxruntime", "1"),)}, "python version: 3 against none"),
        ({"board": "host-openvino"}, "board: host-ort against host-openvino"),
        ({"method": "simulated"}, "method: measured against simulated"),
        ({"latency_s": ((0.0,) * 9,) * 2}, "faster than the clock can see"),
    ],
)
def test_unlike_conditions_are_refused_by_name(changes, named):
    found = latency(TIMED, changed(TIMED, 0, **changes))
    assert named in (found.refused or "")
    assert found.verdict == NOT_COMPARED
    assert (found.ratio, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize(("factor", "words"), [(1.0, "same"), (1.2, "slower"), (0.5, "faster")])
def test_a_latency_from_a_netlist_is_an_exact_ratio_on_any_machine(factor, words):
    circuit = {"board": "ulx3s-25k", "method": "synthesised"}
    base = changed(TIMED, 0, **circuit, latency_s=((6e-6, 6e-6),))
    away = replace(CONDITIONS, cpu_model="B CPU", cores=2)
    other = changed(TIMED, 0, **circuit, latency_s=((6e-6 * factor, 6e-6 * factor),), conditions=away)
    found = latency(base, other)
    assert (found.verdict, found.refused) == (words, None)
    assert found.low == found.ratio == found.high == pytest.approx(factor)
    retooled = changed(other, 0, versions=(("yosys", "0.70"),))
    assert latency(base, retooled).verdict == NOT_COMPARED


def test_a_load_is_a_doubt_and_no_refusal():
    loaded = replace(CONDITIONS, load_before=9.0)
    found = latency(TIMED, changed(TIMED, 0, conditions=loaded))
    assert found.refused is None
    assert "LOADED_MACHINE" in found.doubts


def test_instructions_and_cycles_are_exact_ratios():
    fewer = changed(COUNTED, 0, instructions=(702_118,) * 7 + (702_117,))
    found = count(COUNTED, fewer)
    assert (found.base, found.other, found.inferences) == (8 * 702_118, 8 * 702_118 - 1, 8)
    assert found.ratio == (8 * 702_118 - 1) / (8 * 702_118)
    cycles = only(FULL, 11)
    assert count(cycles, changed(cycles, 0, cycles=(283_804,) * 2)).ratio == 2.0


def test_counts_of_other_inputs_are_not_compared_and_other_tools_are_named():
    found = count(COUNTED, changed(COUNTED, 0, instructions=(702_118,) * 4))
    assert (found.ratio, found.refused) == (None, "inferences: 8 against 4")
    found = count(COUNTED, changed(COUNTED, 0, versions=(("compiler", "13.1"), ("mps2-an386", "7.2"))))
    assert (found.ratio, found.versions) == (1.0, ("compiler version: 12.2 against 13.1",))


def test_accuracy_differs_by_scheme_with_an_error():
    scheme = FULL.schemes[0]
    better = replace(scheme, accuracy=replace(scheme.accuracy, quantised_accuracy=0.9859))
    found = {item.scheme: item for item in compare(FULL, replace(FULL, schemes=(better, FULL.schemes[1]))).accuracies}
    assert list(found) == ["float", INT8, E4M3]
    assert found[INT8].difference == pytest.approx(0.01)
    wanted = (0.9759 * 0.0241 / 540 + 0.9859 * 0.0141 / 540) ** 0.5
    assert found[INT8].standard_error == pytest.approx(wanted)
    assert found[E4M3].difference == 0.0


def test_accuracies_on_other_data_are_not_compared():
    found = compare(FULL, replace(FULL, data="fashion-mnist", test_images=10_000))
    assert {item.difference for item in found.accuracies} == {None}
    assert found.accuracies[0].refused == "data: digits against fashion-mnist; test images: 540 against 10000"
    assert "data: digits against fashion-mnist" in found.notes


def test_sizes_hold_weights_bundles_and_memory():
    first, *others = FULL.bundles
    other = replace(FULL, bundles=(replace(first, size_bytes=2 * (first.size_bytes or 0)), *others), float_bytes=8901)
    found = {item.what: item for item in compare(FULL, other).sizes}
    assert found["float model"].ratio == 0.5
    assert found["bundle host w8a8 model"].ratio == 2.0
    assert found["bundle host w8a8 head+tail"].ratio == 1.0
    assert found["flash arm-m w8a8 model mps2-an386"].base_bytes == 21_344
    assert compare(replace(FULL, float_bytes=0), FULL).sizes[0].ratio is None


def test_a_check_that_became_wrong_is_there():
    (found,) = compare(FULL, run_records.with_wrong()).parities
    assert (found.target, found.runtime, found.base, found.other) == ("host", "onnxruntime", "bounded", "wrong")


def test_what_only_one_run_holds_is_said():
    found = compare(FULL, run_records.one_sample())
    assert f"accuracy of {E4M3}: only in the base run" in found.unmatched
    assert "cycles of fpga w8a8 model verilator: only in the base run" in found.unmatched
    assert "latency of arm-m w8a8 model host-c: only in the base run" in found.unmatched
    backwards = compare(run_records.one_sample(), FULL).unmatched
    assert len(backwards) == len(found.unmatched)
    assert all("the other run" in line for line in backwards)


@pytest.mark.parametrize("shape", run_records.SHAPES, ids=lambda shape: shape.__name__)
def test_every_shape_becomes_json_and_a_table(shape):
    for base, other in ((FULL, shape()), (shape(), FULL), (shape(), shape())):
        found = compare(base, other)
        assert json.loads(json.dumps(asdict(found), allow_nan=False))["base"] == found.base
        console = Console(width=250, file=io.StringIO())
        console.print(comparison_table(found))
        assert "Accuracy" in console.file.getvalue()


def test_the_table_shows_verdict_interval_and_refusal():
    slower = changed(TIMED, 0, latency_s=latencies(34e-6, seed=1))
    moved = changed(TIMED, 0, conditions=replace(CONDITIONS, cpu_model="B CPU"))
    texts = []
    for other in (slower, moved):
        console = Console(width=250, file=io.StringIO())
        console.print(comparison_table(compare(TIMED, other)))
        texts.append(console.file.getvalue())
    assert "2.000 (" in texts[0]
    assert "slower" in texts[0]
    assert "not compared: CPU model: A CPU against B CPU" in texts[1]
