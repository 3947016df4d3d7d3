"""Presets: never worse than plain min-max by their own measure, the same every time, and told in full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant import presets
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.judge import relative_error
from quant.method import Method, parse_method
from quant.passes import learned_rounding
from quant.passes.centre import centre, deciding_layer
from quant.presets import PRESETS, find_preset, quantise_by
from quant.program import lower
from quant.ptq import quantise
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.classes import class_inputs, class_net
from tests.limited_nets import images, mobile


@pytest.fixture(scope="module")
def network() -> tuple[Graph, Array]:
    return class_net(), class_inputs(60, 3)


def errors_of(graph: Graph, made: Graph, x: Array) -> float:
    wanted, found = (simulate(g, x).astype(np.float64) for g in (graph, made))
    return relative_error(wanted, found)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_presets_are_well_formed(preset) -> None:
    assert find_preset(preset.name) is preset
    assert preset.summary
    assert preset.images > 0
    for method in preset.methods:
        assert str(parse_method(method)) == method
    for shape in preset.shapes:
        assert parse_method(shape).steps == (shape,)
    for criterion in preset.criteria:
        parse_scheme(f"w8a8-{criterion}")


def test_the_list_of_presets() -> None:
    assert [preset.name for preset in PRESETS] == ["fast", "default", "best"]
    default, best = PRESETS[1:]
    assert set(default.methods) <= set(best.methods)
    assert set(default.criteria) <= set(best.criteria)
    assert set(default.shapes) <= set(best.shapes)
    with pytest.raises(QuantError, match=r"unknown preset 'defualt'\. Did you mean 'default'\?"):
        find_preset("defualt")


@pytest.mark.parametrize("name", ["w8a8", "w4a4", "we2m1-ae4m3"])
@pytest.mark.parametrize("preset", PRESETS[1:], ids=lambda preset: preset.name)
def test_measured_presets_end_no_worse_than_plain(
    name: str, preset, network: tuple[Graph, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_rounding, "ITERATIONS", 20)
    graph, x = network
    said: list[str] = []
    choice = quantise_by(graph, parse_scheme(name), preset, x, said.append)
    lower(choice.graph)
    plain, *others = choice.trials
    assert (str(plain.scheme), plain.method) == (name, Method())
    assert len(others) >= len(preset.criteria) + 1
    centred = choice.method.has("centre")
    chosen = (choice.scheme, Method(choice.method.steps[centred:]))
    (best,) = {trial.error for trial in choice.trials if (trial.scheme, trial.method) == chosen}
    better = [trial.method for trial in choice.trials if trial.error < best]
    # What needs more operators on the device must be better by a good part; nothing else may be better at all.
    assert all(method.has("cle") or method.has("smooth") for method in better)
    assert min(trial.error for trial in choice.trials) >= best * presets.WORTH_MINIMA
    # By its own measure, taken anew on the images it held out.
    held = x[-20:]
    if not centred:
        assert errors_of(graph, choice.graph, held) == pytest.approx(best, rel=1e-6)
    assert errors_of(graph, quantise(graph, parse_scheme(name), x), held) == pytest.approx(plain.error, rel=1e-6)
    assert best <= plain.error
    if name == "w4a4":
        assert best < 0.7 * plain.error
    reasons = [line for line in choice.reasons() if "(Minimum)" not in line]
    remarks = name == "we2m1-ae4m3"
    assert len(reasons) == len(said) + 1 == len(choice.trials) + remarks + 1
    assert all("margins of close decisions err by" in line for line in reasons[len(choice.trials) : -1])
    assert reasons[0].startswith(f"tried {name} with plain: logit error ")
    assert reasons[-1].startswith(f"chose {choice.scheme} with {choice.method} (")
    assert ("least logit error on held-out calibration images" in reasons[-1]) == (not better)
    assert ("logits centred for the margins of close decisions" in reasons[-1]) == centred
    gap = simulate(choice.shaped, x) - simulate(graph, x)
    np.testing.assert_allclose(gap, gap.mean() if centred else 0, rtol=1e-3, atol=1e-3)


def test_minifloat_logits_are_centred_where_close_decisions_gain(network: tuple[Graph, Array]) -> None:
    graph, x = network
    layer = deciding_layer(graph)
    assert layer is not None
    bias = layer.inputs[2]
    raised = replace(graph, weights={**graph.weights, bias: graph.weights[bias] + np.float32(40)})
    for preset in PRESETS[:2]:
        assert quantise_by(raised, parse_scheme("we4m3-ae4m3"), preset, x).method.has("centre")
        assert not quantise_by(raised, parse_scheme("w8a8"), preset, x).method.has("centre")
    # Already where it should be: a move the other way must not be taken.
    choice = quantise_by(centre(graph, x), parse_scheme("we4m3-ae4m3"), PRESETS[1], x)
    before, after = (float(choice.remarks[0].split(word)[1].strip(" ,.").split(",")[0]) for word in ("not ", "err by "))
    assert choice.method.has("centre") == (after < presets.WORTH_CENTRING * before)


@pytest.mark.parametrize("preset", PRESETS[:2], ids=lambda preset: preset.name)
def test_presets_repeat_themselves(preset, network: tuple[Graph, Array]) -> None:
    graph, x = network
    first, second = (quantise_by(graph, parse_scheme("w4a4"), preset, x) for _ in range(2))
    assert (first.scheme, first.method, first.trials) == (second.scheme, second.method, second.trials)
    assert all(np.array_equal(weight, second.graph.weights[name]) for name, weight in first.graph.weights.items())
    assert first.graph.tensors == second.graph.tensors


@pytest.mark.parametrize(("name", "method"), [("w8a8", "bias"), ("w4a8", "scales+gptq+bias")])
def test_fast_measures_nothing_and_helps(name: str, method: str, network: tuple[Graph, Array]) -> None:
    graph, x = network
    said: list[str] = []
    choice = quantise_by(graph, parse_scheme(name), PRESETS[0], x, said.append)
    assert (choice.trials, said, str(choice.method)) == ((), [], method)
    assert list(choice.reasons()) == [f"chose {name} with {method} (nothing measured)"]
    fresh = class_inputs(60, 11)
    plain = quantise(graph, parse_scheme(name), x)
    assert errors_of(graph, choice.graph, fresh) < (1.0 if name == "w4a8" else 1.2) * errors_of(graph, plain, fresh)


def test_a_range_estimator_that_is_named_stays(network: tuple[Graph, Array]) -> None:
    graph, x = network
    choice = quantise_by(graph, parse_scheme("w8a4-p99.9"), PRESETS[1], x)
    assert {trial.scheme for trial in choice.trials} == {parse_scheme("w8a4-p99.9")}


def test_one_image_is_enough_to_run(network: tuple[Graph, Array]) -> None:
    graph, x = network
    choice = quantise_by(graph, parse_scheme("w8a8"), replace(PRESETS[1], shapes=()), x[:1])
    assert np.ptp(simulate(choice.graph, x)) > 0


def test_relative_error_is_of_logits_without_their_mean() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(20, 5))
    noise = rng.normal(size=(20, 5)) * 0.1
    centred = noise - noise.mean(axis=1, keepdims=True)
    signal = wanted - wanted.mean(axis=1, keepdims=True)
    assert relative_error(wanted, wanted + noise) == pytest.approx((centred**2).sum() / (signal**2).sum())
    assert relative_error(wanted, wanted + 7) == pytest.approx(0, abs=1e-12)
    assert relative_error(3 * wanted, 3 * wanted + 3 * noise) == pytest.approx(relative_error(wanted, wanted + noise))


def test_a_candidate_that_overflows_is_told_and_left_out(
    network: tuple[Graph, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, x = network
    plain = quantise(graph, parse_scheme("w4a4"), x)

    def picky(made: Graph) -> object:
        if any(not np.array_equal(made.weights[name], weight) for name, weight in plain.weights.items()):
            raise QuantError("the accumulator can reach too far")
        return lower(made)

    monkeypatch.setattr(presets, "lower", picky)
    said: list[str] = []
    choice = quantise_by(graph, parse_scheme("w4a4"), find_preset("default"), x, said.append)
    assert any("gptq+bias: not possible (the accumulator can reach too far)" in line for line in said)
    assert all("gptq" not in trial.method.steps for trial in choice.trials)


def test_what_overflows_plainly_is_refused(network: tuple[Graph, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(made: Graph) -> object:
        raise QuantError("the accumulator can reach too far")

    monkeypatch.setattr(presets, "lower", never)
    with pytest.raises(QuantError, match="the accumulator can reach too far"):
        quantise_by(network[0], parse_scheme("w4a4"), find_preset("default"), network[1])


@pytest.mark.parametrize("scheme", ["w8a8-pt", "w8a8"])
def test_default_scales_across_limits_where_weights_share_one_scale(scheme: str) -> None:
    """Channels of very different strength; a Minimum for each limit is chosen only where it pays, and told."""
    graph, told = mobile(1), []
    x = images(graph, 90)
    choice = quantise_by(graph, parse_scheme(scheme), find_preset("default"), x, told.append)
    found = presets.minima(choice.graph)
    assert found == (5 if scheme == "w8a8-pt" else 0)
    assert any("5 more operators (Minimum)" in line for line in choice.reasons()) == bool(found)
    assert any("cle" in str(trial.method) for trial in choice.trials) == bool(found)


def test_more_operators_must_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "WORTH_MINIMA", 0.0)
    graph = mobile(1)
    choice = quantise_by(graph, parse_scheme("w8a8-pt"), find_preset("default"), images(graph, 90))
    assert any("cle" in str(trial.method) for trial in choice.trials)
    assert presets.minima(choice.graph) == 0
    least = min(choice.trials, key=lambda trial: trial.error)
    plain = next(trial for trial in choice.trials if (trial.scheme, trial.method) == (choice.scheme, choice.method))
    assert plain.error > least.error
    why = f"logit error {plain.error:.3%}; less, {least.error:.3%}, takes more operators (Minimum), which does not pay"
    assert list(choice.reasons())[-1] == f"chose {choice.scheme} with {choice.method} ({why})"


def test_centred_logits_are_said_to_have_been_judged_by_margins(network: tuple[Graph, Array]) -> None:
    graph, x = network
    layer = deciding_layer(graph)
    assert layer is not None
    bias = layer.inputs[2]
    raised = replace(graph, weights={**graph.weights, bias: graph.weights[bias] + np.float32(40)})
    choice = quantise_by(raised, parse_scheme("we4m3-ae4m3"), PRESETS[1], x)
    last = list(choice.reasons())[-1]
    assert choice.method.has("centre")
    assert last.endswith("; logits centred for the margins of close decisions)")
    (error,) = {
        t.error for t in choice.trials if t.method == Method(choice.method.steps[1:]) and t.scheme == choice.scheme
    }
    assert ("least logit error" in last) == (error == min(trial.error for trial in choice.trials))
