"""A planted fault is found, named, and nothing else beside it; a network without one has nothing wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from quant.diagnose import HELPS_DB, Labelled, diagnose, diagnose_quantised
from quant.diagnosis.causes import CAUSES, FALLBACKS
from quant.diagnosis.causes_weights import bias_overflow
from quant.diagnosis.cures import CURES
from quant.diagnosis.finding import PARTS
from quant.diagnosis.record import Diagnosis, to_json
from quant.errors import QuantError
from quant.onnx_quant import bias_units
from quant.onnx_write import run_float
from quant.ptq import lay_out, prepare
from quant.ranges import estimate_ranges
from quant.scheme import parse_scheme
from tests import faulty_nets
from tests.faulty_nets import FAULTS, Case
from tests.float_nets import inputs, random_net

#: Faults that more bits, other ranges or other rounding cannot mend, since they lie in the data.
NOT_CURED_HERE = ("preprocessing", "preprocessing_too_small", "preprocessing_of_a_batch_norm")


PER_CHANNEL = "weights per channel"


def diagnosed(case: Case) -> Diagnosis:
    """Diagnose a case: a float network by its scheme, or a quantised one against it."""
    if case.quantised is not None:
        return diagnose_quantised(case.quantised, case.graph, case.inputs)
    return diagnose(case.graph, parse_scheme(case.scheme), case.inputs)


@pytest.mark.parametrize(("cause", "plant"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_fault_is_found_and_no_other(cause, plant):
    case = plant()
    found = diagnosed(case)
    assert {finding.cause for finding in found.findings} == {cause}
    assert case.layer in {finding.layer for finding in found.findings}
    assert all(math.isfinite(number) for finding in found.findings for number in finding.numbers.values())
    if plant.__name__ not in NOT_CURED_HERE:
        labels = run_float(case.graph, case.inputs).argmax(axis=1)
        assert len(np.unique(labels)) > 1, "a constant network would prove nothing"
    helped = [trial for trial in found.trials if trial.helped]
    assert bool(helped) == (plant.__name__ not in NOT_CURED_HERE)
    for trial in helped:
        assert trial.score is not None
        assert trial.gain_db == pytest.approx(trial.score.sqnr_db - found.score.sqnr_db)
        assert trial.gain_db >= HELPS_DB


def test_a_bias_that_saturates_in_a_file():
    graph, x = prepare(faulty_nets.plain()), faulty_nets.data()
    quantised = lay_out(graph, parse_scheme("w8a8"), estimate_ranges(graph, x, None))
    layer = next(node for node in quantised.nodes if node.name == faulty_nets.FIRST)
    units = bias_units(quantised.quant(layer.inputs[0]), quantised.quant(layer.inputs[1]))
    _, bias = faulty_nets.parameters(graph, faulty_nets.FIRST)
    wanted, stored = graph.weights[bias].copy(), quantised.weights[bias].copy()
    wanted[2], stored[2] = 2.0**34 * units[2], 2**31 - 1
    broken = replace(quantised, weights={**quantised.weights, bias: stored})
    found = diagnose_quantised(broken, faulty_nets.changed(graph, **{bias: wanted}), x)
    facts = next(row.facts for row in found.rows if row.facts.name == faulty_nets.FIRST)
    evidence = bias_overflow(facts)
    assert evidence is not None
    assert evidence.text.startswith("1 of 16 biases saturate: channel 2 needs 1.72e+10 units")
    assert evidence.bits == pytest.approx(3.0, abs=1e-3)
    whole = diagnose_quantised(quantised, graph, x)
    assert all(bias_overflow(row.facts) is None for row in whole.rows)


def test_every_cause_has_a_planted_fault():
    assert {cause for cause, _ in FAULTS} == {cause.name for cause in (*CAUSES, *FALLBACKS)}


def test_causes_and_cures_speak_of_each_other():
    names = [cause.name for cause in (*CAUSES, *FALLBACKS)]
    assert len(set(names)) == len(names)
    assert all(cause.part in PARTS and cause.title and cause.advice.endswith(".") for cause in (*CAUSES, *FALLBACKS))
    assert {cause for cure in CURES for cause in cure.causes} == set(names)
    assert len({cure.name for cure in CURES}) == len(CURES)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-sym", "w16a16", "we4m3-ae4m3", "w8a8-p99.99"])
def test_nothing_is_wrong_with_a_healthy_network(scheme):
    found = diagnose(faulty_nets.plain(), parse_scheme(scheme), faulty_nets.data())
    assert (found.healthy, found.findings, found.trials) == (True, (), ())
    assert found.summary.startswith("Nothing is wrong: ")
    assert found.score.agreement >= 0.9


@pytest.mark.parametrize("seed", range(12))
def test_nothing_unusual_is_found_in_random_networks_of_8_bits(seed):
    found = diagnose(random_net(seed), parse_scheme("w8a8"), inputs(16, seed))
    # Labels of random networks hang on little: some do not keep them, for no other reason than rounding.
    usual = {"few_activation_bits", "few_weight_bits", "shifted_mean", "batch_norm"}
    assert {finding.cause for finding in found.findings} <= usual
    assert found.healthy == (not found.findings)


def test_damage_is_measured_by_layer():
    found = diagnose(faulty_nets.plain(), parse_scheme("w4a8"), faulty_nets.data())
    shares = [row.facts.share for row in found.rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)
    rows = {row.facts.name: row.facts for row in found.rows}
    assert set(rows) == {"x", "n0", "n2", "n4", "n5"}
    last = rows["n5"].damage
    # Nothing comes behind the last layer: what the logits feel is its own error, and all errors arrive there.
    assert last.accumulated.sqnr_db == pytest.approx(found.score.sqnr_db)
    assert last.activation.error.signal == pytest.approx(last.local.signal)
    # Rounding errors of layers are nearly independent: their sum is nearly the whole.
    parts = [e.error.noise for row in rows.values() for e in (row.damage.weights, row.damage.activation) if e]
    whole = last.accumulated.noise
    assert 0.5 * whole < sum(parts) < 2 * whole
    assert rows["n4"].damage.weights is None


def test_rounding_to_a_grid_that_holds_every_value_is_no_error():
    found = diagnose(faulty_nets.plain(), parse_scheme("w8a8;n0=w16a16"), np.round(faulty_nets.data() * 8) / 8)
    first = next(row.facts for row in found.rows if row.facts.name == "n0")
    assert first.damage.local.sqnr_db > 60


def test_accuracy_on_labelled_data():
    case = faulty_nets.shifted_mean()
    labels = run_float(case.graph, case.inputs).argmax(axis=1)
    found = diagnose(case.graph, parse_scheme(case.scheme), case.inputs, Labelled(case.inputs, labels))
    assert found.float_accuracy == 1.0
    assert found.score.accuracy == pytest.approx(found.score.agreement)
    assert found.test_images == len(labels)
    (trial,) = (trial for trial in found.trials if trial.helped)
    assert trial.score is not None
    assert trial.score.accuracy == pytest.approx(trial.score.agreement)


def test_json_holds_what_was_found():
    found = diagnosed(faulty_nets.weight_disparity())
    record = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert record["schema"] == 1
    assert [layer["layer"] for layer in record["layers"]] == [row.facts.name for row in found.rows]
    (cause,) = record["layers"][0]["causes"]
    assert (cause["cause"], cause["layer"], cause["part"]) == ("weight_disparity", "n0", "weights")
    tried = {cure["cure"]: cure for cure in record["cures"]}
    # Nothing reads the large channel: there is no partner to equalise it with.
    assert [(name, cure["helped"]) for name, cure in tried.items()] == [("equalisation", False), (PER_CHANNEL, True)]
    assert (tried[PER_CHANNEL]["scheme"], tried[PER_CHANNEL]["passes"]) == ("w8a16", "plain")
    assert record["score"]["sqnr_db"] == found.score.sqnr_db


def test_progress_counts_to_the_end():
    seen: list[tuple[str, int, int]] = []
    case = faulty_nets.outliers()
    diagnose(case.graph, parse_scheme(case.scheme), case.inputs, progress=lambda *step: seen.append(step))
    layers = [(done, steps) for what, done, steps in seen if what == "layers"]
    assert [done for done, _ in layers] == list(range(1, layers[0][1] + 1))
    assert any(what.startswith("cure: ") for what, _, _ in seen)


@pytest.mark.parametrize("harm", ["shape", "nan", "empty"])
def test_data_that_do_not_fit(harm):
    x = faulty_nets.data()
    bad = {"shape": x[:, :2], "nan": np.where(x > 3, np.float32("nan"), x), "empty": x[:0]}[harm]
    with pytest.raises(QuantError, match="calibration data"):
        diagnose(faulty_nets.plain(), parse_scheme("w8a8"), bad)


def test_a_quantised_model_needs_its_own_float_form():
    case = faulty_nets.loose_range()
    assert case.quantised is not None
    with pytest.raises(QuantError, match="is quantised already"):
        diagnose_quantised(case.quantised, case.quantised, case.inputs)
    with pytest.raises(QuantError, match="is a float model"):
        diagnose_quantised(case.graph, case.graph, case.inputs)
