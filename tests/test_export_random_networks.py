"""The generator of random networks: every network fits its target and varies, and together they cover what there is."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks.choices import parse, shrink, spell
from benchmarks.growth import labels, varies
from benchmarks.random_networks import COMMON, IMAGES, Example, of_recipe, of_seed, space_of
from export.arm_m import TARGET as ARM_M
from export.target import Target, check_capability
from export.targets import TARGETS
from quant import operators as ops
from quant.graph import Graph
from quant.program import lower
from quant.reference import run

SPACE = space_of(ARM_M.capability)
MANY = 200


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return [of_seed(SPACE, seed).graph for seed in range(MANY)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_networks_are_what_their_target_takes(target: Target) -> None:
    for seed in range(8):
        example = of_seed(space_of(target.capability), seed)
        check_capability(target, example.graph)
        assert_varies(example)


def assert_varies(example: Example) -> None:
    """Recomputed by the slow reference: outputs vary, labels differ, no layer is constant, no code is everywhere."""
    graph = example.graph
    values = run(lower(graph), example.inputs)
    assert all(np.array_equal(values[name], example.values[name]) for name in graph.activations())
    assert len(example.inputs) == IMAGES
    for node in graph.nodes:
        assert varies(graph.quant(node.output).format, values[node.output])
    assert len(labels(graph.quant(graph.output).format, values[graph.output])) > 1


def test_networks_cover_every_operator_and_format_of_the_target(graphs: list[Graph]) -> None:
    kinds = {type(node.op) for graph in graphs for node in graph.nodes}
    assert kinds == set(ARM_M.capability.operators)
    assert {graph.quant(name).format.name for graph in graphs for name in graph.activations()} == set(COMMON)
    weights = [graph.tensors[name].quant for graph in graphs for name in graph.weights]
    assert {quant.format.name for quant in weights if quant} == set(COMMON)
    assert {node.op.name for graph in graphs for node in graph.nodes if isinstance(node.op, ops.Function)} == set(
        ops.FUNCTIONS
    )


def test_networks_cover_every_shape_of_convolution(graphs: list[Graph]) -> None:
    found = {name for graph in graphs for node in graph.nodes for name in traits(graph, node.name)}
    wanted = {"dense", "pointwise", "depthwise", "multiplier", "grouped", "strides", "dilation", "pads", "1-D", "odd"}
    assert found == wanted | {"one scale", "scale per channel", "zero point", "clip"}
    assert {len(graph.shape(graph.input)) for graph in graphs} == {2, 4}


def traits(graph: Graph, name: str) -> set[str]:
    """What is special about a convolution."""
    node = next(node for node in graph.nodes if node.name == name)
    if not isinstance(node.op, ops.Conv):
        return set()
    op, (_, channels, height, width) = node.op, graph.shape(node.inputs[0])
    out, depth, *kernel = graph.shape(node.inputs[1])
    weight, given = graph.tensors[node.inputs[1]].quant, graph.quant(node.inputs[0])
    assert weight is not None
    kind = (
        "dense" if depth == channels else "grouped" if depth > 1 else "depthwise" if out == channels else "multiplier"
    )
    special = {
        "pointwise": kernel == [1, 1] and op.groups == 1,
        "strides": op.strides[0] != op.strides[1],
        "dilation": op.dilations != (1, 1),
        "pads": op.pads[0] != op.pads[2] and op.pads[1] != op.pads[3],
        "1-D": min(height, width) == 1 and max(height, width) > 4 and max(kernel) > 1,
        "odd": channels % 4 != 0 and out % 4 != 0,
        "one scale": len(weight.scale) == 1,
        "scale per channel": len(set(weight.scale)) > 1,
        "zero point": given.zero not in (0, given.format.min_ordinal),
        "clip": node.clip is not None,
    }
    return {kind} | {what for what, holds in special.items() if holds}


def test_many_outputs_are_not_alike(graphs: list[Graph]) -> None:
    assert len({(graph.shape(graph.input), tuple(node.kind for node in graph.nodes)) for graph in graphs}) > MANY * 0.9


def test_a_failing_network_becomes_a_plain_one() -> None:
    def fails(recipe: tuple[int, ...]) -> bool:
        example = of_recipe(SPACE, recipe)
        return example is not None and any(isinstance(node.op, ops.Minimum) for node in example.graph.nodes)

    whole = next(e for e in map(partial(of_seed, SPACE), range(MANY)) if fails(e.recipe) and len(e.graph.nodes) > 8)
    short = of_recipe(SPACE, shrink(whole.recipe, fails, 150))
    assert short is not None and fails(short.recipe)
    assert len(short.graph.nodes) < len(whole.graph.nodes) / 1.5
    assert len(short.recipe) < len(whole.recipe) / 1.5


def test_recipes_are_text() -> None:
    assert parse(spell((3, 0, 12))) == (3, 0, 12)
