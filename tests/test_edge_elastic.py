"""Elastic networks: torch computes what the integer reference computes, code for code; tables, losses, training."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from edge.errors import EdgeError  # noqa: E402
from edge.recipes import elastic_train  # noqa: E402
from edge.recipes.elastic_export import to_network  # noqa: E402
from edge.recipes.elastic_layers import ActivationQuantiser, WeightQuantiser, best_clip, round_twice  # noqa: E402
from edge.recipes.elastic_net import ElasticNet, Unit, running  # noqa: E402
from edge.recipes.elastic_train import (  # noqa: E402
    mean_kurtosis,
    plain_step,
    progressive,
    recalibrate,
    score,
    train_elastic,
    weight_spread,
)
from edge.train import Schedule  # noqa: E402
from quant.elastic import at  # noqa: E402
from quant.fixedpoint import multiply_q31, q31_multiplier  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.reference import dequantise, fast_dot, quantise_input, run  # noqa: E402
from quant.subnet import Subnet, uniform  # noqa: E402
from tests.elastic import LAYERS, MIXED, UNITS, digits, started, trained  # noqa: E402

ALL_KINDS = [
    Subnet((bits,) * LAYERS, (bits,) * LAYERS, per_channel, weights, activations)
    for bits in (2, 3, 4, 8)
    for per_channel in (True, False)
    for weights in (True, False)
    for activations in (True, False)
]


def _quantisers(net):
    """Every activation quantiser by the name its tensor has in the graph."""
    named = {"input": net.input_quantiser, "mean": net.mean_quantiser, "logits": net.logits_quantiser}
    for k, conv in enumerate(net.convs):
        named[f"relu{k}.out" if conv.relu else f"norm{k}.out"] = conv.output_quantiser
    return named


def _torch_values(net, subnet, x):
    """What every quantiser of the torch network gives."""
    seen, hooks = {}, []
    for name, quantiser in _quantisers(net).items():
        keep = lambda _module, _inputs, output, name=name: seen.__setitem__(name, output.numpy())  # noqa: E731
        hooks.append(quantiser.register_forward_hook(keep))
    with running(net, subnet), torch.inference_mode():
        net(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("subnet", [*ALL_KINDS, MIXED], ids=str)
def test_torch_and_the_integer_reference_give_the_same_codes(subnet):
    data, net = digits(), trained()
    graph = at(to_network(net, data, [subnet], data.x_train), subnet)
    x = data.preprocess.apply(data.x_test[:64])
    seen = _torch_values(net, subnet, x)
    made = run(lower(graph), quantise_input(graph.quant("input"), x), fast_dot)
    assert set(seen) == set(graph.activations())
    for name, values in seen.items():
        quant = graph.quant(name)
        steps = np.abs(np.rint((values - dequantise(quant, made[name])) / quant.scale[0]))
        # Float sums may miss a rounding boundary by a hair; a single such code may then move its successors.
        assert (steps != 0).mean() <= 0.002, name
    logits = dequantise(graph.quant("logits"), made["logits"])
    assert np.ptp(logits, axis=0).min() > 0
    assert len(set(logits.argmax(axis=1).tolist())) > 3
    assert (logits.argmax(axis=1) == seen["logits"].argmax(axis=1)).mean() >= 0.98


@pytest.mark.parametrize("subnet", ALL_KINDS, ids=str)
def test_weight_codes_are_those_of_torch(subnet):
    data, net = digits(), trained()
    graph = at(to_network(net, data, [subnet], data.x_train[:256]), subnet)
    for k, (conv, (bits, _)) in enumerate(zip(net.convs, net.bits(subnet), strict=True)):
        kind = {"symmetric": subnet.symmetric_weights, "per_channel": subnet.per_channel}
        scale, _ = conv.weight_quantiser.entry(bits, **kind)
        values = conv.weight_quantiser(conv.conv.weight, bits, **kind)
        codes = torch.round(values / scale.reshape(-1, 1, 1, 1)).detach().numpy()
        np.testing.assert_array_equal(graph.weights[f"conv{k}.weight"], codes)
        assert len(np.unique(codes)) > 2
        assert graph.quant(f"conv{k}.weight").format.bits == bits + (not subnet.symmetric_weights)


def test_statistics_belong_to_one_subnet():
    data, net = digits(), trained()
    moments = []
    for bits in (8, 2):
        recalibrate(net, data, uniform(LAYERS, bits), data.x_train)
        moments.append(net.convs[2].norm.running_var.clone())
    assert (moments[0] / moments[1] - 1).abs().max() > 0.05
    before = score(net, data, uniform(LAYERS, 2), data.x_test, data.y_test)
    recalibrate(net, data, uniform(LAYERS, 8), data.x_train)
    # The 2-bit network is worse off with the statistics of the 8-bit one, whose accuracy they make.
    assert score(net, data, uniform(LAYERS, 2), data.x_test, data.y_test) <= before
    assert score(net, data, uniform(LAYERS, 8), data.x_test, data.y_test) > 0.9


def test_training_makes_narrow_subnets_and_evens_weights_out():
    data = digits()
    net, narrow = started(data), uniform(LAYERS, 2)
    recalibrate(net, data, narrow, data.x_train)
    before = score(net, data, narrow, data.x_test, data.y_test)
    spread = abs(mean_kurtosis(net) - elastic_train.UNIFORM_KURTOSIS)
    after_net = trained()
    recalibrate(after_net, data, narrow, data.x_train)
    assert score(after_net, data, narrow, data.x_test, data.y_test) > before + 0.02
    assert abs(mean_kurtosis(after_net) - elastic_train.UNIFORM_KURTOSIS) < spread


def test_a_stopped_training_goes_on_with_the_same_result(tmp_path, monkeypatch):
    data, schedule = digits(256), Schedule(epochs=2, batch=64, rate=1e-3, seed=3)
    whole = started(data, epochs=1)
    train_elastic(whole, data, schedule, show=False)
    again, path = started(data, epochs=1), tmp_path / "c.npz"
    with monkeypatch.context() as patch:
        writes = []
        real = elastic_train.write_file
        patch.setattr(elastic_train, "write_file", lambda *a: (real(*a), writes.append(a), _stop()))
        with pytest.raises(KeyboardInterrupt):
            train_elastic(again, data, schedule, checkpoint=path, show=False)
    assert len(writes) == 1
    fresh = started(data, epochs=1)
    train_elastic(fresh, data, schedule, checkpoint=path, show=False)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name]), name
    assert not list(tmp_path.glob("*.part"))


def _stop():
    raise KeyboardInterrupt


def test_another_trainings_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    np.savez(path, epoch=np.int64(1), **{"net/fc.weight": np.zeros((2, 2))})
    data = digits(256)
    with pytest.raises(EdgeError, match=r"c\.npz is no checkpoint of this training"):
        train_elastic(started(data, epochs=1), data, Schedule(epochs=2, batch=64, rate=1e-3), checkpoint=path)


def test_refusals():
    data = digits(256)
    with pytest.raises(EdgeError, match="too few training images"):
        train_elastic(trained(), data, Schedule(epochs=1, batch=512, rate=1e-3))
    with pytest.raises(EdgeError, match="at least three convolutions"):
        ElasticNet((1, 8, 8), 10, UNITS[:2])
    with pytest.raises(EdgeError, match="255 images for batch norm statistics"):
        recalibrate(trained(), data, uniform(LAYERS, 4), data.x_train[:255])
    net = started(data, epochs=1)
    with torch.no_grad():
        net.fc.bias += float("nan")
    with pytest.raises(EdgeError, match="loss is nan"):
        train_elastic(net, data, Schedule(epochs=1, batch=64, rate=1e-3), plain_step(uniform(LAYERS, 8)), show=False)


def test_a_step_goes_from_the_biggest_to_the_smallest():
    rng = np.random.default_rng(0)
    first = progressive(rng, 5)
    sizes = [sum(s.weight_bits) + sum(s.activation_bits) for s in first]
    assert (sizes[0], sizes[-1], len(sizes)) == (80, 20, 5)
    assert sizes == sorted(sizes, reverse=True)
    assert progressive(rng, 5) != first
    assert progressive(np.random.default_rng(0), 5) == first


def test_spread_prefers_uniform_weights():
    net = ElasticNet((1, 8, 8), 10, (Unit(32, 3, 2), Unit(64, 3, 1), Unit(64, 3, 1)))
    with torch.no_grad():
        for conv in net.convs:
            conv.conv.weight.uniform_(-1, 1)
    assert mean_kurtosis(net) == pytest.approx(1.8, abs=0.03)
    assert weight_spread(net) < 1e-3
    with torch.no_grad():
        for conv in net.convs:
            conv.conv.weight.normal_()
    assert mean_kurtosis(net) == pytest.approx(3.0, abs=0.1)
    assert float(weight_spread(net).detach()) == pytest.approx(0.015 * 1.2**2, rel=0.15)


def test_gradients_are_those_of_lsq_plus():
    quantiser = ActivationQuantiser((3,), signed=True)
    with torch.no_grad():
        quantiser.scale_asym.fill_(0.5)
        quantiser.offset.fill_(-0.5)  # zero point 1: codes -4..3, values -2.5..1
    x = torch.tensor([[0.6, -0.1, 9.0, -9.0]], requires_grad=True)
    y = quantiser(x, 3, symmetric=False)
    assert y.tolist() == [[0.5, 0.0, 1.0, -2.5]]
    (y * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    pace = (4 * 3) ** -0.5
    assert x.grad.tolist() == [[1.0, 10.0, 0.0, 0.0]]
    assert float(quantiser.offset.grad) == pytest.approx(1100 * pace)
    assert float(quantiser.scale_asym.grad) == pytest.approx((-0.2 * 1 + 0.2 * 10 + 3 * 100 - 4 * 1000) * pace)


def test_only_the_entries_a_subnet_uses_learn():
    quantiser = WeightQuantiser(2)
    weight = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    quantiser.initialise(weight)
    quantiser(weight, 4, symmetric=True, per_channel=True).square().sum().backward()
    gradient = quantiser.scale_sym_channel.grad
    assert (gradient != 0).nonzero()[:, 1].unique().tolist() == [2]
    assert quantiser.scale_asym_channel.grad is quantiser.scale_sym_layer.grad is None


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_first_clip_is_the_best_of_those_tried(symmetric):
    rows = torch.randn(3, 500, generator=torch.Generator().manual_seed(1)) + 0.3
    scale, offset = best_clip(rows, -4, 3, symmetric=symmetric)
    worst = best_clip(rows, -4, 3, symmetric=symmetric)[0] * 1.3

    def error(scale):
        zero = torch.round(-offset / scale).clamp(-4, 3)[:, None]
        codes = (torch.round(rows / scale[:, None]) + zero).clamp(-4, 3)
        return ((codes - zero) * scale[:, None] - rows).abs().pow(2.4).mean(1)

    assert (error(scale) < error(worst)).all()
    assert (error(scale) < error(rows.abs().amax(1) / 3)).all()


def test_rounding_twice_is_the_integer_rule():
    rng = np.random.default_rng(2)
    acc = rng.integers(-3000, 3000, 20000)
    ties = 0
    # Not multiples of 0.1 or so: there the products themselves are ties.
    for real in (0.9173, 0.31517, 0.073119, 0.011771, 1.71393):
        multiplier = q31_multiplier(real)
        fine = torch.tensor(2.0 ** min(multiplier.exponent, 0), dtype=torch.float64)
        made = round_twice(torch.from_numpy(acc * real), fine).numpy()
        wanted = multiply_q31(acc, np.array(multiplier.mantissa), np.array(multiplier.exponent))
        np.testing.assert_array_equal(made, wanted)
        ties += int((wanted != np.rint(acc * real)).sum())
        assert len(np.unique(wanted)) > 30
    # It is not the rounding that everyone else does.
    assert ties > 1000


def test_negative_gammas_turn_round_without_changing_the_function():
    data = digits(256)
    net = started(data, epochs=1)
    with torch.no_grad():
        for conv in net.convs:
            conv.norm.weight[::2] *= -1
        x = torch.from_numpy(data.preprocess.apply(data.x_test[:16]))
        net.eval()
        before = net(x)
        net.initialise(x)
        assert torch.allclose(net(x), before, atol=1e-5)
        assert min(float(conv.norm.weight.min()) for conv in net.convs) > 0
