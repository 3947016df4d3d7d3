"""Older operator sets by a changed label: what is allowed, what is refused, and that both models compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from edge.cli import main
from export.errors import ExportError
from export.jetson_lint import lint
from export.jetson_profiles import ORIN, XAVIER, find_profile
from export.jetson_qdq import jetson_model
from export.onnx_fragment import save
from export.opset import operator_set, relabel
from export.runtimes.ort import open_ort
from tests.jetson_board import symmetric_toy
from tests.jetson_models import NODE, conv, layers, model, pair, qdq


def residual(opset: int) -> Any:
    """Convolutions with a residual sum and activations, in QDQ form."""
    nodes = (*qdq("x", "a"), conv("a", "c"), *qdq("x", "b"), NODE("Add", ["c", "b"], ["t"]), NODE("Relu", ["t"], ["y"]))
    made = layers(*nodes)
    del made.opset_import[:]
    made.opset_import.append(helper.make_opsetid("", opset))
    made.ir_version = 8
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6)))
    return made


def test_a_quantised_network_goes_to_13_and_computes_the_same() -> None:
    """Add and Relu changed from 13 to 14 in lists of types only; the linter of TensorRT 8.2 then takes it."""
    made = residual(17)
    assert {finding.rule for finding in lint(made, XAVIER)} == {11}
    older = relabel(made, 13)
    assert (operator_set(older), operator_set(made), older.ir_version) == (13, 17, 7)
    assert [node.op_type for node in older.graph.node] == [node.op_type for node in made.graph.node]
    assert lint(older, XAVIER) == ()
    x = np.random.default_rng(3).normal(0, 4, (5, 1, 4, 6, 6)).astype(np.float32)
    ran = [[open_ort(m.SerializeToString()).run(None, {"x": each})[0] for each in x] for m in (made, older)]
    assert np.array_equal(ran[0], ran[1])
    labels = [int(each.sum(axis=(2, 3)).argmax()) for each in ran[0]]
    assert len(set(labels)) > 1
    assert all(each.std() > 0 for each in ran[0])


def test_what_our_exporter_writes_goes_to_13() -> None:
    older = relabel(jetson_model(symmetric_toy(), ORIN.opset), 13)
    assert lint(older, XAVIER) == ()
    assert relabel(older, 13) is older


def test_attributes_that_mean_nothing_new_are_let_through() -> None:
    """QuantizeLinear 19 knows `saturate`, of FP8 only, and Reshape 14 `allowzero`, which is off."""
    made = pair(opset=19, shape=(1, 4, 6, 6))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6)))
    assert operator_set(relabel(made, 13)) == 13


def one(op: str, opset: int, *, kind: int = 1, inputs: int = 1, **attributes: Any) -> Any:
    """A model of one node."""
    ports = [helper.make_tensor_value_info(name, kind, (1, 4, 6, 6)) for name in ("x", "y")]
    node = NODE(op, ["x"] * inputs, ["y"], "node", **attributes)
    graph = helper.make_graph([node], "one", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(
    ("made", "opset", "message"),
    [
        (lambda: one("HardSwish", 14), 13, "HardSwish 'node' does not exist in operator set 13"),
        (lambda: one("Add", 14, kind=TensorProto.INT8, inputs=2), 13, r"type tensor\(int8\), which set 13 does not"),
        (lambda: one("AveragePool", 19, kernel_shape=[1, 1], dilations=[2, 2]), 13, "dilations = "),
        (lambda: one("ReduceMean", 18), 13, "ReduceMean 'node' had the attribute axes then"),
        (lambda: model(NODE("Gelu", ["x"], ["y"], "node", domain="com.microsoft"), opset=17), 13, "com.microsoft"),
        (
            lambda: helper.make_model(one("Relu", 14).graph, opset_imports=[helper.make_opsetid("a.b", 1)]),
            13,
            "no oper",
        ),
    ],
)
def test_what_an_older_set_cannot_say_is_refused_by_node(made: Any, opset: int, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        relabel(made(), opset)


def test_a_graph_in_a_node_is_not_looked_into() -> None:
    branch = helper.make_graph([NODE("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    condition = helper.make_tensor("c", TensorProto.BOOL, (), [True])
    node = NODE("If", ["c"], ["y"], "node", then_branch=branch, else_branch=branch)
    ports = [helper.make_tensor_value_info(name, 1, (1, 2)) for name in ("x", "y")]
    graph = helper.make_graph([node], "one", ports[:1], ports[1:], [condition])
    with pytest.raises(ExportError, match="If 'node' holds a graph of its own"):
        relabel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), 13)


def test_a_difference_in_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should two schemas look alike and compute differently, ONNX Runtime has the last word."""
    import export.opset

    class Session:
        def __init__(self, model: bytes, *, as_written: bool):
            self.set = operator_set(onnx.load_model_from_string(model))

        def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
            return [feed["x"] * (1 if self.set == 17 else 1.0001)]

    monkeypatch.setattr(export.opset, "open_ort", Session)
    with pytest.raises(ExportError, match="output 'y' differs in ONNX Runtime"):
        relabel(residual(17), 13)


def test_the_command_lints_and_relabels(tmp_path: Path) -> None:
    path, older = tmp_path / "m.onnx", tmp_path / "older.onnx"
    save(residual(17), path)
    words = ["lint", str(path), "--target", "jetson-xavier"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert (
        "rule 11 (error), model: operator set 17; TensorRT 8.2 takes at most 13. Export at operator set 13."
        in done.stdout
    )
    assert "jetson-xavier: FAIL" in done.stdout
    done = CliRunner().invoke(main, [*words, "--relabel", str(older), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (0, "PASS")
    assert operator_set(onnx.load(older)) == 13
    again = CliRunner().invoke(main, [*words, "--relabel", str(older)])
    assert (again.exit_code, "exists" in again.output) == (1, True)
    assert CliRunner().invoke(main, [*words, "--relabel", str(older), "--force"]).exit_code == 0


def test_an_unknown_target_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"unknown Jetson target 'jetson-xavir'\. Did you mean 'jetson-xavier'"):
        find_profile("jetson-xavir")
    done = CliRunner().invoke(main, ["lint", str(tmp_path / "none.onnx"), "--target", "jetson"])
    assert (done.exit_code, "cannot read" in done.output) == (1, True)
