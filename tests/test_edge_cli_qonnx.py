"""QONNX, hls4ml projects and scales of powers of two on the command line: what `convert` writes and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

from edge.cli import main
from edge.commands import convert
from edge.data import load
from export import hls4ml
from quant import graph_file
from quant.onnx_import import load_onnx
from quant.passes.power_of_two import has_powers_of_two
from quant.ptq import quantise
from quant.scheme import parse_scheme
from tests.tiny import needs_training, write_onnx

needs_training()


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with a float network and its w8a8 and E4M3 forms, and the person standing in it."""
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path / "mine.onnx")
    digits, floating = load("digits"), load_onnx(tmp_path / "mine.onnx")
    for scheme in ("w8a8", "we4m3-ae4m3"):
        graph = quantise(floating, parse_scheme(scheme), digits.preprocess.apply(digits.x_train[:64]))
        (tmp_path / f"{scheme}.graph").write_bytes(graph_file.to_bytes(graph))
    return tmp_path


def invoke(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.stderr, result.exception)
    return result.stdout if code == 0 else result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("scheme", ["w8a8", "we4m3-ae4m3"])
def test_a_network_goes_to_qonnx_and_back(desk, scheme):
    assert "quantised" in invoke("convert", f"{scheme}.graph", "--form", "qonnx", "-o", "net.onnx")
    kinds = {node.op_type for node in onnx.load(desk / "net.onnx").graph.node}
    assert ("Quant" in kinds) == (scheme == "w8a8")
    assert ("FloatQuant" in kinds) == (scheme == "we4m3-ae4m3")
    assert "QuantizeLinear" not in kinds
    found = [json.loads(invoke("eval", name, "--data", "digits", "--json")) for name in (f"{scheme}.graph", "net.onnx")]
    assert found[0] == found[1]
    assert found[0]["accuracy"] > 0.8


def test_what_qonnx_cannot_be_is_refused(desk):
    message = invoke("convert", "mine.onnx", "--form", "qonnx", "-o", "net.onnx", code=1)
    assert "is a float graph; QONNX holds quantised ones" in message
    message = invoke("convert", "w8a8.graph", "--form", "qonnx", "-o", "net.tflite", code=1)
    assert message == "Error: net.tflite: --form qonnx writes ONNX; name it net.onnx."
    assert not list(desk.glob("net.*"))


def test_an_hls4ml_project_needs_what_hls4ml_computes(desk):
    words = ("convert", "w8a8.graph", "--form", "hls4ml", "-o", "project", "--python", sys.executable)
    for changed, message in (
        (("we4m3-ae4m3.graph",), "is e4m3: it has integers only"),
        (("w8a8.graph",), "it is exact without one; quantise with --scheme w8a8-sym-pt"),
        (("mine.onnx",), "is a float graph; quantise it first"),
    ):
        assert message in invoke(words[0], *changed, *words[2:], code=1)
    assert not (desk / "project").exists()
    message = invoke("convert", "w8a8.graph", "--form", "hls4ml", "-o", "net.onnx", code=1)
    assert message == "Error: net.onnx: --form hls4ml writes a folder; name it net."
    (desk / "mine").mkdir()
    message = invoke("convert", "w8a8.graph", "--form", "hls4ml", "-o", "mine", "--force", code=1)
    assert message == "Error: mine exists and is no hls4ml project written here; choose another name."


def test_the_command_offers_what_the_exporter_takes():
    assert tuple(hls4ml.BACKENDS) == convert.BACKENDS
    assert {kind for kinds in hls4ml.BACKENDS.values() for kind in kinds} == set(convert.IO_TYPES)


def test_scales_become_powers_of_two_when_asked(desk):
    invoke("convert", "w8a8.graph", "--power-of-two", "-o", "pot.graph")
    graph = graph_file.load(desk / "pot.graph")
    assert all(has_powers_of_two(tensor.quant) for tensor in graph.tensors.values() if tensor.quant is not None)
    found = json.loads(invoke("eval", "pot.graph", "--data", "digits", "--json"))
    assert found["accuracy"] > 0.8
    message = invoke("convert", "mine.onnx", "--power-of-two", "-o", "float.graph", code=1)
    assert "is a float graph; quantise it first" in message
