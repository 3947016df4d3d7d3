"""Methods: names that parse, orders that are refused, and every step on its own against the reference."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.method import PLAIN, STEPS, Method, apply_method, parse_method, reshape, set_layers
from quant.passes import learned_rounding
from quant.program import lower
from quant.ptq import lay_out, quantise, scheme_ranges
from quant.reference import dequantise, fast_dot, quantise_input, run
from quant.scheme import parse_scheme
from quant.simulate import apply, simulate, simulator
from tests.classes import class_inputs, class_net

#: Exclusive steps of one stage cannot meet; every other choice of steps is a method.
METHODS = [
    "+".join(step.name for step in chosen)
    for count in range(1, len(STEPS) + 1)
    for chosen in combinations(STEPS, count)
    if len({step.stage for step in chosen}) == count
]


def test_every_choice_of_steps_in_order_is_a_method() -> None:
    assert len(METHODS) == 2**7 * 3 - 1
    for text in METHODS:
        method = parse_method(text)
        assert str(method) == text
        assert parse_method(str(method)) == method
        assert all(method.has(name) for name in text.split("+"))
    assert parse_method(PLAIN) == Method()
    assert str(Method()) == PLAIN
    assert not Method().is_layerwise


@given(st.lists(st.sampled_from([step.name for step in STEPS]), min_size=1, max_size=6))
def test_any_other_list_of_steps_is_refused_with_what_to_write(names: list[str]) -> None:
    text = "+".join(names)
    if text in METHODS:
        assert parse_method(text).steps == tuple(names)
        return
    with pytest.raises(QuantError, match=r"twice|excludes|in the wrong order; write ") as caught:
        parse_method(text)
    if "write" in str(caught.value):
        assert parse_method(str(caught.value).split("write ")[1].rstrip(".")).steps


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gptq+learned", r"passes 'gptq\+learned': learned excludes gptq; both decide the rounding\."),
        ("gptq+cle", r"passes 'gptq\+cle' are in the wrong order; write cle\+gptq\."),
        ("bias+scales+hadamard", r"wrong order; write hadamard\+scales\+bias\."),
        ("bias+bias", r"passes 'bias\+bias': bias is given twice\."),
        ("gtpq", r"unknown pass 'gtpq'\. Did you mean 'gptq'\? Known: centre, hadamard, cle, smooth, "),
        ("cle+plain", r"unknown pass 'plain'"),
        ("", r"unknown pass ''"),
        ("cle+", r"unknown pass ''"),
        ("cle,bias", r"unknown pass 'cle,bias'"),
    ],
)
def test_messages(text: str, says: str) -> None:
    with pytest.raises(QuantError, match=says):
        parse_method(text)


def test_case_and_blanks_do_not_matter() -> None:
    assert parse_method(" CLE + Bias ") == Method(("cle", "bias"))


def reference(made: Graph, x: Array) -> dict[str, Array]:
    """Codes of every activation by the integer reference."""
    codes: dict[str, Array] = run(lower(made), quantise_input(made.quant(made.input), x), fast_dot)
    return codes


def most_steps_off(made: Graph, codes: dict[str, Array]) -> int:
    """Run every node in simulation on the reference's inputs; return by how many values of a grid outputs differ."""
    real = {name: torch.from_numpy(dequantise(made.quant(name), value)) for name, value in codes.items()}
    sim, most = simulator(made), 0
    for node in made.nodes:
        quant = made.quant(node.output)
        found = quantise_input(quant, apply(sim, node, [real.get(name) for name in node.inputs]).numpy())
        apart = quant.format.to_ordinals(found) - quant.format.to_ordinals(codes[node.output])
        most = max(most, int(np.abs(apart).max()))
    return most


#: With w4a6-ends8 some sums are so small that the integers' double rounding is felt: no labels there.
SCHEMES = ("w8a8", "w4a8", "w4a6-ends8", "we4m3-ae4m3", "we2m1-aint8", "we2m1-ae4m3", "w8a6-pt-mse")


@pytest.fixture(scope="module")
def network() -> tuple[Graph, Array, Array]:
    """A graph on which every step has work, calibration inputs, and others."""
    return class_net(), class_inputs(48, 1), class_inputs(60, 7)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("step", [PLAIN, *(step.name for step in STEPS)])
def test_every_step_makes_a_graph_whose_reference_agrees(
    step: str, scheme: str, network: tuple[Graph, Array, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lower` takes it, every node computes in simulation what the reference does, and the labels are its labels."""
    monkeypatch.setattr(learned_rounding, "ITERATIONS", 60)
    graph, calibration, x = network
    parsed = parse_scheme(scheme)
    made = apply_method(graph, parsed, parse_method(step), calibration)
    plain = lay_out(graph, parsed, scheme_ranges(graph, parsed, calibration))
    changed = [n for n, w in made.weights.items() if not np.array_equal(w, plain.weights[n])]
    assert bool(changed) == (step != PLAIN)
    codes = reference(made, x)
    assert most_steps_off(made, codes) <= 1
    found = dequantise(made.quant(made.output), codes[made.output]).argmax(axis=1)
    assert len(np.unique(found)) > 1
    if scheme != "w4a6-ends8":
        assert (simulate(made, x).argmax(axis=1) == found).mean() >= 0.85
    if scheme in ("w8a8", "we4m3-ae4m3"):
        assert (simulate(graph, x).argmax(axis=1) == found).mean() >= 0.95


@pytest.mark.parametrize("scheme", ["w3a8", "we2m1-ae4m3"])
def test_a_long_method_beats_plain_and_repeats_itself(scheme: str, network: tuple[Graph, Array, Array]) -> None:
    graph, calibration, x = network
    parsed, method = parse_scheme(scheme), parse_method("cle+scales+compensate+gptq+bias")
    first, second = (apply_method(graph, parsed, method, calibration) for _ in range(2))
    assert all(np.array_equal(first.weights[name], weight) for name, weight in second.weights.items())
    assert first.tensors == second.tensors
    want = simulate(graph, x)
    plain = quantise(graph, parsed, calibration)
    errors = [np.square(simulate(made, x) - want).mean() for made in (first, plain)]
    assert errors[0] < 0.7 * errors[1]


def test_known_ranges_are_used_where_the_float_graph_stays(network: tuple[Graph, Array, Array]) -> None:
    graph, calibration, _ = network
    scheme = parse_scheme("w8a8")
    ranges = {name: (low * 2, high * 2) for name, (low, high) in scheme_ranges(graph, scheme, calibration).items()}
    wide = apply_method(graph, scheme, parse_method("bias"), calibration, ranges)
    own = apply_method(graph, scheme, parse_method("bias"), calibration)
    assert wide.quant("x").scale[0] == pytest.approx(2 * own.quant("x").scale[0], rel=1e-6)
    reshaped = apply_method(graph, scheme, parse_method("cle"), calibration, ranges)
    assert reshaped.quant("x") == own.quant("x")


def test_plain_leaves_everything_as_it_is(network: tuple[Graph, Array, Array]) -> None:
    graph, calibration, _ = network
    assert reshape(graph, Method(), calibration) is graph
    made = quantise(graph, parse_scheme("w4a4"), calibration)
    assert set_layers(made, graph, Method(), calibration) is made
