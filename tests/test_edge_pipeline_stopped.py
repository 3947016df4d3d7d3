"""Runs that stop: killed, interrupted, refused by a target, or proven wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from devices.run_record import read_run
from devices.runtimes import runtimes_for
from edge.cli import main
from edge.config import Config, read_config
from export.bundle_read import read_bundle
from export.runtimes.session import Runtime, Session
from quant.formats import Array
from quant.graph import Graph
from tests.tiny import (
    RUN_STAGES,
    command,
    computed,
    contents,
    execute,
    needs_training,
    run,
    surroundings,
    write_config,
    write_onnx,
)

needs_training()


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """A trained network for two targets and the null board."""
    return read_config(write_config(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory) -> dict[str, object]:
    """What a run without any trouble ends with."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(config, folder)
    return contents(folder)


def killed_in(stage: str, config_file: Path, folder: Path) -> list[str]:
    """Start a run in a process of its own and kill it when a stage begins; returns what it said until then."""
    words = command("run", config_file, "-o", folder)
    with subprocess.Popen(
        words, env=surroundings(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line.strip())
            if said[-1] == f"{stage} ...":
                break
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["model", "quantise-w8a8", "bundle-host-w8a8", "bundle-arm-m-w8a8"])
def test_a_killed_run_resumes_and_ends_where_an_undisturbed_one_ends(undisturbed, config, tmp_path, stage):
    folder = tmp_path / "run"
    said = killed_in(stage, write_config(tmp_path), folder)
    done = [line.removesuffix(" ...") for line in said if line.endswith(" ...")][:-1]
    assert f"{stage} ..." == said[-1]
    assert not (folder / "run.json").exists()
    assert not (folder / "report.html").exists()
    assert {path.stem for path in (folder / "stages").glob("*.json")} == set(done)
    record, resumed = run(config, folder)
    assert computed(resumed) == [name for name in RUN_STAGES if name not in done]
    assert contents(folder) == undisturbed
    assert record == read_run(folder)
    assert not list(folder.rglob("*.part"))


@pytest.fixture
def interruptible():
    """Let children hear ctrl-C: a shell that runs the tests in the background has told them to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_ctrl_c_stops_with_one_word_and_leaves_nothing_half_written(tmp_path, interruptible):
    folder = tmp_path / "run"
    words = command("run", write_config(tmp_path), "-o", folder)
    with subprocess.Popen(
        words, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        while process.stderr.readline().strip() != "bundle-host-w8a8 ...":
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in rest
    assert rest.strip().splitlines()[-1] == "Aborted!"
    assert not list(folder.rglob("*.part"))
    assert all(read_bundle(path) for path in (folder / "bundles").glob("*"))


class Flipping:
    """A session whose last output is one step off in its first value."""

    def __init__(self, session: Session, graph: Graph):
        self.session, self.graph = session, graph
        self.timed, self.close = session.timed, session.close

    def run(self, codes: Array) -> Array:
        """Flip the lowest bit of the first output code."""
        made = self.session.run(codes).copy()
        made[0, 0] ^= 1
        return made

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Show the same flip."""
        return {**self.session.tensors(codes), self.graph.output: self.run(codes)}


def flipping(runtime: Runtime) -> Runtime:
    """Return a runtime that is wrong."""
    return replace(runtime, open=lambda folder, name, graph: Flipping(runtime.open(folder, name, graph), graph))


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_wrong_result_ends_with_exit_code_1_and_the_report_is_there(tmp_path, monkeypatch, options):
    (c_host,) = (runtime for runtime in runtimes_for("arm-m") if runtime.name == "c-host")
    if c_host.missing():
        pytest.skip(str(c_host.missing()))
    write_onnx(tmp_path / "mine.onnx")
    path = write_config(tmp_path, model='onnx = "mine.onnx"', targets=("arm-m",), boards=())
    monkeypatch.setattr("edge.pipeline_bundles.runtimes_for", lambda _target: (c_host, flipping(c_host)))
    folder = tmp_path / "run"
    result = CliRunner().invoke(main, ["run", str(path), "-o", str(folder), *options])
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: 1 parity result is wrong, first bundles/arm-m-w8a8 (model on c-host): ")
    assert "'fc' (Gemm) is the first node that differs" in last
    record = read_run(folder)
    assert [p.status for b in record.bundles for p in b.parity] == ["bit-exact", "wrong"]
    assert "wrong" in (folder / "report.html").read_text()
    certificate = read_bundle(folder / "bundles" / "arm-m-w8a8").certificate
    assert [item["status"] for item in certificate["results"]] == ["bit-exact", "wrong"]
    if options:
        assert result.stdout == (folder / "run.json").read_text()


def test_a_scheme_a_target_refuses_is_said_once(tmp_path):
    write_onnx(tmp_path / "mine.onnx")
    config = read_config(
        write_config(
            tmp_path,
            model='onnx = "mine.onnx"\ncut = "a"',
            targets=("host", "jetson"),
            split_targets=("host", "jetson"),
            schemes=("we4m3-ae4m3",),
            boards=(),
        )
    )
    record, said = run(config, tmp_path / "run")
    assert [(b.target, b.path, b.digest, b.parts, b.parity) for b in record.bundles] == [
        ("host", None, None, (), ()),
        ("jetson", None, None, (), ()),
    ]
    assert all("e4m3" in b.refused and "this target takes" in b.refused for b in record.bundles)
    assert [line for line in said if "split" in line] == []
    assert list((tmp_path / "run" / "stages").glob("*split*")) == []
    done = execute("run", tmp_path / "tiny.toml", "-o", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("Error: no target took any scheme: host: activation")
