"""Configuration files: the examples read, paths resolve, and every slip is named with file, section and key."""

from dataclasses import fields
from pathlib import Path

import pytest

from devices.plan import Plan
from edge.config import ProfileConfig, TrainConfig, read_config
from edge.errors import EdgeError

ROOT = Path(__file__).resolve().parents[1]
GOOD = """
[run]
name = "tiny"
[data]
source = "digits"
[model]
name = "dscnn"
[quant]
schemes = ["w8a8"]
[export]
targets = ["host"]
"""
ONNX = GOOD.replace('name = "dscnn"', 'onnx = "nets/r.onnx"')


def _read(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_the_examples_read(name):
    config = read_config(ROOT / "examples" / f"{name}.toml")
    assert config.run.name == name
    assert config.quant.schemes == ("w8a8", "we4m3-ae4m3")
    assert config.export.targets == ("host", "jetson", "arm-m", "arm-a", "fpga")
    assert set(config.export.split_targets) <= set(config.export.targets)
    assert config.profile.boards


def test_defaults_and_types(tmp_path):
    config = _read(tmp_path, GOOD + "[train]\nrate = 1\n[profile]\nwarmup_s = 0\n")
    assert config.train == TrainConfig(rate=1.0)
    assert isinstance(config.train.rate, float)
    assert config.profile == ProfileConfig(warmup_s=0.0)
    assert (config.run.seed, config.model.width, config.model.cut) == (0, None, "")


def test_profile_defaults_are_those_of_a_plan():
    plan = {entry.name: entry.default for entry in fields(Plan)}
    for entry in fields(ProfileConfig):
        assert entry.name == "boards" or plan[entry.name] == entry.default


def test_paths_are_taken_from_the_files_folder(tmp_path):
    config = _read(tmp_path, ONNX.replace('"digits"', '"cifar10:data"'))
    assert config.model.onnx == str(tmp_path / "nets" / "r.onnx")
    assert config.data.source == f"cifar10:{tmp_path / 'data'}"


def test_another_preprocessing(tmp_path):
    config = _read(
        tmp_path,
        GOOD.replace("[model]", "scale = 1\nmean = [0, -0.5]\nstd = [1, 2.5]\nresize = 'crop-bilinear'\n[model]"),
    )
    assert (config.data.scale, config.data.mean, config.data.std) == (1.0, (0.0, -0.5), (1.0, 2.5))
    assert config.data.resize == "crop-bilinear"


SLIPS = [
    ("[quant]", "[quantise]", r"my\.toml: section \[quantise\] is unknown\. Did you mean 'quant'\?"),
    ("[run]\nname", "[run]\nnaem", r"\[run\] key 'naem' is unknown\. Did you mean 'name'\?"),
    ('[run]\nname = "tiny"', "[run]", r"\[run\] key 'name' is missing"),
    ('[export]\ntargets = ["host"]', "", r"section \[export\] is missing"),
    ('\n[run]\nname = "tiny"', "run = 3", r"'run' must be a section, \[run\]"),
    ('"tiny"', "3", r"\[run\] name is 3; it must be a text"),
    ('"tiny"', '" "', r"\[run\] name is ' '; it must be a text"),
    ('"tiny"', '"My Net"', r"\[run\] name: 'My Net' cannot name a part"),
    ('"tiny"', '"tiny"\nseed = 1.5', r"\[run\] seed is 1\.5; it must be a whole number"),
    ('"tiny"', '"tiny"\nseed = true', r"\[run\] seed is True; it must be a whole number"),
    ('"tiny"', '"tiny"\nseed = -1', r"\[run\] seed is -1; it must be 0 or more"),
    ('"digits"', '"digits"\nscale = nan', r"\[data\] scale is nan; it must be a finite number"),
    ('"digits"', '"digits"\nstd = [0]', r"\[data\] std is \[0\]; it must be above 0"),
    ('"digits"', '"digits"\nresize = "cubic"', r"\[data\] resize: pre-processing with resize 'cubic' .* crop-bilinear"),
    ('"digits"', '"digits"\nresize = 2', r"\[data\] resize is 2; it must be a text"),
    ('"digits"', '"digits"\nmean = 0.5', r"\[data\] mean is 0\.5; it must be a list of finite numbers"),
    ('"dscnn"', '"dscn"', r"\[model\] name: unknown model 'dscn'\. Did you mean 'dscnn'"),
    ('"dscnn"', '"dscnn"\nwidth = 0', r"\[model\] width is 0; it must be above 0"),
    ('"dscnn"', '"dscnn"\nonnx = "a.onnx"', "needs 'name' .* or 'onnx' .* not both"),
    ('name = "dscnn"', "", "needs 'name' .* or 'onnx'"),
    ('["w8a8"]', '"w8a8"', r"\[quant\] schemes is 'w8a8'; it must be a list of texts"),
    ('["w8a8"]', "[]", r"\[quant\] schemes is empty"),
    ('["w8a8"]', '["w8a8", "w8a8"]', "schemes names something twice"),
    ('["w8a8"]', '["w99a8"]', r"\[quant\] schemes: .*99"),
    ('["w8a8"]', '["w8a8"]\ncalibration = 0', r"\[quant\] calibration is 0; it must be above 0"),
    ('["host"]', '["hots"]', r"\[export\] targets: unknown target 'hots'.*'host'"),
    ('["host"]', '["host"]\nsplit_targets = ["arm-m"]', r"split_targets names 'arm-m', which is not among targets"),
    ('["host"]', '["host"]\n[train]\nrecipe = "cross"', r"\[train\] recipe: unknown recipe 'cross'"),
    ('["host"]', '["host"]\n[train]\nrate = inf', r"\[train\] rate is inf; it must be a finite number"),
    ('["host"]', '["host"]\n[profile]\nboards = ["host-or"]', r"\[profile\] boards: .*'host-or'.*'host-ort'"),
    ('["host"]', '["host"]\n[profile]\nwindows = "5"', r"\[profile\] windows is '5'; it must be a whole number"),
]


@pytest.mark.parametrize(("old", "new", "message"), SLIPS)
def test_slips_are_named(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(EdgeError, match=message):
        _read(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[train]\nepochs = 3", r"a section \[train\] has no use with it"),
        ('split_targets = ["host"]', r"split_targets needs \[model\] cut"),
    ],
)
def test_keys_a_trained_network_cannot_use(tmp_path, extra, message):
    with pytest.raises(EdgeError, match=message):
        _read(tmp_path, ONNX + extra)
    with pytest.raises(EdgeError, match="'width' has no use with it"):
        _read(tmp_path, ONNX.replace('r.onnx"', 'r.onnx"\nwidth = 8'))


@pytest.mark.parametrize("data", [b"[run\n", b"\xff\xfe", b"[run]\n[run]\n"])
def test_files_that_are_no_toml(tmp_path, data):
    path = tmp_path / "my.toml"
    path.write_bytes(data)
    with pytest.raises(EdgeError, match=r"my\.toml is not a readable TOML file"):
        read_config(path)


def test_no_file(tmp_path):
    with pytest.raises(EdgeError, match="no configuration file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(EdgeError, match="not a readable TOML file"):
        read_config(tmp_path)
