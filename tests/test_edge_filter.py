"""The neural filter: a judge trained on a frozen stem, in a bundle that sends nothing where there is nothing to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge.data import load
from edge.dataset import with_held_out
from edge.errors import EdgeError
from edge.gates.branches import quantise_branch, stem_values
from edge.gates.filter import filter_figures
from edge.gates.filter_bundle import filter_spec, judged
from edge.inferring import infer
from edge.models import judge as judges
from edge.models import strided
from edge.models.strided import Layer
from edge.onnx_file import CUT_TENSOR, to_onnx
from edge.recipes import cross_entropy
from edge.recipes.filter import train_filter
from edge.serve.head import open_head
from edge.serve.tail import open_tail
from edge.split import cut
from edge.train import Schedule, train
from export.bundle import write_bundle
from export.dynamic import DROPPED, run_parts
from export.parity import check_bundle
from export.runtimes import c_host
from export.targets import find_target
from quant.graph import Tensor
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.ptq import quantise
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme
from tests.serving import serving

#: Digits 0 to 4 are interesting.
INTERESTING = (0, 1, 2, 3, 4)
SCHEME = parse_scheme("w8a8")


@pytest.fixture(scope="module")
def data():
    """Digits with held-out images in place of test images."""
    return with_held_out(load("digits"), 300)[1]


@pytest.fixture(scope="module")
def trained(data):
    """A small classifier, a judge on its first layer, and how the judge's training went."""
    network = strided.build(1, 10, (Layer(8), Layer(16, 2)), seed=0)
    train(network, data, cross_entropy.RECIPE, Schedule(epochs=4, batch=64, rate=0.2), show=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    judge = judges.build(8, seed=0)
    found = train_filter(network.layers[0], judge, data, INTERESTING, Schedule(epochs=5, batch=64, rate=0.2), False)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    return network, judge, found


@pytest.fixture(scope="module")
def quantised(trained, data, tmp_path_factory):
    """The classifier, its stem and the judge as quantised graphs, and the float judge."""
    network, judge, _ = trained
    folder = tmp_path_factory.mktemp("onnx")
    to_onnx(network, (1, 8, 8), folder / "net.onnx", "layers.0")
    to_onnx(judge, (8, 8, 8), folder / "judge.onnx")
    x = data.preprocess.apply(data.x_train[:200])
    graph = replace(quantise(load_onnx(folder / "net.onnx"), SCHEME, x), name="net")
    stem, branch = cut(graph, CUT_TENSOR)[0], load_onnx(folder / "judge.onnx")
    return graph, stem, quantise_branch(stem, branch, SCHEME, x), branch


@pytest.fixture(scope="module")
def filtered(quantised, data):
    graph, _, judge, _ = quantised
    return filter_spec(graph, CUT_TENSOR, judge, data, INTERESTING, least_recall=0.9)


@pytest.fixture(scope="module")
def bundle(filtered, tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("filter") / "bundle", filtered.spec, find_target("arm-m"))


def test_the_best_epoch_is_kept(trained, data):
    network, judge, found = trained
    assert found.areas[found.kept] == max(found.areas) > 0.85
    assert not judge.training
    with pytest.raises(EdgeError, match="not all"):
        train_filter(network.layers[0], judge, data, range(10), Schedule(epochs=1, batch=64, rate=0.1), False)


def test_a_judge_reads_the_stems_codes_and_stays_close_to_its_float_self(trained, quantised, data):
    network, float_judge, _ = trained
    _, stem, judge, _ = quantised
    assert judge.quant(judge.input) == stem.quant(stem.output)
    x = data.preprocess.apply(data.x_test)
    levels = judged(stem, judge, x)
    with torch.inference_mode():
        wanted = float_judge(network.layers[0](torch.from_numpy(x)))[:, 0].numpy()
    assert np.corrcoef(levels, wanted)[0, 1] > 0.99 and len(np.unique(levels)) > 20


def test_a_branch_of_another_format_or_shape_is_refused(quantised, data):
    graph, stem, judge, branch = quantised
    x = data.preprocess.apply(data.x_train[:20])
    assert stem_values(stem, x).shape == (20, 8, 8, 8)
    with pytest.raises(EdgeError, match="format"):
        quantise_branch(stem, branch, parse_scheme("w8a16"), x)
    with pytest.raises(EdgeError, match="takes"):
        quantise_branch(graph, branch, SCHEME, x)
    for other in (graph, replace(judge, name="judge", tensors={**judge.tensors, **_rescaled(judge)})):
        with pytest.raises(EdgeError, match="quantise_branch"):
            filter_spec(graph, CUT_TENSOR, other, data, INTERESTING)


def _rescaled(judge):
    """The judge's input with another scale."""
    quant = judge.quant(judge.input)
    return {judge.input: Tensor(judge.shape(judge.input), replace(quant, scale=(quant.scale[0] * 1.5,)))}


def test_the_threshold_keeps_the_recall_after_quantisation(filtered, quantised, data):
    _, stem, judge, _ = quantised
    levels = judged(stem, judge, data.preprocess.apply(data.x_test))
    again = filter_figures(levels, np.isin(data.y_test, INTERESTING), filtered.figures.threshold)
    assert again == filtered.figures
    assert again.recall >= 0.9 and 0.5 < again.silenced < 1.0 and filtered.roc_auc > 0.85


def test_a_dropped_frame_sends_nothing(bundle, quantised, filtered, data):
    _, stem, judge, _ = quantised
    levels = judged(stem, judge, data.preprocess.apply(data.x_test[:150]))
    passed = int((levels >= filtered.figures.threshold).sum())
    with serving(open_tail(bundle.path)) as running:
        found = infer(
            bundle.path,
            ("127.0.0.1", running.port),
            data,
            deadline_s=20.0,
            local=False,
            entropy="none",
            tls=None,
            most=150,
            say=lambda _: None,
        )
    assert 0 < passed < 150
    assert (found.frames, found.dropped, found.by_server, found.by_local) == (150, 150 - passed, passed, 0)
    assert found.sent_bytes_per_frame * 150 == pytest.approx(passed * (8 * 8 * 8 + 44))
    assert found.agreement == 1.0 and found.accuracy is not None and found.accuracy > 0.6


def test_the_head_decides_as_the_definition_does(bundle, data):
    first = bundle.parts[0].graph
    codes = quantise_input(first.quant(first.input), data.preprocess.apply(data.x_test[:60]))
    programs = [lower(part.graph) for part in bundle.parts]
    whole = run_parts(bundle.manifest, lambda i, c: run(programs[i], c, fast_dot)[programs[i].output], codes)
    made = open_head(bundle)(codes)
    np.testing.assert_array_equal(made.sent, whole.part != DROPPED)
    np.testing.assert_array_equal(made.codes[made.sent], whole.outputs[0][made.sent])
    assert 0 < made.sent.sum() < 60 and len(set(whole.label.tolist())) > 3


@pytest.mark.skipif(c_host.RUNTIME.missing() is not None, reason="no C compiler here")
def test_c_decides_alike(bundle):
    *parts, together = check_bundle(bundle, (c_host.RUNTIME,))
    assert [part.status for part in (*parts, together)] == ["bit-exact"] * 4
    assert together.labels > 1
