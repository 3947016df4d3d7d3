"""The Jetson linter: each rule on a minimal model that breaks it, and on a twin that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from export.errors import ExportError
from export.jetson_lint import RULE_NUMBERS, lint, lint_file, refuse_errors, verdict
from export.jetson_profiles import NANO, ORIN, ORIN_JETPACK5, THOR, XAVIER, Profile
from export.jetson_rules import WITHOUT_IMPORTER
from tests.jetson_models import (
    INT8,
    NODE,
    RELU,
    blocked,
    channels,
    computed,
    conv,
    converted,
    integers,
    layers,
    model,
    norm,
    one,
    packed,
    pair,
    qdq,
    read_codes,
    residual,
    typed,
)


@dataclass(frozen=True, eq=False)
class Case:
    """A model that breaks a rule, one that does not, and parts of the message."""

    rule: int
    what: str
    broken: Callable[[], Any]
    sound: Callable[[], Any]
    message: str
    fix: str
    profile: Profile = XAVIER
    severity: str = "error"


CASES = (
    Case(1, "asymmetric", lambda: pair(np.int8(-3)), pair, "its zero point is -3", "w8a8-sym"),
    Case(1, "computed", lambda: model(*computed("z"), s=np.float32(1)), pair, "'z' is not constant", "initializer"),
    Case(2, "8.2", lambda: pair(inputs=2), pair, "TensorRT 8.2 needs", "third input"),
    Case(2, "8.5", lambda: pair(inputs=2), pair, "TensorRT 8.5 needs", "third input", ORIN_JETPACK5),
    Case(3, "zero point", lambda: pair(np.uint8(0)), pair, "UINT8", "signed INT8"),
    Case(3, "data", lambda: read_codes(2), lambda: read_codes(3), "UINT8", "signed INT8", ORIN),
    Case(4, "zero", lambda: pair(scale=np.float32(0)), pair, "not positive", "Calibrate"),
    Case(4, "negative", lambda: pair(scale=np.float32(-1)), pair, "not positive", "Calibrate"),
    Case(4, "nan", lambda: pair(scale=np.float32(np.nan)), pair, "not finite", "Calibrate"),
    Case(4, "none", lambda: pair(scale=np.zeros(0, np.float32)), pair, "missing", "Calibrate"),
    Case(4, "count", lambda: pair(np.zeros(2, np.int8)), pair, "1 scales but 2 zero points", "one zero point per"),
    Case(4, "computed", lambda: model(*computed("s"), z=INT8), pair, "scale is not constant", "initializer"),
    Case(5, "no axis", lambda: channels(None), lambda: channels(0), "no axis", "attribute axis"),
    Case(5, "count", lambda: channels(0, 3), lambda: channels(0), "3 scales do not fit axis 0", "one per index"),
    Case(5, "axis 2", lambda: channels(2), lambda: channels(1), "do not fit axis 2", "one per index"),
    Case(5, "axis 9", lambda: channels(9), lambda: channels(-4), "do not fit axis 9", "one per index"),
    Case(5, "data", lambda: pair(np.zeros(4, np.int8), np.ones(4, np.float32)), pair, "activation has 4", "per tensor"),
    Case(6, "8.2", lambda: blocked((4, 2)), lambda: channels(0), "rank 2", "per tensor or per channel"),
    Case(6, "uneven", lambda: blocked((4, 3)), lambda: blocked((4, 2)), "shape (4, 3)", "whole number", ORIN),
    Case(6, "two axes", lambda: blocked((2, 2)), lambda: blocked((2, 8)), "exactly one dimension", "block size", ORIN),
    Case(6, "rank", lambda: blocked((4, 2), (4, 8, 1)), lambda: blocked((4, 2)), "does not divide", "block size", ORIN),
    Case(7, "no int8 hardware", pair, lambda: one("Relu"), "no int8 arithmetic", "FP16", NANO),
    Case(7, "fp8", lambda: typed(17), lambda: typed(3), "FLOAT8E4M3FN; Jetson Orin takes INT8", "Use INT8", ORIN),
    Case(7, "fp8 kind", lambda: typed(19), lambda: typed(17), "FLOAT8E5M2; Jetson Thor", "Use INT8", THOR),
    Case(7, "int16", lambda: pair(np.int16(0)), pair, "type INT16", "Use INT8"),
    Case(7, "int4 8.2", lambda: typed(22), lambda: typed(3), "type INT4", "Use INT8"),
    Case(7, "int4 odd", lambda: typed(22, (4, 3)), lambda: typed(22), "even last dimension", "Use INT8", ORIN),
    Case(7, "int4 data", lambda: pair(packed("z", 22, ())), pair, "INT4 needs weights", "Use INT8", ORIN),
    Case(7, "output", lambda: converted(INT8, 2), lambda: converted(INT8, 3), "output_dtype is UINT8", "same", ORIN),
    *(Case(8, op, lambda op=op: one(op), lambda: one("Relu"), "no importer", "QDQ form") for op in WITHOUT_IMPORTER),
    Case(9, "bias", lambda: integers(np.int32), lambda: integers(np.int8), "INT32", "float32"),
    Case(9, "data", lambda: read_codes(6), lambda: read_codes(3), "INT32", "float32", ORIN),
    Case(
        10,
        "only data",
        lambda: layers(*qdq("x", "a"), conv("a", "c", "f"), RELU),
        lambda: layers(*qdq("x", "a"), conv("a", "c"), RELU),
        "only its data are dequantised",
        "both inputs",
        severity="warning",
    ),
    Case(
        10,
        "only weights",
        lambda: layers(conv("x", "y")),
        lambda: layers(conv("x", "y", "f")),
        "only its weights are dequantised",
        "both inputs",
        severity="warning",
    ),
    Case(
        10,
        "before activation",
        lambda: layers(*qdq("x", "a"), conv("a", "b"), *qdq("b", "c"), RELU),
        lambda: layers(*qdq("x", "a"), conv("a", "c"), RELU),
        "stands between",
        "behind the activation",
        severity="warning",
    ),
    Case(
        10,
        "behind batch norm",
        lambda: layers(*qdq("x", "a"), conv("a", "b"), norm("b", "n"), *qdq("n", "c"), RELU),
        lambda: layers(*qdq("x", "a"), conv("a", "b"), norm("b", "c"), RELU),
        "stands between",
        "behind the activation",
        severity="warning",
    ),
    Case(
        10,
        "output",
        lambda: layers(*qdq("x", "a"), conv("a", "b"), *qdq("b", "y")),
        lambda: layers(*qdq("x", "a"), conv("a", "y")),
        "no quantised reader",
        "output float",
        severity="warning",
    ),
    *(
        Case(
            10,
            f"residual {skip} {made}",
            lambda skip=skip, made=made: residual(skip=skip, made=made),
            lambda: residual(skip=True, made=False),
            message,
            "Quantise the skip input",
            severity="warning",
        )
        for skip, made, message in (
            (False, False, "skip input is not quantised"),
            (True, True, "quantised before the sum"),
            (False, True, "quantised before the sum"),
        )
    ),
    Case(
        11, "opset", lambda: pair(opset=17), pair, "operator set 17; TensorRT 8.2 takes at most 13", "at operator set"
    ),
    Case(11, "opset 8.5", lambda: pair(opset=18), lambda: pair(opset=17), "most 17", "set 17", ORIN_JETPACK5),
    Case(11, "opset 10.3", lambda: pair(opset=21), lambda: pair(opset=20), "most 20", "set 17", ORIN),
    Case(11, "domain", lambda: one("Gelu", "com.microsoft"), lambda: one("Relu"), "com.microsoft", "standard"),
    Case(11, "dynamic", lambda: pair(shape=("N", 4, 6, 6)), pair, "dynamic dimension", "--minShapes"),
    Case(11, "no shape", lambda: pair(shape=None), pair, "dynamic dimension", "--minShapes"),
)


@pytest.mark.parametrize("case", CASES, ids=[f"{c.rule}-{c.what}" for c in CASES])
def test_a_broken_model_gives_the_rule_and_its_twin_does_not(case: Case) -> None:
    """Number, severity, message and fix; the twin has no finding at all."""
    found = [f for f in lint(case.broken(), case.profile) if f.rule == case.rule]
    assert found
    assert {f.severity for f in found} == {case.severity}
    shown = [str(f) for f in found]
    assert any(case.message in f.message and case.fix in f.fix and f.fix in str(f) for f in found), shown
    assert shown[0].startswith(f"rule {case.rule} ({case.severity}), ")
    assert [str(f) for f in lint(case.sound(), case.profile)] == []


def test_every_rule_has_a_failing_model() -> None:
    """The table covers what the linter says that it checks."""
    assert tuple(sorted({case.rule for case in CASES})) == RULE_NUMBERS == tuple(range(1, 12))


def test_a_graph_inside_a_node_is_not_passed_in_silence() -> None:
    """No rule looks into the branches of an If, and the verdict says so."""
    branch = helper.make_graph([NODE("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    made = model(NODE("If", ["c"], ["y"], "choice", then_branch=branch, else_branch=branch), c=np.bool_(1))
    (finding,) = lint(made, XAVIER)
    assert (finding.rule, finding.severity, finding.node) == (11, "warning", "If 'choice'")
    assert "into which no rule looks" in str(finding)


def test_two_inputs_are_enough_from_tensorrt_10_on() -> None:
    assert lint(pair(inputs=2), ORIN) == ()


def test_shapes_on_the_command_line_allow_a_dynamic_input() -> None:
    assert lint(pair(shape=("N", 4, 6, 6)), XAVIER, shaped=("x",)) == ()


def test_a_constant_node_counts_as_constant() -> None:
    """A scale as value_float and as a tensor are both read, and a bad one is found."""
    for value, rules in ((0.5, []), (-0.5, [4])):
        node = NODE("Constant", [], ["s"], value_float=value)
        found = lint(model(node, *qdq("x", "y"), z=INT8), XAVIER)
        assert sorted({f.rule for f in found}) == rules


def test_convolutions_on_both_sides_of_a_sum_need_one_quantised_side() -> None:
    nodes = (*qdq("x", "a"), conv("a", "b"), *qdq("x", "e"), conv("e", "c"), *qdq("c", "d"))
    assert lint(layers(*nodes, NODE("Add", ["b", "d"], ["y"])), XAVIER) == ()


def test_errors_are_refused_and_warnings_are_not() -> None:
    """The message names rule, node and fix; more than five errors are counted."""
    warned = lint(residual(skip=False, made=False), XAVIER)
    refuse_errors(warned, "jetson-xavier")
    assert (verdict(warned)["verdict"], verdict(warned)["errors"], verdict(warned)["warnings"]) == ("PASS", [], [10])
    broken = lint(pair(np.uint8(7), opset=17), XAVIER)
    assert (verdict(broken)["verdict"], verdict(broken)["errors"]) == ("FAIL", [1, 3, 11])
    with pytest.raises(ExportError, match=r"jetson-xavier: (?s:.)*rule 1 \(error\), QuantizeLinear 'quantise'"):
        refuse_errors(broken, "jetson-xavier")
    with pytest.raises(ExportError, match="and 5 more"):
        refuse_errors((*broken, *broken), "jetson-xavier")


def test_a_file_is_linted_or_refused(tmp_path: Path) -> None:
    """Neither a missing file, nor bytes that are no model, nor an empty file passes."""
    path = tmp_path / "m.onnx"
    onnx.save(pair(np.int8(1)), path)
    assert {f.rule for f in lint_file(path, XAVIER)} == {1}
    for content in (b"not a model", b""):
        path.write_bytes(content)
        with pytest.raises(ExportError, match=r"m\.onnx"):
            lint_file(path, XAVIER)
    with pytest.raises(ExportError, match=r"cannot read .*none\.onnx"):
        lint_file(tmp_path / "none.onnx", XAVIER)
