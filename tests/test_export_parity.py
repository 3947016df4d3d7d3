"""Parity: every status is reached for its own reason, and the first layer that differs is named with its codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.bundle import write_bundle
from export.bundle_read import BundlePart
from export.errors import ExportError
from export.parity import Parity, check_part, difference, reference_tensors, rounding_depth
from export.runtimes.session import Runtime, Session
from quant.formats import E4M3, INT8, Array, find_format
from quant.graph import Graph
from quant.program import lower
from quant.reference import execute
from tests.bundles import plain_target, toy_spec
from tests.faulty import Change, Faulty, runtime_of
from tests.toys import random_codes, toy_graph


@pytest.fixture(scope="module", params=[INT8, E4M3], ids=lambda fmt: fmt.name)
def part(request, tmp_path_factory) -> BundlePart:
    """The toy network in a bundle: four test vectors with varying outputs."""
    path = tmp_path_factory.mktemp("parity") / "bundle"
    return write_bundle(path, toy_spec(request.param, request.param), plain_target()).parts[0]


def test_the_reference_itself_is_bit_exact(part):
    sessions: list[Faulty] = []
    result = check_part(part, runtime_of(lambda graph: sessions.append(Faulty(graph)) or sessions[-1]))
    assert (result.status, result.reason, result.first) == ("bit-exact", "", None)
    assert result.passed
    assert (result.vectors, result.labels > 1, result.top1_agreement) == (4, True, 1.0)
    assert (result.max_steps, result.differing, result.total) == (0, 0, 40)
    assert [session.closed for session in sessions] == [[True]]
    assert (part.outputs != part.outputs[0]).any()


#: Steps of a flip: large enough to reach the output of the integer network too.
BY = 120


def flipped(graph: Graph, place: tuple[int, ...], by: int) -> Change:
    """Move one code of the first layer's output by some steps, away from the nearer end."""

    def change(codes: Array) -> Array:
        fmt = graph.quant("a").format
        ordinals = fmt.to_ordinals(codes)
        ordinals[place] += by if ordinals[place] + by <= fmt.max_ordinal else -by
        return fmt.from_ordinals(ordinals)

    return change


def place_that_shows(part: BundlePart) -> tuple[int, ...]:
    """Return the first code of the first layer whose flip reaches the output; others are averaged away."""
    for channel in range(8):
        place = (2, channel, 1, 3)
        session = Faulty(part.graph, first=flipped(part.graph, place, BY))
        if (session.run(part.inputs) != part.outputs).any():
            return place
    raise AssertionError("no flip reaches the output")


def test_one_flipped_code_of_one_layer_is_named(part):
    place = place_that_shows(part)
    change = flipped(part.graph, place, BY)
    result = check_part(part, runtime_of(lambda graph: Faulty(graph, first=change)))
    expected = reference_tensors(part.graph, part.inputs)["a"]
    assert result.status == "wrong"
    assert not result.passed
    assert result.first is not None
    assert (result.first.node, result.first.kind, result.first.tensor) == ("conv", "Conv", "a")
    assert (result.first.index, result.first.differing, result.first.max_steps) == (place, 1, BY)
    assert result.first.expected == expected[place]
    assert result.first.actual == change(expected.copy())[place]
    assert result.first.total == expected.size
    for word in ("fake must be bit-exact", "'conv'", str(result.first.expected), str(result.first.actual)):
        assert word in result.reason


def test_a_wrong_last_layer_is_named_and_not_an_earlier_one(part):
    def change(codes: Array) -> Array:
        codes[1] = codes[0]
        return codes

    result = check_part(part, runtime_of(lambda graph: Faulty(graph, last=change)))
    assert (result.status, result.first.node, result.first.index[0]) == ("wrong", "fc", 1)


def one_step(graph: Graph) -> Change:
    """Move every code of the first layer's output by one step."""

    def change(codes: Array) -> Array:
        fmt = graph.quant("a").format
        ordinals = fmt.to_ordinals(codes)
        return fmt.from_ordinals(ordinals + np.where(ordinals < fmt.max_ordinal, 1, -1))

    return change


def test_one_step_at_a_layer_is_bounded_however_far_it_carries(part):
    session = runtime_of(lambda graph: Faulty(graph, first=one_step(graph)), exact=False)
    result = check_part(part, session)
    assert (result.status, result.passed) == ("bounded", True)
    assert (result.first.node, result.first.max_steps) == ("conv", 1)
    assert result.differing > 0
    assert result.reason == "every layer within 1 step of the reference on the runtime's own inputs"


def off(by: int) -> Change:
    """Move the first output code by some steps."""

    def change(codes: Array) -> Array:
        codes[0, 0] += by if codes[0, 0] <= 127 - by else -by
        return codes

    return change


@pytest.fixture(scope="module")
def int8_part(tmp_path_factory) -> BundlePart:
    """The toy network in int8, whose steps are codes."""
    return write_bundle(tmp_path_factory.mktemp("parity") / "b", toy_spec(), plain_target()).parts[0]


def test_the_last_layer_may_be_one_step_off_and_not_two(int8_part):
    one = check_part(int8_part, runtime_of(lambda graph: Faulty(graph, last=off(1)), exact=False))
    assert (one.status, one.max_steps, one.differing, one.first.node) == ("bounded", 1, 1, "fc")
    two = check_part(int8_part, runtime_of(lambda graph: Faulty(graph, last=off(2)), exact=False))
    assert (two.status, two.max_steps, two.first.node) == ("wrong", 2, "fc")
    assert "'fc' (Gemm) is 2 steps from the reference on the runtime's own inputs, at most 1" in two.reason


def test_a_layer_off_by_more_than_its_rounding_is_wrong_even_with_own_rounding(part):
    change = flipped(part.graph, (0, 0, 0, 0), 3)

    def both(codes: Array) -> Array:
        codes[0, 0] = codes[0, 1] if codes[0, 0] != codes[0, 1] else codes[0, 0] + 1
        return codes

    result = check_part(part, runtime_of(lambda graph: Faulty(graph, first=change, last=both), exact=False))
    assert (result.status, result.first.node, result.first.max_steps) == ("wrong", "conv", 3)
    assert result.first.index == (0, 0, 0, 0)
    assert "on the runtime's own inputs" in result.reason


def test_an_error_in_the_middle_is_named_although_an_earlier_layer_differs_too(int8_part):
    class Middle(Faulty):
        def tensors(self, codes: Array) -> dict[str, Array]:
            """Round the first layer another way, and spoil the depthwise one."""
            graph, values = self.graph, reference_tensors(self.graph, codes)
            program, values["a"] = lower(graph), one_step(graph)(values["a"])
            for step in program.steps[1:]:
                values[step.y] = execute(program, step, values)
                if step.y == "b":
                    values["b"][:, 3] = np.clip(values["b"][:, 3].astype(int) + 9, -128, 127).astype(np.int8)
            return values

    result = check_part(int8_part, runtime_of(Middle, exact=False))
    assert (result.status, result.first.node) == ("wrong", "dw")
    assert 2 <= result.first.max_steps <= 9
    assert result.first.index[1] == 3


def test_roundings_are_counted_along_the_longest_path():
    assert rounding_depth(lower(toy_graph())) == 5


class Hiding(Faulty):
    """Shows nothing but its output."""

    def run(self, codes: Array) -> Array:
        """Return the last tensor."""
        return super().tensors(codes)[self.graph.output]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Show nothing."""
        return {}


def test_a_runtime_that_shows_too_little_is_not_called_bounded(int8_part):
    result = check_part(int8_part, runtime_of(lambda graph: Hiding(graph, last=off(1)), exact=False))
    assert (result.status, result.passed) == ("inconclusive", False)
    assert "shows so few layers" in result.reason
    assert check_part(int8_part, runtime_of(Hiding, exact=False)).status == "bit-exact"


class Other(Faulty):
    """Shows the reference's tensors while its output comes from elsewhere."""

    def run(self, codes: Array) -> Array:
        """Return another output than the one it shows."""
        return self.last(reference_tensors(self.graph, codes)[self.graph.output].copy())

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Show the reference's tensors."""
        return reference_tensors(self.graph, codes)


@pytest.mark.parametrize(("by", "status"), [(1, "bounded"), (5, "bounded"), (6, "wrong")])
def test_an_output_of_other_kernels_than_the_shown_ones_has_one_step_per_rounding(int8_part, by, status):
    result = check_part(int8_part, runtime_of(lambda graph: Other(graph, last=off(by)), exact=False))
    assert (result.status, result.max_steps) == (status, by)
    assert "rounding" in result.reason


def test_equal_labels_prove_nothing(part):
    alike = replace(part, inputs=part.inputs[[0, 0, 0]], outputs=part.outputs[[0, 0, 0]])
    result = check_part(alike, runtime_of(Faulty))
    assert (result.status, result.labels, result.passed) == ("inconclusive", 1, False)
    assert "same label" in result.reason


def test_a_constant_runtime_is_wrong_and_not_inconclusive(part):
    constant = runtime_of(lambda graph: Faulty(graph, last=lambda codes: codes[[0] * len(codes)]))
    assert check_part(part, constant).status == "wrong"


def test_what_is_missing_is_not_run_and_never_passed(part):
    def never(folder: Path, name: str, graph: Graph) -> Session:
        raise AssertionError("a missing runtime was opened")

    result = check_part(part, Runtime("absent", "plain", True, lambda: "no compiler; apt install gcc", never))
    assert (result.status, result.reason, result.passed) == ("not run", "no compiler; apt install gcc", False)
    assert (result.vectors, result.labels, result.top1_agreement) == (0, 0, 0.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda codes: codes[:, :9], "(4, 9) instead of (4, 10)"),
        (lambda codes: codes[:3], "(3, 10) instead of (4, 10)"),
        (lambda codes: codes[:0], "(0, 10) instead of (4, 10)"),
        (lambda codes: codes.reshape(4, 10, 1), "instead of (4, 10)"),
        (lambda codes: codes.astype(np.float32), "type float32"),
        (lambda codes: codes.astype(np.int64), "type int64"),
    ],
)
def test_another_shape_or_type_is_wrong(part, change, word):
    result = check_part(part, runtime_of(lambda graph: Faulty(graph, last=change), exact=False))
    assert (result.status, result.passed) == ("wrong", False)
    assert word in result.reason
    assert "'fc'" in result.reason


def test_a_code_the_format_does_not_have_is_wrong(tmp_path):
    ocp = find_format("e4m3fn")
    made = write_bundle(tmp_path / "b", toy_spec(ocp, ocp), plain_target(("e4m3fn",))).parts[0]
    assert check_part(made, runtime_of(Faulty)).status == "bit-exact"
    nan = runtime_of(lambda graph: Faulty(graph, last=lambda codes: codes | np.uint8(0x7F)))
    result = check_part(made, nan)
    assert result.status == "wrong"
    assert "is not the code of a number in format e4m3fn" in result.reason


def test_the_two_zeros_of_a_minifloat_are_two_codes():
    graph = toy_graph(E4M3, E4M3)
    zero, other = np.zeros((1, 10), np.uint8), np.full((1, 10), 0x80, np.uint8)
    found = difference(graph, "fc", zero, other)
    assert found is not None
    assert (found.differing, found.max_steps, found.expected, found.actual) == (10, 0, 0, 0x80)
    assert difference(graph, "fc", zero, zero.copy()) is None


class Stale(Faulty):
    """Answers with what the call before wrote into its output buffer."""

    def run(self, codes: Array) -> Array:
        """Return the codes of the vector before, as a kernel that never writes its output would."""
        right = super().run(codes)
        return np.concatenate([np.zeros_like(right[:1]), right[:-1]])


def test_a_stale_output_buffer_is_wrong(part):
    result = check_part(part, runtime_of(Stale))
    assert (result.status, result.passed) == ("wrong", False)


class Reusing(Faulty):
    """Uses one output buffer for everything, and overwrites it when it shows its tensors."""

    buffer: Array | None = None

    def run(self, codes: Array) -> Array:
        """Return a view of the buffer."""
        self.buffer = super().tensors(codes)[self.graph.output]
        return self.buffer

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Show the tensors and leave zeros in the buffer."""
        values = {name: value.copy() for name, value in super().tensors(codes).items()}
        if self.buffer is not None:
            self.buffer[...] = 0
        return values


def test_a_buffer_used_again_does_not_change_the_verdict(part):
    def change(codes: Array) -> Array:
        codes[0, 0] = codes[0, 1] if codes[0, 0] != codes[0, 1] else codes[0, 0] + 1
        return codes

    kept = check_part(part, runtime_of(lambda graph: Faulty(graph, last=change)))
    assert kept.status == "wrong"
    assert kept == check_part(part, runtime_of(lambda graph: Reusing(graph, last=change)))


def test_what_does_not_open_or_run_is_wrong_with_its_words_and_closed(part):
    def refuse(folder: Path, name: str, graph: Graph) -> Session:
        raise ExportError(f"no file for {name}")

    assert check_part(part, Runtime("fake", "plain", True, lambda: None, refuse)) == Parity(
        "model", "fake", "wrong", "it does not open: no file for model"
    )

    def crash(codes: Array) -> Array:
        raise ExportError("the model ended with signal 11")

    sessions: list[Faulty] = []
    broken = runtime_of(lambda graph: sessions.append(Faulty(graph, last=crash)) or sessions[-1])
    result = check_part(part, broken)
    assert (result.status, result.reason) == ("wrong", "the model ended with signal 11")
    assert sessions[0].closed == [True]


def test_vectors_that_the_graph_does_not_compute_are_wrong(part):
    outputs = part.outputs.copy()
    outputs[1] = outputs[0]
    result = check_part(replace(part, outputs=outputs), runtime_of(Faulty))
    assert result.status == "wrong"
    assert "test vectors" in result.reason


def test_fewer_vectors(part):
    assert check_part(part, runtime_of(Faulty), vectors=3).vectors == 3
    assert check_part(part, runtime_of(Faulty), vectors=1).status == "inconclusive"


def test_the_toy_network_is_worth_comparing():
    graph = toy_graph()
    outputs = reference_tensors(graph, random_codes(graph, 4))["y"]
    assert len(set(outputs.argmax(axis=1).tolist())) > 1
