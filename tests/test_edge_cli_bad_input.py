"""Bad input: one clear line, exit code 1 or 2, no traceback, and not one file more, less or changed than before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from tests.tiny import execute, listing, needs_training, write_config, write_onnx

needs_training()
ONNX_CONFIG = {"model": 'onnx = "mine.onnx"', "targets": ("arm-m",), "boards": ()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A float network, its quantised graph and a bundle of it, made by the commands; tests copy it."""
    folder = tmp_path_factory.mktemp("made")
    write_onnx(folder / "mine.onnx")
    graph = folder / "mine.graph"
    for words in (
        ("quantize", folder / "mine.onnx", "--scheme", "w8a8", "--calib", "digits", "--count", 16, "-o", graph),
        ("export", graph, "--target", "arm-m", "--data", "digits", "--vectors", 4, "-o", folder / "bundle"),
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def desk(made, tmp_path, monkeypatch) -> Path:
    """A copy of the network, its graph and its bundle, with the person standing in it."""
    folder = Path(shutil.copytree(made, tmp_path / "desk"))
    monkeypatch.chdir(folder)
    return folder


def refused(desk: Path, *words: object, code: int = 1) -> str:
    """Run a command that must be refused and change nothing; returns the one line it says."""
    before = listing(desk)
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.stderr
    assert listing(desk) == before
    lines = [line for line in result.stderr.splitlines() if not re.fullmatch(r"[a-z0-9-]+ \.\.\.", line)]
    assert "Traceback" not in result.output
    assert lines[-1].startswith("Error: ")
    # Wrong usage shows the command's usage above its one line.
    assert len(lines) == 1 or (code == 2 and lines[0].startswith("Usage: "))
    return lines[-1].removeprefix("Error: ")


def quantize(*more: object, model: str = "mine.onnx", scheme: str = "w8a8", calib: str = "digits") -> list[object]:
    """Words of a quantize command."""
    output = () if "-o" in more else ("-o", "out.graph")
    return ["quantize", model, "--scheme", scheme, "--calib", calib, *output, *more]


def export(*more: object, model: str = "mine.graph", target: str = "arm-m", data: str = "digits") -> list[object]:
    """Words of an export command."""
    output = () if "-o" in more else ("-o", "out")
    return ["export", model, "--target", target, "--data", data, *output, *more]


# Models


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
@pytest.mark.parametrize("words", [quantize(), ["eval", "mine.onnx", "--data", "digits"]], ids=["quantize", "eval"])
def test_a_truncated_onnx_file(desk, words, keep):
    data = (desk / "mine.onnx").read_bytes()
    (desk / "mine.onnx").write_bytes(data[:keep])
    assert "mine.onnx" in refused(desk, *words)


def test_a_truncated_onnx_file_of_a_run(desk):
    (desk / "mine.onnx").write_bytes((desk / "mine.onnx").read_bytes()[:500])
    path = write_config(desk, **ONNX_CONFIG)
    assert "mine.onnx is not a readable ONNX model" in refused(desk, "run", path, "-o", "deep/run")
    assert "mine.onnx is not a readable ONNX model" in refused(desk, "run", path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_onnx_file_with_weights_that_are_no_numbers(desk, value):
    import onnx

    model = onnx.load(desk / "mine.onnx")
    weight = next(item for item in model.graph.initializer if item.name == "fc_w")
    array = onnx.numpy_helper.to_array(weight).copy()
    array[3, 5] = value
    weight.CopyFrom(onnx.numpy_helper.from_array(array, "fc_w"))
    onnx.save(model, desk / "mine.onnx")
    assert "weight 'fc_w' has 1 NaN or infinite" in refused(desk, *quantize())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("none.onnx", "there is no file 'none.onnx'"),
        ("none.graph", "there is no file 'none.graph'"),
        ("mine.pt", "'mine.pt' is no model: give FILE.onnx, FILE.graph"),
        (".", "'.' is no model"),
        ("bundle", "'bundle' is no model"),
        ("nets:make", "'nets:make' is a factory: give its weights"),
        ("mine.graph", "quantised already"),
    ],
)
def test_what_is_no_float_model(desk, model, says):
    assert says in refused(desk, *quantize(model=model))


def test_a_float_model_is_not_exported(desk):
    assert "'mine.onnx' is a float model; quantise it first" in refused(desk, *export(model="mine.onnx"))


@pytest.mark.parametrize("harm", [lambda data: data[:300], lambda data: b"", lambda data: data[:-30] + b"x" * 30])
def test_a_damaged_graph(desk, harm):
    (desk / "mine.graph").write_bytes(harm((desk / "mine.graph").read_bytes()))
    assert "mine.graph" in refused(desk, *export())


# Data


def data_file(desk: Path, **arrays: np.ndarray) -> str:
    """Write `some.npz`."""
    np.savez(desk / "some.npz", **arrays)
    return "some.npz"


IMAGES = np.zeros((6, 1, 8, 8), np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 9])
NAN = np.where(np.arange(6).reshape(6, 1, 1, 1) == 4, np.float32("nan"), IMAGES)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((6, 1, 8, 9), np.float32), "y": LABELS}, "images [1, 8, 9]; the model takes [1, 8, 8]"),
        ({"x": np.zeros((6, 3, 8, 8), np.uint8), "y": LABELS}, "images [3, 8, 8]; the model takes [1, 8, 8]"),
        ({"x": IMAGES[:, 0, 0], "y": LABELS}, "has shape (6, 8)"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "has shape (0, 1, 8, 8)"),
        ({"x": NAN, "y": LABELS}, "NaN or infinity in image 4"),
        ({"x": IMAGES, "y": LABELS[:5]}, "for 6 images"),
        ({"x": IMAGES, "y": LABELS - 1}, "label -1"),
        ({"x": IMAGES}, "holds x; needed are x and y"),
        (
            {"x": IMAGES, "y": LABELS, "labels": np.array(list("abcdefghijklm"))},
            "10 outputs, data 'some' has 13 labels",
        ),
        ({"x": np.full((6, 1, 8, 8), None), "y": LABELS}, "not a readable .npz file of plain arrays"),
    ],
    ids=["width", "channels", "axes", "empty", "nan", "labels", "negative", "no-y", "classes", "objects"],
)
@pytest.mark.parametrize("words", [quantize(calib="some.npz"), export(data="some.npz")], ids=["quantize", "export"])
def test_data_that_does_not_fit(desk, words, arrays, says):
    data_file(desk, **arrays)
    assert says in refused(desk, *words)


@pytest.mark.parametrize("text", [b"", b"PK\x03\x04 no zip at all", b"text"])
def test_a_data_file_that_is_none(desk, text):
    (desk / "some.npz").write_bytes(text)
    assert "some.npz is not a readable .npz file" in refused(desk, *quantize(calib="some.npz"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("digit", "no data 'digit'. Did you mean 'digits'?"),
        ("none.npz", "no file none.npz"),
        ("cifar10:none", "no folder none"),
        ("bundle", "class folders"),
    ],
)
def test_data_that_is_not_there(desk, data, says):
    assert says in refused(desk, *quantize(calib=data))


@pytest.mark.parametrize(
    ("more", "says", "code"),
    [
        (("--mean", "0.1,0.2"), "2 values of 'mean' for 1 channels", 1),
        (("--std", "0"), "std must be greater than 0", 1),
        (("--std", "a"), "--std takes comma-separated numbers, not 'a'", 2),
        (("--pixel-scale", "nan"), "finite", 1),
        (("--count", "0"), "0 is not in the range x>=1", 2),
        (("--seed", "-1"), "-1 is not in the range x>=0", 2),
    ],
)
def test_options_that_make_no_sense(desk, more, says, code):
    assert says in refused(desk, *quantize(*more), code=code)


# Names


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (export(target="arm-n"), "unknown target 'arm-n'. Did you mean 'arm-m'?"),
        (quantize(scheme="we4m33-ae4m3"), "unknown number format 'e4m33'. Did you mean 'e4m3"),
        (quantize(scheme="w8"), "'w8' is not a pair of formats. Write w8a8"),
        (quantize(scheme="w8a8-symm"), "unknown option 'symm'. Options: sym"),
        (quantize(scheme="w99a8"), "integers have 2 to 16 bits, not 99"),
        (["profile", "bundle", "--board", "host-ortt"], "unknown board 'host-ortt'. Did you mean 'host-ort'?"),
        (["verify", "bundle", "--runtime", "c-hots"], "unknown runtime 'c-hots'. Did you mean 'c-host'?"),
        (["eval", "bundle", "--data", "digits", "--runtime", "x-host"], "unknown runtime 'x-host'. Did you mean"),
        (["verify", "bundle", "--runtime", "openvino"], "runtime 'openvino' executes bundles of target host"),
        (["profile", "bundle", "--board", "host-ort"], "board 'host-ort' runs bundles of target host, not arm-m"),
        (export("--cut", "conv"), "'conv' is no tensor of graph"),
        (quantize("-o", "out.txt"), "out.txt: write .onnx"),
        (quantize("-o", "out.onnx", scheme="we4m3-ae4m3"), "out.onnx: ONNX has no e4m3; write out.graph, any format"),
        (quantize("-o", "out.onnx", scheme="w8a8;fc*=w12a8"), "out.onnx: ONNX has no int12; write out.graph"),
        (export(target="jetson"), "jetson: activation 'x' has zero point"),
        (export("--target", "arm-m"), "the same target is given twice"),
    ],
)
def test_names_that_are_unknown_or_do_not_fit(desk, words, says):
    assert says in refused(desk, *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["verfy", "bundle"], "No such command 'verfy'. Did you mean 'verify'?"),
        (["verify", "bundle", "--vector", "3"], "No such option '--vector'"),
        (["verify"], "Missing argument 'BUNDLE'"),
        (["verify", "bundle", "--vectors", "0"], "0 is not in the range x>=1"),
        (["profile", "bundle"], "Missing option '--board'"),
        (["profile", "bundle", "--board", "null", "--window-s", "0"], "0.0 is not in the range x>0"),
        (["profile", "bundle", "--board", "null", "--windows", "0"], "0 is not in the range x>=1"),
        (["eval", "bundle", "--data", "digits", "--mean", "0.5"], "a bundle brings its own pre-processing"),
        (["quantize", "mine.onnx", "--calib", "digits", "-o", "o.graph"], "Missing option '--scheme'"),
        (export("--vectors", "1"), "1 is not in the range x>=2"),
    ],
)
def test_wrong_usage_is_exit_code_2(desk, words, says):
    assert says in refused(desk, *words, code=2)


# Places


@pytest.mark.parametrize("words", [quantize("-o", "taken.graph"), export("-o", "taken.graph")], ids=["file", "folder"])
def test_an_output_that_exists(desk, words):
    (desk / "taken.graph").write_text("mine")
    assert "taken.graph exists already; choose another name or give --force" in refused(desk, *words)


def test_force_does_not_replace_what_is_no_bundle(desk):
    (desk / "mine").mkdir()
    (desk / "mine" / "thesis.txt").write_text("years of work")
    assert "mine is not a bundle, so it is not overwritten" in refused(desk, *export("-o", "mine", "--force"))


def test_one_of_several_places_is_taken(desk):
    (desk / "out" / "host").mkdir(parents=True)
    (desk / "out" / "host" / "mine.txt").write_text("mine")
    assert "out/host exists already" in refused(desk, *export("--target", "host"))


def test_one_of_several_targets_refuses_and_none_is_written(desk):
    assert "jetson: activation" in refused(desk, *export("--target", "jetson"))


@pytest.mark.parametrize("place", ["file/out.graph", "no/folder/out.graph", "read-only/out.graph", "/proc/out.graph"])
@pytest.mark.parametrize("command", [quantize, export], ids=["quantize", "export"])
def test_a_place_that_cannot_be_written(desk, command, place):
    (desk / "file").write_text("x")
    (desk / "read-only").mkdir(mode=0o555)
    assert "out.graph" in refused(desk, *command("-o", place))


@pytest.mark.parametrize("place", ["file/run", "file", "read-only/run", "read-only", "/proc/run"])
def test_a_run_folder_that_cannot_be_written(desk, place):
    (desk / "file").write_text("x")
    (desk / "read-only").mkdir(mode=0o555)
    said = refused(desk, "run", write_config(desk, **ONNX_CONFIG), "-o", place)
    assert place.split("/")[-1] in said
    assert "choose another one with -o" in said.lower()


@pytest.mark.parametrize(
    "words", [["report", "."], ["compare", ".", "."], ["report", "none"], ["compare", "none", "."]]
)
def test_what_is_no_run(desk, words):
    assert "run.json" in refused(desk, *words) or words[1] == "none"


def test_a_damaged_run(desk):
    (desk / "run.json").write_text('{"schema": 1, "name": "x"')
    assert "run.json" in refused(desk, "report", ".")
    (desk / "run.json").write_text('{"schema": 1, "name": "x"}')
    assert "run.json" in refused(desk, "compare", ".", ".")


# Bundles


def test_every_file_of_a_bundle_in_turn(desk):
    files = sorted(path for path in (desk / "bundle").rglob("*") if path.is_file())
    assert len(files) >= 6
    for path in files:
        data = path.read_bytes()
        for harm in (data[: len(data) // 2], data[:-1] + bytes([data[-1] ^ 1]), b""):
            path.write_bytes(harm)
            said = refused(desk, "verify", "bundle")
            assert path.name in said, (path, said)
        path.unlink()
        assert path.name in refused(desk, "profile", "bundle", "--board", "null") or path.name == "manifest.json"
        path.write_bytes(data)
    result = CliRunner().invoke(main, ["verify", "bundle"])
    assert result.exit_code == 0


def test_an_extra_file_a_link_and_no_bundle_at_all(desk):
    (desk / "bundle" / "more.txt").write_text("x")
    assert "more.txt is not in the manifest" in refused(desk, "verify", "bundle")
    (desk / "bundle" / "more.txt").unlink()
    (desk / "bundle" / "link").symlink_to("labels.txt")
    assert "link is a symbolic link" in refused(desk, "verify", "bundle")
    assert "none is not a folder, so it is no bundle" in refused(desk, "verify", "none")
    assert "is no bundle: manifest.json is missing" in refused(desk, "verify", ".")


# Configurations


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[run]", "[run", "not a readable TOML file"),
        ("[run]", "[runn]", "section [runn] is unknown. Did you mean 'run'?"),
        ('name = "tiny"', "", "[run] key 'name' is missing"),
        ('name = "tiny"', 'name = "No good!"', "[run] name: 'No good!' cannot name a part"),
        ("calibration = 32", "calibraton = 32", "key 'calibraton' is unknown. Did you mean 'calibration'?"),
        ("calibration = 32", "calibration = 0", "[quant] calibration is 0; it must be above 0"),
        ("calibration = 32", 'calibration = "32"', "it must be a whole number"),
        ("['w8a8']", "['w8a88']", "[quant] schemes: scheme 'w8a88'"),
        ("['w8a8']", "[]", "[quant] schemes is empty"),
        ("['arm-m']", "['arm-mm']", "unknown target 'arm-mm'. Did you mean 'arm-m'?"),
        ("boards = []", "boards = ['nul']", "unknown board 'nul'. Did you mean 'null'?"),
        ('onnx = "mine.onnx"', 'name = "dscn"', "unknown model 'dscn'. Did you mean 'dscnn'?"),
        ('onnx = "mine.onnx"', 'name = "dscnn"\n[train]\nrecipe = "cross"', "unknown recipe 'cross'"),
        ('onnx = "mine.onnx"', 'onnx = "none.onnx"', "none.onnx"),
        ('source = "digits"', 'source = "digit"', "no data 'digit'. Did you mean 'digits'?"),
        ("[data]", "[data]\nmean = [0.1, 0.2]", "2 values of 'mean' for 1 channels"),
    ],
)
def test_a_configuration_with_a_slip(desk, old, new, says):
    path = write_config(desk, **ONNX_CONFIG)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    for command in ("run", "train"):
        assert says in refused(desk, command, path)


def test_a_configuration_that_is_not_there(desk):
    assert "no configuration file none.toml" in refused(desk, "run", "none.toml")
    assert "." in refused(desk, "run", ".")


def test_a_model_that_does_not_fit_the_data(desk):
    np.savez(desk / "wide.npz", x=np.zeros((40, 1, 9, 9), np.uint8), y=np.arange(40) % 10)
    path = write_config(desk, **ONNX_CONFIG)
    path.write_text(path.read_text().replace('"digits"', '"wide.npz"'))
    result = CliRunner().invoke(main, ["run", str(path)])
    assert result.exit_code == 1
    assert "Error: data 'wide' has images [1, 9, 9]; the model takes [1, 8, 8]." in result.stderr


# A process of its own, as a person starts it


def test_the_same_as_a_process(desk):
    before = listing(desk)
    done = execute(*quantize(scheme="w8"), cwd=desk)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: scheme 'w8'")
    assert len(done.stderr.splitlines()) == 1
    assert listing(desk) == before
    debugged = execute("--debug", *quantize(scheme="w8"), cwd=desk)
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr
    assert "QuantError" in debugged.stderr.splitlines()[-1]
