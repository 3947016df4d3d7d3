"""The contract of every target: bundles read back, are the same when written again, and refuse what cannot be said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from export.bundle import BundleSpec, write_bundle
from export.bundle_read import read_bundle
from export.errors import ExportError
from export.target import Source, Target
from export.targets import TARGETS, find_target
from quant.formats import INT8, Format, find_format
from quant.graph import Graph, Tensor, check
from quant.operators import Softmax
from quant.program import lower
from quant.reference import run
from tests.bundles import head_and_tail, toy_spec
from tests.test_export_bundle_write import everything
from tests.toys import random_codes, toy_graph

pytest.importorskip("onnx", reason="two targets write ONNX")


def symmetric(graph: Graph) -> Graph:
    """Return the graph with zero points of 0, which every target takes."""
    tensors = {name: replace(t, quant=replace(t.quant, zero=0)) if t.quant else t for name, t in graph.tensors.items()}
    return check(replace(graph, tensors=tensors))


def real(graph: Graph) -> Graph:
    """Return the float graph that a quantised graph stands for."""
    weights = {}
    for node in graph.nodes:
        if len(node.inputs) != 3:
            continue
        x, w = graph.quant(node.inputs[0]), graph.quant(node.inputs[1])
        columns = np.array(w.scale, dtype=np.float64).reshape(-1, *(1 for _ in graph.shape(node.inputs[1])[1:]))
        weights[node.inputs[1]] = (w.format.decode(graph.weights[node.inputs[1]]) * columns).astype(np.float32)
        weights[node.inputs[2]] = (graph.weights[node.inputs[2]] * np.array(w.scale) * x.scale[0]).astype(np.float32)
    tensors = {name: Tensor(tensor.shape) for name, tensor in graph.tensors.items()}
    return check(replace(graph, tensors=tensors, weights=weights))


def taken(names: tuple[str, ...]) -> Format:
    """The format of a test for a target that takes these: int8, or the first where it does not take that."""
    return INT8 if INT8.name in names else find_format(names[0])


def sources(target: Target, *, split: bool) -> tuple[Source, ...]:
    """The symmetric toy in a format of the target, as one part or two, with the float graphs."""
    capability = target.capability
    graph = symmetric(toy_graph(taken(capability.activations), taken(capability.weights)))
    codes = random_codes(graph, 4)
    values = run(lower(graph), codes)
    assert len(set(values["y"].argmax(axis=1).tolist())) > 1
    if not split:
        return (Source("model", graph, codes, values["y"], real(graph)),)
    head, tail = head_and_tail(graph, 3)
    return (
        Source("head", head, codes, values["c"], real(head)),
        Source("tail", tail, values["c"], values["y"], real(tail)),
    )


def spec(target: Target, *, split: bool = False) -> BundleSpec:
    """A bundle that a target takes."""
    return replace(toy_spec(), parts=sources(target, split=split))


def by_name(value: object) -> str | None:
    """Name a parametrised case after its target."""
    return value.name if isinstance(value, Target) else None


@pytest.mark.parametrize("target", TARGETS, ids=by_name)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_a_bundle_reads_back_and_is_the_same_when_written_again(tmp_path, target, split):
    first = write_bundle(tmp_path / "one", spec(target, split=split), target)
    assert first.manifest.target == target.name
    for part in first.parts:
        own = {path.name for path in part.folder.iterdir()} - {"graph.graph", "vectors.npz"}
        assert own, "the target wrote nothing"
        assert part.facts
    write_bundle(tmp_path / "two", spec(target, split=split), target)
    assert everything(tmp_path / "one") == everything(tmp_path / "two")
    assert read_bundle(tmp_path / "two").digest == first.digest


@pytest.mark.parametrize("target", TARGETS, ids=by_name)
def test_an_operator_the_target_does_not_take_is_refused(tmp_path, target):
    narrow = replace(target, capability=replace(target.capability, operators=(Softmax,)))
    with pytest.raises(ExportError, match=rf"{target.name}: node 'conv' is a Conv; this target takes Softmax"):
        write_bundle(tmp_path / "b", spec(target), narrow)
    assert list(tmp_path.iterdir()) == []


OUTSIDE = [(t, name) for t in TARGETS for name in ("e4m3", "int16", "e2m1") if name not in t.capability.activations]


@pytest.mark.parametrize(("target", "name"), OUTSIDE, ids=by_name)
def test_formats_outside_the_capability_are_refused(tmp_path, target, name):
    with pytest.raises(ExportError, match=rf"{target.name}: activation 'x' is {name}; this target takes"):
        write_bundle(tmp_path / "b", toy_spec(find_format(name), INT8), target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", [t for t in TARGETS if t.capability.symmetric], ids=by_name)
def test_zero_points_are_refused_where_they_must_be_0(tmp_path, target):
    with pytest.raises(ExportError, match="needs zero points of 0"):
        write_bundle(tmp_path / "b", toy_spec(), target)


def test_names_are_unique_and_a_near_miss_gets_a_suggestion():
    assert len({target.name for target in TARGETS}) == len(TARGETS)
    assert {"host", "jetson", "arm-a", "arm-m", "fpga"} <= {target.name for target in TARGETS}
    with pytest.raises(ExportError, match=r"unknown target 'arm_m'.*Did you mean 'arm-m'"):
        find_target("arm_m")
