"""What a layer may differ: one step for its own rounding, and what inputs that a runtime hides can carry; no less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from export.parity import compare_on_own_inputs, reference_tensors
from export.parity_slack import ROUNDING, allowed_steps, behind_clamps, rounding_depth, sources
from quant.formats import INT8, Array, integer
from quant.graph import Graph
from quant.program import AddStep, MoveStep, Program, Step, lower
from quant.reference import execute
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph

GRAPHS = {
    "toy": toy_graph(),
    "toy w4": toy_graph(INT8, integer(4)),
    "fitted": fitted_graph(INT8, INT8),
    "fitted a4": fitted_graph(integer(4), INT8),
}
PROGRAMS = [(name, step) for name, graph in GRAPHS.items() for step in lower(graph).steps]
STEPS = [(name, step.name) for name, step in PROGRAMS]
LINEAR = [(name, step.name) for name, step in PROGRAMS if isinstance(step, MoveStep | AddStep)]


def moved(program: Program, name: str, codes: Array, by: int, rng: np.random.Generator) -> Array:
    """Move every code of a tensor by up to `by` steps, at random or all one way."""
    fmt = program.quant(name).format
    change = rng.integers(-by, by + 1, codes.shape) if rng.random() < 0.5 else rng.choice([-by, by])
    return fmt.from_ordinals(np.clip(fmt.to_ordinals(codes) + change, fmt.min_ordinal, fmt.max_ordinal))


def found(graph: Graph, name: str) -> tuple[Program, Step]:
    """Return the program of a graph and one of its steps."""
    program = lower(graph)
    return program, next(step for step in program.steps if step.name == name)


@pytest.mark.parametrize(("graph", "name"), STEPS)
def test_one_step_is_allowed_where_inputs_are_shown_and_something_is_rounded(graph, name):
    program, step = found(GRAPHS[graph], name)
    slack = dict.fromkeys(sources(step), 0.0)
    assert allowed_steps(program, step, slack) == (1.0 if isinstance(step, ROUNDING) else 0.0)


@pytest.mark.parametrize("by", [1, 3])
@pytest.mark.parametrize(("graph", "name"), STEPS)
def test_no_change_of_hidden_inputs_carries_further_than_allowed(graph, name, by):
    program, step = found(GRAPHS[graph], name)
    values = reference_tensors(GRAPHS[graph], random_codes(GRAPHS[graph], 4))
    fmt, rng = program.quant(step.y).format, np.random.default_rng(by)
    allowed = allowed_steps(program, step, dict.fromkeys(sources(step), float(by)))
    right = fmt.to_ordinals(execute(program, step, values))
    worst = 0
    for _ in range(12):
        inputs = {**values, **{x: moved(program, x, values[x], by, rng) for x in sources(step)}}
        worst = max(worst, int(np.abs(fmt.to_ordinals(execute(program, step, inputs)) - right).max()))
    assert worst <= allowed


@pytest.mark.parametrize(("graph", "name"), LINEAR)
def test_moves_and_sums_carry_exactly_what_their_scales_say(graph, name):
    program, step = found(GRAPHS[graph], name)
    slack = dict.fromkeys(sources(step), 2.0)
    scales = [program.quant(x).scale[0] / program.quant(step.y).scale[0] for x in sources(step)]
    reach = 2.0 if isinstance(step, MoveStep) else 1 + 2 * sum(scales)
    assert allowed_steps(program, step, slack) == pytest.approx(reach)


def test_steps_read_what_their_nodes_read():
    for graph in GRAPHS.values():
        weights = set(graph.weights)
        for node, step in zip(graph.nodes, lower(graph).steps, strict=True):
            assert (step.name, sources(step)) == (node.name, tuple(x for x in node.inputs if x not in weights))


def test_the_longest_path_counts():
    # conv, depthwise, add, mean, fully connected; the shortcut around the depthwise layer is shorter.
    assert rounding_depth(lower(GRAPHS["toy"])) == 5


def test_a_reference_without_its_hidden_tensors_is_still_itself():
    graph = GRAPHS["toy"]
    codes = random_codes(graph, 4)
    values = reference_tensors(graph, codes)
    for hidden in ((), ("b",), ("a", "b"), ("c",)):
        shown = {name: value for name, value in values.items() if name not in (*hidden, "x")}
        layers = compare_on_own_inputs(graph, codes, shown)
        assert (layers.broken, layers.saturated) == (None, 0)
        assert (layers.largest > 1) == (hidden in (("a", "b"), ("c",)))


def clamped() -> tuple[Graph, Array, dict[str, Array]]:
    """The toy network with a depthwise layer that often reaches its limits, and its tensors."""
    graph = toy_graph()
    quant = graph.quant("b")
    tensors = {**graph.tensors, "b": replace(graph.tensors["b"], quant=replace(quant, scale=(quant.scale[0] / 4,)))}
    graph = replace(graph, tensors=tensors)
    codes = random_codes(graph, 4)
    return graph, codes, reference_tensors(graph, codes)


def test_a_sum_is_not_compared_where_a_hidden_addend_stands_at_its_limit():
    graph, codes, values = clamped()
    program, step = found(graph, "add")
    shown = {name: value for name, value in values.items() if name not in ("x", "b")}
    mask = behind_clamps(program, step, values, shown)
    limits = np.isin(values["b"], (-128, 127))
    assert 0 < limits.sum() < limits.size / 2
    assert np.array_equal(mask, limits)
    far = shown["c"].copy()
    far[limits] = np.where(far[limits] > 0, far[limits] - 60, far[limits] + 60)
    layers = compare_on_own_inputs(graph, codes, {"a": shown["a"], "c": far})
    assert (layers.broken, layers.saturated) == (None, limits.sum())
    # Shown, or beside a limit, the same change is no longer explained.
    assert compare_on_own_inputs(graph, codes, {"a": shown["a"], "b": values["b"], "c": far}).broken is not None
    place = tuple(np.argwhere(~limits)[0])
    far[place] = far[place] + 60 if far[place] < 60 else far[place] - 60
    broken = compare_on_own_inputs(graph, codes, {"a": shown["a"], "c": far}).broken
    assert broken is not None
    assert (broken.node, broken.index) == ("add", place)
