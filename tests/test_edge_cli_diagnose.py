"""The command diagnose: its text says what its JSON holds, and bad input ends in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from tests.tiny import execute, listing, write_onnx

for _package in ("torch", "onnx", "onnxruntime", "sklearn"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

KEYS = {
    "schema",
    "network",
    "scheme",
    "images",
    "healthy",
    "summary",
    "score",
    "float_accuracy",
    "test_images",
    "layers",
    "cures",
    "unmatched",
    "equalised",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A float network, the same quantised as a graph and as QDQ, and a network that is not it."""
    folder = tmp_path_factory.mktemp("desk")
    write_onnx(folder / "mine.onnx")
    write_onnx(folder / "other.onnx", seed=1)
    for name in ("mine.graph", "qdq.onnx"):
        invoke("quantize", folder / "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "-o", folder / name)
    return folder


def invoke(*words: object) -> str:
    """Run a command that must succeed; returns what it wrote to standard output."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def diagnosed(model: Path, *more: object) -> dict[str, object]:
    """Return the JSON of a diagnosis on 32 digits."""
    record = json.loads(invoke("diagnose", model, "--calib", "digits", "--count", 32, *more, "--json"))
    assert set(record) == KEYS
    return dict(record)


def test_nothing_is_wrong_with_8_bits(desk):
    record = diagnosed(desk / "mine.onnx", "--scheme", "w8a8")
    assert (record["healthy"], record["cures"], record["images"]) == (True, [], 32)
    shown = invoke("diagnose", desk / "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "--count", 32)
    assert shown.splitlines()[-1] == record["summary"]
    assert str(record["summary"]).startswith("Nothing is wrong: ")


def test_few_bits_are_named_and_a_cure_is_tried(desk, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = (desk / "mine.onnx", "--scheme", "w2a8", "--test", "digits")
    record, shown = diagnosed(*words), invoke("diagnose", *words, "--calib", "digits", "--count", 32)
    assert record["healthy"] is False
    assert record["test_images"] == 539
    accuracies = [record["float_accuracy"], record["score"]["accuracy"]]
    assert accuracies[0] > accuracies[1] + 0.02
    assert f"float {accuracies[0]:.2%}, quantised {accuracies[1]:.2%}" in shown
    worst = record["layers"][0]
    assert worst["causes"]
    assert worst["causes"][0]["evidence"] in shown
    cure = next(cure for cure in record["cures"] if cure["helped"])
    assert cure["gain_db"] >= 0.5
    assert cure["score"]["accuracy"] > accuracies[1]
    assert cure["cure"] in shown
    assert record["summary"] == shown.splitlines()[-1]


def test_what_a_cure_says_can_be_typed(desk):
    record = diagnosed(desk / "mine.onnx", "--scheme", "w2a8")
    from quant.method import parse_method
    from quant.scheme import parse_scheme

    for cure in record["cures"]:
        assert str(parse_scheme(cure["scheme"])) == cure["scheme"]
        assert str(parse_method(cure["passes"])) == cure["passes"]


@pytest.mark.parametrize("name", ["mine.graph", "qdq.onnx"])
def test_a_quantised_file_against_its_float_form(desk, name):
    record = diagnosed(desk / name, "--float", desk / "mine.onnx")
    assert (record["healthy"], record["unmatched"]) == (True, [])
    assert record["scheme"] == "w8a8"
    assert {layer["layer"] for layer in record["layers"]} >= {"x"}
    assert sum(layer["share"] for layer in record["layers"]) == pytest.approx(1)


def test_raw_pixels_are_noticed(desk):
    record = diagnosed(desk / "mine.graph", "--float", desk / "mine.onnx", "--pixel-scale", 16, "--mean", 0, "--std", 1)
    causes = {cause["cause"] for layer in record["layers"] for cause in layer["causes"]}
    assert "preprocessing" in causes
    assert "pre-processing mismatch" in str(record["summary"])


def refused(desk: Path, monkeypatch: pytest.MonkeyPatch, *words: object, code: int = 1) -> str:
    """Run a diagnosis that must be refused and write nothing; returns the one line it says."""
    monkeypatch.chdir(desk)
    before = listing(desk)
    result = CliRunner().invoke(main, ["diagnose", *(str(word) for word in words)])
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, listing(desk)) == (code, before)
    assert "Traceback" not in result.output
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("mine.graph", "--scheme", "w8a8"), "'mine.graph' is quantised already: instead of --scheme give --float"),
        (("mine.onnx", "--float", "mine.onnx"), "'mine.onnx' is a float model: give --scheme"),
        (("mine.graph", "--float", "qdq.onnx"), "--float 'qdq.onnx' is quantised; give the float model"),
        (("mine.graph", "--float", "none.onnx"), "there is no file 'none.onnx'"),
        (("none.onnx", "--scheme", "w8a8"), "there is no file 'none.onnx'"),
        (("mine.onnx", "--scheme", "w8a88"), "integers have 2 to 16 bits, not 88"),
        (("mine.onnx", "--scheme", "w8a8", "--test", "digit"), "no data 'digit'. Did you mean 'digits'?"),
        (("mine.onnx", "--scheme", "w8a8", "--mean", "0.1,0.2"), "2 values of 'mean' for 1 channels"),
    ],
)
def test_bad_input(desk, monkeypatch, words, says):
    assert says in refused(desk, monkeypatch, *words, "--calib", "digits")


@pytest.mark.parametrize("words", [(), ("--scheme", "w8a8", "--float", "mine.onnx")])
def test_exactly_one_of_scheme_and_float(desk, monkeypatch, words):
    said = refused(desk, monkeypatch, "mine.onnx", *words, "--calib", "digits", code=2)
    assert "give --scheme with a float MODEL, or --float FLOAT with a quantised MODEL" in said


def test_data_of_another_shape(desk, tmp_path, monkeypatch):
    np.savez(tmp_path / "wide.npz", x=np.zeros((6, 1, 9, 9), np.uint8), y=np.arange(6))
    said = refused(desk, monkeypatch, "mine.onnx", "--scheme", "w8a8", "--calib", tmp_path / "wide.npz")
    assert "images [1, 9, 9]; the model takes [1, 8, 8]" in said


def test_another_network_with_the_same_shapes_looks_like_one_that_lost_everything(desk):
    record = diagnosed(desk / "mine.graph", "--float", desk / "other.onnx")
    assert record["healthy"] is False
    assert record["score"]["sqnr_db"] < 20


def test_json_is_all_there_is_on_standard_output(desk):
    done = execute("diagnose", desk / "mine.onnx", "--scheme", "w2a8", "--calib", "digits", "--count", 8, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["images"] == 8


def test_the_json_of_the_page(desk):
    page = (Path(__file__).parents[1] / "docs" / "measuring.md").read_text()
    record = diagnosed(desk / "mine.onnx", "--scheme", "w2a8")
    named = set(re.findall(r"`([a-z_]+)`", page.split("`--json` prints one object.")[1]))
    layer, cure = record["layers"][0], record["cures"][0]
    assert named >= {*record, *layer, *cure, *layer["causes"][0], *layer["only_weights"], *cure["score"]}
