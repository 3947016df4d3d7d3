"""The commands serve and infer: a server process, a head that asks it, and what a person sees when it is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from tests.serving import split_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_bundle(tmp_path_factory.mktemp("cli") / "bundle").path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    draw = np.random.default_rng(0)
    shade = draw.uniform(0, 3, (30, 3, 1, 1))
    np.savez(path, x=(shade + draw.normal(0, 0.3, (30, 3, 8, 8))).astype(np.float32), y=np.arange(30) % 10)
    return path


@contextmanager
def server(bundle, *options):
    """A server process on a port of the system's choice; yields the port and the process."""
    command = [sys.executable, "-m", "edge.cli", "serve", str(bundle), "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["port"], process
        finally:
            process.kill()


def infer(bundle, port, images, *options):
    words = ["infer", str(bundle), "--server", f"127.0.0.1:{port}", "--data", str(images), *options]
    return CliRunner().invoke(main, words)


def test_a_head_and_a_tail_in_two_processes_are_the_unsplit_network(bundle, images):
    with server(bundle) as (port, process):
        done = infer(bundle, port, images, "--json", "--deadline-ms", "20000")
        process.send_signal(signal.SIGTERM)
        events = [json.loads(line) for line in process.stdout]
        assert process.wait(20) == 0
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["frames"], found["by_server"], found["agreement"]) == (30, 30, 1.0)
    assert found["server_latency_s"] > 0 and found["sent_bytes_per_frame"] == 8 * 4 * 4 + 44
    assert events[-1] == {"event": "stopped", "answered": 30, "refused": 0}


def test_without_a_server_the_local_tail_answers_and_says_so(bundle, images):
    done = infer(bundle, 1, images, "--count", "5")
    assert done.exit_code == 0, done.output
    assert "0 answered by the server, 5 locally" in done.output and "100.00% of answers" in done.output
    assert "not there" in done.output


def test_without_either_it_is_an_error(bundle, images):
    done = infer(bundle, 1, images, "--no-local")
    assert done.exit_code == 1 and "no local tail" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["serve", "BUNDLE", "--listen", "here"], 2, "HOST:PORT"),
        (["serve", "BUNDLE", "--tls-cert", "a.pem"], 2, "come together"),
        (["serve", "missing"], 1, "not a folder"),
        (["serve", "BUNDLE", "--runtime", "nope"], 1, "unknown runtime"),
        (["infer", "BUNDLE", "--server", "a:b", "--data", "digits"], 2, "HOST:PORT"),
        (["infer", "BUNDLE", "--server", "a:1", "--data", "digits", "--tls-key", "k"], 2, "--tls-ca"),
    ],
)
def test_bad_input_is_said(bundle, words, code, message):
    done = CliRunner().invoke(main, [str(bundle) if word == "BUNDLE" else word for word in words])
    assert done.exit_code == code and message in done.output and "Traceback" not in done.output
