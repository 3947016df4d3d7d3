"""Accuracy: the same images through float, reference, bundle and runtime, and who is asked about which labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge import evaluate
from edge.data import load
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.exporting import choose_vectors, halves, whole
from edge.quantizing import evaluate_model
from export.arm_m import TARGET as ARM_M
from export.bundle import BundleSpec, write_bundle
from export.runtimes.c_host import RUNTIME as C_HOST
from quant.graph import Graph
from quant.ptq import prepare, quantise
from quant.reference import dequantise
from quant.scheme import parse_scheme
from tests.tiny import float_graph


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The digits, 100 of them for testing."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    full = load("digits")
    return replace(full, x_test=full.x_test[:100], y_test=full.y_test[:100])


@pytest.fixture(scope="module")
def tiny() -> Graph:
    """The tiny float network."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return prepare(float_graph())


@pytest.fixture(scope="module")
def quantised(tiny, digits) -> Graph:
    """The same in w8a8."""
    return quantise(tiny, parse_scheme("w8a8"), digits.preprocess.apply(digits.x_train[:64]))


@pytest.fixture(scope="module")
def bundles(quantised, digits, tmp_path_factory):
    """Bundles for arm-m, whole and cut after the convolution."""
    labels = evaluate.quantised_labels(quantised, digits.preprocess.apply(digits.x_test))
    x = digits.preprocess.apply(digits.x_test[choose_vectors(labels, 8)])
    folder = tmp_path_factory.mktemp("bundles")
    parts = {"whole": whole(quantised, x), "halves": halves(quantised, x, "a")}
    return {
        name: write_bundle(folder / name, BundleSpec("tiny", "w8a8", digits.preprocess, digits.labels, part), ARM_M)
        for name, part in parts.items()
    }


def test_float_and_quantised_labels_are_mostly_right_and_vary(tiny, quantised, digits):
    x = evaluate.inputs_of(tiny, digits, digits.x_test)
    assert x.dtype == np.float32
    guesses = evaluate.float_labels(tiny, x), evaluate.quantised_labels(quantised, x)
    for labels in guesses:
        assert labels.shape == (100,)
        assert len(set(labels.tolist())) == 10
        assert (labels == digits.y_test).mean() > 0.8
    assert (guesses[0] == guesses[1]).mean() > 0.9


def test_batches_do_not_show(quantised, digits):
    x = digits.preprocess.apply(digits.x_test[: evaluate.BATCH + 3])
    labels = evaluate.quantised_labels(quantised, x)
    one_by_one = [int(evaluate.quantised_labels(quantised, x[i : i + 1])[0]) for i in range(len(x))]
    assert labels.tolist() == one_by_one


@pytest.mark.parametrize("scheme", ["w8a8", "we4m3-ae4m3"])
def test_labels_of_codes_are_labels_of_their_values(tiny, digits, scheme):
    graph = quantise(tiny, parse_scheme(scheme), digits.preprocess.apply(digits.x_train[:64]))
    fmt = graph.quant(graph.output).format
    ordinals = np.random.default_rng(0).integers(fmt.min_ordinal, fmt.max_ordinal + 1, (50, 10))
    codes = fmt.from_ordinals(ordinals)
    labels = evaluate.code_labels(graph, codes)
    assert labels.tolist() == dequantise(graph.quant(graph.output), codes).argmax(axis=1).tolist()
    assert len(set(labels.tolist())) > 3


@pytest.mark.parametrize("name", ["whole", "halves"])
def test_a_bundle_gives_the_labels_of_its_graph(bundles, quantised, digits, name):
    x = digits.preprocess.apply(digits.x_test)
    wanted = evaluate.quantised_labels(quantised, x)
    assert evaluate.bundle_labels(bundles[name], None, x).tolist() == wanted.tolist()
    reason = C_HOST.missing()
    if reason:
        pytest.skip(reason)
    assert evaluate.bundle_labels(bundles[name], C_HOST, x).tolist() == wanted.tolist()


def test_compared_labels_are_counted_by_hand():
    truth, floats, codes = (np.array(v) for v in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 9, 9, 8], [0, 7, 7, 3, 9, 7]))
    found = evaluate.compare_labels(truth, floats, codes)
    assert (found.images, found.lost, found.gained, found.moved) == (6, 2, 1, 1)
    assert (found.float_accuracy, found.quantised_accuracy) == (3 / 6, 2 / 6)
    assert found.agreement == 2 / 6
    assert found.lost + found.gained + found.moved == round((1 - found.agreement) * found.images)


def test_images_of_another_shape_are_named(tiny, digits):
    with pytest.raises(EdgeError, match=r"data 'digits' has images \[1, 4, 8\]; the model takes \[1, 8, 8\]"):
        evaluate.inputs_of(tiny, digits, digits.x_test[:, :, :4])


def test_no_images_at_all_are_one_clear_error(tiny, digits):
    with pytest.raises(EdgeError, match="data 'digits' has no image in the part that is needed"):
        evaluate.inputs_of(tiny, digits, digits.x_test[:0])


def test_labels_that_are_numbers_may_be_fewer(tiny, digits):
    fewer = replace(digits, labels=digits.labels[:7])
    assert evaluate.output_labels(tiny, fewer) == digits.labels
    assert evaluate.output_labels(tiny, digits) == digits.labels
    names = replace(digits, labels=tuple("abcdefghij"))
    assert evaluate.output_labels(tiny, names) == names.labels


@pytest.mark.parametrize("labels", [tuple("abcdefg"), tuple(str(k) for k in range(11)), ("1", "2")])
def test_other_labels_are_refused(tiny, digits, labels):
    with pytest.raises(EdgeError, match=f"10 outputs, data 'digits' has {len(labels)} labels"):
        evaluate.output_labels(tiny, replace(digits, labels=labels))


def test_a_bundle_is_evaluated_with_its_own_preprocessing_and_labels(bundles, digits):
    path = str(bundles["whole"].path)
    plain = evaluate_model(path, digits, None, None)
    assert (plain.images, plain.executed_by) == (100, "integer reference")
    assert plain.accuracy > 0.8
    assert evaluate_model(path, replace(digits, preprocess=replace(digits.preprocess, scale=9.0)), None, None) == plain
    with pytest.raises(EdgeError, match=r"the bundle's labels are 0, 1, .*; those of data 'digits' are a, b"):
        evaluate_model(path, replace(digits, labels=tuple("abcdefghij")), None, None)


def test_a_runtime_of_another_target_or_none_at_all_is_refused(bundles, digits, tmp_path):
    path = str(bundles["whole"].path)
    with pytest.raises(EdgeError, match="'onnxruntime' cannot execute this bundle: it runs bundles of target host"):
        evaluate_model(path, digits, "onnxruntime", None)
    with pytest.raises(EdgeError, match="--runtime executes bundles"):
        evaluate_model(str(tmp_path / "x.onnx"), digits, "c-host", None)
