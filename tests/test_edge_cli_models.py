"""quantize, eval and export on what a person has: an .npz, a folder of images, a torch factory, several targets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from edge.data import load
from export.bundle_read import read_bundle
from quant import graph_file
from tests.tiny import listing, needs_training, write_onnx

needs_training()
NETS = """
import torch


def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 10)
    )


def needs(width):
    return torch.nn.Identity()


def number():
    return 7


def broken():
    raise RuntimeError("no such block")
"""


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with the float network, a module of factories and 40 digits, with the person standing in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    (tmp_path / "nets.py").write_text(NETS)
    write_onnx(tmp_path / "mine.onnx")
    digits = load("digits")
    x = digits.preprocess.apply(digits.x_test[:40])
    np.savez(tmp_path / "forty.npz", x=x, y=digits.y_test[:40])
    return tmp_path


def invoke(*words: object, code: int = 0) -> str:
    """Run a command; returns its standard output, or the last line of its errors."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, (result.stderr, result.exception)
    return result.stdout if code == 0 else result.stderr.strip().splitlines()[-1]


def test_an_npz_is_evaluated_and_calibrated_on_whole(desk):
    floats = json.loads(invoke("eval", "mine.onnx", "--data", "forty.npz", "--json"))
    assert floats["images"] == 40
    assert 0.8 < floats["accuracy"] <= 1
    said = invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "forty.npz", "-o", "q.graph")
    *tried, chose, made = said.splitlines()
    assert tried[0].startswith("tried w8a8 with plain: logit error ")
    assert all(line.startswith("tried ") for line in tried)
    scheme, passes = chose.removeprefix("chose ").split(" (")[0].split(" with ")
    assert made == f"q.graph: {scheme}, passes {passes}, calibrated on 40 images of forty"
    words = ("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "forty.npz")
    fast = invoke(*words, "--preset", "fast", "-o", "fast.graph")
    assert fast.splitlines()[0] == "chose w8a8 with bias (nothing measured)"
    invoke(*words, "--passes", "bias", "-o", "bias.graph")
    assert invoke(*words, "--passes", "bias+cle", "-o", "no.graph", code=1).endswith("write cle+bias.")
    assert not (desk / "no.graph").exists()
    codes = json.loads(invoke("eval", "q.graph", "--data", "forty.npz", "--json"))
    assert codes["images"] == 40
    assert abs(codes["accuracy"] - floats["accuracy"]) < 0.1


def test_calibration_takes_the_images_that_count_and_seed_name(desk):
    options = ("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "digits")
    for name, more in {
        "a": ("--count", 4),
        "b": ("--count", 4),
        "c": ("--count", 4, "--seed", 1),
        "d": ("--count", 40),
    }.items():
        invoke(*options, *more, "-o", f"{name}.graph")
    data = {name: (desk / f"{name}.graph").read_bytes() for name in "abcd"}
    assert data["a"] == data["b"]
    assert len(set(data.values())) == 3


def test_test_vectors_come_from_all_of_an_npz(desk):
    invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "forty.npz", "-o", "q.graph")
    invoke("export", "q.graph", "--target", "arm-m", "--data", "forty.npz", "--vectors", 40, "-o", "b")
    bundle = read_bundle(desk / "b")
    assert len(bundle.parts[0].inputs) == 40
    assert len(set(bundle.parts[0].outputs.argmax(axis=1).tolist())) >= 8
    assert json.loads(invoke("eval", "b", "--data", "forty.npz", "--json"))["images"] == 40


def test_a_folder_of_images_is_used_whole(desk):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    digits = load("digits")
    for label in range(10):
        (desk / "pictures" / str(label)).mkdir(parents=True)
        for index in np.flatnonzero(digits.y_test == label)[:3]:
            picture = image.fromarray((digits.x_test[index, 0] * 15).astype(np.uint8))
            picture.save(desk / "pictures" / str(label) / f"{index}.png")
    options = ("--pixel-scale", 1 / 240, "--mean", "0.305", "--std", "0.376")
    found = json.loads(invoke("eval", "mine.onnx", "--data", "pictures", *options, "--json"))
    assert found["images"] == 30
    assert found["accuracy"] > 0.7
    said = invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "pictures", *options, "-o", "q.graph")
    assert "on 30 images of pictures" in said


def test_digits_keep_their_own_parts(desk):
    said = invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "--count", 99999, "-o", "q.graph")
    assert "on 1258 images" in said
    assert json.loads(invoke("eval", "q.graph", "--data", "digits", "--json"))["images"] == 539


def test_a_qdq_file_is_the_same_network_as_its_graph(desk):
    invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "-o", "q.graph")
    invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "-o", "q.onnx")
    assert invoke("eval", "q.graph", "--data", "digits") == invoke("eval", "q.onnx", "--data", "digits")


def test_several_targets_become_folders_with_one_meaning(desk):
    invoke("quantize", "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "-o", "q.graph")
    words = ("export", "q.graph", "--data", "digits", "--name", "mine", "-o", "out")
    said = invoke(*words, "--target", "arm-m", "--target", "fpga")
    assert [line.split(",")[0] for line in said.splitlines()] == ["out/arm-m: arm-m", "out/fpga: fpga"]
    parts = [read_bundle(desk / "out" / name).parts[0] for name in ("arm-m", "fpga")]
    assert np.array_equal(parts[0].outputs, parts[1].outputs)
    before = listing(desk / "out")
    invoke(*words, "--target", "arm-m", "--target", "fpga", "--force")
    assert listing(desk / "out") == before
    # Another target joins the folder; what is there stays as it is.
    invoke(*words[:-1], "out/host", "--target", "host")
    assert {name: data for name, data in listing(desk / "out").items() if not name.startswith("host")} == before


def test_a_cut_makes_head_and_tail(desk):
    invoke("quantize", "mine.onnx", "--scheme", "we4m3-ae4m3", "--calib", "digits", "-o", "q.graph")
    whole = invoke("eval", "q.graph", "--data", "digits")
    invoke("export", "q.graph", "--target", "arm-m", "--data", "digits", "--cut", "a", "-o", "b")
    assert [part.name for part in read_bundle(desk / "b").parts] == ["head", "tail"]
    assert invoke("eval", "b", "--data", "digits") == whole


@pytest.fixture
def weights(desk) -> str:
    """Weights of the factory's module."""
    from edge.weights import save_weights

    space: dict[str, object] = {}
    exec(NETS, space)
    save_weights(space["make"](), desk / "w.npz")
    return "w.npz"


def test_a_factory_is_evaluated_and_quantised(desk, weights):
    import torch

    found = json.loads(invoke("eval", "nets:make", "--weights", weights, "--data", "digits", "--json"))
    assert (found["images"], found["executed_by"]) == (539, "float, ONNX Runtime")
    space: dict[str, object] = {}
    exec(NETS, space)
    digits = load("digits")
    with torch.inference_mode():
        logits = space["make"]()(torch.from_numpy(digits.preprocess.apply(digits.x_test))).numpy()
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == digits.y_test).mean(), abs=1e-9)
    invoke("quantize", "nets:make", "--weights", weights, "--scheme", "w8a8", "--calib", "digits", "-o", "made.graph")
    assert graph_file.load(desk / "made.graph").is_quantised
    assert "nets" not in sys.path[0]


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("nets:make", "weight '0.bias' is in the model but not in the file"),
        ("nets:needs", "missing 1 required positional argument: 'width'"),
        ("nets:number", "made int; it must make a torch.nn.Module"),
        ("nets:broken", "no such block"),
        ("nets:mak", "has no attribute 'mak'"),
        ("netz:make", "No module named 'netz'"),
        (":make", "cannot make a model of ':make'"),
        ("edge.models.resnet8:", "cannot make a model of 'edge.models.resnet8:'"),
    ],
)
def test_a_factory_that_does_not_work_is_one_clear_line(desk, factory, says):
    np.savez(desk / "w.npz", other=np.zeros(3))
    before = listing(desk)
    line = invoke("eval", factory, "--weights", "w.npz", "--data", "digits", code=1)
    assert line.startswith("Error: ")
    assert says in line
    assert listing(desk) == before


def test_a_factory_needs_its_weights(desk):
    assert "give its weights (--weights)" in invoke("eval", "nets:make", "--data", "digits", code=1)
    line = invoke("eval", "nets:make", "--weights", "none.npz", "--data", "digits", code=1)
    assert "no file none.npz" in line
