"""A bundle with a small local tail: it answers what it is sure of, and what the server does not."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from edge.errors import EdgeError
from edge.evaluate import code_labels
from edge.inferring import infer
from edge.serve.head import open_head
from edge.serve.tail import local_of, open_tail, tail_of
from export.bundle import write_bundle
from export.dynamic import run_parts
from export.targets import find_target
from quant.program import lower
from quant.reference import fast_dot, run
from tests.dynamic_bundles import cascade, exits
from tests.serving import serving
from tests.test_edge_splitting import toy_data
from tests.toys import toy_graph

FRAMES = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A stage, a small exit that answers where it is sure, and the rest."""
    return write_bundle(tmp_path_factory.mktemp("local") / "bundle", exits(), find_target("arm-m"))


@pytest.fixture(scope="module")
def data():
    """Images as codes of the network's input."""
    return toy_data(toy_graph())


@pytest.fixture(scope="module")
def defined(bundle, data):
    """What the bundle says of the images, by its definition."""
    programs = [lower(part.graph) for part in bundle.parts]
    return run_parts(
        bundle.manifest, lambda i, c: run(programs[i], c, fast_dot)[programs[i].output], data.x_test[:FRAMES]
    )


def asked(bundle, data, port, *, local=True):
    """Run the frames against a port."""
    return infer(
        bundle.path,
        ("127.0.0.1", port),
        data,
        deadline_s=20.0,
        local=local,
        entropy="none",
        tls=None,
        most=FRAMES,
        say=lambda _: None,
    )


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_parts_are_known_by_what_they_read(bundle, tmp_path):
    assert (tail_of(bundle).name, local_of(bundle).name) == ("rest", "exit")
    whole = write_bundle(tmp_path / "cascade", cascade(), find_target("arm-m"))
    with pytest.raises(EdgeError, match="at most one local tail"):
        tail_of(whole)


def test_the_head_settles_what_the_definition_says(bundle, data, defined):
    made = open_head(bundle)(data.x_test[:FRAMES])
    np.testing.assert_array_equal(made.settled, defined.part == 1)
    np.testing.assert_array_equal(made.sent, defined.part == 2)
    np.testing.assert_array_equal(made.answers, defined.outputs[1])
    assert 5 < made.settled.sum() < FRAMES - 5


def test_with_a_server_the_answers_are_the_bundles(bundle, data, defined):
    with serving(open_tail(bundle.path)) as running:
        found = asked(bundle, data, running.port)
    settled = int((defined.part == 1).sum())
    assert (found.by_server, found.by_local, found.settled) == (FRAMES - settled, settled, settled)
    assert found.agreement == 1.0 and found.local_part == "exit" and not found.reasons
    assert found.accuracy == float((defined.label == data.y_test[:FRAMES]).mean())
    assert len(set(defined.label.tolist())) > 2
    assert found.sent_bytes_per_frame == (FRAMES - settled) * (8 * 4 * 4 + 44) / FRAMES


def test_without_a_server_the_small_tail_answers_and_says_so(bundle, data, defined):
    found = asked(bundle, data, dead_port())
    settled = int((defined.part == 1).sum())
    assert (found.by_server, found.by_local, found.settled) == (0, FRAMES, settled)
    small = code_labels(bundle.parts[1].graph, defined.outputs[1])
    rest = code_labels(bundle.parts[2].graph, defined.outputs[2])
    head = run(lower(bundle.parts[0].graph), data.x_test[:FRAMES], fast_dot)[bundle.parts[0].graph.output]
    everywhere = run(lower(bundle.parts[1].graph), head, fast_dot)[bundle.parts[1].graph.output]
    labels = code_labels(bundle.parts[1].graph, everywhere)
    assert found.accuracy == float((labels == data.y_test[:FRAMES]).mean())
    assert found.agreement == settled / FRAMES and sum(found.reasons.values()) == FRAMES - settled
    assert (small != rest).any() and len(set(labels.tolist())) > 1


def test_without_local_answers_only_what_it_was_sure_of_needs_no_server(bundle, data):
    with pytest.raises(EdgeError, match="no local tail"):
        asked(bundle, data, dead_port(), local=False)


def test_the_command_says_which_part_answered(bundle, data, tmp_path):
    np.savez(tmp_path / "toy.npz", x=data.x_test, y=data.y_test)
    words = ["infer", str(bundle.path), "--server", f"127.0.0.1:{dead_port()}", "--data", str(tmp_path / "toy.npz")]
    scale = toy_graph().quant("x").scale[0]
    mean = ",".join([str(toy_graph().quant("x").zero * scale)] * 3)
    changed = [*words, "--count", "20", "--pixel-scale", str(scale), "--mean", mean]
    shown = CliRunner().invoke(main, changed)
    assert shown.exit_code == 0, shown.output
    assert "0 answered by the server, 20 locally by exit" in shown.output and "sure and not sent" in shown.output
    record = json.loads(CliRunner().invoke(main, [*changed, "--json"]).stdout)
    assert record["local_part"] == "exit" and record["by_local"] == 20 > record["settled"] > 0
