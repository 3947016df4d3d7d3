"""The link's format: the cut tensor alone changes it; head then tail stays what the whole graph computes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.exporting import halves
from edge.link.packing import packed_bytes
from edge.link.requantise import link_formats, link_tensor, with_link_format
from edge.split import cut, cut_points
from export.arm_m import TARGET
from export.bundle import BundleSpec, write_bundle
from export.dynamic import run_parts
from export.runtimes.c_host import RUNTIME as C_HOST
from quant.formats import E4M3, INT8, find_format
from quant.program import lower
from quant.reference import dequantise, fast_dot, quantise_input, run
from tests.dynamic_bundles import LABELS, PREPROCESS
from tests.test_edge_split import GRAPHS
from tests.toys import random_codes, toy_graph

SOME = tuple(map(find_format, ("int8", "int5", "int4", "int2", "uint4", "e3m2", "e2m1", "e4m3", "e5m2", "e5m2ocp")))
COUNT = 24


def inputs_of(graph, count=COUNT, seed=1):
    """Real inputs whose codes are `random_codes`."""
    return dequantise(graph.quant(graph.input), random_codes(graph, count, seed))


def outputs(graph, codes):
    return run(lower(graph), codes, fast_dot)[graph.output]


def labels(graph, codes):
    fmt = graph.quant(graph.output).format
    return fmt.to_ordinals(codes).argmax(axis=1)


@pytest.mark.parametrize("fmt", SOME, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("own", (INT8, E4M3, find_format("e5m2")), ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", GRAPHS)
def test_head_then_tail_is_the_whole(kind, own, fmt):
    weights = find_format("e2m3") if own.name == "e5m2" else own
    graph = GRAPHS[kind][0](own, weights)
    x = inputs_of(graph)
    codes = quantise_input(graph.quant(graph.input), x)
    for point in cut_points(graph):
        changed = with_link_format(graph, point.tensor, fmt, x)
        tensor = link_tensor(changed, point.tensor)
        whole = run(lower(changed), codes, fast_dot)
        head, tail = cut(changed, tensor)
        middle = outputs(head, codes)
        assert head.quant(head.output).format == fmt == tail.quant(tail.input).format
        np.testing.assert_array_equal(middle, whole[tensor])
        np.testing.assert_array_equal(outputs(tail, middle), whole[graph.output])
        assert len(np.unique(middle.reshape(len(middle), -1), axis=0)) > 4
        assert packed_bytes(fmt, middle[0].size) == -(-middle[0].size * fmt.bits // 8)


@pytest.mark.parametrize("fmt", SOME, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", GRAPHS)
def test_more_than_one_label_comes_out(kind, fmt):
    graph = GRAPHS[kind][0](INT8, INT8)
    x = inputs_of(graph, 64)
    changed = with_link_format(graph, cut_points(graph)[0].tensor, fmt, x)
    codes = outputs(changed, quantise_input(graph.quant(graph.input), x))
    assert len(np.unique(codes, axis=0)) > 8 and len(set(labels(graph, codes).tolist())) > 1


def test_only_the_cut_tensor_changes():
    graph = toy_graph()
    changed = with_link_format(graph, "a", find_format("int4"), inputs_of(graph))
    assert all(changed.tensors[name] == graph.tensors[name] for name in graph.tensors)
    assert set(changed.tensors) - set(graph.tensors) == {"a_link", "a_back"}
    assert changed.quant("a_back") == graph.quant("a")
    assert [node.inputs[0] for node in changed.nodes if node.name in ("dw", "add")] == ["a_back", "a_back"]
    assert [point.tensor for point in cut_points(changed)] == ["a", "a_link", "a_back", "c", "m"]


def test_the_tensors_own_format_changes_nothing():
    graph = toy_graph()
    assert with_link_format(graph, "a", INT8, inputs_of(graph)) is graph
    assert link_tensor(graph, "a") == "a"


def _error(graph, fmt, x, tensor="a"):
    """Mean squared error of the cut tensor over the link, relative to its mean square."""
    changed = with_link_format(graph, tensor, find_format(fmt), x)
    values = run(lower(changed), quantise_input(graph.quant(graph.input), x), fast_dot)
    own, back = (dequantise(graph.quant(tensor), values[name]) for name in (tensor, f"{tensor}_back"))
    return float(np.square(own - back).mean() / np.square(own).mean())


def test_more_bits_lose_less():
    graph = toy_graph()
    x = inputs_of(graph, 64)
    errors = [_error(graph, fmt, x) for fmt in ("int2", "int3", "int4", "int6")]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3 < errors[0] < 0.5
    assert _error(graph, "e3m4", x) < _error(graph, "e3m2", x) < 0.01


def test_a_format_with_five_exponent_bits_comes_back_as_well_as_its_mantissa_allows():
    """E5M2 holds E4M2's values and more; the way back through E4M3 must not lose what the format holds."""
    graph = toy_graph()
    x = inputs_of(graph, 64)
    changed = with_link_format(graph, "a", find_format("e5m2"), x)
    assert [name for name in changed.tensors if name.startswith("a_")] == ["a_link", "a_from0", "a_back"]
    values = run(lower(changed), quantise_input(graph.quant(graph.input), x), fast_dot)
    link, between = (dequantise(changed.quant(name), values[name]) for name in ("a_link", "a_from0"))
    step = graph.quant("a").scale[0]
    assert np.abs(link - between).max() < 0.01 * step
    assert np.abs(link - dequantise(graph.quant("a"), values["a_back"])).max() <= 0.51 * step


def test_every_format_of_a_link_lowers_between_every_two():
    """Each format as the link of integer and minifloat networks: the graph lowers, and codes vary."""
    for own in ("int8", "int16", "e3m2", "e4m3"):
        graph = toy_graph(find_format(own), INT8 if own == "int16" else find_format(own))
        x = inputs_of(graph, 8)
        codes = quantise_input(graph.quant(graph.input), x)
        for fmt in link_formats():
            changed = with_link_format(graph, "m", fmt, x)
            made = run(lower(changed), codes, fast_dot)[link_tensor(changed, "m")]
            assert len(np.unique(made)) > 1, (own, fmt.name)


@pytest.mark.skipif(C_HOST.missing() is not None, reason=str(C_HOST.missing()))
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")
@pytest.mark.parametrize("fmt", ("int4", "e3m2", "e5m2"))
def test_generated_c_says_the_same(tmp_path, fmt):
    graph = toy_graph()
    x = inputs_of(graph, COUNT)
    changed = with_link_format(graph, "c", find_format(fmt), x)
    parts = halves(changed, x, link_tensor(changed, "c"))
    bundle = write_bundle(tmp_path / "bundle", BundleSpec("toy", "w8a8", PREPROCESS, LABELS, parts), TARGET)
    sessions = [
        C_HOST.open(bundle.path / part.name, part.record.facts["c_prefix"], part.graph) for part in bundle.parts
    ]
    codes = quantise_input(graph.quant(graph.input), x)
    try:
        answers = run_parts(bundle.manifest, lambda index, given: sessions[index].run(given), codes)
    finally:
        for session in sessions:
            session.close()
    whole = outputs(changed, codes)
    np.testing.assert_array_equal(answers.outputs[1], whole)
    assert len(np.unique(whole, axis=0)) > 8 and len(set(answers.label.tolist())) > 1


def test_refusals_say_what_is_allowed():
    graph = toy_graph()
    x = inputs_of(graph, 4)
    with pytest.raises(EdgeError, match="int9 is no format of a link; use an integer of 2 to 8 bits"):
        with_link_format(graph, "a", find_format("int9"), x)
    with pytest.raises(EdgeError, match=r"e6m1 is no format of a link.*at most 5 for its exponent"):
        with_link_format(graph, "a", find_format("e6m1"), x)
    with pytest.raises(EdgeError, match="lies inside a branch"):
        with_link_format(graph, "b", find_format("int4"), x)
    once = with_link_format(graph, "a", find_format("int4"), x)
    with pytest.raises(EdgeError, match="has a 'a_back' already"):
        with_link_format(once, "a", find_format("int3"), x)
