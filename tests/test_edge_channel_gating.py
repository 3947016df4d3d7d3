"""Channel gating: targets and estimates against hand counts, training, the runner that skips, ONNX, and C."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("sklearn", reason="the digits come from scikit-learn")

from devices.runtimes import RUNTIMES  # noqa: E402
from edge.data import load  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.onnx_file import to_onnx  # noqa: E402
from edge.recipes import gating  # noqa: E402
from edge.recipes.gating_export import STEEPEST, MaskedNet  # noqa: E402
from edge.recipes.gating_net import GatedNet, Unit, parts  # noqa: E402
from edge.recipes.gating_runner import run, runner  # noqa: E402
from edge.recipes.gating_targets import achieved, estimated, layer_costs, mass_targets  # noqa: E402
from edge.recipes.recipes import find_recipe  # noqa: E402
from edge.train import Schedule  # noqa: E402
from export.target import Source  # noqa: E402
from export.targets import TARGETS  # noqa: E402
from quant import operators as ops  # noqa: E402
from quant import reference  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.ptq import quantise  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402

UNITS = (Unit(8, 1, gated=False), Unit(16, 2), Unit(24, 1))
SHARE = 0.9
FIT = gating.Fit(epochs=10, batch=64)


def build(units=UNITS, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GatedNet((1, 8, 8), 10, units)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def dense(digits):
    net = build()
    gating.fine_tune(net, digits, Schedule(epochs=3, batch=64, rate=0.1), show=False)
    return net


@pytest.fixture(scope="module")
def trained(digits, dense):
    """The gated network and the rates its estimate is made of."""
    net = copy.deepcopy(dense)
    return net, gating.train_decoupled(net, digits, SHARE, (Schedule(epochs=1, batch=64, rate=0.03),), FIT, show=False)


def outputs(net, x):
    with torch.no_grad():
        return net.eval()(torch.from_numpy(x)).numpy()


def by_hand(mass, share):
    """Try every k; of equal masses the first channel goes first."""
    order = sorted(range(len(mass)), key=lambda channel: (-mass[channel], channel))
    k = next(k for k in range(len(mass) + 1) if sum(mass[c] for c in order[:k]) >= share * sum(mass))
    return [channel in order[:k] for channel in range(len(mass))]


WHOLE = hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.integers(-9, 9))


@settings(max_examples=200, deadline=None)
@given(WHOLE, st.floats(0.01, 1.0))
def test_targets_are_the_fewest_channels_with_the_mass(values, share):
    activation = torch.from_numpy(np.repeat(values, 4, axis=1).reshape(*values.shape, 2, 2).astype(np.float32))
    found = mass_targets(activation, share).numpy()
    assert found.tolist() == [by_hand(np.abs(row).tolist(), share) for row in values]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share, digits, dense):
    with pytest.raises(EdgeError, match="above 0 and at most 1"):
        mass_targets(torch.ones(1, 2, 3, 3), share)
    with pytest.raises(EdgeError, match="above 0 and at most 1"):
        gating.fit_predictors(dense, digits, share, FIT)


def test_the_estimate_is_the_count_by_hand():
    net = build((Unit(4, 1, gated=False), Unit(6, 2), Unit(8, 1)))
    assert [cost.macs for cost in layer_costs(net)] == [64 * 9 * 4, 16 * 9 * 4 * 6, 16 * 9 * 6 * 8, 80]
    found = estimated(net, (np.array([1, 1, 0.5, 0.5, 0, 0.0]), np.full(8, 0.25)))
    assert found.dense == 64 * 9 * 4 + 16 * 9 * 4 * 6 + 16 * 9 * 6 * 8 + 80
    assert found.layers == 64 * 9 * 4 + 16 * 9 * 4 * 3 + 16 * 9 * 3 * 2 + 20
    assert found.predictors == 4 * 6 + 3 * 8
    assert found.saving == 1 - (found.layers + found.predictors) / found.dense


def test_achieved_macs_are_counted_image_by_image():
    """The second layer's inputs and outputs go together: means of products, not products of means."""
    net = build((Unit(4, 1, gated=False), Unit(6, 2), Unit(8, 1)))
    rng = np.random.default_rng(0)
    masks = tuple(rng.random((5, channels)) < rng.random((5, 1)) for channels in (6, 8))
    layers, predictors = 0, 0
    for first, second in zip(*masks, strict=True):
        a, b = int(first.sum()), int(second.sum())
        layers += 64 * 9 * 4 + 16 * 9 * 4 * a + 16 * 9 * a * b + 10 * b
        predictors += 4 * 6 + 8 * a
    found = achieved(net, masks)
    assert found.layers == pytest.approx(layers / 5, rel=1e-12)
    assert found.predictors == pytest.approx(predictors / 5, rel=1e-12)


def test_gating_learns_and_keeps_its_estimate(digits, dense, trained):
    net, rates = trained
    found = gating.behaviour(net, digits, digits.x_test, SHARE)
    promised, real = estimated(dense, rates), achieved(net, found.masks)
    assert real.layers == pytest.approx(promised.layers, rel=0.05)
    assert 0.2 < real.saving < 0.8
    assert (found.labels == digits.y_test).mean() > 0.75
    often = [np.broadcast_to(rate > 0.5, mask.shape) for rate, mask in zip(rates, found.masks, strict=True)]
    same = sum((mask == target).sum() for mask, target in zip(often, found.targets, strict=True))
    assert found.mask_accuracy > same / sum(mask.size for mask in found.masks) + 0.05
    for mask in found.masks:  # they depend on the image
        assert len(np.unique(mask, axis=0)) > 10


def test_each_stage_trains_only_its_own_part(digits, dense):
    net, quick = copy.deepcopy(dense), Schedule(epochs=1, batch=64, rate=0.03)
    backbone, predictors = parts(net)
    assert len(predictors) == 4
    before = [value.detach().clone() for value in (*backbone, *predictors)]
    statistics = net.units[1].norm.running_mean.clone()
    gating.fit_predictors(net, digits, SHARE, FIT)
    assert all(torch.equal(a, b) for a, b in zip(backbone, before, strict=False))
    assert torch.equal(net.units[1].norm.running_mean, statistics)
    assert not any(torch.equal(a, b) for a, b in zip(predictors, before[len(backbone) :], strict=True))
    before = [value.detach().clone() for value in predictors]
    gating.fine_tune(net, digits, quick, show=False)
    assert all(torch.equal(a, b) for a, b in zip(predictors, before, strict=True))
    assert not torch.equal(net.units[1].norm.running_mean, statistics)
    assert all(value.requires_grad for value in net.parameters())


@pytest.mark.parametrize("detached", [True, False])
def test_only_joint_predictors_teach_the_backbone(detached, digits):
    net = build().train()
    net.masked, net.detached = True, detached
    _, seen = net.trace(torch.from_numpy(digits.preprocess.apply(digits.x_train[:8])))
    sum(layer.logits.square().sum() for layer in seen).backward()
    assert (net.units[0].conv.weight.grad is None) == detached
    assert net.units[1].predictor.weight.grad is not None


def test_joint_training_learns(digits):
    net = build()
    accuracy = gating.train_joint(net, digits, SHARE, Schedule(epochs=4, batch=64, rate=0.1), show=False)
    found = gating.behaviour(net, digits, digits.x_test, SHARE)
    assert accuracy == (found.labels == digits.y_test).mean() > 0.75
    assert 0 < achieved(net, found.masks).saving < 0.9


def test_constant_masks_do_not_depend_on_the_image(digits, dense, trained):
    net, rates = copy.deepcopy(dense), trained[1]
    gating.set_constant(net, rates)
    found = gating.behaviour(net, digits, digits.x_test, SHARE)
    for mask, rate in zip(found.masks, rates, strict=True):
        assert (mask == mask[0]).all()
        assert mask[0].sum() == round(rate.sum())
        assert rate[mask[0]].min() >= rate[~mask[0]].max()


def test_the_runner_that_skips_computes_the_masked_network(digits, dense, trained):
    net, x = trained[0], digits.preprocess.apply(digits.x_test[:60])
    found = gating.behaviour(net, digits, digits.x_test[:60], SHARE)
    got = [run(runner(net), image) for image in x]
    np.testing.assert_allclose(np.stack([logits for logits, _ in got]), outputs(net, x), rtol=0, atol=1e-4)
    for row, (_, kept) in enumerate(got):
        assert [list(layer) for layer in kept] == [list(np.flatnonzero(mask[row])) for mask in found.masks]
    assert len({tuple(kept[1]) for _, kept in got}) > 10
    whole = np.stack([run(runner(dense), image, skip=False)[0] for image in x])
    np.testing.assert_allclose(whole, outputs(dense, x), rtol=0, atol=1e-4)
    assert np.ptp(whole, axis=0).min() > 1


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_the_runner_takes_masks_of_nothing_and_of_everything(kept, digits, trained):
    net = copy.deepcopy(trained[0])
    for unit in net.gated():
        unit.offset.fill_(-1e6 if kept else 1e6)
    x = digits.preprocess.apply(digits.x_test[:3])
    logits = np.stack([run(runner(net), image)[0] for image in x])
    np.testing.assert_allclose(logits, outputs(net, x), rtol=0, atol=1e-4)


def test_onnx_gives_the_answers_of_torch(digits, trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime executes the file")
    net, x = trained[0], digits.preprocess.apply(digits.x_test)
    for steepness in (STEEPEST, 2.0**12):
        to_onnx(MaskedNet(net, steepness), (1, 8, 8), tmp_path / "gated.onnx")
        session = onnxruntime.InferenceSession(str(tmp_path / "gated.onnx"), providers=["CPUExecutionProvider"])
        [got] = session.run(None, {"input": x})
        np.testing.assert_allclose(got, outputs(net, x), rtol=0, atol=1e-4)
        assert len(np.unique(got.argmax(axis=1))) == 10


@pytest.fixture(scope="module")
def quantised(digits, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("gated") / "gated.onnx"
    to_onnx(MaskedNet(trained[0]), (1, 8, 8), path)
    return quantise(load_onnx(path), parse_scheme("w8a8"), digits.preprocess.apply(digits.x_train[:200]))


def codes_of(graph, digits):
    return reference.quantise_input(graph.quant(graph.input), digits.preprocess.apply(digits.x_test))


def test_the_quantised_network_keeps_nearly_the_same_channels(digits, trained, quantised):
    """Its masks are the lowest or the highest code, and what they mask is exactly zero."""
    found = gating.behaviour(trained[0], digits, digits.x_test, SHARE)
    values = reference.run(lower(quantised), codes_of(quantised, digits), reference.fast_dot)
    products = [node for node in quantised.nodes if isinstance(node.op, ops.Mul)]
    assert len(products) == 2
    for node, mask in zip(products, found.masks, strict=True):
        y, m = node.output, node.inputs[1]
        codes = values[m][:, :, 0, 0]
        assert np.isin(codes, (-128, 127)).mean() > 0.995
        assert ((codes == 127) == mask).mean() > 0.97
        assert (values[y][codes == -128] == quantised.quant(y).zero).all()
    labels = values[quantised.output].argmax(axis=1)
    assert (labels == found.labels).mean() > 0.95


def test_the_quantised_network_is_bit_exact_in_c(digits, quantised, tmp_path):
    found = next(runtime for runtime in RUNTIMES if runtime.name == "c-host")
    if why := found.missing():
        pytest.skip(why)
    codes = codes_of(quantised, digits)[:80]
    expected = reference.run(lower(quantised), codes, reference.fast_dot)
    target = next(target for target in TARGETS if target.name == found.target)
    target.write(Source("net", quantised, codes, expected[quantised.output]), tmp_path)
    session = found.open(tmp_path, "net", quantised)
    try:
        got = session.run(codes)
    finally:
        session.close()
    assert np.array_equal(got, expected[quantised.output])
    assert len(np.unique(got.argmax(axis=1))) > 5
    assert np.ptp(got.astype(int), axis=0).min() > 10
    assert len(np.unique(expected[next(n for n in quantised.nodes if isinstance(n.op, ops.Mul)).inputs[1]], axis=0)) > 5


def test_gating_is_a_procedure():
    with pytest.raises(EdgeError, match=r"call edge.recipes.gating.train_decoupled from Python"):
        find_recipe("gating")


def test_training_is_repeatable(digits, dense, trained):
    again = copy.deepcopy(dense)
    gating.train_decoupled(again, digits, SHARE, (Schedule(epochs=1, batch=64, rate=0.03),), FIT, show=False)
    for name, value in trained[0].state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path, trained):
    net = trained[0]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    to_onnx(MaskedNet(net), (1, 8, 8), tmp_path / "gated.onnx")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["gated.onnx"]
