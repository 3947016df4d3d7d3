"""The pipeline: a run is complete, a second one computes nothing, a change re-does only what depends on it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from devices.run_record import RunRecord, read_run
from edge.config import Config, read_config
from edge.pipeline import train_only
from export.bundle_read import read_bundle
from tests.tiny import RUN_STAGES, computed, contents, needs_training, run, write_config, write_onnx

needs_training()
STAGES = RUN_STAGES


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """A trained network for two targets and the null board."""
    return read_config(write_config(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory) -> tuple[Path, RunRecord, list[str]]:
    """One whole run. Tests that change the folder take a copy."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, *run(config, folder)


@pytest.fixture
def copy(undisturbed, tmp_path) -> Path:
    """A copy of the whole run."""
    return Path(shutil.copytree(undisturbed[0], tmp_path / "run"))


def test_a_run_is_complete(undisturbed, config):
    folder, record, said = undisturbed
    assert computed(said) == [*STAGES]
    assert record == read_run(folder)
    assert (record.name, record.data, record.model) == ("tiny", "digits", "dscnn")
    assert (record.train_images, record.test_images, record.labels) == (1258, 539, tuple("0123456789"))
    assert record.float_bytes == (folder / "model.onnx").stat().st_size
    assert 0.2 < record.float_accuracy < 1
    (scheme,) = record.schemes
    assert scheme.accuracy.images == 539
    assert scheme.accuracy.float_accuracy == record.float_accuracy
    assert abs(scheme.accuracy.quantised_accuracy - record.float_accuracy) < 0.05
    assert 0 < scheme.weight_bytes < record.parameters * 4
    page = (folder / "report.html").read_text()
    assert "tiny" in page
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        (
            "model.onnx",
            "weights.npz",
            "w8a8.graph",
            "w8a8.float.graph",
            "w8a8.choice.txt",
            "bundles",
            "stages",
            "run.json",
            "report.html",
        )
    )


def test_every_bundle_is_intact_proven_and_measured(undisturbed):
    folder, record, _ = undisturbed
    assert [(b.target, b.scheme, b.parts) for b in record.bundles] == [
        ("host", "w8a8", ("model",)),
        ("arm-m", "w8a8", ("model",)),
    ]
    for bundle in record.bundles:
        read = read_bundle(folder / bundle.path)
        assert read.digest == bundle.digest
        assert read.manifest.name == "tiny"
        assert len(read.parts[0].inputs) == 8
        assert bundle.parity
        assert {p.status for p in bundle.parity} <= {"bit-exact", "bounded", "not run"}
        assert all(p.labels > 1 and p.vectors == 8 for p in bundle.parity if p.passed)
        assert read.certificate is not None
        assert len(read.certificate["results"]) == len(bundle.parity)
        assert bundle.size_bytes == sum(p.stat().st_size for p in (folder / bundle.path).rglob("*") if p.is_file())
    assert [(m.board, m.target, m.part) for m in record.measurements] == [
        ("null", "host", "model"),
        ("null", "arm-m", "model"),
    ]
    assert {m.bundle for m in record.measurements} == {b.digest for b in record.bundles}
    # Windows and warm-up are the configuration's.
    assert all(len(m.latency_s) == 2 for m in record.measurements)


def test_the_test_vectors_have_several_labels(undisturbed):
    folder, _, _ = undisturbed
    part = read_bundle(folder / "bundles" / "arm-m-w8a8").parts[0]
    assert len(set(part.outputs.argmax(axis=1).tolist())) >= 4


def test_a_second_run_computes_nothing_and_finds_the_same(undisturbed, config, copy):
    record, said = run(config, copy)
    assert computed(said) == []
    assert len(said) == 6
    assert replace(record, finished_at="") == replace(undisturbed[1], finished_at="")
    assert contents(copy) == contents(undisturbed[0])


def test_another_name_of_the_run_does_not_train_again(config, copy):
    record, said = run(replace(config, run=replace(config.run, name="other")), copy)
    assert computed(said) == [*STAGES[2:]]
    assert read_bundle(copy / record.bundles[0].path).manifest.name == "other"


def test_another_scheme_does_only_what_depends_on_it(config, copy):
    both = replace(config, quant=replace(config.quant, schemes=("w8a8", "w4a8")))
    record, said = run(both, copy)
    assert computed(said) == [
        f"{stage}w4a8"
        for stage in ("quantise-", "bundle-host-", "profile-null-host-", "bundle-arm-m-", "profile-null-arm-m-")
    ]
    assert [s.scheme for s in record.schemes] == ["w8a8", "w4a8"]
    assert len({b.digest for b in record.bundles}) == 4


def test_another_board_or_target_does_only_what_is_new(config, copy):
    more = replace(config, profile=replace(config.profile, boards=("null", "host-c")))
    # The first board that measures a latency brings the machine's ceilings as well.
    assert computed(run(more, copy)[1]) == ["profile-host-c-arm-m-w8a8", "roofline"]
    fewer = replace(config, export=replace(config.export, targets=("arm-m",)))
    record, said = run(fewer, copy)
    assert computed(said) == []
    assert [b.target for b in record.bundles] == ["arm-m"]


def test_other_lengths_only_measure_again(config, copy):
    longer = replace(config, profile=replace(config.profile, warmup_s=0.02))
    assert computed(run(longer, copy)[1]) == ["profile-null-host-w8a8", "profile-null-arm-m-w8a8"]


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("w8a8.graph", ["quantise-w8a8"]),
        ("bundles/arm-m-w8a8/model/tiny.c", ["bundle-arm-m-w8a8"]),
        ("bundles/arm-m-w8a8/parity.json", ["bundle-arm-m-w8a8"]),
    ],
)
def test_a_damaged_file_is_made_again_and_is_what_it_was(undisturbed, config, copy, file, stages):
    (copy / file).write_bytes(b"damaged")
    record, said = run(config, copy)
    assert computed(said) == stages
    assert (copy / file).read_bytes() == (undisturbed[0] / file).read_bytes()
    assert record.bundles == undisturbed[1].bundles


def test_other_code_does_everything_again(undisturbed, config, copy, monkeypatch):
    monkeypatch.setattr("edge.pipeline.code_digest", lambda: "another version of the code")
    _, said = run(config, copy)
    assert computed(said) == [*STAGES]
    assert contents(copy) == contents(undisturbed[0])


@pytest.mark.slow
def test_a_taken_file_is_kept_as_it_is_and_cut_at_its_tensor(tmp_path):
    source = write_onnx(tmp_path / "mine.onnx")
    config = read_config(
        write_config(
            tmp_path,
            model='onnx = "mine.onnx"\ncut = "a"',
            targets=("arm-m",),
            split_targets=("arm-m",),
            schemes=("w8a8", "we4m3-ae4m3"),
        )
    )
    record, _ = run(config, tmp_path / "run")
    assert (tmp_path / "run" / "model.onnx").read_bytes() == source.read_bytes()
    assert (record.model, record.cut) == ("mine", "a")
    assert [b.parts for b in record.bundles] == [("model",), ("head", "tail")] * 2
    assert {m.part for m in record.measurements} == {"model", "head", "tail"}
    assert record.float_accuracy > 0.8
    assert all(s.accuracy.quantised_accuracy > 0.8 for s in record.schemes)
    assert not (tmp_path / "run" / "weights.npz").exists()


def test_another_file_of_the_same_name_is_another_model(tmp_path):
    source = write_onnx(tmp_path / "mine.onnx")
    config = read_config(write_config(tmp_path, model='onnx = "mine.onnx"', targets=("arm-m",), boards=()))
    before, _ = run(config, tmp_path / "run")
    write_onnx(source, seed=1)
    after, said = run(config, tmp_path / "run")
    assert computed(said) == ["model", "quantise-w8a8", "bundle-arm-m-w8a8"]
    assert before.bundles[0].digest != after.bundles[0].digest


def test_training_alone_leaves_the_model_that_a_run_then_keeps(config, tmp_path, undisturbed):
    folder = tmp_path / "run"
    accuracy = train_only(config, folder, lambda line: None, show=False)
    assert accuracy == undisturbed[1].float_accuracy
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "stages", "weights.npz"]
    assert (folder / "model.onnx").read_bytes() == (undisturbed[0] / "model.onnx").read_bytes()


def test_two_schemes_that_become_one_for_a_target_make_one_bundle(tmp_path):
    write_onnx(tmp_path / "mine.onnx")
    path = write_config(
        tmp_path, model='onnx = "mine.onnx"', targets=("jetson",), schemes=("w8a8", "w8a8-sym"), boards=()
    )
    record, _ = run(read_config(path), tmp_path / "run")
    assert [(b.target, b.scheme) for b in record.bundles] == [("jetson", "w8a8-sym")]


def test_a_board_that_is_missing_here_is_said_and_not_measured(tmp_path, monkeypatch):
    write_onnx(tmp_path / "mine.onnx")
    path = write_config(tmp_path, model='onnx = "mine.onnx"', targets=("arm-m",))
    monkeypatch.setattr("edge.pipeline_bundles.missing", lambda board: f"{board.name} is not plugged in")
    record, said = run(read_config(path), tmp_path / "run")
    assert record.measurements == ()
    assert said[-1] == "profile of bundles/arm-m-w8a8 on null: not run, null is not plugged in"
