"""Early exits: the loss is the formula, every exit is a network of its own, bundles stop where they were told to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge import evaluate
from edge.data import load
from edge.dataset import with_held_out
from edge.errors import EdgeError
from edge.exit_parts import exit_sources, split_exits, stage_graphs
from edge.exits_bundle import ExitJob, Wish, exit_macs, quantise_exits, write_exits
from edge.gates.exits import geometric_shares
from edge.gates.shares import RATIOS, ExitOutputs, exits_taken, figures, rules_for, temperatures
from edge.quantizing import How
from export.dynamic import macs_spent
from export.manifest import TensorSpec
from export.parity import check_bundle
from export.parity_rules import defined_answers
from export.runtimes import c_host
from export.targets import find_target
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme

torch = pytest.importorskip("torch")

HOW = How(parse_scheme("w8a8"), preset="fast", count=64)
HELD = 200


@pytest.fixture(scope="module")
def data():
    return load("digits")


@pytest.fixture(scope="module")
def net(data):
    """A small network of three exits, trained for a moment on images that are not held out."""
    from edge.models import exit_net
    from edge.recipes.exits import train_exits
    from edge.train import Schedule

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = exit_net.build(data.preprocess.shape, len(data.labels), 4)
    training = with_held_out(data, HELD)[0]
    train_exits(module, training, Schedule(epochs=8, batch=32, rate=0.1), show=False)
    return module


@pytest.fixture(scope="module")
def joined(net, data, tmp_path_factory):
    from edge.models.exit_net import Joined
    from edge.onnx_file import to_onnx

    path = tmp_path_factory.mktemp("exits") / "net.onnx"
    to_onnx(Joined(net), data.preprocess.shape, path)
    return load_onnx(path)


@pytest.fixture(scope="module")
def quantised(joined, data):
    return quantise_exits(joined, with_held_out(data, HELD)[0], HOW)


def seen(network, data, count=64):
    return evaluate.inputs_of(network.graph, data, data.x_test[:count])


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("t", [1.0, 3.0])
def test_the_loss_is_the_formula_and_the_teacher_learns_from_labels_only(t):
    from edge.recipes.exits import ExitLoss, exit_loss

    draw = np.random.default_rng(0)
    values, y = draw.normal(0, 2, (3, 6, 5)), draw.integers(0, 5, 6)
    logits = [torch.tensor(v, requires_grad=True) for v in values]
    found = exit_loss(logits, torch.tensor(y), ExitLoss(weight=0.3, distil=0.7, temperature=t))
    rows, last = np.arange(6), log_softmax(values[2] / t)
    wanted = -log_softmax(values[2])[rows, y].mean()
    for early in values[:2]:
        away = (np.exp(last) * (last - log_softmax(early / t))).sum(axis=1).mean()
        wanted += -0.3 * log_softmax(early)[rows, y].mean() + 0.7 * t * t * away
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-9)
    found.backward()
    one_hot = np.eye(5)[y]
    np.testing.assert_allclose(logits[2].grad, (np.exp(log_softmax(values[2])) - one_hot) / 6, atol=1e-12)
    pulled = 0.3 * (np.exp(log_softmax(values[0])) - one_hot)
    pulled += 0.7 * t * (np.exp(log_softmax(values[0] / t)) - np.exp(last))
    np.testing.assert_allclose(logits[0].grad, pulled / 6, atol=1e-12)


def test_early_exits_read_the_branch_only_and_the_last_one_reads_all():
    from edge.models import exit_net

    module = exit_net.build((1, 12, 12), 5, 4).eval()
    state = module.stages[0](torch.randn(2, 1, 12, 12))
    features = exit_net.FEATURES[0] * 4
    changed = state.clone()
    changed[:, :features] += 1
    assert torch.equal(module.exits[0](state), module.exits[0](changed))
    wide = torch.randn(2, module.exits[2].fc.in_features, 3, 3)
    assert not torch.equal(module.exits[2](wide), module.exits[2](wide + 1))
    x = torch.randn(2, 1, 12, 12)
    assert torch.equal(module(x), module.logits(x)[-1])


def test_a_module_without_exits_is_refused(data):
    from edge.recipes.exits import train_exits
    from edge.train import Schedule

    with pytest.raises(EdgeError, match="no exits"):
        train_exits(torch.nn.Flatten(), data, Schedule(epochs=1, batch=8, rate=0.1), show=False)


def test_the_joined_file_holds_the_exits_of_the_module(net, joined, data):
    from quant.onnx_write import run_float

    x = data.preprocess.apply(data.x_test[:16])
    assert not net.training  # exporting leaves the mode, and so the batch norms, as they were
    with torch.inference_mode():
        wanted = torch.cat(net.logits(torch.from_numpy(x)), 1).numpy()
    np.testing.assert_allclose(run_float(joined, x).reshape(16, -1), wanted, atol=1e-4)


def test_stages_and_exits_compute_what_the_whole_computes(quantised, data):
    graph = quantised.graph
    codes = quantise_input(graph.quant(graph.input), seen(quantised, data))
    whole = run(lower(graph), codes, fast_dot)
    for place, stage in enumerate(quantised.stages):
        codes = run(lower(stage), codes, fast_dot)[stage.output]
        if place < 2:
            leaf = quantised.leaves[place]
            got = run(lower(leaf), codes, fast_dot)[leaf.output]
            np.testing.assert_array_equal(got, whole[quantised.exits[place]])
            assert len(set(got.argmax(axis=1))) > 2
    np.testing.assert_array_equal(codes, whole[graph.output])
    assert [graph.quant(name).scale for name in quantised.exits] != [graph.quant(graph.output).scale] * 2


def test_what_is_no_network_with_exits_is_refused(joined, quantised):
    graph, exits = split_exits(joined)
    with pytest.raises(EdgeError, match="ends in a Concat"):
        split_exits(graph)
    assert len(exit_sources(graph, exits)) == 2
    with pytest.raises(EdgeError, match="no tensor 'nothing'"):
        stage_graphs(graph, ("nothing",))
    with pytest.raises(EdgeError, match="in the order"):
        stage_graphs(graph, exits[::-1])
    with pytest.raises(EdgeError, match="no layer of its own"):
        stage_graphs(graph, (exit_sources(graph, exits)[0],))


def test_an_exit_of_two_tensors_is_refused(joined):
    graph, exits = split_exits(joined)
    first, second = exits
    node = graph.producer(second)
    both = replace(node, name="both", inputs=(first, second), output="sum", op=_add())
    wrong = replace(graph, nodes=(*graph.nodes, both), tensors={**graph.tensors, "sum": graph.tensors[second]})
    with pytest.raises(EdgeError, match=r"exit 'sum' .* reads '.*' and '.*'; an exit reads one tensor"):
        exit_sources(wrong, ("sum",))


def _add():
    from quant.operators import Add

    return Add()


@pytest.mark.parametrize("score", ["max_probability", "max_logit"])
def test_a_bundle_lets_the_wanted_shares_leave_and_c_agrees(tmp_path, joined, data, score):
    wish = Wish(shares=(0.5, 0.3, 0.2))
    job = ExitJob(how=HOW, wish=wish, score=score, validation=HELD, vectors=18)
    made = write_exits(tmp_path / "bundle", joined, data, job, find_target("arm-m"))
    np.testing.assert_allclose(made.validation.shares, wish.shares, atol=0.03 if score != "max_logit" else 0.08)
    bundle = made.bundle
    assert [part.record.name for part in bundle.parts] == ["stage1", "exit1", "stage2", "exit2", "stage3"]
    assert [part.record.source for part in bundle.parts] == [None, None, "stage1", None, "stage2"]
    answers = defined_answers(bundle, bundle.parts[0].inputs)
    assert set(answers.part) == {1, 3, 4} and len(set(answers.label)) > 3
    if c_host.RUNTIME.missing():
        pytest.skip(c_host.RUNTIME.missing())
    found = check_bundle(bundle, (c_host.RUNTIME,))
    assert {item.status for item in found} == {"bit-exact"} and len(found) == 6


def test_the_bundle_does_what_the_figures_say(tmp_path, joined, data):
    """Shares, accuracy and MACs by vectors of logits are those of the bundle's own parts, image by image."""
    job = ExitJob(how=HOW, wish=Wish(most_macs=0.5), validation=HELD)
    made = write_exits(tmp_path / "bundle", joined, data, job, find_target("arm-m"))
    held = with_held_out(data, HELD)[1]
    x, y = held.x_test, held.y_test
    first = made.bundle.parts[0].graph
    codes = quantise_input(first.quant(first.input), evaluate.inputs_of(first, data, x))
    answers = defined_answers(made.bundle, codes)
    assert made.validation.accuracy == pytest.approx((answers.label == y).mean())
    assert made.validation.macs == pytest.approx(macs_spent(made.bundle.manifest, answers).mean())
    shares = tuple((answers.part == part).mean() for part in (1, 3, 4))
    assert made.validation.shares == pytest.approx(shares)
    whole = sum(part.macs for part in made.bundle.manifest.parts)
    assert made.validation.macs <= 0.5 * whole
    cheap = ExitJob(how=HOW, wish=Wish(least_accuracy=0.5), validation=HELD)
    least = write_exits(tmp_path / "cheap", joined, data, cheap, find_target("arm-m"))
    assert least.validation.accuracy >= 0.5 and least.validation.macs <= made.validation.macs


def test_wishes_that_cannot_be_granted_are_refused(tmp_path, joined, data):
    for given in ({}, {"shares": (1.0,), "most_macs": 0.5}):
        with pytest.raises(EdgeError, match="one of the three"):
            Wish(**given)
    for wish, message in (
        (Wish(shares=(0.5, 0.5)), "one share per exit"),
        (Wish(most_macs=0.001), "no setting costs"),
        (Wish(least_accuracy=1.01), "no setting reaches"),
    ):
        job = ExitJob(how=HOW, wish=wish, validation=HELD)
        with pytest.raises(EdgeError, match=message):
            write_exits(tmp_path / "bundle", joined, data, job, find_target("arm-m"))
    with pytest.raises(EdgeError, match="held out"):
        with_held_out(data, len(data.x_train))
    assert not (tmp_path / "bundle").exists()


def test_macs_of_an_exit_are_those_of_all_that_ran(quantised):
    first, second, last = exit_macs(quantised)
    from quant.graph import macs

    assert first < second < last
    assert last == sum(macs(quantised.graph).values())


def test_held_out_images_are_the_last_and_gone_from_training(data):
    training, held = with_held_out(data, HELD)
    x, y = held.x_test, held.y_test
    assert len(training.x_train) + len(x) == len(data.x_train) and len(y) == HELD
    np.testing.assert_array_equal(np.concatenate([training.x_train, x]), data.x_train)


def sharp_outputs(n=3000, seed=0, step=0.25):
    """Codes of three exits, ever surer; many are so sure that their probabilities differ by less than 2^-16."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 10, n)
    spec = TensorSpec((1, 10), "int8", step, 0)
    codes = []
    for gain in (1.0, 1.5, 2.0):
        logits = draw.normal(0, 2, (n, 10)) + gain * 8 * draw.random((n, 1)) * np.eye(10)[labels]
        codes.append(np.clip(np.rint(logits / step), -128, 127).astype(np.int8))
    return ExitOutputs(tuple(codes), (spec,) * 3, (10, 30, 100)), labels


@pytest.mark.parametrize("ratio", RATIOS[::8])
def test_shares_hold_on_other_inputs_of_the_same_kind(ratio):
    """Thresholds lie on the steps in which decisions are made, so very sure inputs do not all stay or all go."""
    (validation, labels), (test, truth) = sharp_outputs(seed=0), sharp_outputs(seed=1)
    heat = temperatures(validation, labels)
    shares = geometric_shares(ratio, 3)
    rules = rules_for(validation, shares, "max_probability", heat)
    np.testing.assert_allclose(figures(validation, rules, labels).shares, shares, atol=0.01)
    np.testing.assert_allclose(figures(test, rules, truth).shares, shares, atol=0.03)
    assert len(set(exits_taken(test, rules))) == 3


def test_the_command_makes_a_bundle_and_says_what_leaves_where(tmp_path, joined):
    import json

    from click.testing import CliRunner

    from edge.cli import main
    from edge.commands.exits import SCORES as OFFERED
    from export.bundle_read import read_bundle
    from export.rule import SCORES
    from quant import graph_file

    assert OFFERED == SCORES
    model, out = tmp_path / "net.graph", tmp_path / "bundle"
    model.write_bytes(graph_file.to_bytes(joined))
    common = ["exits", str(model), "--scheme", "w8a8", "--preset", "fast", "--target", "arm-m", "--data", "digits"]
    common += ["--held-out", str(HELD), "-o", str(out)]
    found = CliRunner().invoke(main, [*common, "--shares", "0.6,0.3,0.1", "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.output)
    assert [one["temperature"] > 0 for one in told["rules"]] == [True] * 3
    np.testing.assert_allclose(told["validation"]["shares"], (0.6, 0.3, 0.1), atol=0.03)
    assert read_bundle(out).manifest.parts[1].after.threshold == told["rules"][0]["threshold"]
    again = CliRunner().invoke(main, [*common, "--most-macs", "0.6"])
    assert again.exit_code == 1 and "exists already" in again.output
    both = CliRunner().invoke(main, [*common, "--force", "--most-macs", "0.6", "--shares", "1,0,0"])
    assert both.exit_code == 1 and "one of the three" in both.output
    text = CliRunner().invoke(main, [*common, "--force", "--most-macs", "0.6"])
    assert text.exit_code == 0 and "exit 3: answers always" in text.output
