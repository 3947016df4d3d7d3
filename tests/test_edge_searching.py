"""Search for a network's formats: budgets kept, scores measured, schemes that quantize takes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.data import load
from edge.errors import EdgeError
from edge.search_table import print_search
from edge.searching import BUDGETS, Meter, SearchJob, search
from edge.sweep_plan import options_scheme, parse_formats
from quant.cost import assign, cost
from quant.errors import QuantError
from quant.mixed import uniform
from quant.ptq import prepare
from quant.scheme import parse_scheme
from quant.workshop import shared_method
from tests.tiny import execute, float_graph, write_onnx

SMALL = {"samples": 20, "population": 8, "generations": 4, "count": 64}
LIMITS = {"bytes": 900.0, "luts": 40.0, "bops": 70_000.0}


def job(kind: str, budget: float | None = None, **changes) -> SearchJob:
    """A short search over the tiny network."""
    return SearchJob(
        graph=float_graph(),
        dataset=load("digits"),
        weights=parse_formats("int3,int4,int6,int8"),
        activations=parse_formats("int4,int8"),
        options=options_scheme("mse"),
        method=shared_method("gptq"),
        kind=kind,
        budget=LIMITS[kind] if budget is None else budget,
        **{**SMALL, **changes},
    )


@pytest.fixture(scope="module")
def results():
    return {kind: search(job(kind)) for kind in BUDGETS}


@pytest.mark.parametrize("kind", BUDGETS)
def test_every_choice_keeps_the_budget_and_is_what_its_scheme_says(results, kind):
    result, graph = results[kind], prepare(float_graph())
    assert [choice.found_by for choice in result.choices[:2]] == ["evolution", "greedy"]
    assert len(result.choices) >= 3
    for choice in result.choices:
        found = cost(graph, assign(graph, parse_scheme(choice.scheme)))
        assert choice.spent == BUDGETS[kind](found) <= LIMITS[kind]
        assert choice.cost.bit_operations == found.bit_operations
    assert len({choice.accuracy.quantised_accuracy for choice in result.choices}) > 1


@pytest.mark.parametrize("kind", BUDGETS)
def test_evolution_is_never_worse_than_one_format_for_all(results, kind):
    evolved, _, *even = results[kind].choices
    assert all(choice.found_by == "same for all" for choice in even)
    assert evolved.divergence <= min(choice.divergence for choice in even)
    assert evolved.divergence > 0


def test_a_budget_of_bytes_leaves_activations_alone(results):
    for choice in results["bytes"].choices:
        scheme = parse_scheme(choice.scheme)
        assert {scheme.formats.activation.name, *(f.activation.name for _, f in scheme.rules)} == {"int8"}


def test_a_larger_budget_is_never_worse(results):
    rich = search(job("bytes", 1600.0))
    assert rich.choices[0].divergence < results["bytes"].choices[0].divergence


def test_the_divergence_is_that_of_the_probabilities():
    meter = Meter(job("bytes"))
    best, worst = uniform(meter.space)[-1], uniform(meter.space)[0]
    assert 0 < meter.divergence(best) < meter.divergence(worst)
    assert np.exp(meter.float_logits).sum(axis=1) == pytest.approx(1)
    assert meter.divergence(best) == meter.divergences[best]


def test_a_seed_repeats(results):
    assert search(job("luts")) == results["luts"]


def test_a_budget_nothing_meets_is_refused():
    with pytest.raises(QuantError, match="budget of 10"):
        search(job("bytes", 10.0))


def test_the_table_shows_caveats_for_luts_only(results, capsys):
    print_search(results["luts"])
    assert "No DSP blocks" in capsys.readouterr().out
    print_search(results["bops"])
    assert "No DSP blocks" not in capsys.readouterr().out


def test_the_command_and_what_quantize_makes_of_its_scheme(tmp_path):
    model = write_onnx(tmp_path / "tiny.onnx")
    words = ("search", model, "--data", "digits", "--samples", "12", "--count", "32", "--passes", "plain")
    made = execute(*words, "--budget-bytes", "900", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (best, *_) = json.loads(made.stdout)["choices"]
    given = ("quantize", model, "--scheme", best["scheme"], "--calib", "digits", "--count", "32")
    quantised = execute(*given, "-o", "tiny.graph", cwd=tmp_path)
    assert quantised.returncode == 0, quantised.stderr
    shown = execute("eval", "tiny.graph", "--data", "digits", "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)["accuracy"] == pytest.approx(best["accuracy"]["quantised_accuracy"], abs=0.03)


@pytest.mark.parametrize("limits", [(), ("--budget-bytes", "9", "--budget-luts", "9")])
def test_one_budget_is_needed(tmp_path, limits):
    model = write_onnx(tmp_path / "tiny.onnx")
    made = execute("search", model, "--data", "digits", *limits, cwd=tmp_path)
    assert made.returncode == 2
    assert "give one of" in made.stderr


def test_slips_in_options_are_named():
    with pytest.raises(EdgeError, match="fast"):
        options_scheme("fast")
