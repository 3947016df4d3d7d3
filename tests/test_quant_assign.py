"""Which tensor gets which format and range: ends in wide formats, moved codes, shared and widened ranges."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant.assign import activation_formats, assign_ranges, resolve, weight_formats, with_headroom
from quant.formats import INT8, find_format
from quant.graph import Graph
from quant.operators import MOVES, AveragePool
from quant.program import lower
from quant.ptq import lay_out, prepare, quantise, scheme_ranges
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.float_nets import Net, inputs, random_net
from tests.layers import small_net


def direct_net() -> Graph:
    """The last layer, a convolution, reads moved codes; an Add stands behind it."""
    net = Net(4)
    net.conv(4)
    net.clip()
    first = net.top
    net.conv(4)
    net.concat(first)
    net.pool(AveragePool)
    before = net.top
    net.conv(8)
    net.add(before)
    net.mean()
    return prepare(net.graph())


def names(graph: Graph) -> dict[str, tuple[str, str]]:
    """Formats of weight and output of every layer, and of the outputs of the other nodes, by node."""
    found = {}
    for node in graph.nodes:
        weight = graph.quant(node.inputs[1]).format.name if node.kind in ("Conv", "Gemm") else ""
        found[node.name] = (weight, graph.quant(node.output).format.name)
    return found


def laid(graph: Graph, text: str) -> Graph:
    scheme = parse_scheme(text)
    return lay_out(graph, scheme, scheme_ranges(graph, scheme, inputs(32, 0, graph.shape(graph.input))))


def test_ends_widen_the_first_and_last_layer_and_what_they_read_and_make() -> None:
    graph = small_net()
    made = laid(graph, "w3a4-ends8")
    assert made.quant(graph.input).format == INT8
    found = names(made)
    assert [node.name for node in graph.nodes] == ["n0", "n2", "n4", "n5", "n6", "n7"]
    assert found == {
        "n0": ("int8", "int4"),
        "n2": ("int3", "int4"),
        "n4": ("int3", "int4"),
        "n5": ("", "int4"),
        "n6": ("", "int8"),
        "n7": ("int8", "int8"),
    }
    lower(made)


def test_ends_reach_through_what_moves_codes_and_to_what_stands_behind() -> None:
    graph = direct_net()
    found = names(laid(graph, "w3a4-ends8"))
    kinds = {node.name: node.kind for node in graph.nodes}
    last = next(node for node in reversed(graph.nodes) if node.kind == "Conv")
    behind = [node.name for node in graph.nodes[graph.nodes.index(last) :]]
    assert found[last.name] == ("int8", "int8")
    assert all(found[name][1] == "int8" for name in behind)
    # Both makers of the concatenation, and the moves between them and the last layer.
    assert {found[name][1] for name, kind in kinds.items() if kind in ("Concat", "AveragePool")} == {"int8"}
    assert [found[name] for name, kind in kinds.items() if kind == "Conv"][:2] == [("int8", "int8"), ("int3", "int8")]


@pytest.mark.parametrize(
    ("text", "weight", "activation", "source"),
    [
        ("we2m1-ae2m1-ends8", "e3m4", "e3m4", "int8"),
        ("we2m1-ae2m1-ends6", "e3m2", "e3m2", "int6"),
        ("we2m1-aint4-ends8", "e3m4", "int8", "int8"),
        ("wint3-auint4-ends8", "int8", "uint8", "int8"),
        ("w8a4-ends6", "int8", "int6", "int6"),
        ("w3a4-ends8-i6", "int8", "int8", "int6"),
        ("we4m3-ae5m2-ends8", "e4m3", "e5m2", "int8"),
    ],
)
def test_wide_formats_go_with_the_narrow_ones(text: str, weight: str, activation: str, source: str) -> None:
    graph = small_net()
    scheme = parse_scheme(text)
    formats = activation_formats(graph, scheme)
    assert weight_formats(graph, scheme)["n7"] == weight_formats(graph, scheme)["n0"] == find_format(weight)
    assert formats[graph.nodes[-1].output] == find_format(activation)
    assert formats[graph.input] == find_format(source)
    assert weight_formats(graph, scheme)["n2"] == scheme.formats.weight


def test_rules_of_the_scheme_win_over_ends_and_resolving_is_done_once() -> None:
    graph = small_net()
    scheme = parse_scheme("w3a4-ends8;n7=w5a6")
    resolved = resolve(scheme, graph)
    assert resolved.ends is None
    assert resolve(resolved, graph) == resolved
    assert (resolved.at("n7").weight.name, resolved.at("n7").activation.name) == ("int5", "int6")
    assert resolved.at("n0").weight == INT8
    assert resolve(parse_scheme("w3a4"), graph) == parse_scheme("w3a4")
    assert parse_scheme(str(resolved)) == resolved


def test_names_with_pattern_characters_are_meant_literally() -> None:
    net = Net(0, (1, 6))
    net.gemm(4)
    graph = net.graph()
    node = graph.nodes[0]
    odd = type(node)("[a]*?", node.op, node.inputs, node.output)
    odd_graph = Graph("net", "x", graph.output, (odd,), graph.tensors, graph.weights)
    resolved = resolve(parse_scheme("w3a4-ends8"), odd_graph)
    assert resolved.at("[a]*?").weight == INT8
    assert resolved.at("a").weight.name == "int3"
    assert resolved.at("[a]xx").weight.name == "int3"


def test_a_graph_without_layers_has_no_ends() -> None:
    net = Net(0)
    net.pool(AveragePool)
    scheme = parse_scheme("w3a4-ends8")
    assert resolve(scheme, net.graph()) == scheme
    assert weight_formats(net.graph(), scheme) == {}


@pytest.mark.parametrize("text", ["w4a4", "w4a4;n2=w8a8", "we2m1-ae4m3", "w4a8-i8", "we3m2-ae3m2-i8"])
@pytest.mark.parametrize("seed", range(4))
def test_moved_codes_keep_their_format(text: str, seed: int) -> None:
    graph, scheme = prepare(random_net(seed)), parse_scheme(text)
    formats = activation_formats(graph, scheme)
    assert set(formats) == set(graph.activations())
    for node in graph.nodes:
        if isinstance(node.op, MOVES):
            assert formats[node.output] == formats[node.inputs[0]]
        else:
            assert formats[node.output] == scheme.at(node.name).activation
    if scheme.input_bits:
        assert formats[graph.input] == INT8
    layers = {node.name for node in graph.nodes if node.kind in ("Conv", "Gemm")}
    assert weight_formats(graph, scheme).keys() == layers


@pytest.mark.parametrize("seed", range(8))
def test_ranges_are_shared_where_codes_only_move_and_never_shrink(seed: int) -> None:
    graph = prepare(random_net(seed))
    scheme = parse_scheme("w8a8")
    ranges = scheme_ranges(graph, scheme, inputs(16, seed))
    shared = assign_ranges(graph, ranges, activation_formats(graph, scheme))
    assert shared.keys() == ranges.keys()
    for name, (low, high) in ranges.items():
        assert shared[name][0] <= low
        assert shared[name][1] >= high
    for node in graph.nodes:
        if isinstance(node.op, MOVES):
            assert all(shared[name] == shared[node.output] for name in node.inputs)


def dead_net() -> Graph:
    """A middle layer whose large addends cancel, but for a bias of 1e-9: both channels it reads are the same."""
    net = Net(1, (1, 4, 6, 6))
    net.conv(2, 1, 1, (0, 0, 0, 0))
    net.weights["w0"][1], net.weights["w1"][1] = net.weights["w0"][0], net.weights["w1"][0]
    net.conv(4, 1, 1, (0, 0, 0, 0))
    net.weights["w2"][:, 0], net.weights["w2"][:, 1] = 1.0, -1.0
    net.weights["w3"][:] = 1e-9
    net.mean()
    net.gemm(5)
    return prepare(net.graph())


@pytest.mark.parametrize("text", ["w8a8", "w4a4", "w8a16"])
def test_ranges_that_are_tiny_beside_the_inputs_are_widened_for_their_multiplier(text: str) -> None:
    graph, x = dead_net(), inputs(16, 0, (1, 4, 6, 6))
    scheme = parse_scheme(text)
    ranges, formats = scheme_ranges(graph, scheme, x), activation_formats(graph, scheme)
    wide = with_headroom(graph, ranges, formats)
    dead = graph.nodes[1].output
    assert np.ptp(ranges[dead]) < 1e-9
    assert np.ptp(wide[dead]) > np.ptp(ranges[dead])
    assert wide[graph.nodes[0].output] == ranges[graph.nodes[0].output]
    assert np.ptp(wide[dead]) < 0.01
    assert np.isfinite(simulate(quantise(graph, scheme, x), x)).all()


def test_the_first_layer_may_make_the_last_one_s_input() -> None:
    """A network of two layers: both have wide weights, and all activations are wide."""
    net = Net(2)
    net.conv(4)
    net.clip()
    net.mean()
    net.gemm(5)
    assert names(laid(prepare(net.graph()), "w3a4-ends8")) == {
        "n0": ("int8", "int4"),
        "n2": ("", "int8"),
        "n3": ("int8", "int8"),
    }
    direct = Net(2, (1, 6))
    direct.gemm(4)
    direct.gemm(5)
    assert names(laid(direct.graph(), "w3a4-ends8")) == {"n0": ("int8", "int8"), "n1": ("int8", "int8")}


def test_minifloats_need_no_headroom_and_reached_clips_stay() -> None:
    graph, x = dead_net(), inputs(16, 0, (1, 4, 6, 6))
    scheme = parse_scheme("we4m3-ae4m3")
    ranges = scheme_ranges(graph, scheme, x)
    wide = with_headroom(graph, ranges, activation_formats(graph, scheme))
    assert wide[graph.nodes[1].output][1] == max(ranges[graph.nodes[1].output][1], 0)
    net = Net(1, (1, 4, 6, 6))
    net.conv(4)
    net.clip(0.0, 1e-9)
    net.mean()
    net.gemm(5)
    switch = prepare(net.graph())
    formats = activation_formats(switch, parse_scheme("w8a8"))
    ranges = scheme_ranges(switch, parse_scheme("w8a8"), x)
    assert with_headroom(switch, ranges, formats)[switch.nodes[0].output] == ranges[switch.nodes[0].output]
