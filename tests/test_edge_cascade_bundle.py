"""A cascade made of two quantised networks: temperatures and threshold after quantisation, and C that answers alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.dataset import Dataset, with_held_out
from edge.errors import EdgeError
from edge.gates.cascade import figures
from edge.gates.cascade_bundle import Wish, asked, cascade_spec
from edge.gates.temperature import fit_temperature
from export.bundle import write_bundle
from export.dynamic import macs_spent
from export.parity import check_bundle
from export.parity_rules import defined_answers
from export.runtimes import c_host
from export.targets import find_target
from quant.graph import macs
from quant.reference import dequantise, quantise_input
from tests.dynamic_bundles import LABELS, PREPROCESS, named, outputs
from tests.toys import random_codes, toy_graph

COUNT = 160


@pytest.fixture(scope="module")
def pair():
    return named(toy_graph(seed=0), "a"), named(toy_graph(seed=5), "b")


@pytest.fixture(scope="module")
def data(pair):
    """Images whose label is what the first network answers where it is sure, else the second; a tenth is noise."""
    codes = random_codes(pair[0], COUNT)
    x = dequantise(pair[0].quant(pair[0].input), codes).astype(np.float32)
    made = [outputs(graph, codes).astype(int).reshape(COUNT, -1) for graph in pair]
    ordered = np.sort(made[0], axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    y = np.where(margin > np.quantile(margin, 0.4), *(codes.argmax(axis=1) for codes in made))
    y[::10] = 3
    return Dataset("toy", x, y.astype(np.int64), x, y.astype(np.int64), LABELS, PREPROCESS)


@pytest.fixture(scope="module")
def made(pair, data):
    return cascade_spec(*pair, data)


def members(pair, data, score="difference"):
    codes = quantise_input(pair[0].quant(pair[0].input), data.x_test)
    return [asked(graph, codes, data.y_test, score) for graph in pair]


def test_the_bundle_does_what_the_figures_say(pair, data, made, tmp_path):
    bundle = write_bundle(tmp_path / "bundle", made.spec, find_target("arm-m"))
    codes = quantise_input(pair[0].quant(pair[0].input), data.x_test)
    answers = defined_answers(bundle, codes)
    assert float((answers.label == data.y_test).mean()) == pytest.approx(made.figures.accuracy)
    assert float(answers.ran[1].mean()) == pytest.approx(made.figures.second_share)
    assert macs_spent(bundle.manifest, answers).mean() == pytest.approx(made.figures.macs)
    a, b = (one.member for one in members(pair, data))
    assert made.figures.accuracy > max(a.right.mean(), b.right.mean())
    assert 0 < made.figures.second_share <= 0.5 and len(set(answers.part.tolist())) == 2
    assert len(set(answers.label.tolist())) > 3
    if c_host.RUNTIME.missing() is None:
        *parts, together = check_bundle(bundle, (c_host.RUNTIME,))
        assert [item.status for item in (*parts, together)] == ["bit-exact"] * 3 and together.labels > 1


def test_temperatures_are_those_of_the_quantised_logits(pair, data, made):
    a, b = members(pair, data)
    assert made.temperatures == (a.temperature, b.temperature)
    logits = dequantise(pair[1].quant(pair[1].output), b.codes)
    assert b.temperature == pytest.approx(fit_temperature(logits, data.y_test))
    assert a.member.macs == sum(macs(pair[0]).values())


def test_wishes_come_true(pair, data):
    a, b = (one.member for one in members(pair, data, "max_probability"))
    alone = cascade_spec(*pair, data, Wish(score="max_probability", most_share=0.0))
    assert alone.figures.second_share == 0.0 and alone.figures.accuracy == a.right.mean()
    least = (a.right.mean() + 0.02).item()
    cheap = cascade_spec(*pair, data, Wish(score="max_probability", least_accuracy=least, most_share=1.0))
    best = cascade_spec(*pair, data, Wish(score="max_probability", most_share=1.0))
    assert least <= cheap.figures.accuracy <= best.figures.accuracy and cheap.figures.macs <= best.figures.macs
    plain = cascade_spec(*pair, data, Wish(score="max_probability", post_check=False))
    assert plain.spec.combine == "last" and plain.spec.parts[1].after is None
    assert plain.figures == figures(a, b, plain.figures.threshold, post_check=False)


def test_a_share_is_met_without_a_look_at_labels(pair, data):
    wish = Wish(score="max_probability", most_share=0.4, by_share=True)
    made = cascade_spec(*pair, data, wish)
    assert made.figures.second_share == pytest.approx(0.4, abs=0.01) and made.figures.second_share <= 0.4
    first, second = made.spec.parts
    assert (
        first.after.threshold
        > cascade_spec(*pair, data, Wish(score="max_probability", most_share=0.1)).figures.threshold
    )
    assert second.after.temperature == made.temperatures[1]


def test_wishes_that_cannot_come_true_are_refused(pair, data):
    with pytest.raises(EdgeError, match="the most is"):
        cascade_spec(*pair, data, Wish(least_accuracy=1.0))
    best = cascade_spec(*pair, data, Wish(most_share=1.0))
    with pytest.raises(EdgeError, match="are wished"):
        cascade_spec(*pair, data, Wish(least_accuracy=best.figures.accuracy, most_share=0.01))


def test_networks_that_do_not_go_together_are_refused(pair, data):
    a, b = pair
    quant = b.quant(b.input)
    tensors = {**b.tensors, b.input: replace(b.tensors[b.input], quant=replace(quant, scale=(2 * quant.scale[0],)))}
    with pytest.raises(EdgeError, match="same calibration images"):
        cascade_spec(a, replace(b, tensors=tensors), data)
    bare = {name: replace(tensor, quant=None) for name, tensor in b.tensors.items()}
    with pytest.raises(EdgeError, match="quantise both"):
        cascade_spec(a, replace(b, tensors=bare), data)


def test_held_out_images_are_trained_on_by_nobody(data):
    kept, held = with_held_out(data, 40)
    assert len(kept.x_train) == len(held.x_train) == COUNT - 40
    np.testing.assert_array_equal(held.x_test, data.x_train[-40:])
    np.testing.assert_array_equal(held.y_test, data.y_train[-40:])
    assert kept.x_test is data.x_test
    for count in (0, COUNT):
        with pytest.raises(EdgeError, match="held out"):
            with_held_out(data, count)
