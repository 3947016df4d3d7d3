"""A quantised `.tflite` file on the command line: evaluated, diagnosed, exported, quantised anew."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from edge.data import load
from export.bundle_read import read_bundle
from export.tflite import encode
from quant import graph_file
from quant.onnx_import import load_onnx
from quant.onnx_write import run_float
from quant.ptq import quantise
from quant.scheme import parse_scheme
from tests.tflite_files import reference_kernels
from tests.tiny import needs_training, write_onnx

needs_training()
pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with a float network, the `.tflite` file made of it, and the person standing in it."""
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path / "mine.onnx")
    digits = load("digits")
    graph = quantise(
        load_onnx(tmp_path / "mine.onnx"), parse_scheme("w8a8"), digits.preprocess.apply(digits.x_train[:64])
    )
    (tmp_path / "mine.tflite").write_bytes(encode(graph))
    (tmp_path / "same.graph").write_bytes(graph_file.to_bytes(graph))
    return tmp_path


def invoke(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.stderr, result.exception)
    return result.stdout if code == 0 else result.stderr.strip().splitlines()[-1]


def test_it_is_evaluated_as_the_graph_it_was_written_from(desk):
    results = [json.loads(invoke("eval", name, "--data", "digits", "--json")) for name in ("mine.tflite", "same.graph")]
    assert results[0] == results[1]
    assert results[0]["accuracy"] > 0.8
    assert results[0]["executed_by"] == "integer reference"


def test_it_is_diagnosed_beside_its_float_form(desk):
    found = json.loads(
        invoke("diagnose", "mine.tflite", "--float", "mine.onnx", "--calib", "digits", "--count", 16, "--json")
    )
    assert {row["layer"] for row in found["layers"]} if "layers" in found else found["rows"]


def test_it_is_exported_to_c_and_to_the_fpga(desk):
    invoke("export", "mine.tflite", "--target", "arm-m", "--target", "fpga", "--data", "digits", "-o", "out")
    for target in ("arm-m", "fpga"):
        part = read_bundle(desk / "out" / target).parts[0]
        assert np.unique(part.outputs.argmax(1)).size > 3
    assert "zero point" in invoke("export", "mine.tflite", "--target", "jetson", "--data", "digits", "-o", "j", code=1)


def test_quantised_anew_it_is_symmetric_and_reaches_jetson(desk):
    words = (
        "quantize",
        "mine.tflite",
        "--scheme",
        "w8a8-sym",
        "--preset",
        "fast",
        "--calib",
        "digits",
        "-o",
        "sym.graph",
    )
    assert "quantised already" in invoke(*words, code=1)
    assert not (desk / "sym.graph").exists()
    assert "w8a8-sym" in invoke(*words, "--anew")
    invoke("export", "sym.graph", "--target", "jetson", "--data", "digits", "-o", "out")
    before, after = (
        json.loads(invoke("eval", name, "--data", "digits", "--json"))["accuracy"]
        for name in ("mine.tflite", "sym.graph")
    )
    assert abs(before - after) < 0.05


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8", "w8a16-sym"])
def test_a_float_model_becomes_a_tflite_file(desk, scheme):
    words = ("quantize", "mine.onnx", "--scheme", scheme, "--preset", "fast", "--calib", "digits", "-o")
    for name in ("net.tflite", "net.graph"):
        invoke(*words, name)
    found = [json.loads(invoke("eval", f"net.{kind}", "--data", "digits", "--json")) for kind in ("tflite", "graph")]
    assert found[0] == found[1]
    assert found[0]["accuracy"] > 0.8


def test_formats_that_a_tflite_file_lacks_are_refused_before_any_work(desk):
    words = ("quantize", "mine.onnx", "--calib", "digits", "-o", "net.tflite", "--scheme")
    assert (
        invoke(*words, "we4m3-ae4m3", code=1) == "Error: net.tflite: TFLite has no e4m3; write net.graph, any format."
    )
    assert "zero point" in invoke(*words, "w8a16", "--preset", "fast", code=1)
    assert not (desk / "net.tflite").exists()


def test_a_file_for_apps_ends_in_probabilities_and_brings_its_labels(desk):
    words = ("export", "same.graph", "--target", "arm-a", "--data", "digits", "--vectors", 4)
    invoke(*words, "-o", "plain")
    invoke(*words, "--softmax", "-o", "apps")
    assert not list((desk / "plain").rglob("*_softmax.tflite"))
    (file,) = (desk / "apps").rglob("model_softmax.tflite")
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().split() == [str(digit) for digit in range(10)]
    read_bundle(desk / "apps")


def test_files_change_their_form_and_keep_their_codes(desk):
    for first, second in (("mine.tflite", "a.onnx"), ("a.onnx", "b.tflite"), ("b.tflite", "c.graph")):
        assert "quantised" in invoke("convert", first, "-o", second)
    found = [json.loads(invoke("eval", name, "--data", "digits", "--json")) for name in ("same.graph", "c.graph")]
    assert found[0] == found[1]
    assert invoke("convert", "mine.tflite", "-o", "d.txt", code=1).startswith("Error: d.txt: write .onnx")


def test_a_float_model_becomes_a_float_tflite_file(desk):
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert does not run here")
    assert "float" in invoke("convert", "mine.onnx", "-o", "float.tflite")
    digits = load("digits")
    x = digits.preprocess.apply(digits.x_test[:64])
    run = reference_kernels((desk / "float.tflite").read_bytes())
    labels = [run(np.ascontiguousarray(image.transpose(1, 2, 0))[None])[0].argmax() for image in x]
    expected = run_float(load_onnx(desk / "mine.onnx"), x).argmax(1)
    np.testing.assert_array_equal(labels, expected)
    assert np.unique(expected).size > 5
    assert "is not quantised" in invoke("eval", "float.tflite", "--data", "digits", code=1)


@pytest.mark.parametrize("words", [("eval", "--data"), ("export", "-o", "out", "--target", "arm-m", "--data")])
def test_damage_is_one_line_that_names_the_file(desk, words):
    data = (desk / "mine.tflite").read_bytes()
    for damaged in (data[:200], data[:4] + b"TFL4" + data[8:], b"", b"\xff" * 100):
        (desk / "mine.tflite").write_bytes(damaged)
        command, *options = words
        message = invoke(command, "mine.tflite", *options, "digits", code=1)
        assert message.startswith("Error: mine.tflite: ")
        assert not (desk / "out").exists()
    assert "there is no file 'none.tflite'" in invoke("eval", "none.tflite", "--data", "digits", code=1)
