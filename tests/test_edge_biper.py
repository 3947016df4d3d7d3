"""BiPer: gradients of the binary layers, two stages of training, and the trained network run by XNOR and popcount."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("sklearn", reason="the digits come from scikit-learn")

from edge.data import load  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.models import binary_resnet, dscnn  # noqa: E402
from edge.recipes import biper  # noqa: E402
from edge.recipes.binary_export import differing_sums, to_binary_network  # noqa: E402
from edge.recipes.binary_layers import (  # noqa: E402
    OMEGA,
    RULES,
    SIGN,
    SINE,
    SINE_SIGN,
    BinaryConv2d,
    binary_layers,
    signs_of,
)
from edge.recipes.biper import (  # noqa: E402
    quantisation_error,
    set_rule,
    spread,
    stages,
    train_in_one_cycle,
    train_stage,
)
from edge.recipes.cross_entropy import RECIPE  # noqa: E402
from edge.recipes.recipe import Recipe  # noqa: E402
from edge.train import Schedule, logits, train  # noqa: E402
from quant import binary_file  # noqa: E402
from quant.binary import signs  # noqa: E402
from quant.binary_net import Threshold, run  # noqa: E402

QUICK = Schedule(epochs=3, batch=64, rate=0.1, seed=5)


def build(seed=0, rule=SINE, skips=True, blocks=2, omega=OMEGA):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return binary_resnet.build((1, 8, 8), 10, 8, blocks, rule=rule, skips=skips, omega=omega)


def conv_of(weights, rule, omega=OMEGA):
    """A 1x1 binary convolution of one channel with these weights, one output each, alpha 1."""
    conv = BinaryConv2d(1, len(weights), 1, 1, 0, rule, omega)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(weights).view(-1, 1, 1, 1))
        conv.alpha.fill_(1.0)
    return conv.eval()


@pytest.fixture(scope="module")
def trained():
    """A network after both stages on the digits, and what training logged."""
    torch.set_num_threads(1)
    module, digits = build(), load("digits")
    both = stages(QUICK, second_epochs=3, second_rate=0.05, tau=(0.0, 0.0))
    return module, digits, [train_stage(module, digits, stage, show=False) for stage in both]


WEIGHTS = (0.03, -0.1, 0.2, 0.0, 1.5)


@pytest.mark.parametrize("omega", [OMEGA, 10.0])
@pytest.mark.parametrize("rule", RULES)
def test_weights_and_their_gradients_are_what_the_rule_says(rule, omega):
    conv = conv_of(WEIGHTS, rule, omega)
    conv(torch.tensor([[[[0.7]]]])).sum().backward()
    sines, slopes = [math.sin(omega * w) for w in WEIGHTS], [omega * math.cos(omega * w) for w in WEIGHTS]
    third, fifth = {OMEGA: (-1.0, -1.0), 10.0: (1.0, 1.0)}[omega]
    values = {SINE: sines, SINE_SIGN: [1.0, -1.0, third, 1.0, fifth], SIGN: [1.0, -1.0, 1.0, 1.0, 1.0]}[rule]
    gradients = {SINE: slopes, SINE_SIGN: slopes, SIGN: [1.0, 1.0, 1.0, 1.0, 0.0]}[rule]
    np.testing.assert_allclose(conv.binary_weight().detach().flatten(), values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(conv.weight.grad.flatten(), gradients, rtol=1e-4)
    if rule != SINE:
        assert set(conv.binary_weight().flatten().tolist()) == {-1.0, 1.0}


def test_activations_become_signs_with_a_windowed_gradient():
    conv = conv_of([1.5], SIGN)
    x = torch.tensor([-2.0, -0.75, -0.0, 0.0, 0.25, 1.0]).view(-1, 1, 1, 1).requires_grad_()
    made = conv(x)
    made.sum().backward()
    assert made.flatten().tolist() == [-1, -1, 1, 1, 1, 1]
    assert x.grad.flatten().tolist() == [0, 0.5, 2, 2, 1.5, 0]


def test_scaling_by_the_spread_moves_the_window_but_no_sign():
    conv = conv_of([1.5], SIGN)
    x = torch.randn(3, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 10
    scaled, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    conv.train()
    assert torch.equal(conv(scaled), conv.eval()(plain))
    (conv.train()(scaled) * torch.arange(25.0).view(5, 5)).sum().backward()
    (conv.eval()(plain) * torch.arange(25.0).view(5, 5)).sum().backward()
    assert (scaled.grad != 0).sum() > 2 * (plain.grad != 0).sum()


@pytest.mark.parametrize(("tau", "grows"), [(1.0, True), (-1.0, False)])
def test_a_positive_tau_raises_the_quantisation_error_and_a_negative_one_lowers_it(tau, grows):
    module = build()
    before, optimiser = (
        quantisation_error(module),
        torch.optim.SGD([layer.weight for _, layer in binary_layers(module)], 0.5),
    )
    for _ in range(20):
        optimiser.zero_grad()
        (tau * spread(module)).backward()
        optimiser.step()
    assert (quantisation_error(module) > before + 0.05) == grows
    assert (quantisation_error(module) < before - 0.05) == (not grows)


def test_the_regulariser_is_the_mean_squared_sine():
    module = build()
    layers = [layer.weight.detach().numpy() for _, layer in binary_layers(module)]
    expected = np.mean([np.mean(0.5 - 0.5 * np.cos(2 * OMEGA * w.astype(float))) for w in layers])
    assert len(layers) == 4
    assert float(spread(module).detach()) == pytest.approx(expected, rel=1e-5)


def test_two_stages_learn_and_log_the_error_of_every_epoch(trained):
    module, digits, ((first, errors), (second, more)) = trained
    assert len(errors) == len(more) == 4
    assert more[0] == errors[-1]
    assert len(set(errors + more)) > 4
    assert min(first, second) > 0.8
    assert all(layer.rule == SINE_SIGN for _, layer in binary_layers(module))
    assert second == (logits(module, digits, digits.x_test).argmax(axis=1) == digits.y_test).mean()


def test_one_cycle_trains_sines_first_and_signs_after(monkeypatch):
    """One optimiser and one cycle: the rule changes between two epochs, and each error is logged."""
    module, digits, seen = build(omega=10.0), load("digits"), []
    forward = BinaryConv2d.forward
    monkeypatch.setattr(BinaryConv2d, "forward", lambda self, x: seen.append(self.rule) or forward(self, x))
    accuracy, errors = train_in_one_cycle(module, digits, QUICK, first_epochs=1, tau=0.0, show=False)
    steps, layers = len(digits.x_train) // QUICK.batch, 4
    assert seen[: 3 * steps * layers] == [SINE] * (steps * layers) + [SINE_SIGN] * (2 * steps * layers)
    assert len(errors) == QUICK.epochs + 1
    assert len(set(errors)) == len(errors)
    assert accuracy == (logits(module, digits, digits.x_test).argmax(axis=1) == digits.y_test).mean() > 0.8
    with torch.no_grad():
        assert set(module.units[0].conv.binary_weight().flatten().tolist()) == {-1.0, 1.0}


def test_one_cycle_without_sines_is_plain_training_with_the_signs_of_sines():
    digits, module, other = load("digits"), build(), build(rule=SINE_SIGN)
    accuracy, _ = train_in_one_cycle(module, digits, QUICK, first_epochs=0, tau=0.0, show=False)
    assert accuracy == train(other, digits, RECIPE, QUICK, show=False)
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("decay", [1e-3, 0.0])
def test_latent_weights_decay_only_if_asked(decay, monkeypatch):
    """Without any gradient, decay alone moves weights."""
    monkeypatch.setattr(biper, "recipe", lambda tau: Recipe("none", "", lambda module, x, y: 0 * module(x).sum()))
    module = build()
    start = {name: value.detach().clone() for name, value in module.named_parameters()}
    train_in_one_cycle(module, load("digits"), QUICK, first_epochs=1, tau=0.0, decay=decay, show=False)
    latents = {f"{name}.weight" for name, _ in binary_layers(module)}
    for name, value in module.named_parameters():
        moved = not torch.equal(value, start[name])
        assert moved == (decay > 0 or name not in latents) or not start[name].any(), name


def test_training_is_repeatable(trained):
    module, digits, _ = trained
    again = build()
    for stage in stages(QUICK, second_epochs=3, second_rate=0.05, tau=(0.0, 0.0)):
        train_stage(again, digits, stage, show=False)
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def check_xnor(module, digits, tmp_path):
    """Store, read back, run: every integer sum, and the labels of all test images."""
    x = digits.preprocess.apply(digits.x_test)
    binary_file.save(to_binary_network(module, (1, 8, 8), "net"), tmp_path / "n.bnn")
    network = binary_file.load(tmp_path / "n.bnn")
    compared = differing_sums(module, network, x)
    assert list(compared) == [layer.name for layer in network.layers]
    assert all(differ == 0 and count > len(x) for differ, count in compared.values())
    got, wanted = run(network, x), logits(module, digits, digits.x_test)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
    assert np.array_equal(got.argmax(axis=1), wanted.argmax(axis=1))
    assert len(np.unique(got.argmax(axis=1))) == 10
    assert np.ptp(got, axis=0).min() > 1
    return network


def test_the_trained_network_by_xnor_equals_the_float_one(trained, tmp_path):
    module, digits, _ = trained
    network = check_xnor(module, digits, tmp_path)
    for (_, layer), stored in zip(binary_layers(module), network.layers, strict=True):
        assert np.array_equal(signs(stored.weight), signs_of(torch.sin(OMEGA * layer.weight)).detach().numpy())
        assert stored.weight.bits.nbytes * 8 == layer.weight.numel()


def test_without_shortcuts_layers_become_thresholds(tmp_path):
    module, digits = build(rule=SIGN, skips=False), load("digits")
    assert train(module, digits, RECIPE, QUICK, show=False) > 0.5
    with torch.no_grad():  # batch norms that turn channels around, as training rarely makes them
        for unit in module.units[:-1]:
            unit.norm.weight[::2] *= -1
    network = check_xnor(module, digits, tmp_path)
    assert [isinstance(layer.finish, Threshold) for layer in network.layers] == [True, True, True, False]
    assert not np.array_equal(signs(network.layers[0].weight), module.units[0].conv.binary_weight().detach().numpy())


def test_the_command_line_evaluates_a_stored_network(trained, tmp_path):
    from click.testing import CliRunner

    from edge.cli import main

    module, _, (_, (accuracy, _)) = trained
    path = tmp_path / "n.bnn"
    binary_file.save(to_binary_network(module, (1, 8, 8), "net"), path)
    found = CliRunner().invoke(main, ["eval", str(path), "--data", "digits", "--json"])
    assert found.exit_code == 0, found.output
    shown = json.loads(found.output)
    assert shown == {"images": 539, "accuracy": pytest.approx(accuracy), "executed_by": "XNOR-popcount reference"}
    np.savez(tmp_path / "other.npz", x=np.zeros((4, 1, 9, 9), np.float32), y=np.arange(4))
    refused = CliRunner().invoke(main, ["eval", str(path), "--data", str(tmp_path / "other.npz")])
    assert refused.exit_code == 1
    assert "takes images [1, 8, 8] of 10 classes" in refused.output
    assert "there is no file" in CliRunner().invoke(main, ["eval", "no.bnn", "--data", "digits"]).output


def test_a_damaged_bit_is_seen(trained):
    """The comparison can fail: one flipped weight changes sums."""
    module, digits, _ = trained
    network = to_binary_network(module, (1, 8, 8), "net")
    network.layers[1].weight.bits[7] ^= 1
    compared = differing_sums(module, network, digits.preprocess.apply(digits.x_test[:20]))
    assert [differ > 0 for differ, _ in compared.values()] == [False, True, False, False]


def test_what_has_no_binary_layers_or_no_signs_is_refused(trained):
    _, digits, _ = trained
    plain = dscnn.build((1, 8, 8), 10, 8, 2)
    [stage, _] = stages(QUICK, second_epochs=1, second_rate=0.1, tau=(0.0, 0.0))
    with pytest.raises(EdgeError, match="no binary layers"):
        train_stage(plain, digits, stage, show=False)
    with pytest.raises(EdgeError, match="only a network of edge"):
        to_binary_network(plain, (1, 8, 8), "net")
    with pytest.raises(EdgeError, match="no binary layers"):
        train_in_one_cycle(plain, digits, QUICK, first_epochs=1, tau=0.0, show=False)
    module = build()
    for epochs in (-1, QUICK.epochs):
        with pytest.raises(EdgeError, match="'first_epochs' is 0 to 2"):
            train_in_one_cycle(module, digits, QUICK, first_epochs=epochs, tau=0.0, show=False)
    with pytest.raises(EdgeError, match="no rule 'cosine' for binary weights; allowed are sine, sine-sign, sign"):
        set_rule(module, "cosine")
    with pytest.raises(EdgeError, match="sines, not signs"):
        to_binary_network(module, (1, 8, 8), "net")
