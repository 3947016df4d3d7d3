"""The command cascade: float and quantised files in, a bundle out that does what was printed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cascade_job import quantise_pair
from edge.cli import main
from edge.data import load
from edge.dataset import with_held_out
from edge.evaluate import inputs_of
from edge.quantizing import How
from export.bundle_read import read_bundle
from export.dynamic import macs_spent
from export.manifest import tensor_spec
from export.parity_rules import defined_answers
from quant import graph_file
from quant.reference import quantise_input
from quant.scheme import parse_scheme
from tests.tiny import float_graph, listing

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
HELD = 300


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two float graphs of digits, and both quantised."""
    home = tmp_path_factory.mktemp("models")
    graphs = float_graph(3), float_graph(7)
    training = with_held_out(load("digits"), HELD)[0]
    for kind, pair in (
        ("float", graphs),
        ("whole", quantise_pair(graphs, How(parse_scheme("w8a8"), "fast"), training)),
    ):
        for name, graph in zip("ab", pair, strict=True):
            (home / f"{name}-{kind}.graph").write_bytes(graph_file.to_bytes(graph))
    return home


def call(*words):
    return CliRunner().invoke(main, ["cascade", *map(str, words), "--data", "digits", "--held-out", str(HELD)])


def made(*words):
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def answers(out):
    """What the bundle answers to the held-out images, and whether that is right."""
    data, bundle = with_held_out(load("digits"), HELD)[1], read_bundle(out)
    first = bundle.parts[0].graph
    found = defined_answers(bundle, quantise_input(first.quant(first.input), inputs_of(first, data, data.x_test)))
    return bundle, found, found.label == data.y_test


@pytest.mark.parametrize("target", ["arm-m", "jetson"])
def test_the_bundle_of_float_models_does_what_is_told(models, tmp_path, target):
    out = tmp_path / "bundle"
    words = (models / "a-float.graph", models / "b-float.graph", "--preset", "fast", "--target", target, "-o", out)
    told = json.loads(made(*words, "--most-share", "0.3", "--json"))
    bundle, found, right = answers(out)
    assert told["digest"] == bundle.digest and told["images"] == HELD == len(right)
    assert told["held_out"]["accuracy"] == pytest.approx(right.mean()) and right.mean() > max(told["alone"].values())
    assert told["held_out"]["second_share"] == pytest.approx(found.ran[1].mean()) and 0 < found.ran[1].mean() <= 0.3
    assert told["held_out"]["macs"] == pytest.approx(macs_spent(bundle.manifest, found).mean())
    assert [part.after.temperature for part in bundle.manifest.parts] == told["temperatures"]
    assert len(set(found.label.tolist())) > 5 and len(set(found.part.tolist())) == 2
    assert bundle.manifest.combine == "surer"


def test_the_text_says_the_same(models, tmp_path):
    words = (models / "a-whole.graph", models / "b-float.graph", "--preset", "fast", "--target", "host")
    told = json.loads(made(*words, "-o", tmp_path / "a", "--json"))
    shown = made(*words, "-o", tmp_path / "b")
    assert f"{told['held_out']['accuracy']:.2%} of {HELD} held-out images right" in shown
    assert f"asked for {told['held_out']['second_share']:.1%}, then the surer of both answers" in shown
    assert all(f"{told['alone'][name]:.2%} right" in shown for name in ("first", "second"))
    parts = read_bundle(tmp_path / "a").parts
    assert parts[0].graph.weights.keys() == graph_file.load(models / "a-whole.graph").weights.keys()


def test_what_is_wished_comes_true(models, tmp_path):
    words = (models / "a-whole.graph", models / "b-whole.graph", "--target", "arm-m", "--force", "-o", tmp_path / "out")
    plain = json.loads(made(*words, "--no-post-check", "--score", "max_probability", "--json"))
    assert plain["rules"][1] is None and plain["rules"][0]["score"] == "max_probability"
    assert read_bundle(tmp_path / "out").manifest.combine == "last"
    share = json.loads(made(*words, "--by-share", "--most-share", "0.25", "--json"))["held_out"]
    assert share["second_share"] == pytest.approx(0.25, abs=0.02)
    least = share["accuracy"] - 0.01
    cheap = json.loads(made(*words, "--least-accuracy", str(least), "--json"))["held_out"]
    assert least <= cheap["accuracy"] and cheap["macs"] < share["macs"]


def test_presets_that_choose_ranges_leave_both_inputs_alike():
    graphs, training = (float_graph(3), float_graph(7)), with_held_out(load("digits"), HELD)[0]
    first, second = quantise_pair(graphs, How(parse_scheme("w8a8"), "default", count=64), training)
    assert tensor_spec(first, first.input) == tensor_spec(second, second.input)
    codes = quantise_input(first.quant(first.input), inputs_of(first, training, training.x_test[:8]))
    assert len(np.unique(codes)) > 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a-whole.graph", "none.graph"), "there is no file"),
        (("a-whole.graph", "pack.mod:net"), "is a factory"),
        (("a-whole.graph", "b-whole.graph", "--most-share", "1.5"), "--most-share"),
        (("a-whole.graph", "b-whole.graph", "--least-accuracy", "1"), "the most is"),
        (("a-whole.graph", "b-whole.graph", "--least-accuracy", "0.5", "--by-share"), "no label"),
        (("a-whole.graph", "b-whole.graph", "--score", "entropy"), "entropy"),
        (("a-whole.graph", "b-float.graph", "--scheme", "w4a4"), "by one scheme"),
        (("a-whole.graph", "b-whole.graph", "--held-out", "100000"), "cannot be held out"),
    ],
)
def test_what_cannot_be_is_refused_in_words(models, tmp_path, words, said):
    paths = [models / word if word.endswith(".graph") else word for word in words]
    count = [] if "--held-out" in words else ["--held-out", str(HELD)]
    fixed = ["--data", "digits", "--target", "arm-m", "-o", str(tmp_path / "out"), *count]
    result = CliRunner().invoke(main, ["cascade", *map(str, paths), *fixed])
    assert result.exit_code in {1, 2} and said in result.output, result.output
    assert isinstance(result.exception, SystemExit) and listing(tmp_path) == {}


def test_a_taken_place_stays_as_it_is(models, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note").write_text("mine")
    result = call(models / "a-whole.graph", models / "b-whole.graph", "--target", "arm-m", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "exists already" in result.output
    assert listing(tmp_path / "out") == {"note": b"mine"}
