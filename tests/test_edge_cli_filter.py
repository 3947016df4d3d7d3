"""The command filter: a network and a judge in, a bundle out that drops as many frames as was printed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from edge.data import load
from edge.dataset import with_held_out
from edge.errors import EdgeError
from edge.evaluate import inputs_of
from edge.filter_job import class_numbers
from edge.quantizing import How, quantise_model
from edge.split import cut
from export.bundle_read import read_bundle
from export.dynamic import DROPPED
from export.parity_rules import defined_answers
from quant import graph_file
from quant import operators as ops
from quant.graph import Graph, Node, Tensor, check
from quant.reference import quantise_input
from quant.scheme import parse_scheme
from tests.tiny import features, float_graph, listing

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
HELD = 300
INTERESTING = (1, 3, 5)


def judge_graph(outputs: int = 1, name: str = "judge") -> Graph:
    """A linear layer over the feature map, fitted to interesting or not; as a convolution, which may come first."""
    network, data = float_graph(), with_held_out(load("digits"), HELD)[0]
    seen = features(data.preprocess.apply(data.x_train), network.weights["conv_w"])
    wanted = np.isin(data.y_train, INTERESTING) - 0.3
    fitted = np.linalg.solve(seen.T @ seen + 10 * np.eye(seen.shape[1]), seen.T @ wanted).astype(np.float32)
    kernel = np.repeat(fitted.reshape(1, 8, 4, 4), outputs, axis=0)
    weights = {"w": kernel, "b": np.zeros(outputs, np.float32)}
    nodes = (
        Node("look", ops.Conv(strides=(1, 1), pads=(0, 0, 0, 0)), ("m", "w", "b"), "p"),
        Node("flat", ops.Reshape(shape=(1, outputs)), ("p",), "j"),
    )
    shapes = {"m": (1, 8, 4, 4), "p": (1, outputs, 1, 1), "j": (1, outputs), "w": kernel.shape, "b": (outputs,)}
    return check(Graph(name, "m", "j", nodes, {key: Tensor(shape) for key, shape in shapes.items()}, weights))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The float network, the same quantised, a judge, one of two numbers, and one that reads another shape."""
    home, network = tmp_path_factory.mktemp("models"), float_graph()
    whole = quantise_model(network, How(parse_scheme("w8a8"), "fast"), with_held_out(load("digits"), HELD)[0]).graph
    files = {"net": network, "whole": whole, "judge": judge_graph(), "two": judge_graph(2), "image": float_graph(1)}
    for name, graph in files.items():
        (home / f"{name}.graph").write_bytes(graph_file.to_bytes(graph))
    return home


def words(models, out, *more, network="net", judge="judge", tensor="a", interesting="1,3,5"):
    fixed = ["--data", "digits", "--held-out", HELD, "--preset", "fast", "-o", out, "--interesting", interesting]
    return [
        str(word) for word in (models / f"{network}.graph", "--judge", models / f"{judge}.graph", "--cut", tensor)
    ] + [str(word) for word in (*fixed, *more)]


def call(*given):
    return CliRunner().invoke(main, ["filter", *given])


@pytest.mark.parametrize("target", ["arm-m", "jetson"])
def test_the_bundle_drops_what_is_told(models, tmp_path, target):
    result = call(*words(models, tmp_path / "out", "--target", target, "--least-recall", "0.9", "--json"))
    assert result.exit_code == 0, (result.output, result.exception)
    told, bundle = json.loads(result.stdout), read_bundle(tmp_path / "out")
    assert [part.name for part in bundle.parts] == ["stem", "judge", "tail"] and told["digest"] == bundle.digest
    data, first = with_held_out(load("digits"), HELD)[1], bundle.parts[0].graph
    found = defined_answers(bundle, quantise_input(first.quant(first.input), inputs_of(first, data, data.x_test)))
    wanted, passed = np.isin(data.y_test, INTERESTING), found.part != DROPPED
    assert told["held_out"]["recall"] == pytest.approx(passed[wanted].mean()) and passed[wanted].mean() >= 0.9
    assert told["held_out"]["silenced"] == pytest.approx((~passed[~wanted]).mean()) and (~passed).mean() > 0.3
    assert told["roc_auc"] > 0.9 and told["rule"]["action"] == "drop"
    assert (found.label == data.y_test)[passed].mean() > 0.8 and len(set(found.label[passed].tolist())) > 3


def test_the_text_says_the_same_of_a_quantised_network(models, tmp_path):
    told = call(*words(models, tmp_path / "a", "--target", "host", "--json", network="whole"))
    shown = call(*words(models, tmp_path / "b", "--target", "host", network="whole"))
    assert told.exit_code == shown.exit_code == 0, (told.output, shown.output)
    figures = json.loads(told.stdout)["held_out"]
    assert f"{figures['recall']:.2%} of the interesting frames pass" in shown.stdout
    assert f"{figures['silenced']:.2%} of the others are dropped ({HELD} held-out images)" in shown.stdout
    head = cut(graph_file.load(models / "whole.graph"), "a")[0]
    assert read_bundle(tmp_path / "a").parts[0].graph.quant("a") == head.quant("a")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"interesting": "1,zebra"}, "no class 'zebra'. Classes: 0, 1, 2"),
        ({"interesting": "1,10"}, "no class '10'"),
        ({"interesting": ","}, "some interesting classes"),
        ({"interesting": "0,1,2,3,4,5,6,7,8,9"}, "some others"),
        ({"tensor": "nowhere"}, "no tensor of graph 'tiny'. Cut points: a"),
        ({"judge": "two"}, "gives 2 numbers"),
        ({"judge": "image"}, "reads [1, 8, 8]; 'a' is [8, 4, 4]"),
        ({"judge": "none"}, "there is no file"),
    ],
)
def test_what_cannot_be_is_refused_in_words(models, tmp_path, changed, said):
    result = call(*words(models, tmp_path / "out", "--target", "arm-m", **changed))
    assert result.exit_code == 1 and said in result.output, result.output
    assert isinstance(result.exception, SystemExit) and listing(tmp_path) == {}


def test_a_judge_of_another_scheme_is_refused(models, tmp_path):
    result = call(*words(models, tmp_path / "out", "--target", "host", "--scheme", "w8a4", network="whole"))
    assert result.exit_code == 1 and "activations of that format" in result.output and listing(tmp_path) == {}


def test_classes_go_by_name_first():
    assert class_numbers(("shirt", "0", "shirt"), ("bag", "coat", "shirt")) == (0, 2)
    assert class_numbers(("2", "3"), ("1", "2", "3", "4")) == (1, 2)
    with pytest.raises(EdgeError, match="Did you mean 'shirt'"):
        class_numbers(("shrit",), ("bag", "coat", "shirt"))
